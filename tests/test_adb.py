"""The real adb client against phones that the tests make: which is meant, commands, files, and what goes wrong."""

import os
import time
from pathlib import Path, PurePosixPath

import pytest
from adb_phone import PhoneSide
from phones import adb, left_on, make_root, script, until

from dcd_deploy.devices.adb.client import Adb, Listed, chosen
from dcd_deploy.devices.adb.phone import FILES, FOLDER, Phone
from dcd_deploy.errors import (
    BenchError,
    DeviceAnswerError,
    DeviceError,
    DeviceLackError,
    DeviceLostError,
    DeviceRefusedError,
    InputFileError,
    MissingDependencyError,
)


@pytest.fixture
def phone(phone_side):
    client = Adb.found()
    return Phone(client, chosen(client.listed(), None))


def test_a_phone_is_listed_with_its_model(phone_side):
    assert Adb.found().listed() == [Listed(phone_side.serial, "device", "Test Phone")]


def test_none_is_there(adb_server):
    with pytest.raises(DeviceError, match="expected a phone that adb sees, found none"):
        chosen(Adb.found().listed(), None)


def test_of_two_phones_one_has_to_be_named(adb_server, phone_side, tmp_path):
    other = adb_server.plug_in(PhoneSide(make_root(tmp_path / "other"), "Other Phone"))
    listed = Adb.found().listed()
    with pytest.raises(DeviceError, match=r"expected one phone, found .*Other Phone.*say which: adb:127") as caught:
        chosen(listed, None)
    assert f"adb:{phone_side.serial}" in str(caught.value)
    assert chosen(listed, other.serial) == other.serial


def test_a_wrong_serial_names_those_that_there_are(phone_side):
    with pytest.raises(DeviceError, match=f"expected the phone 'emulator-5554', found {phone_side.serial}"):
        chosen(Adb.found().listed(), "emulator-5554")


def test_a_phone_that_has_not_allowed_this_computer(adb_server, tmp_path):
    serial = adb_server.plug_in(PhoneSide(make_root(tmp_path / "phone"), state="unauthorized")).serial
    with pytest.raises(DeviceRefusedError, match="unlock the phone and allow this computer") as caught:
        chosen(Adb.found().listed(), serial)
    assert caught.value.exit_code == 18
    with pytest.raises(DeviceRefusedError, match="unlock the phone"):
        chosen(Adb.found().listed(), None)
    adb_server.unplug_all()


def test_a_phone_that_does_not_answer(adb_server, tmp_path):
    silent = PhoneSide(make_root(tmp_path / "phone"), state="offline")
    adb_server.plug_in(silent)
    with pytest.raises(DeviceError, match=r"to be ready, found it 'offline'; plug it in again"):
        chosen(Adb.found().listed(), silent.serial)
    adb_server.unplug_all()


@pytest.mark.parametrize(
    ("state", "kind"),
    [("no permissions", DeviceRefusedError), ("recovery", DeviceError), ("odd", DeviceError)],
)
def test_other_states_are_said(state, kind):
    with pytest.raises(kind, match=f"found it '{state}'"):
        chosen([Listed("abc", state)], "abc")


