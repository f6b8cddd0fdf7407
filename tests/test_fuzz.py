"""A short run of ``scripts/fuzz.py``, and that it would see what it looks for."""

import shutil
import time

import benching
import fuzz
import fuzz_inputs
import fuzz_seeds
import fuzz_worker
import pytest
import torch
from conftest import DIGITS

from dcd_deploy.benchmarks.results import write_result
from dcd_deploy.errors import BenchError, DcdDeployError
from dcd_deploy.models.checkpoint import read_checkpoint

SLOW = ("profile", "safetensors", "ort", "pte")  # to make, or to open
KINDS = [kind for kind in fuzz_seeds.KINDS if kind not in SLOW]
INPUTS = 3 * len(KINDS)


@pytest.fixture(scope="module")
def seeds(tmp_path_factory, onnx_file, tflite_pair):
    folder = tmp_path_factory.mktemp("seeds")
    shutil.copy(onnx_file, folder / fuzz_seeds.KINDS["onnx"])
    shutil.copy(tflite_pair[0], folder / fuzz_seeds.KINDS["tflite"])
    write_result(folder / fuzz_seeds.KINDS["result"], benching.realistic())
    shutil.copy(DIGITS / "static.pth.tar", folder / fuzz_seeds.KINDS["checkpoint"])
    state = read_checkpoint(DIGITS / "static.pth.tar").state_dict
    torch.save(state, folder / fuzz_seeds.KINDS["legacy"], _use_new_zipfile_serialization=False)
    fuzz_seeds.make_seeds(folder, KINDS)
    return folder


@pytest.mark.exhaustive
def test_nothing_is_found(seeds, tmp_path):
    counts = fuzz.fuzz(seeds, KINDS, range(INPUTS), 0, tmp_path)
    assert counts.findings == []
    assert set(counts.codes) == set(KINDS)
    assert sum(sum(codes.values()) for codes in counts.codes.values()) == INPUTS
    assert counts.most_mb < fuzz.MEGABYTES
    assert fuzz.table(counts).count("\n") == len(KINDS) + 1


@pytest.mark.parametrize("kind", KINDS)
def test_an_input_is_the_same_at_any_time(seeds, tmp_path, kind, monkeypatch):
    (tmp_path / "again").mkdir()
    first = fuzz_inputs.write_input(seeds, kind, 0, 3, tmp_path)
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(2e9))
    again = fuzz_inputs.write_input(seeds, kind, 0, 3, tmp_path / "again")
    sound = (seeds / fuzz_seeds.KINDS[kind]).read_bytes()
    assert first.read_bytes() == again.read_bytes()
    assert any(fuzz_inputs.write_input(seeds, kind, 0, i, tmp_path).read_bytes() != sound for i in range(3))


@pytest.mark.parametrize(
    ("error", "finding"),
    [
        (ValueError("unforeseen"), "unforeseen"),
        (MemoryError(), "more than the memory allowed"),
        (DcdDeployError("of no kind"), "exit code 1"),
        (BenchError("two\nlines"), "exit code 15"),
        (BenchError("long" * 1000), "4000 characters"),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"), "surrogates"),
    ],
)
def test_what_is_a_finding(tmp_path, monkeypatch, error, finding):
    def fail(path):
        raise error

    monkeypatch.setitem(fuzz_worker.TRIES, "result", fail)
    assert finding in fuzz_worker.outcome("result", tmp_path)["finding"]


def test_what_is_none(tmp_path, monkeypatch):
    def refuse(path):
        raise BenchError("one line")

    monkeypatch.setitem(fuzz_worker.TRIES, "result", refuse)
    assert fuzz_worker.outcome("result", tmp_path) == {"outcome": "15"}


class Ends:
    """A worker that ends, whatever it is given but a sound file."""

    def __init__(self, outcome="crash -11"):
        self.done, self.said = 0, outcome

    def ask(self, kind, path):
        return {"outcome": "read" if path.parent.name.startswith("seeds") else self.said}

    def close(self):
        pass


@pytest.mark.parametrize("outcome", ["crash -11", "hang"])
def test_a_worker_that_ends_is_a_finding_and_its_input_is_kept(seeds, tmp_path, monkeypatch, outcome):
    monkeypatch.setattr(fuzz, "Worker", lambda: Ends(outcome))
    counts = fuzz.fuzz(seeds, ["samples"], [7], 0, tmp_path / "kept")
    (finding,) = counts.findings
    assert outcome in finding
    assert (tmp_path / "kept" / "7_samples.npy").is_file()


def test_of_a_models_file_the_command_has_to_tell_it(seeds, tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "Worker", Ends)
    monkeypatch.setattr(fuzz.subprocess, "run", lambda command, **_: Done(139, b""))
    counts = fuzz.fuzz(seeds, ["tflite"], [7], 0, tmp_path)
    assert "inspect ends with 139" in counts.findings[0]
    monkeypatch.setattr(fuzz.subprocess, "run", lambda command, **_: Done(12, b"dcd-deploy: error: crashed\n"))
    counts = fuzz.fuzz(seeds, ["tflite"], [7], 0, tmp_path)
    assert not counts.findings
    assert counts.codes["tflite"] == {"crash, told": 1}


class Done:
    def __init__(self, returncode, stderr):
        self.returncode, self.stderr = returncode, stderr
