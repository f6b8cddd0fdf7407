"""The command line as people run it, in a process of its own."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

COMMAND = [sys.executable, "-m", "dcd_deploy"]
QUICK = ["--input-size", "32"]


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
