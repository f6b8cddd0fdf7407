"""ExecuTorch's runtime, with the XNNPACK delegate that is part of its Python package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version as version_of
from typing import Any

import torch
from executorch.extension.pybindings import portable_lib
from executorch.runtime import Runtime


def version() -> str:
    """Return the version."""
    return version_of("executorch")


def opened(path: str, entries: Mapping[str, Sequence[int]], outputs: Sequence[str], threads: int) -> Any:
    """Open a program; the result maps arrays, in the order of the inputs, to the outputs in their order."""
    del entries, outputs
    if portable_lib._threadpool_get_thread_count() != threads:  # noqa: SLF001 - there is no public way
        portable_lib._unsafe_reset_threadpool(threads)  # noqa: SLF001 - before the first is opened: all share it
    program = Runtime.get().load_program(path)
    method = program.load_method("forward")

    def run(values: Mapping[str, Any]) -> Any:
        return [answer.numpy() for answer in method.execute([torch.from_numpy(value) for value in values.values()])]

    return run
