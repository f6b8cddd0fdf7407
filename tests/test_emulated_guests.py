"""A guest that crashes, hangs, is interrupted or answers otherwise: told in words, and nothing left running."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from dcd_deploy import commands
from dcd_deploy.emulation import guest as guest_module
from dcd_deploy.emulation.cores import CORES, core_named
from dcd_deploy.emulation.counting import count_runs
from dcd_deploy.emulation.root import installed_root
from dcd_deploy.emulation.session import emulated_model
from dcd_deploy.errors import (
    BenchError,
    DeviceAnswerError,
    DeviceLostError,
    ModelFileError,
)

pytestmark = pytest.mark.usefixtures("emulation")


@pytest.fixture(scope="session")
def files(digits_export, digits_tflite):
    return {"onnx": digits_export.artifact.path, "tflite": digits_tflite.artifact.path}


def test_a_file_that_the_other_runtime_refuses(files, tmp_path):
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(files["onnx"].read_bytes()[:5000])
    images = np.zeros((1, 3, 32, 32), np.float32)
    with pytest.raises(ModelFileError, match="the aarch64 runtime says"):
        count_runs(damaged, "onnxruntime", CORES["cortex-a53"], images, 1)


def started(parent=None):
    """Return the processes that run QEMU for us, or for another process."""
    found = subprocess.run(["ps", "-eo", "ppid,args"], capture_output=True, text=True, check=True).stdout
    return [
        line for line in found.splitlines() if line.split()[0] == str(parent or os.getpid()) and "qemu-aarch64" in line
    ]


def test_a_guest_that_takes_too_long_is_ended(files):
    with (
        pytest.raises(DeviceLostError, match=r"answer within 0\.05 s"),
        emulated_model(files["onnx"], core_named(None), time_limit=0.05),
    ):
        pass
    time.sleep(0.1)
    assert started() == []


def test_an_interruption_ends_the_guest(files, tmp_path):
    arguments = ["bench", str(files["onnx"]), "--baseline", "none", "--device", "arm64-emulated:cortex-a53", "-q"]
    process = subprocess.Popen(
        [sys.executable, "-m", "dcd_deploy", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path), "ORT_DISABLE_TELEMETRY": "1"},  # which leaves a file of its own
    )
    deadline = time.monotonic() + 60
    while not (found := started(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert said == "dcd-deploy: error: interrupted; nothing was left half-written\n"
    time.sleep(0.1)
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in left
    assert [path.name for path in tmp_path.iterdir()] == []


def guest_of(script, tmp_path, monkeypatch, path):
    """Open a model with another program inside."""
    (tmp_path / "inside.py").write_text(script)
    monkeypatch.setattr(guest_module, "INSIDE", tmp_path / "inside.py")
    return guest_module.opened_guest(installed_root(), core_named(None), "litert", path)


@pytest.mark.parametrize(
    ("script", "error", "message"),
    [
        ("import os; os.abort()", DeviceLostError, "ended under emulation with SIGABRT"),
        ("raise SystemExit('no such thing')", DeviceLostError, "exit code 1; its last words: no such thing"),
        ("print('hello \\x1b[31m')", DeviceAnswerError, "found 'hello"),
        ("print('[1]')", DeviceAnswerError, "expected an answer"),
        ("print('{\"opened\": ' + '[' * 100_000)", DeviceAnswerError, "expected an answer"),
        ('print(\'{"error": "no model"}\')', ModelFileError, "the aarch64 runtime says: no model"),
    ],
)
def test_a_guest_that_answers_otherwise(tmp_path, monkeypatch, files, script, error, message):
    with pytest.raises(error, match=message), guest_of(script, tmp_path, monkeypatch, files["tflite"]):
        pass
    assert started() == []


def test_an_output_that_is_no_array(tmp_path, monkeypatch, files):
    script = """
import pathlib, sys
print('{"opened": "1"}', flush=True)
input()
(pathlib.Path(sys.argv[3]) / "output_0.npy").write_bytes(bytes([128, 4, 78, 46]))  # a pickle
print('{"done": "run"}', flush=True)
"""
    with (
        guest_of(script, tmp_path, monkeypatch, files["tflite"]) as guest,
        pytest.raises(DeviceAnswerError, match="cannot be read"),
    ):
        guest.run(np.zeros((1, 32, 32, 3), np.float32))


def test_one_trial_that_fails_does_not_take_the_others(files, tmp_path):
    wrong = tmp_path / "wrong.tflite"
    wrong.write_bytes(b"TFL3" * 100)
    with pytest.raises(BenchError, match="1 of 2 trials could not be measured") as error:
        commands.bench(files["tflite"], wrong, device="arm64-emulated:cortex-a53", baseline="none")
    assert [trial.models[0].name for trial in error.value.result.counts.trials] == ["digits.tflite"]
    assert error.value.result.failures[0].device == "arm64-emulated:cortex-a53"


@pytest.mark.exhaustive
def test_a_file_in_the_blocks_of_x86_is_refused(digits_checkpoint, tmp_path):
    """By the runtime itself, which has no such operators there: nothing is computed wrong."""
    commands.export(
        digits_checkpoint, out=tmp_path, name="x86", target="onnxruntime-x86", lowering="nchwc", input_size=32
    )
    with pytest.raises(ModelFileError, match=r"made for onnxruntime on x86.*`target` portable"):
        commands.verify(tmp_path / "x86.onnx", device="arm64-emulated:cortex-a76")
