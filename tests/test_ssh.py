"""A board over a real ssh connection: measured there, set up, left as it was; and each way in which that can fail."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import boards
import pytest

from dcd_deploy import commands
from dcd_deploy.benchmarks.bench import BenchConfig, contest, measure_trial
from dcd_deploy.benchmarks.cores import CoreKind
from dcd_deploy.benchmarks.environment import EMULATED
from dcd_deploy.benchmarks.measure import MeasureConfig
from dcd_deploy.benchmarks.results_file import read_result, write_result
from dcd_deploy.benchmarks.verdicts import PLACE
from dcd_deploy.devices import ssh
from dcd_deploy.devices.names import parse_device
from dcd_deploy.devices.opening import open_device
from dcd_deploy.devices.ssh import SshDevice
from dcd_deploy.errors import (
    BenchError,
    DeviceAnswerError,
    DeviceError,
    DeviceIdentityError,
    DeviceLackError,
    DeviceLostError,
    DeviceRefusedError,
    OptionError,
)
from dcd_deploy.models.deploy.targets import LITERT
from dcd_deploy.models.spec import NetworkSpec
from dcd_deploy.progress import silent
from dcd_deploy.tuning.layer_case import cases_of
from dcd_deploy.tuning.lowering_file import read_lowering, write_lowering
from dcd_deploy.tuning.tune import TuneConfig, tune

FAST = {"min_runs": 8, "min_seconds": 0.0, "rounds": 1, "memory": False}
ENDLESS = {"min_runs": 8, "min_seconds": 120.0, "rounds": 1, "memory": False}
PYENV = Path.home() / ".pyenv" / "versions"


@pytest.fixture(scope="module")
def running():
    board = boards.Board()
    yield board
    board.stop()


@pytest.fixture
def board(running, monkeypatch):
    running.reset()
    monkeypatch.setenv("PATH", running.path)
    return running


@pytest.fixture(scope="module")
def model(digits_export) -> Path:
    return digits_export.artifact.path


class Said(list):
    """A progress that keeps what it was told, and may act on it."""

    def __init__(self, act=lambda stage: None):
        self.act = act

    def __call__(self, stage):
        self.append(stage)
        self.act(stage)
        return silent(stage)


def runners(board) -> list[int]:
    """The processes on the board, told by the home that they have."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"HOME={board.home}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def wait_for(condition, seconds=20):
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    return condition()


