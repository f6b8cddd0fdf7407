"""Where in a user's module something failed, and what it said."""

from __future__ import annotations

import traceback

from torch import nn


def at(module: nn.Module, error: BaseException) -> str:
    """Return " (in 'path')": the innermost submodule that an error passed through."""
    names = {id(part): name for name, part in module.named_modules()}
    found = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        found = names.get(id(frame.f_locals.get("self")), "") or found
    return f" (in '{found}')" if found else ""


def first_line(error: BaseException) -> str:
    """Return the first line of a message, cut."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
