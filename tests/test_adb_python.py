"""Python on a phone, end to end: a real adb client, our runner at its other end, real runtimes, real models."""

import sys

import pytest
from phones import left_on, script

from dcd_deploy.benchmarks.bench import BenchConfig, bench, case
from dcd_deploy.benchmarks.measure import MeasureConfig
from dcd_deploy.devices.adb.python import PythonPhone
from dcd_deploy.devices.names import parse_device
from dcd_deploy.devices.opening import DeviceOptions, found_devices, open_device
from dcd_deploy.errors import DeviceError, DeviceLackError, DeviceLostError, OptionError

SHORT = BenchConfig(
    MeasureConfig(min_runs=8, min_seconds=0.0, rounds=2, warmup_seconds=0.0), time_limit=120.0, memory=False
)


@pytest.fixture
def side(phone_side):
    """A phone that has a Python."""
    script(phone_side.root / "bin" / "python3", f'exec {sys.executable} "$@"')
    return phone_side


def opened(text="adb", **options):
    return open_device(parse_device(text), DeviceOptions(**options))


def test_onnx_and_tflite_beside_their_twins(side, onnx_pair, tflite_pair):
    cases = [case(onnx_pair[0], "onnxruntime", onnx_pair[1]), case(tflite_pair[0], "litert", tflite_pair[1])]
    with opened() as device:
        assert isinstance(device, PythonPhone)
        result = bench(cases, SHORT, place=device)
    (found,) = result.environments.values()
    assert found.cpu.startswith("Example Test Phone, EX1000, ")
    assert found.system.startswith("Android 14")
    assert found.python == ".".join(map(str, sys.version_info[:3]))
    assert "in the phone's shell" in found.notes[0]
    for trial in result.trials:
        assert trial.device == "adb"
        assert trial.ratios["static twin"].median > 1
        assert "place" in {verdict.kind for verdict in trial.verdicts}
    assert any("dcd-deploy-device" in name for name in left_on(side)), "kept for the next time"
    with opened() as device:
        device.clean()
    assert left_on(side) == []


def test_a_phone_is_named_by_its_serial_and_found(side):
    assert f"adb:{side.serial}" in [name.text for name in found_devices()]
    with opened(f"adb:{side.serial}") as device:
        assert device.describe().name == f"adb:{side.serial}"
    with pytest.raises(DeviceError, match="expected the phone 'emulator-5554'"):
        opened("adb:emulator-5554")


def test_a_phone_without_python_can_be_described_but_not_measure(side, onnx_pair):
    (side.root / "bin" / "python3").unlink()
    with opened() as device:
        assert device.describe().environment.python is None
        with pytest.raises(DeviceLackError, match="found neither Python there nor a `runner`"):
            bench([case(onnx_pair[0], "onnxruntime")], SHORT, place=device)
    assert left_on(side) == []


def test_the_python_that_is_named(side):
    with pytest.raises(DeviceLackError, match=r"expected the Python '/data/none/python' on the phone"):
        opened(python="/data/none/python")
    with pytest.raises(OptionError, match="expected python as a path"):
        opened(python="python; reboot")


def test_a_python_without_a_runtime(side, onnx_pair):
    script(side.root / "bin" / "python3", f'exec {sys.executable} -S -I "$@"')
    with opened() as device, pytest.raises(DeviceLackError, match="expected numpy and onnxruntime on adb"):
        bench([case(onnx_pair[0], "onnxruntime")], SHORT, place=device)
    assert left_on(side) == []


@pytest.mark.parametrize("text", ["echo hello; exit 3", "printf '\\033[31mred\\007'; exit 1"])
def test_a_python_that_is_none(side, text):
    script(side.root / "bin" / "python3", text)
    with pytest.raises(DeviceError) as caught:
        opened()
    assert str(caught.value).isprintable()
    assert left_on(side) == []


def test_a_connection_that_breaks_keeps_what_was_measured(side, onnx_pair, tflite_pair):
    cases = [case(onnx_pair[0], "onnxruntime", onnx_pair[1]), case(tflite_pair[0], "litert", tflite_pair[1])]
    side.dies_at = '"runtime": "litert"'
    with opened() as device, pytest.raises(DeviceLostError, match="1 of 2 trials could not be measured") as caught:
        bench(cases, SHORT, place=device)
    assert [trial.runtime for trial in caught.value.result.trials] == ["onnxruntime"]


def test_nothing_can_be_installed(side):
    with pytest.raises(DeviceLackError, match="expected a device on which something can be installed"):
        opened(setup=True)