def cut(board, how=signal.SIGKILL):
    """Kill what serves the connections of the board, as a cable that is pulled."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            if int((process / "stat").read_text().rpartition(")")[2].split()[1]) == board.process.pid:
                os.kill(int(process.name), how)
                found.append(int(process.name))
    return found


def test_a_model_beside_its_twin_on_a_board(board, model, digits_tflite, tmp_path):
    result = commands.bench(model, digits_tflite.artifact.path, device=board.name, **FAST | {"memory": True})
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


def test_tuning_on_a_board_goes_on_after_the_connection_was_lost(board, tmp_path, monkeypatch):
    """The forms are made here and measured there; what was measured before the loss is not measured again."""
    network = NetworkSpec("mobilenetv2_dcd", 10, 0.1, 8)
    config = TuneConfig(LITERT, (32, 32), measure=MeasureConfig(min_runs=8, min_seconds=0.0, rounds=2), cache=tmp_path)
    cases = dict(list(cases_of(network, 32, 32).items())[:2])
    monkeypatch.setattr("dcd_deploy.tuning.tune.cases_of", lambda *_: cases)  # the others would only take time
    monkeypatch.setattr("dcd_deploy.tuning.tune.decided", lambda _: True)  # so few runs leave most of it open
    said = Said(lambda stage: cut(board) if stage.startswith("[2/2]") and "measure" in stage else None)
    with pytest.raises(DeviceLostError), open_device(parse_device(board.name)) as place:
        tune(network, config, place, said)
    assert len(list(tmp_path.iterdir())) == 1
    said = Said()
    with open_device(parse_device(board.name)) as place:
        result = tune(network, config, place, said)
    assert not [stage for stage in said if stage.startswith("[1/2]")]
    assert [stage for stage in said if stage.startswith("[2/2]") and "measure" in stage]
    assert (result.lowering.device, result.lowering.runtime) == (board.name, "litert")
    assert result.lowering.runtime_version == result.environment.packages["ai-edge-litert"]
    assert set(result.lowering.layers) == {name for names in cases.values() for name in names}
    write_lowering(tmp_path / "tuned.json", result.lowering)
    assert read_lowering(tmp_path / "tuned.json") == result.lowering
    assert wait_for(lambda: not runners(board)), "nothing runs there any more"


def test_nothing_is_sent_twice_and_all_can_be_removed(board, model):
    said = Said()
    commands.bench(model, device=board.name, progress=said, **FAST)
    assert len([stage for stage in said if "send digits.onnx" in stage]) == 1
    assert [name.rpartition(".")[2] for name in board.left()].count("onnx") == 2
    kept = board.left()
    assert len([name for name in kept if name.endswith(".pyz")]) == 1
    said.clear()
    commands.bench(model, device=board.name, progress=said, **FAST)
    assert not [stage for stage in said if "send" in stage]
    assert board.left() == kept, "a run leaves nothing but what it was sent"
    found = commands.devices(board.name, clean=True)
    assert found.devices[0].cleaned
    assert board.left() == []
    assert not board.cache.exists()


def test_the_way_there_costs_less_than_three_seconds(board, model):
    """Beyond the measuring itself, as against the same on this machine, once the files are there."""

    def seconds(**where):
        start = time.perf_counter()
        commands.bench(model, **where, **FAST)
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


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("ssh://nowhere", DeviceError, "there is no host of that name"),
        ("ssh://deaf", DeviceError, "nothing listens for ssh there"),
        ("ssh://refused", DeviceRefusedError, "takes none; send it one with ssh-copy-id"),
        ("ssh://changed", DeviceIdentityError, "the host key that ssh://changed had, found another"),
        ("ssh://unknown", DeviceIdentityError, "connect once by hand, and compare the fingerprint: ssh unknown"),
    ],
)
def test_a_board_that_cannot_be_reached(board, model, name, error, message):
    with pytest.raises(error, match=message) as caught:
        commands.bench(model, device=name, **FAST)
    assert type(caught.value) is error
    assert board.left() == []


@pytest.mark.parametrize(
    ("python", "message"),
    [
        ("", "expected Python 3.9 or later on ssh://board, but none starts there"),
        (
            'exec {python} -c "import sys; sys.version_info = (3, 8); exec(eval(sys.stdin.buffer.readline()))"',
            "found Python 3.8",
        ),
        ('exec {python} -S -c "$2"', "expected numpy and onnxruntime on ssh://board, found none in its Python"),
    ],
)
def test_a_board_that_lacks_something(board, model, python, message):
    board.reset(python=python.format(python=sys.executable))
    with pytest.raises(DeviceLackError, match=message):
        commands.bench(model, device=board.name, **FAST)
    assert not [name for name in board.left() if not name.endswith(".pyz")]


def test_a_board_without_room(board, model):
    board.reset(shell='ulimit -f 1000; exec sh -c "$SSH_ORIGINAL_COMMAND"')  # in blocks of 512 bytes
    with pytest.raises(
        DeviceLackError, match=r"expected room for 2\.\d MB in the home of ssh://board, found File too l"
    ):
        commands.bench(model, device=board.name, **FAST)
    assert [Path(name).suffix for name in board.left()] == [".pyz"], "no half of a file"
    board.reset(shell='ulimit -f 1; exec sh -c "$SSH_ORIGINAL_COMMAND"')
    with pytest.raises(DeviceLackError, match="expected to write into the home folder of ssh://board"):
        commands.devices(board.name)
    assert board.left() == []


def test_set_up_on_request(board, model):
    """With the oldest Python that our runner takes, where this machine has one; the wheels come from the user's pip."""
    old = sorted(PYENV.glob("3.9.*/bin/python3.9"))
    python = old[0] if old else sys.executable
    board.reset(python=f'exec {python} "$@"')
    with pytest.raises(
        DeviceLackError, match=r"--setup .* a wheel for Python 3\.\d+\.\d+, \w+, glibc 2.*: python3 -m pip"
    ):
        commands.bench(model, device=board.name, **FAST)
    result = commands.bench(model, device=board.name, setup=True, **FAST | {"memory": True})
    assert result.trials[0].ratios["static twin"].median > 1
    found = result.environments[board.name]
    assert found.python.startswith("3.9." if old else "3.")
    assert commands.bench(model, device=board.name, **FAST).trials, "and stays so"
    commands.devices(board.name, clean=True)
    assert list(board.home.rglob("site-packages")) == []


def test_a_board_where_nothing_can_be_set_up(board):
    start = "import sys; sys.executable = '/bin/false'; exec(eval(sys.stdin.buffer.readline()))"
    board.reset(python=f'exec {sys.executable} -c "{start}"')
    with pytest.raises(
        DeviceLackError, match=r"expected to make a Python environment on ssh://board, but: .*python3-venv"
    ):
        commands.devices(board.name, setup=True)
    assert [Path(name).suffix for name in board.left()] == [".pyz"]


