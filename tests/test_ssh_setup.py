"""Setting a board up over ssh: what is there is not installed again, and what is cut off leaves nothing behind."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from boards import wait_for

from dcd_deploy import commands
from dcd_deploy.errors import DeviceLackError, DeviceLostError

BARE = f"{sys._base_executable} -S"  # without packages of any kind


@pytest.fixture
def board(running_board, monkeypatch):
    """A board whose Python has no packages."""
    running_board.reset(python=f'exec {BARE} "$@"')
    monkeypatch.setenv("PATH", running_board.path)
    return running_board


def on_board(board, word: str) -> list[int]:
    """The processes on the board whose command has ``word`` in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            variables = (process / "environ").read_bytes().split(b"\0")
            if f"HOME={board.home}".encode() in variables and word in (process / "cmdline").read_text():
                found.append(int(process.name))
    return found


@contextlib.contextmanager
def setting_up(board):
    """The command, when pip is at work on the board."""
    command = [sys.executable, "-m", "dcd_deploy", "devices", board.name, "--setup"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert wait_for(lambda: on_board(board, "install"), 30), "pip was never seen"
            yield process
        finally:
            process.kill()


def nothing_is_left(board) -> bool:
    return wait_for(lambda: not on_board(board, "") and not (board.cache / "venv").exists(), 10)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGHUP])
def test_an_interrupted_set_up_leaves_nothing(board, how):
    """By Ctrl-C, or by a terminal that is closed."""
    with setting_up(board) as process:
        process.send_signal(how)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in said
    assert nothing_is_left(board)


def test_a_set_up_whose_connection_is_lost_leaves_nothing(board):
    with setting_up(board) as process:
        for child in Path(f"/proc/{board.process.pid}/task/{board.process.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        process.communicate(timeout=30)
    assert process.returncode == DeviceLostError.exit_code
    assert nothing_is_left(board)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("sys.executable = '/nowhere/python'", "expected to make a Python environment .* No such file"),
        ("import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 17,) * 2)", "expected to make a Python env"),
    ],
)
def test_a_set_up_that_fails_leaves_nothing(board, start, message):
    board.reset(python=f'exec {BARE} -c "import sys; {start}; exec(eval(sys.stdin.buffer.readline()))"')
    with pytest.raises(DeviceLackError, match=message):
        commands.devices(board.name, setup=True)
    assert nothing_is_left(board)


@pytest.mark.exhaustive
def test_an_environment_without_a_runtime_does_not_hide_the_python_that_is_there(board, monkeypatch):
    """As where no wheel fits, or the board reaches no package index."""
    board.reset(python=f'export PIP_NO_INDEX=1 PIP_CONFIG_FILE=/dev/null\nexec {BARE} "$@"')
    with pytest.raises(DeviceLackError, match="expected a wheel of numpy for ssh://board, but its pip says"):
        commands.devices(board.name, setup=True)
    assert nothing_is_left(board)


def test_what_is_there_is_not_installed_again(board):
    board.reset()
    (state,) = commands.devices(board.name, setup=True).devices
    assert {"numpy", "onnxruntime", "ai-edge-litert"} <= set(state.facts.environment.packages)
    assert not (board.cache / "venv").exists()
