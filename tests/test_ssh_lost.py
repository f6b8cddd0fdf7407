"""A benchmark on a board that ends in the middle: what was measured is kept, nothing runs there any more."""

import os
import signal
import sys
import time

import boards
import pytest
from boards import ENDLESS, FAST, cut, runners, wait_for
from command_line import started
from said import Said

from dcd_deploy import commands
from dcd_deploy.benchmarks.results import read_result
from dcd_deploy.devices import ssh
from dcd_deploy.errors import (
    BenchError,
    DeviceLostError,
)


def test_what_was_measured_before_the_connection_was_lost_is_kept(board, onnx_file, tmp_path):
    second = tmp_path / "second.onnx"
    second.write_bytes(onnx_file.read_bytes())
    said = Said(lambda stage: cut(board) if "second.onnx" in stage and "measure" in stage else None)
    with pytest.raises(DeviceLostError, match="1 of 2 trials could not be measured: .* connection was lost") as caught:
        commands.bench(onnx_file, second, device=board.name, baseline="none", progress=said, **FAST)
    assert caught.value.exit_code == 21
    result = caught.value.result
    assert [trial.timings[0].name for trial in result.trials] == ["digits.onnx"]
    assert [(failure.device, failure.name) for failure in result.failures] == [(board.name, "second.onnx")]
    assert not [name for name in board.left() if name.startswith(".")]


@pytest.mark.exhaustive
def test_a_lost_connection_on_the_command_line(board, onnx_file, tmp_path):
    second = tmp_path / "second.onnx"
    second.write_bytes(onnx_file.read_bytes())
    options = ["--min-runs", "8", "--min-seconds", "3", "--rounds", "1", "--no-memory", "--baseline", "none"]
    command = ["bench", onnx_file, second, "--device", board.name, *options, "--save", tmp_path / "r.json"]
    with started(*command) as process:
        heard = ""
        while "second.onnx" not in heard:
            heard += process.stderr.read(1)
        time.sleep(1)
        assert runners(board)
        cut(board)
        process.communicate(timeout=60)
    assert process.returncode == DeviceLostError.exit_code
    assert wait_for(lambda: not runners(board)), "what was measured there ends with the connection"
    result = read_result(tmp_path / "r.json")
    assert [trial.timings[0].name for trial in result.trials] == ["digits.onnx"]
    assert [(failure.device, failure.name) for failure in result.failures] == [(board.name, "second.onnx")]


def test_an_interrupted_benchmark_leaves_nothing_running_there(board, onnx_file, tmp_path):
    options = ["--min-seconds", "120", "--device", board.name, "--device", "ssh://slow"]
    with started("bench", onnx_file, *options) as process:
        assert wait_for(lambda: len(runners(board)) > 1), "the worker was never seen"
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in said
    assert wait_for(lambda: not runners(board))


def test_a_connection_that_falls_silent(board, onnx_file, monkeypatch):
    """As when a board loses its power: nothing closes the connection, only nothing comes any more."""
    patient = list(ssh.OPTIONS)
    eager = ["ServerAliveInterval=1" if o.startswith("ServerAliveI") else o for o in patient]
    eager = ["ServerAliveCountMax=1" if o.startswith("ServerAliveC") else o for o in eager]
    assert eager != patient
    monkeypatch.setattr(ssh, "OPTIONS", tuple(eager))
    frozen = []
    said = Said(lambda stage: frozen.extend(cut(board, signal.SIGSTOP)) if "measure in turns" in stage else None)
    try:
        with pytest.raises(
            DeviceLostError, match=r"the connection was lost \(Timeout, server 127.0.0.1 not responding"
        ):
            commands.bench(onnx_file, device=board.name, progress=said, **ENDLESS)
    finally:
        for process in frozen:
            os.kill(process, signal.SIGKILL)
    assert frozen
    assert wait_for(lambda: not runners(board))


@pytest.mark.exhaustive
def test_a_trial_that_hangs_or_crashes_there(board, onnx_file, tmp_path):
    with pytest.raises(BenchError, match="expected onnxruntime on ssh://board to be done within 2 s"):
        commands.bench(onnx_file, device=board.name, **ENDLESS, time_limit=2)
    variables = boards.python_without_rights()[1]
    crashing = tmp_path / "crashing"
    (crashing / "onnxruntime").mkdir(parents=True)
    tmp_path.chmod(0o755)
    (crashing / "onnxruntime" / "__init__.py").write_text("import os; os.abort()")
    board.reset(python=f'export PYTHONPATH={crashing}:{variables["PYTHONPATH"]}\nexec {sys.executable} "$@"')
    with pytest.raises(BenchError, match="onnxruntime on ssh://board crashed its process with SIGABRT"):
        commands.bench(onnx_file, device=board.name, **FAST)
    assert wait_for(lambda: not runners(board))
