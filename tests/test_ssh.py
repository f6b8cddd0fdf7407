"""A board over a real ssh connection: measured there, and left as it was."""

import time
from dataclasses import replace

import boards
import pytest
from boards import FAST, runners, wait_for
from said import Said

from dcd_deploy import commands
from dcd_deploy.benchmarks.bench import BenchConfig, case, measure_trial
from dcd_deploy.benchmarks.environment import EMULATED
from dcd_deploy.benchmarks.machine import CoreKind
from dcd_deploy.benchmarks.measure import MeasureConfig
from dcd_deploy.benchmarks.results import read_result, write_result
from dcd_deploy.benchmarks.verdicts import PLACE
from dcd_deploy.devices.names import parse_device
from dcd_deploy.devices.opening import open_device
from dcd_deploy.progress import silent


def test_a_model_beside_its_twin_on_a_board(board, onnx_file, digits_tflite, tmp_path):
    result = commands.bench(onnx_file, digits_tflite.artifact.path, device=board.name, **FAST | {"memory": True})
    assert [(t.device, t.runtime) for t in result.trials] == [(board.name, "onnxruntime"), (board.name, "litert")]
    for trial in result.trials:
        assert [t.name for t in trial.timings][1] == "static twin"
        assert trial.timings[0].network == "mobilenetv2_dcd ×0.25"
        assert trial.ratios["static twin"].median > 1
        assert all(t.memory.peak_mb > t.memory.own_mb > 0 for t in trial.timings)
        assert (
            trial.runtime_version
            == result.environments[board.name].packages[
                {"onnxruntime": "onnxruntime", "litert": "ai-edge-litert"}[trial.runtime]
            ]
        )
    write_result(tmp_path / "r.json", result)
    assert read_result(tmp_path / "r.json") == result
    assert wait_for(lambda: not runners(board)), "nothing runs there any more"


@pytest.mark.exhaustive
def test_a_model_for_compiled_model_on_a_board(board, digits_compiled):
    """The runner that is sent opens it with the flag, beside its twin in the same runtime."""
    result = commands.bench(digits_compiled.artifact.path, device=board.name, **FAST | {"memory": True})
    (trial,) = result.trials
    assert (trial.device, trial.runtime) == (board.name, "litert-compiled")
    assert [timing.name for timing in trial.timings] == ["digits.tflite", "static twin"]
    assert trial.runtime_version == result.environments[board.name].packages["ai-edge-litert"]
    assert trial.ratios["static twin"].median > 1
    assert wait_for(lambda: not runners(board)), "nothing runs there any more"


def test_nothing_is_sent_twice_and_all_can_be_removed(board, onnx_file):
    said = Said()
    commands.bench(onnx_file, device=board.name, progress=said, **FAST)
    assert len([stage for stage in said if "send digits.onnx" in stage]) == 1
    assert [name.rpartition(".")[2] for name in board.left()].count("onnx") == 2
    kept = board.left()
    assert len([name for name in kept if name.endswith(".pyz")]) == 1
    said.clear()
    commands.bench(onnx_file, device=board.name, progress=said, **FAST)
    assert not [stage for stage in said if "send" in stage]
    assert board.left() == kept, "a run leaves nothing but what it was sent"
    found = commands.devices(board.name, clean=True)
    assert found.devices[0].cleaned
    assert board.left() == []
    assert not board.cache.exists()


@pytest.mark.exhaustive
def test_the_way_there_costs_less_than_three_seconds(board, onnx_file):
    """Beyond the measuring itself, as against the same on this machine, once the files are there."""

    def seconds(**where):
        start = time.perf_counter()
        commands.bench(onnx_file, **where, **FAST)
        return time.perf_counter() - start

    seconds(device=board.name)
    there, here = (min(seconds(**where) for _ in range(2)) for where in ({"device": board.name}, {}))
    assert there - here < 3, f"over ssh {there:.2f} s, here {here:.2f} s"


def test_a_name_with_user_and_port(board):
    import getpass

    with open_device(parse_device(f"ssh://{getpass.getuser()}@127.0.0.1:{board.port}")) as device:
        facts = device.describe()
    assert facts.environment.packages["numpy"]
    assert sum(len(kind.cpus) for kind in facts.cores) == facts.environment.cores
    assert facts.free_mb > 0


def test_it_keeps_to_the_fast_cores(board, onnx_file):
    with open_device(parse_device(board.name)) as device:
        fast = device.cores()[:1]
        kinds = (CoreKind(tuple(fast), "big", 2000.0, 1024), CoreKind((4000, 4001), "little", 1000.0, 300))
        config = BenchConfig(MeasureConfig(min_runs=8, min_seconds=0, rounds=1), memory=False)
        where, one = (config, device, device.environment(), silent), case(onnx_file, "onnxruntime")
        device._survey = replace(device._survey, cores=kinds)
        assert measure_trial(one, *where).cpus == tuple(fast)
        assert measure_trial(replace(one, threads=2), *where).cpus is None, "there are not enough of them"


def test_what_a_login_prints_is_passed_over(board):
    board.reset(shell='echo "Welcome to the board"; printf "no end of line "; exec sh -c "$SSH_ORIGINAL_COMMAND"')
    assert commands.devices(board.name).devices[0].facts.environment.python


@pytest.mark.exhaustive
def test_an_arm_board(board, onnx_file, digits_tflite, tmp_path):
    """The whole way, with aarch64 Python and runtimes at its other end, emulated; its times are none of a board."""
    commands.setup_emulated()
    board.reset(python=boards.emulated_python("cortex-a76"))
    files = [onnx_file, digits_tflite.artifact.path]
    result = commands.bench(*files, device=board.name, **FAST | {"min_runs": 4, "memory": True})
    found = result.environments[board.name]
    assert found.system.endswith("aarch64")
    assert {"asimd", "asimddp"} <= set(found.features)
    assert found.cpu == "Cortex-A76"
    assert found.notes == (EMULATED,)
    assert [(t.runtime, t.timings[0].network) for t in result.trials] == [
        ("onnxruntime", "mobilenetv2_dcd ×0.25"),
        ("litert", "mobilenetv2_dcd ×0.25"),
    ]
    for trial in result.trials:
        assert [v.text for v in trial.verdicts if v.kind == PLACE] == [EMULATED], "said beside the numbers"
        assert trial.ratios["static twin"].median > 1
    write_result(tmp_path / "r.json", result)
    assert read_result(tmp_path / "r.json") == result
    (facts,) = (state.facts for state in commands.devices(board.name).devices)
    assert {kind.model for kind in facts.cores} == {"Cortex-A76"}
    assert wait_for(lambda: not runners(board))
