"""ncnn, through pnnx, in float32: files of the two, made anew each time.

Of pnnx the program alone is used; its Python package would load torch.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version as version_of
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ncnn
import numpy as np


def version() -> str:
    """Return the versions of both."""
    return f"{ncnn.__version__}, pnnx {version_of('pnnx')}"


def _pnnx() -> str:
    found = find_spec("pnnx")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("No module named 'pnnx'")
    return str(Path(found.origin).with_name("pnnx"))


def opened(path: str, entries: Mapping[str, Sequence[int]], outputs: Sequence[str], threads: int) -> Any:
    """Convert and open an ONNX file; the result maps arrays by name to the outputs in their order."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "model.onnx")
        model.write_bytes(Path(path).read_bytes())
        shapes = ",".join(str(list(shape)).replace(" ", "") for shape in entries.values())
        convert = [_pnnx(), str(model), f"inputshape={shapes}", "fp16=0"]
        done = subprocess.run(
            convert, capture_output=True, text=True, encoding="utf-8", errors="replace", cwd=folder, check=False
        )
        network = ncnn.Net()
        network.opt.num_threads = threads
        for half in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
            setattr(network.opt, f"use_{half}", False)
        parts = [str(Path(folder, f"model.ncnn.{part}")) for part in ("param", "bin")]
        if not Path(parts[0]).is_file():
            raise RuntimeError(f"pnnx: {(done.stdout + done.stderr).strip()[-300:]}")
        if network.load_param(parts[0]) or network.load_model(parts[1]):
            raise RuntimeError("ncnn cannot load what pnnx wrote")

    def run(values: Mapping[str, Any]) -> Any:
        extractor = network.create_extractor()
        for index, name in enumerate(entries):
            extractor.input(f"in{index}", ncnn.Mat(values[name][0]))
        answers = [extractor.extract(f"out{index}") for index in range(len(outputs))]
        if any(code for code, _ in answers):
            raise RuntimeError("ncnn cannot compute an output")
        return [np.array(answer)[None] for _, answer in answers]

    return run
