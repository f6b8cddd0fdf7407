"""How a checkpoint that is no known network reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console

from dcd_deploy.reports.terminal import line, show_table

if TYPE_CHECKING:
    from dcd_deploy.models.fit import Mismatch

KEYS_SHOWN = 10


def show_mismatch(screen: Console, mismatch: Mismatch, request: Mapping[str, Any]) -> None:
    """Print the keys by which a checkpoint differs from the nearest network: ``inspect`` all, others ten."""
    most = None if request.get("command") == "inspect" else KEYS_SHOWN
    rows = [("unexpected", key, "") for key in mismatch.unexpected]
    left_out = [("left out", key, "the network does not use it") for key in mismatch.left_out]
    title = "keys of no known network"
    if not mismatch.foreign:
        title = f"nearest known network: {mismatch.spec.describe()}, {mismatch.matched} keys agree"
        shapes = mismatch.wrong_shape.items()
        rows = [("missing", key, "") for key in mismatch.missing] + rows
        rows += [("wrong shape", key, f"expected {want}, found {have}") for key, (want, have) in shapes]
    rows += left_out
    show_table(screen, title, ("", "key", ""), rows[:most], left=3)
    if most is not None and len(rows) > most:
        line(screen, f"… and {len(rows) - most} more; 'dcd-deploy inspect' lists them all")
