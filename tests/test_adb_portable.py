"""The experimental bundle, taken to a phone by the real adb client and run there under aarch64 emulation."""

import os
import shutil
import tarfile
from pathlib import Path

import pytest
from adb_phone import PhoneSide
from phones import Server, left_on, make_root

from dcd_deploy.benchmarks.bench import BenchConfig, bench, contest
from dcd_deploy.benchmarks.measure import MeasureConfig
from dcd_deploy.devices.adb.portable import unpacked
from dcd_deploy.devices.adb.portable_bundle import portable_archive, python_place
from dcd_deploy.devices.names import parse_device
from dcd_deploy.devices.opening import DeviceOptions, open_device
from dcd_deploy.emulation.cores import CORES
from dcd_deploy.errors import DeviceLackError

ONCE = BenchConfig(
    MeasureConfig(runs=2, dropped=1, warmup_runs=1, min_runs=1, min_seconds=0.0, rounds=1, warmup_seconds=0.0),
    time_limit=300.0,
    memory=False,
)


@pytest.fixture(scope="module")
def adb_server(tmp_path_factory):
    cache = os.environ.get("XDG_CACHE_HOME", str(Path("~/.cache").expanduser()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", cache)  # where the root lies that the bundle is made of
        running = Server(tmp_path_factory.mktemp("home"), patch)
        yield running
        running.stop()


@pytest.fixture
def side(adb_server, tmp_path):
    root = make_root(tmp_path / "phone", ro__product__cpu__abi="arm64-v8a")
    core = CORES["cortex-a76"]
    (root / "proc" / "cpuinfo").write_text(core.cpuinfo())
    phone = PhoneSide(root)
    phone.emulator = [shutil.which("qemu-aarch64"), "-cpu", core.qemu, "-L", str(root)]
    yield adb_server.plug_in(phone)
    adb_server.unplug_all()


def opened():
    return open_device(parse_device("adb"), DeviceOptions(portable=True))


def test_it_measures_and_says_what_it_is(side, digits_export):
    path = Path(digits_export.artifact.path)
    static = path.with_name(f"{path.stem}-static.onnx")
    with opened() as device:
        result = bench([contest(path, "onnxruntime", static)], ONCE, place=device)
        received = side.received
        unpacked(device.phone, portable_archive())
        assert side.received == received, "it is sent once"
        device.clean()
    assert left_on(side) == []
    (found,) = result.environments.values()
    assert found.notes[0].startswith("experimental: measured by a portable bundle")
    assert any("emulator" in note for note in found.notes), "here; on a phone it would not say so"
    assert found.python.startswith("3.")
    (trial,) = result.trials
    assert any(verdict.text.startswith("experimental") for verdict in trial.verdicts)


def test_another_processor(adb_server, tmp_path):
    adb_server.plug_in(PhoneSide(make_root(tmp_path / "phone")))
    with pytest.raises(DeviceLackError, match="expected a phone of arm64-v8a for the portable bundle, found 'x86_64'"):
        opened()
    adb_server.unplug_all()


def test_no_room_leaves_nothing(side):
    side.room = 1_000_000
    with pytest.raises(DeviceLackError, match="no space left"):
        opened()
    assert left_on(side) == []


def test_what_is_in_it(adb_server):
    archive = portable_archive()
    assert archive.stat().st_size < 100e6
    with tarfile.open(archive) as found:
        names = found.getnames()
    assert str(python_place(archive)) in names
    assert all(not name.startswith(("/", "..")) for name in names)
    assert {"lib/ld-linux-aarch64.so.1", "lib/libc.so.6", "wheels/numpy/__init__.py"} <= set(names)
