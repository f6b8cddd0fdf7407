"""Two processes on one phone: the second is refused, and what the first has there stays."""

import pytest
from adb_phone import PhoneSide
from phones import Server, left_on, make_root

from dcd_deploy.devices.adb.client import Adb
from dcd_deploy.devices.adb.native import NativePhone
from dcd_deploy.devices.adb.phone import Phone
from dcd_deploy.errors import DeviceError


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        running = Server(tmp_path_factory.mktemp("home"), patch)
        yield running
        running.stop()


@pytest.fixture
def side(server, tmp_path):
    yield server.plug_in(PhoneSide(make_root(tmp_path / "phone")))
    server.unplug_all()


def test_a_phone_is_held_by_one(side, tmp_path):
    first, second = (NativePhone("adb", Phone(Adb.found(), side.serial), ()) for _ in range(2))
    first.phone.hold.take()
    first.phone.hold.take()
    with first.phone.workplace():
        before = left_on(side)
        assert [name for name in before if "run-" in name]
        with pytest.raises(DeviceError, match="found another dcd-deploy at work on it") as caught:
            second.clean()
        assert caught.value.exit_code == 17
        assert second.describe().name == "adb", "to look at it is free"
        with pytest.raises(DeviceError, match="found another dcd-deploy at work on it"), second:
            second.prepare([tmp_path / "x.onnx"], "onnxruntime", pytest.fail)
        assert left_on(side) == before
    first.close()
    third = NativePhone("adb", Phone(Adb.found(), side.serial), ())
    third.clean()
    assert left_on(side) == []
    third.close()


def test_where_no_lock_can_be_written_it_goes_without(side, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    phone = Phone(Adb.found(), side.serial)
    phone.hold.take()
    phone.hold.release()
