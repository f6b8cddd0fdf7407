"""OpenVINO on the CPU, in float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import openvino


def version() -> str:
    """Return the version."""
    return str(openvino.__version__).partition("-")[0]


def opened(path: str, entries: Mapping[str, Sequence[int]], outputs: Sequence[str], threads: int) -> Any:
    """Open an ONNX file; the result maps arrays by name to the outputs in their order."""
    del entries
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}
    request = openvino.Core().compile_model(path, "CPU", settings).create_infer_request()

    def run(values: Mapping[str, Any]) -> Any:
        answer = request.infer(values)
        return [answer[name] for name in outputs]

    return run


def left_out(path: str) -> list[str]:
    """Return the operators that its CPU plugin does not take."""
    core = openvino.Core()
    model = core.read_model(path)
    taken = core.query_model(model, "CPU")
    return [
        f"{node.get_type_name()} {node.get_friendly_name()}"
        for node in model.get_ops()
        if node.get_friendly_name() not in taken
    ]
