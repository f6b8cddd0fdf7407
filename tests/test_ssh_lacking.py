"""A board that lacks something: said in words, set up on request."""

import sys
from pathlib import Path

import pytest
from boards import FAST

from dcd_deploy import commands
from dcd_deploy.errors import DeviceLackError

PYENV = Path.home() / ".pyenv" / "versions"


@pytest.mark.parametrize(
    ("python", "message"),
    [
        ("", "expected Python 3.9 or later on ssh://board, but none starts there"),
        (
            'exec {python} -c "import sys; sys.version_info = (3, 8); exec(eval(sys.stdin.buffer.readline()))"',
            "found Python 3.8",
        ),
        ('exec {python} -S -c "$2"', "expected numpy and onnxruntime on ssh://board, found none in its Python"),
    ],
)
def test_a_board_that_lacks_something(board, onnx_file, python, message):
    board.reset(python=python.format(python=sys.executable))
    with pytest.raises(DeviceLackError, match=message):
        commands.bench(onnx_file, device=board.name, **FAST)
    assert not [name for name in board.left() if not name.endswith(".pyz")]


def test_a_board_without_room(board, onnx_file):
    board.reset(shell='ulimit -f 1000; exec sh -c "$SSH_ORIGINAL_COMMAND"')  # in blocks of 512 bytes
    with pytest.raises(
        DeviceLackError, match=r"expected room for 2\.\d MB in the home of ssh://board, found File too l"
    ):
        commands.bench(onnx_file, device=board.name, **FAST)
    assert [Path(name).suffix for name in board.left()] == [".pyz"], "no half of a file"
    board.reset(shell='ulimit -f 1; exec sh -c "$SSH_ORIGINAL_COMMAND"')
    with pytest.raises(DeviceLackError, match="expected to write into the home folder of ssh://board"):
        commands.devices(board.name)
    assert board.left() == []


@pytest.mark.exhaustive
def test_set_up_on_request(board, onnx_file):
    """With the oldest Python that our runner takes, where this machine has one; the wheels come from the user's pip."""
    old = sorted(PYENV.glob("3.9.*/bin/python3.9"))
    python = old[0] if old else sys.executable
    board.reset(python=f'exec {python} "$@"')
    with pytest.raises(
        DeviceLackError, match=r"`setup` .* a wheel for Python 3\.\d+\.\d+, \w+, glibc 2.*: python3 -m pip"
    ):
        commands.bench(onnx_file, device=board.name, **FAST)
    result = commands.bench(onnx_file, device=board.name, setup=True, **FAST | {"memory": True})
    assert result.trials[0].ratios["static twin"].median > 1
    found = result.environments[board.name]
    assert found.python.startswith("3.9." if old else "3.")
    assert commands.bench(onnx_file, device=board.name, **FAST).trials, "and stays so"
    commands.devices(board.name, clean=True)
    assert list(board.home.rglob("site-packages")) == []


def test_a_board_where_nothing_can_be_set_up(board):
    start = "import sys; sys.executable = '/bin/false'; exec(eval(sys.stdin.buffer.readline()))"
    board.reset(python=f'exec {sys.executable} -S -c "{start}"')  # without packages
    with pytest.raises(
        DeviceLackError, match=r"expected to make a Python environment on ssh://board, but: .*python3-venv"
    ):
        commands.devices(board.name, setup=True)
    assert [Path(name).suffix for name in board.left()] == [".pyz"]
