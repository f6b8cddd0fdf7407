"""A native crash while the output of native code is put aside: of all that is lost, the line it came from is told."""

import faulthandler
import subprocess
import sys

import pytest

from dcd_deploy.native_output import captured_native_output

CRASHING = """
import ctypes
from dcd_deploy.native_output import captured_native_output

with captured_native_output():
    ctypes.string_at(0)
"""


def test_it_names_the_line():
    done = subprocess.run([sys.executable, "-c", CRASHING], capture_output=True, text=True, check=False)
    assert done.returncode < 0
    assert "Fatal Python error: Segmentation fault" in done.stderr
    assert 'File "<string>", line 6 in <module>' in done.stderr


@pytest.mark.parametrize("before", [True, False])
def test_python_tells_crashes_afterwards_as_it_did(before):
    code = f"""
import faulthandler
from dcd_deploy.native_output import captured_native_output
if {before}: faulthandler.enable()
with captured_native_output():
    assert faulthandler.is_enabled()
print(faulthandler.is_enabled())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{before}\n"


def test_here_it_stays_on():
    assert faulthandler.is_enabled()  # pytest's own
    with captured_native_output():
        assert faulthandler.is_enabled()
    assert faulthandler.is_enabled()
