"""What users call devices: taken apart, and never an option or a word for a shell."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcd_deploy.devices.names import DeviceName, parse_device
from dcd_deploy.devices.ssh import arguments, remote_command
from dcd_deploy.errors import (
    OptionError,
    UnknownNameError,
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("local", DeviceName("local", "local")),
        ("ssh://board", DeviceName("ssh", "ssh://board", host="board")),
        ("ssh://pi@10.0.0.7:2222", DeviceName("ssh", "ssh://pi@10.0.0.7:2222", None, "pi", "10.0.0.7", 2222)),
        ("ssh://pi@[fe80::1]:22", DeviceName("ssh", "ssh://pi@[fe80::1]:22", None, "pi", "fe80::1", 22)),
        ("adb", DeviceName("adb", "adb")),
        ("adb:192.168.1.5:5555", DeviceName("adb", "adb:192.168.1.5:5555", "192.168.1.5:5555")),
        ("arm64-emulated:cortex-a53", DeviceName("arm64-emulated", "arm64-emulated:cortex-a53", "cortex-a53")),
    ],
)
def test_names(text, found):
    assert parse_device(text) == found


@pytest.mark.parametrize(
    "text",
    [
        *("ssh:board", "ssh://", "ssh:///x", "ssh://-oProxyCommand=id", "ssh://a b", "ssh://-l@host", "ssh://u@-h"),
        *(
            "ssh://host:0",
            "ssh://host:99999",
            "ssh://host:x",
            "ssh://host/path",
            "ssh://a;b",
            "ssh://$(id)",
            "ssh://`id`",
        ),
        *("ssh://%h", "ssh://u%r@host", "ssh://h\n", "ssh://u:p@host", "ssh://[::1", "ssh://" + 300 * "a"),
        *("adb:", "adb:-s", "adb:a b", "adb:$x", "local:1", "arm64-emulated:", "arm64-emulated:max,sme=on"),
    ],
)
def test_what_is_no_name(text):
    if text == "ssh://h\n":
        assert parse_device(text).host == "h"  # what surrounds a name does not belong to it
        return
    with pytest.raises(OptionError, match="expected a device of the form"):
        parse_device(text)


def test_an_unknown_kind_of_device_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"did you mean 'ssh://\[user@\]host\[:port\]'"):
        parse_device("shh://board")


@given(st.text(max_size=40))
def test_no_name_becomes_an_option_or_a_word_for_a_shell(text):
    try:
        name = parse_device(f"ssh://{text}")
    except OptionError:
        return
    command = arguments(name)
    assert command[-2] == "--"
    for part in (name.host, name.user or "x"):
        assert not part.startswith("-")
        assert not set(part) & set(" \t\r\n;&|<>$`\\\"'(){}*?!#~%")


def test_the_command_for_the_shell_there_has_nothing_of_ours_to_quote():
    assert "'" not in remote_command()[len("exec sh -c '") : -1]
    assert remote_command("/opt/python3.11").count("/opt/python3.11") == 1
