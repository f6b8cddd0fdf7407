"""Our runner as one file for a device's Python, and the line that hands over to it.

The file is a zip of the worker, what it imports and ``devices.runner``, of this package, from which Python imports. The
same package gives the same bytes, so that its hash tells whether a device has it.

The first line to the device is a small program that takes the file, if it is not there, and starts it. Until it has run
nothing is known of the device; so it is written for any Python 3, and says itself what it misses.
"""

from __future__ import annotations

import functools
import hashlib
import io
import zipfile
from pathlib import Path

from dcd_deploy.devices.runner.server import MARK

FOLDER = ".cache/dcd-deploy-device"  # in the user's home folder there
# What a shell there is told to run; the first line of what is then sent is the program below, as a Python text.
START = "import sys; exec(eval(sys.stdin.buffer.readline()))"
PROGRAM = """
import sys
def say(text):
    sys.stdout.write({mark!r} + text + chr(10))
    sys.stdout.flush()
if sys.version_info < (3, 9):
    say('{{"old": "%d.%d"}}' % sys.version_info[:2])
    sys.exit(0)
import hashlib, os
sys.stdout.flush()
folder = os.path.join(os.path.expanduser("~"), *{folder!r}.split("/"))
path = os.path.join(folder, {name!r})
try:
    content = open(path, "rb").read()
except OSError:
    content = b""
if hashlib.sha256(content).hexdigest() != {digest!r}:
    say('{{"send": true}}')
    content = sys.stdin.buffer.read({size})
    if len(content) != {size}:
        sys.exit(0)
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        part = os.path.join(folder, "." + {name!r} + "." + str(os.getpid()))
        try:
            with open(part, "wb") as file:
                file.write(content)
            os.replace(part, path)
        except OSError:
            if os.path.exists(part):
                os.remove(part)
            raise
    except OSError as error:
        import json
        say(json.dumps({{"full": str(error.strerror or error)}}))
        sys.exit(0)
sys.path.insert(0, path)
from dcd_deploy.devices.runner.server import main
main(folder)
"""


def first_line(bundle: bytes) -> bytes:
    """Return the program for a runner of this content, as the one line that ``START`` reads."""
    digest = hashlib.sha256(bundle).hexdigest()
    program = PROGRAM.format(mark=MARK, folder=FOLDER, name=f"{digest}.pyz", digest=digest, size=len(bundle))
    return ascii(program).encode("ascii") + b"\n"


PACKAGE = Path(__file__).parent.parent
MODULES = (
    "__init__",
    "errors",
    "optional",
    "stages",
    "fields",
    "files",
    "native_output",
    "artifacts",
    "card_json",
    "samples",
    "network_names",
    "runtimes/__init__",
    "runtimes/session",
    "runtimes/choice",
    "runtimes/model",
    "runtimes/described",
    "runtimes/pictures",
    "runtimes/onnxruntime",
    "runtimes/litert",
    "runtimes/litert_compiled",
    "runtimes/executorch",
    "runtimes/pte_file",
    "runtimes/flatbuffer",
    "runtimes/tflite_structure",
    "runtimes/preprocessing",
    "runtimes/saturation",
    "runtimes/selfcheck",
    "benchmarks/__init__",
    "benchmarks/machine",
    "benchmarks/environment",
    "benchmarks/measure",
    "benchmarks/worker",
    "devices/__init__",
    "devices/runner/__init__",
    "devices/runner/cache",
    "devices/runner/installing",
    "devices/runner/server",
    "devices/runner/trial",
)
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say


@functools.cache
def runner_bundle() -> bytes:
    """Return the zip."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for module in MODULES:
            entry = zipfile.ZipInfo(f"{PACKAGE.name}/{module}.py", LONG_AGO)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, (PACKAGE / f"{module}.py").read_bytes())
    return made.getvalue()
