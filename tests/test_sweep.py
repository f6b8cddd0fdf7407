"""The sweep: every trial kept as soon as it is measured, and none measured twice."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import SMALL
from said import Said

from dcd_deploy import commands
from dcd_deploy.benchmarks import sweep
from dcd_deploy.benchmarks.results import read_result
from dcd_deploy.errors import BenchError, OptionError, UnknownNameError
from dcd_deploy.files import sha256
from dcd_deploy.runtimes import open_model

OPTIONS = {"runtime": "onnxruntime", "input_size": 32, "min_runs": 4, "min_seconds": 0.0}
NETWORKS = {"a": SMALL, "b": replace(SMALL, num_classes=7)}


@pytest.fixture(autouse=True)
def small_networks(monkeypatch):
    monkeypatch.setattr(sweep, "NETWORKS", NETWORKS)


@pytest.fixture
def said():
    return Said()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sweep")


def test_a_sweep_goes_on_where_it_was_interrupted(folder, said, monkeypatch):
    def interrupted(cases, *arguments):
        if cases[0].entries[0].name == "b.onnx":
            raise KeyboardInterrupt
        return real(cases, *arguments)

    real = sweep.bench
    monkeypatch.setattr(sweep, "bench", interrupted)
    with pytest.raises(KeyboardInterrupt):
        commands.sweep(folder, progress=said, **OPTIONS)
    assert [path.name for path in (folder / "trials").iterdir()] == ["a-onnxruntime-t1.json"]
    assert said[0].startswith("[1/5] a: ")
    assert any("min left] " in stage for stage in said)

    monkeypatch.setattr(sweep, "bench", real)
    kept = (folder / "trials" / "a-onnxruntime-t1.json").read_bytes()
    result = commands.sweep(folder, **OPTIONS)
    assert (folder / "trials" / "a-onnxruntime-t1.json").read_bytes() == kept
    assert [[t.name for t in trial.timings] for trial in result.trials] == [
        ["a.onnx", "static twin"],
        ["b.onnx", "static twin"],
        ["a.onnx", "a-static.onnx", "b.onnx", "b-static.onnx"],
    ]
    assert read_result(folder / "sweep.json").trials == result.trials

    said.clear()
    commands.sweep(folder, progress=said, **OPTIONS)
    assert said == [], "nothing is left to do"

    damaged = folder / "trials" / "b-onnxruntime-t1.json"
    damaged.write_text(json.dumps({"kind": "something else"}))
    other = folder / "trials" / "a-onnxruntime-t1.json"
    other.write_text(other.read_text().replace('"cpu": "', '"cpu": "another '))
    commands.sweep(folder, progress=said, **OPTIONS)
    measured = [stage for stage in said if "measure in turns" in stage]
    assert len(measured) == 2, "the damaged one, and the one of another machine"


def test_a_trial_that_fails_does_not_hold_up_the_others(folder):
    commands.sweep(folder, networks="a,b", **OPTIONS)
    (folder / "models" / "a.onnx").write_bytes(b"noise")
    (folder / "trials" / "a-onnxruntime-t1.json").unlink()
    with pytest.raises(BenchError, match="could not be measured: expected an ONNX model") as caught:
        commands.sweep(folder, **OPTIONS)
    assert [trial.timings[0].name for trial in caught.value.result.trials] == ["b.onnx"]
    assert [failure.name for failure in caught.value.result.failures] == ["a.onnx", "a.onnx"], "its own and the front"


@pytest.fixture(scope="module")
def done_once(tmp_path_factory):
    """A folder with the whole of a sweep of one network."""
    folder = tmp_path_factory.mktemp("done")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "NETWORKS", NETWORKS)
        commands.sweep(folder, **OPTIONS, networks="a")
    return folder


@pytest.fixture
def done(done_once, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(done_once, tmp_path / "done"))


def test_nothing_of_another_input_size_passes_for_this_one(done, said):
    options = OPTIONS | {"networks": "a"}
    commands.sweep(done, progress=said, **options)
    assert said == [], "the copy is as good"
    result = commands.sweep(done, progress=said, **options | {"input_size": (32, 48)})
    assert [stage.partition("] ")[2] for stage in said if "write files" in stage] == ["a: write files"]
    assert sum("measure in turns" in stage for stage in said) == 1
    assert open_model(done / "models" / "a.onnx").session.inputs[0].shape == (1, 3, 32, 48)
    assert len(result.trials) == 1
    assert result.trials[0].timings[0].sha256 == sha256(done / "models" / "a.onnx")


def test_a_model_that_was_replaced_is_measured_anew(done, said):
    models = done / "models"
    (models / "a.onnx").write_bytes((models / "a-static.onnx").read_bytes())
    commands.sweep(done, progress=said, **OPTIONS, networks="a")
    assert sum("measure in turns" in stage for stage in said) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runtime": ""}, "expected `runtime` with some of onnxruntime"),
        ({"threads": 1000}, r"at most one for each of the \d+ cores, found 1000"),
    ],
)
def test_bad_options_are_refused_before_anything_is_made(tmp_path, options, message):
    with pytest.raises(OptionError, match=message):
        commands.sweep(tmp_path / "new", **OPTIONS | options)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("options", [{"networks": "resnet18"}, {"runtime": "tflite"}])
def test_unknown_names(tmp_path, options):
    with pytest.raises(UnknownNameError, match="unknown"):
        commands.sweep(tmp_path / "new", **OPTIONS | options)
    assert not (tmp_path / "new").exists()
