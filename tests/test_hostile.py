"""Files, pictures and paths that were made to do harm, or damaged so that they would: each ends in one plain line."""

import io
import json
import struct
import sys
import time
import tracemalloc
import zipfile

import benching
import numpy as np
import pytest
import torch
from command_line import contents, refused, run_here
from conftest import DIGITS
from PIL import Image

from dcd_deploy.artifacts import Preprocessing
from dcd_deploy.benchmarks.results import read_result, write_result
from dcd_deploy.errors import InputFileError, OptionError
from dcd_deploy.models.checkpoint import read_checkpoint
from dcd_deploy.runtimes import open_model
from dcd_deploy.runtimes.pictures import MOST_PIXELS, read_picture
from dcd_deploy.runtimes.preprocessing import preprocess
from dcd_deploy.samples import inputs_from_file

PICTURE = DIGITS / "seven.png"


# pictures and samples


@pytest.mark.parametrize("size", [(60_000, 1), (1, 60_000), (3000, 20)])
def test_a_long_thin_picture_takes_little_memory(tmp_path, size):
    Image.new("RGB", size, (10, 200, 30)).save(tmp_path / "p.png")
    picture = read_picture(tmp_path / "p.png")
    tracemalloc.start()
    found = preprocess(picture, Preprocessing.for_size(224, 224))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.shape == (1, 3, 224, 224)
    assert np.ptp(found, axis=(2, 3)).max() < 1e-5, "one colour stays one colour"
    assert peak < 200e6


def test_a_picture_of_sixteen_bits_is_the_picture_of_eight(tmp_path):
    with Image.open(PICTURE) as picture:
        levels = np.asarray(picture.convert("L"))
    Image.fromarray(levels).save(tmp_path / "8.png")
    Image.fromarray(levels.astype(np.uint16) * 257).save(tmp_path / "16.png")
    with Image.open(tmp_path / "16.png") as picture:
        assert picture.mode.startswith("I")
    assert np.array_equal(read_picture(tmp_path / "16.png"), read_picture(tmp_path / "8.png"))


def test_pictures_that_are_refused(tmp_path, monkeypatch):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "f.tiff")
    with pytest.raises(InputFileError, match="not of 8 or 16 bits"):
        read_picture(tmp_path / "f.tiff")
    monkeypatch.setattr("dcd_deploy.runtimes.pictures.MOST_PIXELS", 15)
    Image.new("RGB", (4, 4)).save(tmp_path / "p.png")
    with pytest.raises(InputFileError, match="4×4 pixels, more than"):
        read_picture(tmp_path / "p.png")
    assert MOST_PIXELS > 12_000 * 9_000, "a phone's largest"


def test_samples_whose_header_claims_more_than_there_is(tmp_path, onnx_file, digits_checkpoint):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (100000, 3, 32, 32), }"
    header = header.ljust(117) + b"\n"
    file = tmp_path / "s.npy"
    file.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\0" * 1000)
    done = run_here("verify", onnx_file, "--checkpoint", digits_checkpoint, "--samples", file)
    refused(done, 3, "it has not the size that its header says")


@pytest.mark.parametrize("dtype", ["O", "U4", "c8", "?"])
def test_samples_that_are_no_numbers(tmp_path, dtype):
    np.save(tmp_path / "s.npy", np.zeros((2, 3, 4, 4), dtype), allow_pickle=True)
    with pytest.raises(InputFileError, match="no array"):
        inputs_from_file(tmp_path / "s.npy", (3, 4, 4))


# checkpoints


def hash_bomb():
    """A tuple of two of the tuple before it, 45 deep, as the key of a dict: hashing it takes 2⁴⁵ steps."""
    steps = b"".join(b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(45))
    return b"\x80\x02})q\x00" + steps + b"K\x01s."


def test_a_key_that_takes_for_ever_to_hash(tmp_path):
    (tmp_path / "c.pt").write_bytes(hash_bomb())
    before = time.monotonic()
    refused(run_here("inspect", tmp_path / "c.pt"), 4, "found a tuple")
    assert time.monotonic() - before < 10


def test_a_nested_tensor(tmp_path, small_network):
    state = dict(small_network.state_dict())
    key = next(iter(state))
    with pytest.warns(UserWarning, match="nested"):
        state[key] = torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])
    torch.save(state, tmp_path / "c.pth")
    refused(run_here("inspect", tmp_path / "c.pth"), 4, "nested", key)


