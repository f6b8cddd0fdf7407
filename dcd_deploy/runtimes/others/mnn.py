"""MNN on the CPU, through its own converter, in float32 ("high" precision), Winograd off.

Its Winograd convolutions are off by 2.5e-4 of the range on ResNet-18; hint 3 (its memory for them) at 0 turns them off.
The converter is called by its native module: MNN's own ``tools`` install a package by pip when they are imported, and
send home what was converted.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import _tools
import MNN
import numpy as np

WINOGRAD = 3
TYPES = {"float32": MNN.expr.float, "uint8": MNN.expr.uint8}


def version() -> str:
    """Return the version."""
    return str(MNN.version())


def opened(path: str, entries: Mapping[str, Sequence[int]], outputs: Sequence[str], threads: int) -> Any:
    """Convert and open an ONNX file; the result maps arrays by name to the outputs in their order."""
    with tempfile.TemporaryDirectory() as folder:
        converted = str(Path(folder, "model.mnn"))
        convert = ["mnnconvert", "-f", "ONNX", "--modelFile", path, "--MNNModel", converted, "--bizCode", "x"]
        _tools.mnnconvert(convert)
        if not Path(converted).is_file():
            raise RuntimeError("MNN cannot convert the file")
        manager = MNN.nn.create_runtime_manager(({"backend": "CPU", "numThread": threads, "precision": "high"},))
        manager.set_hint(WINOGRAD, 0)
        module = MNN.nn.load_module_from_file(converted, list(entries), outputs, runtime_manager=manager)

    def run(values: Mapping[str, Any]) -> Any:
        given = [MNN.expr.const(v, v.shape, MNN.expr.NCHW, TYPES[v.dtype.name]) for v in (values[n] for n in entries)]
        return [np.array(MNN.expr.convert(answer, MNN.expr.NCHW).read()) for answer in module.forward(given)]

    return run
