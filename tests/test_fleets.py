"""Several devices: named in a file, each once, at work at the same time."""

import threading
from dataclasses import replace

import pytest

from dcd_deploy.devices.names import parse_device
from dcd_deploy.devices.parallel import run_all
from dcd_deploy.devices.target import DeviceTarget, check_labels, named_targets, read_fleet
from dcd_deploy.errors import (
    InputFileError,
    OptionError,
)


def test_a_fleet_file(tmp_path):
    path = tmp_path / "devices.toml"
    path.write_text(
        '[devices.pi4]\ndevice = "ssh://pi@10.0.0.7"\nthreads = "1,4"\ncpus = "0,1,2,3"\nsetup = true\n'
        'python = "/usr/bin/python3.11"\n[devices.desk]\ndevice = "local"\n'
    )
    pi, desk = read_fleet(path)
    assert (pi.label, pi.name.host, pi.threads, pi.cpus) == ("pi4", "10.0.0.7", (1, 4), (0, 1, 2, 3))
    assert (pi.options.setup, pi.options.python) == (True, "/usr/bin/python3.11")
    assert desk == DeviceTarget(parse_device("local"), replace(desk.options, label="local"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected 1 to 64 tables"),
        ("[devices]", "expected 1 to 64 tables"),
        ("devices = 3", "expected 1 to 64 tables"),
        ("nonsense", "Expected '='"),
        ("[devices.a]", 'expected device = "ssh://…"'),
        ('[devices.a]\ndevice = "ftp://x"', "unknown device 'ftp://x'"),
        ('[devices.a]\ndevice = "ssh://-x"', "expected a device of the form"),
        ("[devices.a]\ndevice = 3", "in [devices.a] expected device (str)"),
        ('[devices.a]\ndevice = "local"\nthread = "1"', "found thread = '1'"),
        ('[devices.a]\ndevice = "local"\nthreads = "many"', 'expected threads such as "1,4"'),
        ('[devices."../x"]\ndevice = "local"', "expected a name of letters"),
        ('[devices]\na = "local"', "expected [devices.a] to be a table"),
        ('[other]\n[devices.a]\ndevice = "local"', "found 'other'"),
        ("\udcff", "utf-8"),
    ],
)
def test_what_is_no_fleet_file(tmp_path, text, message):
    path = tmp_path / "devices.toml"
    path.write_text(text or "\n", encoding="utf-8", errors="surrogateescape")
    with pytest.raises(InputFileError) as caught:
        read_fleet(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_each_device_once():
    targets = named_targets(["local", " local", "ssh://a"])
    assert [target.label for target in targets] == ["local", "ssh://a"]
    with pytest.raises(OptionError, match="found 'local' twice"):
        check_labels([*targets, targets[0]])


class Work:
    def __init__(self, run, here=False):
        self.run, self.here, self.stopped = run, here, threading.Event()

    def stop(self):
        self.stopped.set()


def test_devices_work_at_the_same_time_and_a_fault_ends_all():
    meet = threading.Barrier(3, timeout=10)
    run_all([Work(meet.wait), Work(meet.wait, here=True), Work(meet.wait)])

    def fail():
        raise ZeroDivisionError

    waiting = Work(lambda: waiting.stopped.wait(10))
    with pytest.raises(ZeroDivisionError):
        run_all([waiting, Work(fail)])
    assert waiting.stopped.is_set()
    waiting = Work(lambda: waiting.stopped.wait(10))
    with pytest.raises(ZeroDivisionError):
        run_all([waiting, Work(fail, here=True)])
    assert waiting.stopped.is_set()


def test_stages_of_several_devices_do_not_write_into_each_others_lines(capsys):
    from dcd_deploy.reports.terminal import live_progress

    with live_progress("pi4: a"), live_progress("pi5: b\x1b"):
        pass
    lines = capsys.readouterr().err.splitlines()
    assert [line[:10].strip() for line in lines] == ["pi4: a", "pi5: b\\x1b"[:8], "pi4: a"]
    assert [line.endswith(" s") for line in lines] == [False, True, True]