@pytest.mark.parametrize("flag", [(), ("--json",)])
def test_long_names_are_cut(tmp_path, small_network, flag):
    state = dict(small_network.state_dict())
    state = {f"{key}{'a' * 10_000}": value for key, value in state.items()}
    torch.save(state, tmp_path / "c.pth")
    done = run_here("inspect", *flag, tmp_path / "c.pth")
    refused(done, 4, "characters)")
    assert len(done.stderr) < 1000
    assert len(done.stdout) < 2000


# results


@pytest.fixture
def half_a_character(tmp_path):
    """A result in which a name has half of a character, as of a file name in another encoding."""
    result = benching.realistic()
    text = json.dumps("caf\udce9.onnx")
    write_result(tmp_path / "r.json", result)
    content = (tmp_path / "r.json").read_text(encoding="utf-8")
    name = json.dumps(result.failures[0].name)
    (tmp_path / "r.json").write_text(content.replace(name, text), encoding="utf-8")
    return tmp_path / "r.json"


def test_half_a_character_is_printed_escaped_and_read_again(half_a_character, tmp_path):
    done = run_here("report", "--json", half_a_character)
    assert done.returncode == 0, done.stderr
    assert "caf\\udce9.onnx" in done.stdout
    (tmp_path / "again.json").write_text(done.stdout, encoding="utf-8")
    assert read_result(tmp_path / "again.json") == read_result(half_a_character)


@pytest.mark.parametrize("suffix", ["json", "md", "csv", "html"])
def test_half_a_character_is_written_in_every_form(half_a_character, tmp_path, suffix):
    done = run_here("report", half_a_character, "--save", tmp_path / f"saved.{suffix}")
    assert done.returncode == 0, done.stderr
    (tmp_path / f"saved.{suffix}").read_text(encoding="utf-8")


# paths


def test_a_path_that_no_system_takes(tmp_path, digits_checkpoint):
    path = "a" * 5000
    for name in ("inspect", "export", "verify", "report"):
        done = run_here(name, path)
        refused(done, 3, "too long")
        assert len(done.stderr) < 1000
    refused(run_here("export", digits_checkpoint, "--out", tmp_path / path), 10, "too long")


def test_a_folder_that_may_not_be_entered(tmp_path, monkeypatch):
    (tmp_path / "f").mkdir()
    refusing = PermissionError(13, "Permission denied", str(tmp_path / "f"))
    monkeypatch.setattr("pathlib.Path.iterdir", lambda path: (_ for _ in ()).throw(refusing))
    with pytest.raises(InputFileError, match="Permission denied"):
        read_checkpoint(tmp_path / "f")
    monkeypatch.setattr("dcd_deploy.files._unusable", lambda path: (_ for _ in ()).throw(refusing))
    with pytest.raises(InputFileError, match="Permission denied"):
        read_checkpoint(tmp_path / "f" / "c.pth")


@pytest.mark.parametrize("name", ["inspect", "export", "verify", "bench", "report", "profile", "costs"])
def test_a_file_that_may_not_be_read(digits_checkpoint, onnx_file, monkeypatch, name):
    path = onnx_file if name in ("verify", "bench", "profile") else digits_checkpoint
    monkeypatch.setattr("os.access", lambda given, mode, **_: str(given) != str(path))
    more = ["--target", "litert"] if name == "costs" else []
    refused(run_here(name, path, *more), 3, "no permission to read it", str(path))


def test_what_the_system_says_of_a_file_is_said_of_that_file(digits_checkpoint, monkeypatch):
    def refuse(*_, **__):
        raise OSError(5, "Input/output error", "/disk/file")

    monkeypatch.setattr(sys.modules["dcd_deploy.commands.inspect"], "read_weights", refuse)
    refused(run_here("inspect", digits_checkpoint), 3, "'/disk/file'", "Input/output error")


# options


@pytest.mark.parametrize("threads", [10**6, -1, 1.5, True, "2"])
def test_threads_that_no_machine_has(onnx_pair, tflite_pair, threads):
    for file in (onnx_pair[0], tflite_pair[0]):
        with pytest.raises(OptionError, match="threads as a whole number from 0 to 1024"):
            open_model(file, threads=threads)


def test_a_page_without_what_draws_it(onnx_file, tmp_path, monkeypatch):
    real = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("dcd_deploy.optional.find_spec", lambda name: None if name == "plotly" else real(name))
    refused(run_here("bench", onnx_file, "--save", tmp_path / "x.html"), 11, "plotly", "dcd-deploy[report]")
    assert not contents(tmp_path)


# archives


def test_an_archive_whose_entries_unfold(tmp_path):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("c/data.pkl", b"\0" * (1 << 24))
    (tmp_path / "c.pth").write_bytes(made.getvalue())
    refused(run_here("inspect", tmp_path / "c.pth"), 4, "compressed entries")
