"""Trials: real files in real worker processes, and what happens when a worker fails."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from dcd_deploy import commands
from dcd_deploy.benchmarks.bench import BenchConfig, bench, case
from dcd_deploy.benchmarks.environment import core_count
from dcd_deploy.benchmarks.machine import core_ids
from dcd_deploy.benchmarks.measure import MeasureConfig
from dcd_deploy.benchmarks.process import Here, ask
from dcd_deploy.benchmarks.worker import MEMORY, TIME, Request
from dcd_deploy.commands.values import parse_names
from dcd_deploy.errors import (
    BenchError,
    CheckpointError,
    ExportError,
    InputFileError,
    ModelFileError,
    OptionError,
    UnknownNameError,
)

QUICK = MeasureConfig(warmup_runs=1, warmup_seconds=0, min_runs=8, min_seconds=0, rounds=2)
FAST = {"min_runs": 8, "min_seconds": 0.0, "rounds": 1}


@pytest.fixture
def alone(onnx_file, tmp_path) -> Path:
    """The digits model without its twin beside it."""
    path = tmp_path / "alone.onnx"
    path.write_bytes(onnx_file.read_bytes())
    return path


@pytest.fixture
def endless(tmp_path) -> Path:
    """A model that onnxruntime would run until the end of days."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Sin", ["x"], ["y"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 4, 4]),
        ],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["often", "", "input"], ["logits"], body=body)],
        "endless",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 4, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3, 4, 4])],
        [helper.make_tensor("often", TensorProto.INT64, [], [2**62])],
    )
    path = tmp_path / "endless.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def test_a_model_beside_its_twin(onnx_file):
    result = commands.bench(onnx_file, **FAST)
    (trial,) = result.trials
    assert (trial.runtime, trial.threads, trial.batch, trial.cpus) == ("onnxruntime", 1, 1, None)
    assert [t.role for t in trial.timings] == ["model", "static"]
    assert [t.network for t in trial.timings] == ["mobilenetv2_dcd ×0.25", "mobilenetv2 ×0.25"]
    found = trial.ratios["static twin"]
    assert found.low <= found.median <= found.high
    assert trial.runtime_version == result.environments["local"].packages["onnxruntime"]
    for timing in trial.timings:
        assert timing.memory.peak_mb > timing.memory.own_mb > 0
        assert timing.latency.runs >= 8
    assert "few-runs" in {v.kind for v in trial.verdicts}


def test_each_combination_is_a_trial(onnx_file, digits_tflite):
    tflite = digits_tflite.artifact.path
    result = commands.bench(
        onnx_file, tflite, runtime="onnxruntime,onnxruntime-plain,litert", threads="1,2", memory=False, **FAST
    )
    found = [(t.timings[0].name, t.runtime, t.threads) for t in result.trials]
    both = [("digits.onnx", r, n) for r in ("onnxruntime", "onnxruntime-plain") for n in (1, 2)]
    assert found == [*both, ("digits.tflite", "litert", 1), ("digits.tflite", "litert", 2)]
    assert all(t.memory is None for trial in result.trials for t in trial.timings)


@pytest.fixture(scope="module")
def free(small_checkpoint, tmp_path_factory) -> Path:
    """A ResNet for pictures of 40×40 and any batch, with its twin beside it."""
    out = tmp_path_factory.mktemp("free")
    options = {"input_size": 40, "batch": "dynamic", "name": "resnet", "with_baseline": True}
    return commands.export(small_checkpoint, out=out, **options).artifact.path


def test_a_batch_that_the_file_leaves_free(free):
    result = commands.bench(free, batch="1,3", memory=False, **FAST)
    assert [trial.batch for trial in result.trials] == [1, 3]


def test_a_checkpoint_is_exported_first(small_checkpoint):
    result = commands.bench(small_checkpoint, batch="2", input_size=32, memory=False, **FAST)
    (trial,) = result.trials
    assert trial.timings[0].name == "resnet10_dcd_32.onnx"
    assert (trial.batch, [t.role for t in trial.timings]) == (2, ["model", "static"])


def test_the_twin_is_made_where_there_is_none(alone, tmp_path):
    result = commands.bench(alone, memory=False, **FAST)
    assert "static twin" in result.trials[0].ratios
    assert list(tmp_path.iterdir()) == [alone], "the twin made for it is gone again"
    assert commands.bench(alone, baseline="none", memory=False, **FAST).trials[0].ratios == {}


def test_against_more_than_one(alone, onnx_file):
    result = commands.bench(alone, against=("released", "static:0.5", onnx_file), memory=False, **FAST)
    assert list(result.trials[0].ratios) == ["static twin", "released form", "static ×0.5", "digits.onnx"]


def test_a_path_is_one_name_whatever_is_in_it():
    assert parse_names(Path("a,b.onnx")) == ("a,b.onnx",)
    assert parse_names(["static:0.5,released", Path("c,d.onnx")]) == ("static:0.5", "released", "c,d.onnx")


def test_a_form_that_the_converter_refuses_is_a_failure_beside_the_result(onnx_file, monkeypatch):
    def refuse(*_):
        raise ExportError("the converter refused it")

    monkeypatch.setattr("dcd_deploy.export.released.export_released", refuse)
    result = commands.bench(onnx_file, against="released", memory=False, **FAST)
    (failure,) = result.failures
    assert (failure.name, failure.reason) == ("digits.onnx against released", "the converter refused it")
    assert list(result.trials[0].ratios) == ["static twin"]


