"""The command line as people run it, in a process of its own, or where that adds nothing in this one."""

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from dcd_deploy.cli import run

COMMAND = [sys.executable, "-m", "dcd_deploy"]
QUICK = ["--input-size", "32"]
BENCH = ("--min-runs", "5", "--min-seconds", "0.05", "--rounds", "1", "--no-memory")


def dcd_deploy(*arguments, **options):
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    environment.pop("COLUMNS", None)  # the test runner's own
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=300,
        **options,
    )


def run_here(*arguments):
    """Run it in this process, which has loaded all that it needs; what goes where is told by file descriptors."""
    command = ["dcd-deploy", *map(str, arguments)]
    with (
        tempfile.TemporaryFile("w+") as output,
        tempfile.TemporaryFile("w+") as errors,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.delenv("COLUMNS", raising=False)
        with diverted(1, "stdout", output), diverted(2, "stderr", errors), pytest.raises(SystemExit) as end:
            run(command[1:])
        code = end.value.code or 0
        texts = [file.read() for file in (output, errors) if not file.seek(0)]
    return subprocess.CompletedProcess(command, code, *texts)


@contextlib.contextmanager
def diverted(number, name, file):
    """Let a file descriptor, and what Python has for it under ``name``, be a file's."""
    before, streams = os.dup(number), (getattr(sys, name), getattr(sys, f"__{name}__"))
    os.dup2(file.fileno(), number)
    try:
        with os.fdopen(number, "w", closefd=False) as stream:
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
            yield
    finally:
        setattr(sys, name, streams[0])
        setattr(sys, f"__{name}__", streams[1])
        os.dup2(before, number)
        os.close(before)


def refused(done, code, *words):
    """Assert one clear line on standard error, the exit code, no traceback."""
    errors = [line for line in done.stderr.splitlines() if line.startswith("dcd-deploy: error: ")]
    assert done.returncode == code, done.stderr
    assert len(errors) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in errors[0]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@contextlib.contextmanager
def started(*arguments):
    """Run it beside us."""
    command = [sys.executable, "-u", "-m", "dcd_deploy", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process


GUARD = """
import sys
class Guard:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {missing!r}:
            raise ImportError(f"{{name}} is not there")
sys.meta_path.insert(0, Guard())
"""


def without(folder, *missing):
    """Return the environment of a process, and of those that it starts, in which packages are not installed."""
    (folder / "sitecustomize.py").write_text(GUARD.format(missing=missing), encoding="utf-8")
    paths = [str(folder), str(Path(__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
