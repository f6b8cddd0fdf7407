"""Several devices with a board among them: from a fleet file, from the command line, trial by trial."""

import json
import sys
import time

import boards
import pytest
from boards import FAST
from command_line import started
from said import Said

from dcd_deploy import commands
from dcd_deploy.devices.names import parse_device
from dcd_deploy.devices.ssh import SshDevice
from dcd_deploy.errors import (
    DeviceError,
    OptionError,
)


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


@pytest.mark.exhaustive
def test_a_fleet_goes_on_where_it_ended(board, onnx_file, tmp_path):
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
        commands.bench(onnx_file, fleet=fleet, out=out, progress=Said(look), **FAST)
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
    again = commands.bench(onnx_file, fleet=fleet, out=out, progress=said, **FAST)
    assert again.trials == result.trials
    assert said == [], "nothing is left to do, nobody is even asked"
    assert {path.name: path.stat().st_mtime_ns for path in (out / "trials").iterdir()} == kept

    commands.bench(onnx_file, fleet=fleet, out=out, progress=said, **FAST | {"min_runs": 12})
    assert len([stage for stage in said if "measure in turns" in stage]) == 2, "with other settings it is measured anew"
    damaged = next((out / "trials").glob("pi*"))
    damaged.write_text(json.dumps({"kind": "something else"}))
    said.clear()
    commands.bench(onnx_file, fleet=fleet, out=out, progress=said, **FAST | {"min_runs": 12})
    assert [stage.partition(":")[0] for stage in said if "measure in turns" in stage] == ["pi"]


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
