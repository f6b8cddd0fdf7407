"""What a device may say has bounds in number, size and time; and one device is not measured twice at the same time."""

import json
import sys
import time

import pytest

from dcd_deploy import commands
from dcd_deploy.benchmarks.environment import read_environment
from dcd_deploy.devices import session
from dcd_deploy.devices.answers import parse, read_survey
from dcd_deploy.devices.names import parse_device
from dcd_deploy.devices.runner.cache import FileCache
from dcd_deploy.devices.runner.server import survey
from dcd_deploy.devices.session import Link, RunnerSession
from dcd_deploy.devices.ssh import explain
from dcd_deploy.devices.target import check_labels, named_targets, read_fleet
from dcd_deploy.errors import DeviceAnswerError, DeviceError, InputFileError, OptionError


@pytest.fixture
def said(tmp_path):
    found = json.loads(json.dumps(survey(FileCache(tmp_path / "cache"))))
    assert read_survey(found, "x").environment.cpu == read_environment().cpu
    return found


def kind(cpus):
    return {"cpus": cpus, "model": "m", "max_mhz": None, "capacity": None}


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("environment", "features"), ["f"] * 201),
        (("environment", "notes"), ["n"] * 201),
        (("environment", "packages"), {str(i): "1" for i in range(201)}),
        (("environment", "cores"), 5000),
        (("cores",), [kind([])] * 201),
        (("cores",), [kind(list(range(4097)))]),
        (("cores",), [kind([-1])]),
    ],
)
def test_a_survey_without_bounds(said, place, value):
    inner = said
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    with pytest.raises(DeviceAnswerError, match="found another .*expected (at most|1 to) "):
        read_survey(said, "x")


@pytest.mark.parametrize("number", ["1" + "0" * 30, "-1" + "0" * 400, "1e300", "-1e19", "1e999"])
def test_numbers_without_bounds(number):
    with pytest.raises(ValueError, match="too large"):
        parse(b'{"full": [%s]}' % number.encode())
    assert parse(b'{"full": [123456789012, -1.5]}') == {"full": [123456789012, -1.5]}


def test_a_login_that_drips(monkeypatch):
    """Each of its lines comes in time, but not all of them together."""
    dripping = "import time\nwhile True: print('noise', flush=True); time.sleep(0.1)"
    link = Link((sys.executable, "-c", dripping), lambda code, words: DeviceError(f"{code} {words}"), None, 2.0)
    assert session.MOST_NOISE * 0.1 > 5
    start = time.monotonic()
    with pytest.raises(DeviceError, match="None"):
        RunnerSession("dripping", link)
    assert time.monotonic() - start < 8


def test_one_device_under_two_names():
    with pytest.raises(OptionError, match="found 'ssh://a' twice"):
        check_labels(named_targets(["ssh://a"]) + named_targets(["ssh://b"]) + named_targets(["ssh://a"]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[devices.a]\ndevice = "arm64-emulated:m1"', "unknown emulated core 'm1'"),
        *(
            (
                f'[devices.a]\ndevice = "arm64-emulated"\n{line}',
                f"expected nothing else for an emulated core, found {name}",
            )
            for name, line in {"threads": 'threads = "1"', "cpus": 'cpus = "0"', "setup": "setup = false"}.items()
        ),
        ('[devices.local]\ndevice = "ssh://pi"', "expected [devices.local] to be this machine, found ssh://pi"),
    ],
)
def test_what_has_no_place_in_a_fleet(tmp_path, text, message):
    path = tmp_path / "devices.toml"
    path.write_text(text)
    with pytest.raises(InputFileError) as caught:
        read_fleet(path)
    assert message in str(caught.value)


def test_one_device_twice_in_a_fleet(tmp_path):
    path = tmp_path / "devices.toml"
    path.write_text('[devices.a]\ndevice = "ssh://pi"\n[devices.b]\ndevice = "ssh://pi"\ncpus = "1"\n')
    with pytest.raises(OptionError, match="expected each device once, found 'ssh://pi' twice"):
        commands.devices(fleet=path)


@pytest.mark.parametrize(
    "options", [{"threads": 2}, {"threads": "1,2"}, {"cpus": 0}, {"setup": True}, {"python": "/p"}]
)
def test_what_means_nothing_where_no_time_is_taken(options):
    with pytest.raises(OptionError, match="one thread is counted, and nothing is timed"):
        commands.bench("model.onnx", device="arm64-emulated", **options)


def test_one_core_under_two_names():
    first, *others = named_targets(["arm64-emulated", " arm64-emulated:cortex-a76", "arm64-emulated:i8mm"])
    assert first.label == "arm64-emulated:cortex-a76"
    assert [target.label for target in others] == ["arm64-emulated:i8mm"]


def test_the_only_phone_is_not_one_of_several():
    check_labels(named_targets(["adb", "ssh://a"]) + named_targets(["local"]))
    check_labels(named_targets(["adb:a", "adb:b"]))
    with pytest.raises(OptionError, match="expected adb:SERIAL of each of several phones"):
        check_labels(named_targets(["adb", "adb:a"]))


def test_what_ssh_hands_on_in_anger_is_cleaned():
    error = explain(parse_device("ssh://a"), 9, "\x1b]0;x\x07 welcome\r\n\u202eback\n")
    assert "welcome" in str(error)
    assert str(error).isprintable()
