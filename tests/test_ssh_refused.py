"""A board that lets nobody in, or answers otherwise than our runner would."""

import shutil

import pytest
from boards import FAST, runners, wait_for

from dcd_deploy import commands
from dcd_deploy.errors import (
    DeviceAnswerError,
    DeviceError,
    DeviceIdentityError,
    DeviceRefusedError,
    ModelFileError,
    OptionError,
)


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
def test_a_board_that_cannot_be_reached(board, onnx_file, name, error, message):
    with pytest.raises(error, match=message) as caught:
        commands.bench(onnx_file, device=name, **FAST)
    assert type(caught.value) is error
    assert board.left() == []


def test_an_error_of_the_worker_keeps_its_kind(board, tmp_path, onnx_file):
    (tmp_path / "noise.onnx").write_bytes(b"noise")
    with pytest.raises(ModelFileError, match="on ssh://board: expected an ONNX model") as caught:
        commands.bench(tmp_path / "noise.onnx", device=board.name, baseline="none", **FAST)
    assert type(caught.value) is ModelFileError
    with pytest.raises(OptionError, match="expected `cpus` among"):
        commands.bench(onnx_file, device=board.name, cpus=4000, **FAST)


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
def test_a_hostile_board(board, onnx_file, shell, message):
    for name in ("yes", "cat", "sleep"):
        (board.bin / name).symlink_to(shutil.which(name))
    board.reset_shell(shell)
    with pytest.raises(DeviceAnswerError, match=message) as caught:
        commands.bench(onnx_file, device=board.name, **FAST)
    assert "\x1b" not in str(caught.value)
    assert wait_for(lambda: not runners(board))
