"""What the command line refuses: one line, an exit code of its own, and nothing touched."""

import os
import pickle
import resource
import subprocess

import pytest
import torch
from command_line import QUICK, contents, dcd_deploy, refused, run_here
from conftest import DIGITS


class Hostile:
    def __reduce__(self):
        return os.system, ("echo executed",)


def hostile(path, state):
    path.write_bytes(pickle.dumps({"state_dict": Hostile()}, protocol=2))


BAD_CHECKPOINTS = {
    "missing": (lambda path, state: None, 3, ["there is no such file", "check the path"]),
    "empty": (lambda path, state: path.touch(), 3, ["the file is empty"]),
    "folder": (lambda path, state: path.mkdir(), 3, ["this is not a file"]),
    "text": (lambda path, state: path.write_text("hello"), 4, ["expected a checkpoint"]),
    "truncated": (lambda path, state: path.write_bytes(state.read_bytes()[:90_000]), 4, ["damaged or cut off"]),
    "hostile": (hostile, 4, ["posix.system", "never executed"]),
    "another network": (
        lambda path, state: torch.save({"encoder.weight": torch.ones(3)}, path),
        5,
        ["is of no known network", "mobilenetv2_dcd"],
    ),
}


@pytest.mark.parametrize(("make", "code", "words"), BAD_CHECKPOINTS.values(), ids=BAD_CHECKPOINTS)
def test_bad_checkpoints(tmp_path, small_checkpoint, make, code, words):
    checkpoint, out = tmp_path / "net.pth.tar", tmp_path / "out"
    out.mkdir()
    (out / "resnet10_dcd_32.onnx").write_bytes(b"an earlier export")
    make(checkpoint, small_checkpoint)
    before = contents(out)
    refused(run_here("export", checkpoint, "--out", out, *QUICK), code, *words)
    refused(run_here("inspect", checkpoint), code, *words)
    assert contents(out) == before


def test_values_that_are_no_numbers(tmp_path, small_network):
    state = {key: value.clone() for key, value in small_network.state_dict().items()}
    state["layer1.0.conv1.conv.weight"][0, 0, 0, 0] = float("nan")
    torch.save(state, tmp_path / "net.pth")
    refused(
        run_here("export", tmp_path / "net.pth", "--out", tmp_path / "out"),
        6,
        "1 of 2304 NaN",
        "layer1.0.conv1.conv.weight",
    )
    assert not (tmp_path / "out").exists()


BAD_OPTIONS = {
    "format": (["--to", "onx"], 7, ["unknown format 'onx': did you mean 'onnx'?"]),
    "architecture": (["--arch", "resnet10-dcd"], 7, ["did you mean 'resnet10_dcd'?"]),
    "lowering": (["--lowering", "kernal"], 7, ["did you mean 'kernel'?"]),
    "another architecture": (
        ["--arch", "resnet18_dcd"],
        5,
        ["does not fit resnet18_dcd", "tensors are those of resnet10_dcd"],
    ),
    "input too small": (["--input-size", "31"], 8, ["at least 32×32, found 31×31"]),
    "input size no number": (["--input-size", "big"], 8, ["expected --input-size as a side or HEIGHTxWIDTH"]),
    "batch": (["--batch", "many"], 8, ["expected --batch as a number or 'dynamic', found 'many'"]),
    "no batch": (["--batch", "0"], 8, ["at least 1"]),
    "opset": (["--opset", "9"], 8, ["11..26"]),
    "weights": (["--weights", "int4"], 7, ["unknown weights 'int4': did you mean 'int8'?"]),
    "mean": (["--mean", "0.5"], 8, ["expected --mean as three numbers"]),
    "std": (["--std", "0,1,1"], 8, ["expected positive --std"]),
    "mean of grey levels": (
        ["--mean", "123.675,116.28,103.53", "--std", ".2,.2,.2"],
        8,
        ["expected --mean of RGB values 0..1", "look like grey levels of 0 to 255; divide them by 255"],
    ),
    "std of grey levels": (["--std", "58.395,57.12,57.375"], 8, ["expected --std of RGB", "divide them by 255"]),
    "negative mean": (["--mean=-.1,.5,.5"], 8, ["expected --mean of RGB values 0..1, found (-0.1"]),
    "resize": (["--resize", "20"], 8, ["expected --resize of at least"]),
    "no resize": (["--resize", "0"], 8, ["expected --resize as a whole number"]),
    "no width": (["--width-mult", "0"], 8, ["expected --width-mult as a number, more than 0"]),
    "input too large": (["--input-size", "99999"], 8, ["at most 4096×4096"]),
    "tolerance": (["--tolerance", "7"], 8, ["expected a --tolerance between 0 and 1"]),
    "tight tolerance": (["--tolerance", "1e-12"], 9, ["it would pass at"]),
    "name": (["--name", "../escaped"], 8, ["expected a --name of letters"]),
    "name of an option": (["--name=-x"], 8, ["expected a --name of letters", "found '-x'; programs take what begins"]),
    "long name": (["--name", "x" * 246], 8, ["expected a --name with which no file's is longer than 255", "found 256"]),
    "long name in bytes": (["--name", "ä" * 124, "--to", "tflite"], 8, ["expected a --name", "found 260 of 'ä"]),
    "long name of a twin": (["--name", "x" * 244, "--with-baseline"], 8, ["expected a --name", "found 256 of 'x"]),
    "labels": (["--labels", DIGITS / "train.py"], 8, ["expected 10 labels"]),
    "no labels": (["--labels", DIGITS / "none.txt"], 3, ["expected a file of labels"]),
    "labels no text": (["--labels", DIGITS / "seven.png"], 3, ["UTF-8"]),
    "samples": (["--samples", DIGITS / "labels.txt"], 3, [".npy"]),
}