def test_what_was_measured_before_the_connection_was_lost_is_kept(board, model, tmp_path):
    second = tmp_path / "second.onnx"
    second.write_bytes(model.read_bytes())
    said = Said(lambda stage: cut(board) if "second.onnx" in stage and "measure" in stage else None)
    with pytest.raises(DeviceLostError, match="1 of 2 trials could not be measured: .* connection was lost") as caught:
        commands.bench(model, second, device=board.name, baseline="none", progress=said, **FAST)
    assert caught.value.exit_code == 21
    result = caught.value.result
    assert [trial.timings[0].name for trial in result.trials] == ["digits.onnx"]
    assert [(failure.device, failure.name) for failure in result.failures] == [(board.name, "second.onnx")]
    assert not [name for name in board.left() if name.startswith(".")]


def test_a_lost_connection_on_the_command_line(board, model, tmp_path):
    second = tmp_path / "second.onnx"
    second.write_bytes(model.read_bytes())
    options = ["--min-runs", "8", "--min-seconds", "3", "--rounds", "1", "--no-memory", "--baseline", "none"]
    command = ["bench", model, second, "--device", board.name, *options, "--save", tmp_path / "r.json"]
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


@contextlib.contextmanager
def started(*arguments):
    command = [sys.executable, "-u", "-m", "dcd_deploy", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process


def test_an_interrupted_benchmark_leaves_nothing_running_there(board, model, tmp_path):
    options = ["--min-seconds", "120", "--device", board.name, "--device", "ssh://slow"]
    with started("bench", model, *options) as process:
        assert wait_for(lambda: len(runners(board)) > 1), "the worker was never seen"
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in said
    assert wait_for(lambda: not runners(board))


def test_a_connection_that_falls_silent(board, model, monkeypatch):
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
            commands.bench(model, device=board.name, progress=said, **ENDLESS)
    finally:
        for process in frozen:
            os.kill(process, signal.SIGKILL)
    assert frozen
    assert wait_for(lambda: not runners(board))


def test_it_keeps_to_the_fast_cores(board, model):
    with open_device(parse_device(board.name)) as device:
        fast = device.cores()[:1]
        kinds = (CoreKind(tuple(fast), "big", 2000.0, 1024), CoreKind((4000, 4001), "little", 1000.0, 300))
        config = BenchConfig(MeasureConfig(min_runs=8, min_seconds=0, rounds=1), memory=False)
        where, one = (config, device, device.environment(), silent), contest(model, "onnxruntime")
        device._survey = replace(device._survey, cores=kinds)
        assert measure_trial(one, *where).cpus == tuple(fast)
        assert measure_trial(replace(one, threads=2), *where).cpus is None, "there are not enough of them"


def test_a_trial_that_hangs_or_crashes_there(board, model, tmp_path):
    with pytest.raises(BenchError, match="expected onnxruntime on ssh://board to be done within 2 s"):
        commands.bench(model, device=board.name, **ENDLESS, time_limit=2)
    variables = boards.python_without_rights()[1]
    crashing = tmp_path / "crashing"
    (crashing / "onnxruntime").mkdir(parents=True)
    tmp_path.chmod(0o755)
    (crashing / "onnxruntime" / "__init__.py").write_text("import os; os.abort()")
    board.reset(python=f'export PYTHONPATH={crashing}:{variables["PYTHONPATH"]}\nexec {sys.executable} "$@"')
    with pytest.raises(BenchError, match="onnxruntime on ssh://board crashed its process with SIGABRT"):
        commands.bench(model, device=board.name, **FAST)
    assert wait_for(lambda: not runners(board))


def test_an_error_of_the_worker_keeps_its_kind(board, tmp_path, model):
    (tmp_path / "noise.onnx").write_bytes(b"noise")
    with pytest.raises(Exception, match="on ssh://board: expected an ONNX model") as caught:
        commands.bench(tmp_path / "noise.onnx", device=board.name, baseline="none", **FAST)
    assert caught.value.exit_code == 12
    with pytest.raises(OptionError, match="expected --cpus among"):
        commands.bench(model, device=board.name, cpus=4000, **FAST)


READY = "echo 'dcd-deploy-device: {\"ready\": 1}'"
SURVEY = 'echo \'dcd-deploy-device: {"survey": {"cores": "\\\\u001b]0;x"}}\''
HOSTILE = [
    ("echo Permission denied >&2; exit 3", "ends with exit code 3 .Permission denied"),
    ("yes no", "201 lines that are none of ours"),
    ("cat /dev/zero", "a line without end"),
    ("echo 'dcd-deploy-device: {'", "found another"),
    ("echo 'dcd-deploy-device: [1]'", "not an object"),
    ("echo 'dcd-deploy-device: {\"what\": 1}'", "the first message has"),
    ("echo welcome; exit 0", "ends with exit code 0"),
    (f"{READY}; echo nonsense; sleep 3", "1 lines that are none of ours"),
    (f"{READY}; {SURVEY}; sleep 3", "expected the field 'environment'"),
]


@pytest.mark.parametrize(("shell", "message"), HOSTILE, ids=[message for _, message in HOSTILE])
def test_a_hostile_board(board, model, shell, message):
    for name in ("yes", "cat", "sleep"):
        (board.bin / name).symlink_to(shutil.which(name))
    board.reset_shell(shell)
    with pytest.raises(DeviceAnswerError, match=message) as caught:
        commands.bench(model, device=board.name, **FAST)
    assert "\x1b" not in str(caught.value)
    assert wait_for(lambda: not runners(board))


def test_what_a_login_prints_is_passed_over(board):
    board.reset(shell='echo "Welcome to the board"; printf "no end of line "; exec sh -c "$SSH_ORIGINAL_COMMAND"')
    assert commands.devices(board.name).devices[0].facts.environment.python


def test_python_named_in_a_fleet_file(board):
    board.reset(python="")
    variables = boards.python_without_rights()[1]
    board.script("other-python", f'export PYTHONPATH={variables["PYTHONPATH"]}\nexec {sys.executable} "$@"')
    with SshDevice(parse_device(board.name), "pi", f"{board.bin}/other-python") as device:
        assert device.name == "pi"
        assert device.environment().packages["onnxruntime"]
    for bad in ("$(touch x)", "-c", "python; true", 'a"b', "a b", ""):
        with pytest.raises(OptionError, match="expected python as a path"):
            SshDevice(parse_device(board.name), None, bad)


def test_a_fleet_goes_on_where_it_ended(board, model, tmp_path):
    fleet, out = tmp_path / "devices.toml", tmp_path / "out"
    fleet.write_text(
        f'[devices.desk]\ndevice = "local"\n[devices.pi]\ndevice = "{board.name}"\n'
        '[devices.dead]\ndevice = "ssh://deaf"\n[devices.slow]\ndevice = "ssh://slow"\n'
    )
    early = []

    def look(stage):
        early.append(sorted(path.name[:5] for path in (out / "trials").glob("*.json")))

    start = time.monotonic()
    with pytest.raises(DeviceError, match="2 of 4 trials could not be measured") as caught:
        commands.bench(model, fleet=fleet, out=out, progress=Said(look), **FAST)
    result = caught.value.result
    assert {trial.device for trial in result.trials} == {"local", "pi"}
    assert {failure.device for failure in result.failures} == {"dead", "slow"}
    assert set(result.environments) == {"local", "pi"}
    kept = {path.name: path.stat().st_mtime_ns for path in (out / "trials").iterdir()}
    assert max(path.stat().st_mtime for path in (out / "trials").iterdir()) - time.time() < -5, (
        "long before the slow one"
    )
    assert time.monotonic() - start > 10

    fleet.write_text(fleet.read_text().partition("[devices.dead]")[0])
    said = Said()
    again = commands.bench(model, fleet=fleet, out=out, progress=said, **FAST)
    assert again.trials == result.trials
    assert said == [], "nothing is left to do, nobody is even asked"
    assert {path.name: path.stat().st_mtime_ns for path in (out / "trials").iterdir()} == kept

    commands.bench(model, fleet=fleet, out=out, progress=said, **FAST | {"min_runs": 12})
    assert len([stage for stage in said if "measure in turns" in stage]) == 2, "with other settings it is measured anew"
    damaged = next((out / "trials").glob("pi*"))
    damaged.write_text(json.dumps({"kind": "something else"}))
    said.clear()
    commands.bench(model, fleet=fleet, out=out, progress=said, **FAST | {"min_runs": 12})
    assert [stage.partition(":")[0] for stage in said if "measure in turns" in stage] == ["pi"]


def test_an_arm_board(board, model, digits_tflite, tmp_path):
    """The whole way, with aarch64 Python and runtimes at its other end, emulated; its times are none of a board."""
    commands.setup_emulated()
    board.reset(python=boards.emulated_python("cortex-a76"))
    files = [model, digits_tflite.artifact.path]
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


def test_devices_on_the_command_line(board, tmp_path):
    with started("devices", "local", board.name, "ssh://deaf", "--json") as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == DeviceError.exit_code
    found = json.loads(said)["error"]["result"]["devices"]
    assert [state["name"] for state in found] == ["local", board.name, "ssh://deaf"]
    assert found[1]["facts"]["environment"]["packages"]["onnxruntime"]
    assert found[2]["exit_code"] == 17
    with started("devices", board.name) as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert all(word in said for word in ("Processor", "Cores", "Memory", "onnxruntime", "Room"))
