"""The list of devices says of each emulated core whether it was set up, and that it never gives times."""

import json
import os
import subprocess
import sys

import pytest

from dcd_deploy import commands
from dcd_deploy.emulation import setup as listed
from dcd_deploy.emulation.cores import CORES
from dcd_deploy.errors import DeviceLackError, OptionError, UnknownNameError


@pytest.fixture(scope="module")
def emulation():
    commands.setup_emulated()


def emulated(found):
    return {state.core.core: state.core for state in found.devices if state.core is not None}


def test_all_that_can_be_found_has_the_emulated_cores(emulation):
    cores = emulated(commands.devices())
    assert tuple(cores) == tuple(CORES)
    for core in cores.values():
        assert core.lacks is None
        assert {"numpy", "onnxruntime"} <= set(core.packages)
        assert "never gives times" in core.note
    assert "asimddp" in cores["cortex-a76"].features
    assert "i8mm" not in cores["cortex-a76"].features


def test_cores_that_are_not_set_up_are_listed_and_are_no_error(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = commands.devices()
    assert all("make it once with: dcd-deploy setup-emulated" in core.lacks for core in emulated(found).values())
    assert all(state.error is None for state in found.devices if state.core is not None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert all("apt-get install qemu-user" in core.lacks for core in emulated(commands.devices()).values())
    assert not any(tmp_path.iterdir()), "looking makes nothing"


def test_a_core_that_was_asked_for_and_is_not_set_up_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DeviceLackError, match="dcd-deploy setup-emulated"):
        commands.devices("arm64-emulated:i8mm")
    with pytest.raises(UnknownNameError):
        commands.devices("arm64-emulated:m1")


@pytest.mark.parametrize("option", ["setup", "clean"])
def test_what_is_for_devices_alone(option):
    with pytest.raises(OptionError, match="setup-emulated"):
        commands.devices("arm64-emulated", **{option: True})
    if option == "clean":
        assert emulated(commands.devices(clean=True)) == {}


def test_a_qemu_that_cannot_count_is_said(emulation, monkeypatch):
    monkeypatch.setattr(listed, "qemu_version", lambda: "9.1.0")
    (core,) = emulated(commands.devices("arm64-emulated:cortex-a53")).values()
    assert core.lacks is None
    assert "counting needs QEMU" in core.counting


def test_on_the_command_line(emulation):
    command = [sys.executable, "-m", "dcd_deploy", "devices", "arm64-emulated:cortex-a53"]
    wide = os.environ | {"COLUMNS": "300"}
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=wide).stdout
    assert all(text in said for text in ("Raspberry Pi 3", "yes: QEMU", "never gives times"))
    plain = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)
    assert plain["devices"][0]["core"]["core"] == "cortex-a53"
    assert plain["devices"][0]["facts"] is None


def test_a_terminal_without_our_letters():
    command = [sys.executable, "-m", "dcd_deploy", "devices", "local"]
    plain = os.environ | {"PYTHONIOENCODING": "ascii"}
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=plain).stdout
    assert "Cores" in said
    assert "?" in said, "in place of the sign of multiplication"
