"""The runner as one file: the worker, what it imports and ``devices.runner``, of this package, in a zip.

The same package gives the same bytes, so that its hash tells whether a device has it. Python imports from the zip.
"""

from __future__ import annotations

import functools
import io
import zipfile
from pathlib import Path

PACKAGE = Path(__file__).parent.parent
MODULES = (
    "__init__",
    "errors",
    "optional",
    "stages",
    "files",
    "native_output",
    "artifacts",
    "samples",
    "network_names",
    "runtimes/__init__",
    "runtimes/session",
    "runtimes/model",
    "runtimes/onnxruntime",
    "runtimes/litert",
    "runtimes/litert_compiled",
    "runtimes/flatbuffer",
    "runtimes/tflite_structure",
    "runtimes/preprocessing",
    "runtimes/selfcheck",
    "benchmarks/__init__",
    "benchmarks/reading",
    "benchmarks/throttling",
    "benchmarks/machine",
    "benchmarks/cores",
    "benchmarks/environment",
    "benchmarks/measure",
    "benchmarks/worker",
    "devices/__init__",
    "devices/runner/__init__",
    "devices/runner/cache",
    "devices/runner/installing",
    "devices/runner/line",
    "devices/runner/server",
    "devices/runner/survey",
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
