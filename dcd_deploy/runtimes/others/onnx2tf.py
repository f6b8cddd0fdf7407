"""onnx2tf: to a TFLite file, in NHWC, which the interpreter that is installed beside it runs.

It tries its models on pictures that it would fetch, unless a file of them lies in its folder.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

PICTURES = "calibration_image_sample_data_20x128x128x3_float32.npy"


def version() -> str:
    """Return the version of the converter."""
    return version_of("onnx2tf")


def opened(path: str, entries: Mapping[str, Sequence[int]], outputs: Sequence[str], threads: int) -> Any:
    """Convert and open an ONNX file; the result maps arrays by name to the outputs in their order."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, PICTURES), np.random.default_rng(0).random((20, 128, 128, 3), np.float32))
        convert = [str(Path(sys.executable).with_name("onnx2tf")), "-i", path, "-o", folder, "-n"]
        done = subprocess.run(
            convert, capture_output=True, text=True, encoding="utf-8", errors="replace", cwd=folder, check=False
        )
        files = list(Path(folder).glob("*_float32.tflite"))
        if not files:
            raise RuntimeError(f"onnx2tf: {(done.stdout + done.stderr).strip()[-300:]}")
        interpreter = Interpreter(model_content=files[0].read_bytes(), num_threads=threads)
    interpreter.allocate_tensors()
    places = interpreter.get_input_details()
    answers = interpreter.get_output_details()
    if len(places) != len(entries) or len(answers) != len(outputs):
        raise RuntimeError(f"onnx2tf: found {len(places)} inputs and {len(answers)} outputs")

    def run(values: Mapping[str, Any]) -> Any:
        for place, value in zip(places, values.values()):
            last = tuple(place["shape"]) != value.shape
            interpreter.set_tensor(place["index"], np.moveaxis(value, 1, -1) if last else value)
        interpreter.invoke()
        return [interpreter.get_tensor(answer["index"]) for answer in answers]

    return run
