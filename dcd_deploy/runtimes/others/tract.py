"""tract, as its Python package has it; one thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version as version_of
from typing import Any

import tract


def version() -> str:
    """Return the version."""
    return version_of("tract")


def opened(path: str, entries: Mapping[str, Sequence[int]], outputs: Sequence[str], threads: int) -> Any:
    """Open an ONNX file; the result maps arrays by name to the outputs in their order."""
    del outputs, threads
    model = tract.onnx().load(path)
    runnable = model.into_model().into_runnable()

    def run(values: Mapping[str, Any]) -> Any:
        answers = runnable.run([values[name] for name in entries])
        return [answer.to_numpy() for answer in answers]

    return run
