"""LiteRT's interpreter with the XNNPACK delegate, of the package ai-edge-litert; arrays in the file's layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version as version_of
from typing import Any

from ai_edge_litert.interpreter import Interpreter


def version() -> str:
    """Return the version."""
    return version_of("ai-edge-litert")


def opened(path: str, entries: Mapping[str, Sequence[int]], outputs: Sequence[str], threads: int) -> Any:
    """Open a TFLite file; the result maps arrays, in the order of the inputs, to the outputs in their order."""
    del entries, outputs
    interpreter = Interpreter(model_path=path, num_threads=threads)
    interpreter.allocate_tensors()
    places = [place["index"] for place in interpreter.get_input_details()]
    answers = [answer["index"] for answer in interpreter.get_output_details()]

    def run(values: Mapping[str, Any]) -> Any:
        for place, value in zip(places, values.values(), strict=True):
            interpreter.set_tensor(place, value)
        interpreter.invoke()
        return [interpreter.get_tensor(answer) for answer in answers]

    return run
