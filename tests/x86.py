"""Other x86-64 processors, emulated: files run there, and how far what comes out may be from what is wanted."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

LIMIT = 5e-5
EMULATED = {"AVX2": "Haswell", "neither AVX nor AVX2": "Nehalem"}
RUN = (
    "import sys, pathlib, numpy, onnxruntime\n"
    "for path in pathlib.Path(sys.argv[1]).glob('*.onnx'):\n"
    "    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])\n"
    "    x = numpy.load(path.with_suffix('.in.npy'))\n"
    "    numpy.save(path.with_suffix('.out.npy'), session.run(None, {session.get_inputs()[0].name: x})[0])\n"
)


def emulated(processor: str, *command: object) -> subprocess.CompletedProcess:
    words = ["qemu-x86_64", "-cpu", EMULATED[processor], sys.executable, *map(str, command)]
    return subprocess.run(words, check=False, capture_output=True, timeout=300, text=True)


def error(found, wanted) -> float:
    assert found.shape == wanted.shape
    return float(np.abs(found - wanted).max() / np.ptp(wanted))