@pytest.mark.parametrize(("options", "code", "words"), BAD_OPTIONS.values(), ids=BAD_OPTIONS)
def test_bad_options(tmp_path, small_checkpoint, options, code, words):
    options = options if "--input-size" in options else [*QUICK, *options]
    refused(run_here("export", small_checkpoint, "--out", tmp_path / "out", *options), code, *words)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "escaped.onnx").exists()


def test_inspect_lists_every_key_that_differs(tmp_path, small_network):
    state = small_network.state_dict() | {"extra.weight": torch.ones(3, 128)}  # might take the features
    missing = [key for key in state if key.startswith("layer4.0.conv2.fc")]
    torch.save({key: value for key, value in state.items() if key not in missing}, tmp_path / "net.pth")
    done = run_here("inspect", tmp_path / "net.pth")
    refused(done, 5, "nearest is resnet10_dcd")
    listed = [line.split() for line in done.stdout.splitlines()]
    assert all(["missing", key] in listed for key in missing)
    assert ["unexpected", "extra.weight"] in listed
    assert "dcd-deploy inspect" not in done.stderr, "it is what was run"


def test_export_lists_ten_keys_and_sends_to_inspect(tmp_path, small_network):
    torch.save({key: v for key, v in small_network.state_dict().items() if "bn" not in key}, tmp_path / "net.pth")
    done = run_here("export", tmp_path / "net.pth", "--out", tmp_path)
    refused(done, 5, "nearest is resnet10_dcd", f"'dcd-deploy inspect {tmp_path}/net.pth' lists them all")
    assert sum(line.startswith("missing") for line in done.stdout.splitlines()) == 10
    assert "more; 'dcd-deploy inspect' lists them all" in done.stdout


def test_control_characters_of_a_file_do_not_reach_the_terminal(tmp_path, small_network):
    torch.save(small_network.state_dict() | {"\x1b[31mred\x1b]0;title\x07": torch.ones(1)}, tmp_path / "net.pth")
    done = run_here("inspect", tmp_path / "net.pth")
    refused(done, 4, "printable characters", r"\x1b[31mred")
    assert "\x1b" not in done.stdout + done.stderr


def test_a_folder_that_cannot_be_written(tmp_path, small_checkpoint):
    (tmp_path / "file").write_text("not a folder")
    for out in (tmp_path / "file", tmp_path / "file" / "below", "/proc/none"):
        done = run_here("export", small_checkpoint, "--out", out, *QUICK)
        refused(done, 10, f"expected to write into '{out}'")
        assert "make room" not in done.stderr
        assert "trace to ONNX" not in done.stderr, "it should be refused before the long work"


@pytest.fixture
def full_disk(tmp_path):
    """A real file system of 1 MB with an earlier export on it; else a limit on the size of files."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False
        ).returncode
        == 0
    )
    (disk / "resnet10_dcd_32.onnx").write_bytes(b"an earlier export")
    limit = None if mounted else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
    yield disk, limit
    if mounted:
        subprocess.run(["umount", disk], check=True)


def test_a_full_disk(full_disk, small_checkpoint):
    disk, limit = full_disk
    before = contents(disk)
    refused(
        dcd_deploy("export", small_checkpoint, "--out", disk, *QUICK, preexec_fn=limit),
        10,
        "expected to write into",
        "make room",
    )
    assert contents(disk) == before
    assert [path.name for path in disk.iterdir()] == ["resnet10_dcd_32.onnx"]