def test_there_is_no_adb(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("ANDROID_HOME", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="expected the program 'adb'"):
        Adb.found()


def test_exit_codes_and_both_outputs_come_back(phone):
    said = phone.script("echo out; echo err >&2; (exit 7)")
    assert (said.code, said.out, said.err.strip()) == (7, "out", "err")
    assert phone.shell("true").code == 0


@pytest.mark.parametrize("word", ["a b", "$(touch x)", "`id`", "'", '"', "a;b", "a\nb", "*", "~", "&&", "--", "Φ", ""])
def test_words_arrive_as_they_are(phone, word):
    assert phone.shell("printf", "%s", word).out == word


def test_a_shell_that_ends_early_is_a_lost_connection_and_no_success(phone):
    with pytest.raises(DeviceLostError):
        phone.script("exit 0")


def test_a_connection_that_breaks(phone, phone_side):
    phone_side.dies_at = "halfway"
    with pytest.raises(DeviceLostError, match="was lost") as caught:
        phone.script("echo halfway; sleep 5; echo end")
    assert caught.value.exit_code == 21
    with pytest.raises(DeviceLostError):
        phone.shell("true")


def test_a_command_that_takes_too_long(phone):
    start = time.monotonic()
    with pytest.raises(BenchError, match="to be done in time"):
        phone.shell("sleep", "30", seconds=0.5)
    assert time.monotonic() - start < 5


def test_an_answer_without_end(phone):
    with pytest.raises(DeviceAnswerError, match="without end"):
        phone.script("while true; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done")


def test_what_a_phone_says_in_anger_is_cleaned(phone):
    with pytest.raises(DeviceError, match="exit code 3") as caught:
        phone.done("sh", "-c", "printf '\\033[31mred\\r\\nrow\\342\\200\\256' >&2; exit 3")
    assert "red" in str(caught.value)
    assert all(letter.isprintable() for letter in str(caught.value))


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "a model.onnx"
    path.write_bytes(os.urandom(300_000))
    return path


def test_a_file_is_sent_once(phone, phone_side, model):
    place = phone.send(model)
    assert place.parent == FILES
    assert (phone_side.root / str(place)[1:]).read_bytes() == model.read_bytes()
    received = phone_side.received
    assert phone.send(model) == place
    assert phone_side.received == received == 300_000
    again = model.with_name("other.onnx")
    again.write_bytes(model.read_bytes())
    assert phone.send(again) == place, "by its content, not by its name"


def test_a_file_that_was_changed_on_the_phone_is_sent_again(phone, phone_side, model):
    here = phone_side.root / str(phone.send(model))[1:]
    here.write_bytes(b"something else")
    phone.send(model)
    assert here.read_bytes() == model.read_bytes()


def test_no_space(phone, phone_side, model):
    phone_side.room = 100_000
    with pytest.raises(DeviceLackError, match=r"0\.3 MB.*no space left on it; make room") as caught:
        phone.send(model)
    assert caught.value.exit_code == 20
    phone.take_back()
    assert left_on(phone_side) == []


def test_no_space_that_the_phone_tells_beforehand(phone, phone_side, model):
    (phone_side.root / "bin" / "df").unlink()
    script(phone_side.root / "bin" / "df", "echo Filesystem 1K-blocks Used Available Use%; echo /dev/x 9 9 7 99%")
    with pytest.raises(DeviceLackError, match=r"expected 0\.3 MB of space .* found 0\.0 MB"):
        phone.send(model)
    assert phone_side.received == 0


def test_a_connection_that_breaks_while_sending_leaves_no_half_file(phone, phone_side, model, adb_server):
    phone_side.dies_after = 100_000
    with pytest.raises(DeviceLostError):
        phone.send(model)
    phone_side.dies_after = None
    adb("connect", phone_side.serial)
    until(lambda: f"{phone_side.serial}\tdevice" in adb("devices"))
    with phone.workplace():
        pass
    assert not [name for name in left_on(phone_side) if "part" in name or "run-" in name]


def test_a_file_that_is_not_here(phone, tmp_path):
    with pytest.raises(InputFileError):
        phone.send(tmp_path / "none.onnx")


def test_a_workplace_goes_and_with_it_what_runs_there(phone, phone_side):
    with phone.workplace() as place:
        here = phone_side.root / str(place)[1:]
        phone.script(f"sh -c 'echo $$ >{place}/pid; exec sleep 100' >/dev/null 2>&1 &")
        until((here / "pid").exists)
        pid = int((here / "pid").read_text())
        assert _runs(pid)
    until(lambda: not _runs(pid))
    assert not [name for name in left_on(phone_side) if "run-" in name]


def test_nothing_is_removed_outside_of_our_folder(phone):
    with pytest.raises(AssertionError):
        phone.remove(PurePosixPath("/data/local/tmp"))
    with pytest.raises(AssertionError):
        phone.remove(FOLDER / ".." / "other")


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
