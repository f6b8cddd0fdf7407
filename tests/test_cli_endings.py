"""How a command ends that is interrupted, fails by a defect of ours, or finds nobody to read what it prints."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import COMMAND, QUICK, contents, refused

from dcd_deploy.errors import INTERRUPTED


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stage", ["read checkpoint", "reference and deploy form", "trace to ONNX", "simplify"])
def test_interrupted(tmp_path, digits_checkpoint, stage, signal_number):
    (tmp_path / "net.onnx").write_bytes(b"an earlier export")
    before = contents(tmp_path)
    command = [*COMMAND, "export", digits_checkpoint, "--out", tmp_path, "--name", "net", *QUICK]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=0) as process:
        seen = ""
        while stage not in seen:
            seen += (character := process.stderr.read(1))
            assert character, seen  # it ended without that stage
        time.sleep(0.05)
        process.send_signal(signal_number)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED, errors
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("dcd-deploy: error: interrupted")
    assert output == ""
    assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def test_interrupted_while_it_loads(digits_checkpoint):
    """From the first line of ours on there is one line, and 130, whatever is being imported."""
    code = "import sys; from dcd_deploy.__main__ import main; print('!', flush=True); main()"
    for i in range(16):
        command = [sys.executable, "-c", code, "inspect", digits_checkpoint, "--input-size", "32", "--quiet"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            process.stdout.readline()
            time.sleep(0.005 + 0.025 * i)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors.count("\n")) == (INTERRUPTED, 1), errors
        assert errors.startswith("dcd-deploy: error: interrupted")


@pytest.mark.parametrize(("cause", "code"), [("KeyboardInterrupt()", INTERRUPTED), ("ValueError()", 1)])
def test_interrupted_while_a_class_is_made(cause, code):
    """Python makes another error of what is raised there."""
    program = f"""
import sys
from dcd_deploy import __main__

class Loading:
    def find_spec(self, name, path=None, target=None):
        if name == "dcd_deploy.cli":
            raise RuntimeError("Error calling __set_name__") from {cause}

sys.meta_path.insert(0, Loading())
__main__.main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code
    assert ("Traceback" in done.stderr) == (code == 1)
    if code == INTERRUPTED:
        assert done.stderr == "dcd-deploy: error: interrupted; nothing was left half-written\n"


def test_an_interruption_where_python_can_raise_none():
    """It ends the command, and Python's own lines about it ("Exception ignored in ...") do not come before ours."""
    code = """
import signal
from dcd_deploy.interruption import heeded, leave_interrupted, listen

class Late:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

listen()
try:
    with heeded():
        Late()
except KeyboardInterrupt:
    leave_interrupted()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        INTERRUPTED,
        "dcd-deploy: error: interrupted; nothing was left half-written\n",
    )


LEAVING = """
import atexit, sys, types
from dcd_deploy.interruption import leave

class Held:
    def __del__(self):
        print("taken apart")

atexit.register(print, "registered")
sys.modules["held"], held = types.ModuleType("held"), Held()
sys.modules["held"].held = held
if {torch}:
    sys.modules["torch"] = types.ModuleType("torch")
print("said")
leave(SystemExit({code!r}))
"""


@pytest.mark.parametrize("code", [0, None, 7])
@pytest.mark.parametrize("torch", [True, False])
def test_leaving_says_all_and_runs_what_is_registered(torch, code):
    """Only where torch is loaded is nothing taken apart, which Python would do for a second."""
    program = LEAVING.format(torch=torch, code=code)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code or 0, "")
    assert done.stdout.splitlines() == ["said", "registered", *([] if torch else ["taken apart"])]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_leaving_where_the_last_words_cannot_be_written():
    program = LEAVING.format(torch=True, code=0)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode != 0


def test_an_interruption_that_a_library_swallowed():
    code = """
import signal, sys
from dcd_deploy import cli, commands

def swallow(*args, **kwargs):
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        END

commands.inspect = swallow
sys.argv[1:] = ["inspect", "x"]
cli.main()
"""
    for end in ("pass", "raise RecursionError"):
        done = subprocess.run(
            [sys.executable, "-c", code.replace("END", end)], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (INTERRUPTED, ""), done.stderr
        assert done.stderr.startswith("dcd-deploy: error: interrupted")


def test_a_defect_of_ours_is_one_line_too(small_checkpoint, tmp_path):
    code = (
        "import sys; from dcd_deploy import cli, commands; commands.inspect = lambda *a, **k: 1 / 0; "
        "sys.argv[1:] = ['inspect', 'x']; cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    refused(done, 1, "ZeroDivisionError", "DCD_DEPLOY_TRACEBACK=1")
    traced = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"DCD_DEPLOY_TRACEBACK": "1"},
    )
    assert "Traceback" in traced.stderr


def test_output_that_nobody_reads_or_that_has_no_room(digits_export):
    path = str(digits_export.artifact.path)
    closed = subprocess.run(
        f"{sys.executable} -m dcd_deploy.cli inspect {path} | true",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in closed.stderr
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*COMMAND, "inspect", path], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 10, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_a_reader_that_left_is_no_error(digits_checkpoint, as_json):
    reading, writing = os.pipe()
    os.close(reading)
    command = [*COMMAND, "inspect", digits_checkpoint, "--input-size", "32", *as_json]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert done.returncode == 0
    assert not [words for words in ("error", "Traceback", "Broken") if words in done.stderr]


def test_nobody_follows_the_progress(digits_export):
    reading, writing = os.pipe()
    os.close(reading)
    command = [*COMMAND, "verify", digits_export.files[0].artifact.path]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=writing, text=True, check=False)
    os.close(writing)
    assert done.returncode == 0
    assert "self-check on" in done.stdout
