"""Torch's tracing without where in Python each node was made: it is looked up for messages that nobody is shown."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch.fx.config as torch_config


@contextlib.contextmanager
def without_stack_traces() -> Iterator[None]:
    """Let torch trace without noting where each node comes from, while the block runs."""
    before = torch_config.do_not_emit_stack_traces
    torch_config.do_not_emit_stack_traces = True
    try:
        yield
    finally:
        torch_config.do_not_emit_stack_traces = before