def test_a_model_against_a_copy_of_the_same_name(onnx_file, tmp_path):
    copy = tmp_path / onnx_file.name
    copy.write_bytes(onnx_file.read_bytes())
    (trial,) = bench([case(onnx_file, "onnxruntime", None, [(copy.name, copy)])], BenchConfig(QUICK)).trials
    assert [t.name for t in trial.timings] == ["digits.onnx", "digits.onnx (2)"]
    assert trial.timings[0].sha256 == trial.timings[1].sha256


def test_it_keeps_to_the_cores_it_is_given(onnx_file):
    core = core_ids()[-1]
    result = commands.bench(onnx_file, cpus=core, memory=False, **FAST)
    assert result.trials[0].cpus == (core,)


def test_a_runtime_that_hangs_is_ended_and_the_others_are_kept(endless, onnx_file):
    cases = [case(endless, "onnxruntime"), case(onnx_file, "onnxruntime")]
    with pytest.raises(BenchError, match="expected onnxruntime to be done within 3 s") as caught:
        bench(cases, BenchConfig(QUICK, time_limit=3.0, memory=False))
    result = caught.value.result
    assert [trial.timings[0].name for trial in result.trials] == ["digits.onnx"]
    assert [failure.name for failure in result.failures] == ["endless.onnx"]


def request(path) -> Request:
    return Request(TIME, {"m": str(path)}, "onnxruntime", 1, None, None, QUICK)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os; os.abort()", "crashed its process with SIGABRT"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashed its process with SIGSEGV"),
        ("import sys; print('out of memory', file=sys.stderr); sys.exit(7)", "exit code 7; its last words: out of mem"),
        ("print('hello')", "expected the times of a trial"),
        ("print('[1, 2]')", "expected the times of a trial"),
        ('print(\'{"answer": {"samples": 3}}\')', "expected the times of a trial"),
    ],
)
def test_a_worker_that_fails(onnx_file, code, message):
    with pytest.raises(BenchError, match=message):
        ask(request(onnx_file), 30, [sys.executable, "-c", code])


def test_an_error_of_the_worker_keeps_its_kind(tmp_path):
    (tmp_path / "noise.onnx").write_bytes(b"noise")
    with pytest.raises(ModelFileError, match="expected an ONNX model"):
        ask(request(tmp_path / "noise.onnx"))


def test_what_cannot_be_compared(onnx_file, free):
    with pytest.raises(OptionError, match="expected models with the same input"):
        commands.bench(onnx_file, baseline=free, **FAST)
    with pytest.raises(OptionError, match=r"'released', 'static:WIDTH' or a '.onnx' file"):
        commands.bench(onnx_file, against="static", memory=False, **FAST)


def test_widths_of_a_network_that_has_none(free):
    """A ResNet's twin, whose width stays as it is, must not pass for one of half the width."""
    with pytest.raises(OptionError, match="a MobileNetV2, which comes in widths, found 'resnet.onnx' of resnet10_dcd"):
        commands.bench(free, against="static:0.5", **FAST)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"batch": 3},
            OptionError,
            "expected `batch` 1, which is fixed in the file, found 3; export it with `batch` 3",
        ),
        ({"batch": 0}, OptionError, "expected a `batch` of at least one"),
        ({"batch": "two"}, OptionError, "expected `batch` as whole numbers"),
        ({"min_seconds": -1}, OptionError, "expected `min_seconds` as a number of seconds, at least 0, found -1"),
        ({"min_seconds": float("inf")}, OptionError, "`min_seconds`"),
        ({"min_runs": 0}, OptionError, "expected `min_runs`"),
        ({"threads": 4096}, OptionError, f"at most one for each of the {core_count()} cores, found 4096"),
        ({"threads": 0}, OptionError, "at least one thread"),
        ({"cpus": 4096}, OptionError, "expected `cpus` among"),
        ({"cpus": str(core_ids()[0]), "threads": 2}, OptionError, "each of the 1 cores, found 2"),
        ({"against": "static:0"}, OptionError, "a width above 0 and at most 8, found 0"),
        ({"against": "static:9"}, OptionError, "a width above 0 and at most 8, found 9"),
        ({"runtime": "onnx"}, UnknownNameError, "did you mean 'onnxruntime'"),
        (
            {"runtime": "litert"},
            OptionError,
            "expected `runtime` onnxruntime or .* or opencv4 for 'digits.onnx', found litert$",
        ),
    ],
)
def test_what_cannot_be_measured(onnx_file, options, error, message):
    with pytest.raises(error, match=message):
        commands.bench(onnx_file, **options)


def test_a_model_that_no_runtime_opens(tmp_path):
    (tmp_path / "model.pb").write_bytes(b"?")
    with pytest.raises(CheckpointError, match="expected a checkpoint at .*model.pb"):
        commands.bench(tmp_path / "model.pb")
    with pytest.raises(InputFileError, match="there is no such file"):
        commands.bench(tmp_path / "missing.onnx")


def test_the_worker_says_nothing_but_its_answer(onnx_file, capfd):
    answer = ask(request(onnx_file))
    assert json.dumps(answer.version)
    assert capfd.readouterr().out == ""
    assert all(np.isfinite(answer.samples["m"].load_ms))


def test_times_are_kept_where_memory_cannot_be_had(onnx_file):
    class Forgetful(Here):
        def ask(self, request, time_limit):
            if request.task == MEMORY:
                raise BenchError("out of memory")
            return super().ask(request, time_limit)

    config = BenchConfig(MeasureConfig(min_runs=8, min_seconds=0.0, rounds=1, warmup_seconds=0.0))
    result = bench([case(onnx_file, "onnxruntime", None)], config, place=Forgetful())
    assert result.trials[0].timings[0].latency.runs >= 8
    assert result.trials[0].timings[0].memory is None
