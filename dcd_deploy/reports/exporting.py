"""How an export reads."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from rich.console import Console

from dcd_deploy.export.graph import GraphStats
from dcd_deploy.export.pipeline import ExportResult
from dcd_deploy.reports import numbers
from dcd_deploy.reports.machine import as_plain
from dcd_deploy.reports.terminal import line, show_table
from dcd_deploy.reports.verification import show_verification


def show_export(screen: Console, result: ExportResult, checkpoint: str) -> None:
    """Print the graph before and after simplification, the verification, and what to type next."""
    built, path = result.built, result.artifact.path
    show_table(screen, "ONNX graph", ("", "as traced", "simplified"), _graph_rows(built.traced, built.simplified))
    show_verification(screen, built.report)
    line(screen, f"order of computation: {_lowering(built.lowering)}")
    size, sidecar = numbers.size(path.stat().st_size), result.artifact.sidecar_path.name
    line(screen, f"wrote {path} ({size}) and {sidecar} in {result.seconds:.1f} s")
    if result.baseline is not None:
        line(screen, f"wrote {result.baseline} (static twin, untrained, for timing)")
    line(screen, f"next: dcd-deploy bench {path}")
    line(screen, f"      dcd-deploy verify {path} --checkpoint {checkpoint}")


def export_as_plain(result: ExportResult) -> dict[str, Any]:
    """Return what the sidecar says, and where the files are."""
    sidecar: dict[str, Any] = json.loads(result.artifact.sidecar())
    return sidecar | {
        "path": str(result.artifact.path),
        "sidecar": str(result.artifact.sidecar_path),
        "baseline": None if result.baseline is None else str(result.baseline),
        "seconds": result.seconds,
        "verification": as_plain(result.built.report),
    }


def _graph_rows(before: GraphStats, after: GraphStats) -> list[tuple[str, str, str]]:
    operators = dict.fromkeys([*after.operators, *before.operators])
    return [
        ("nodes", f"{before.nodes}", f"{after.nodes}"),
        ("bytes", numbers.size(before.size_bytes), numbers.size(after.size_bytes)),
        ("MACs", numbers.count(before.macs), numbers.count(after.macs)),
        *((f"  {name}", _or_dash(before, name), _or_dash(after, name)) for name in operators),
    ]


def _or_dash(stats: GraphStats, operator: str) -> str:
    return str(stats.operators.get(operator, "–"))


def _lowering(lowering: dict[str, str]) -> str:
    return ", ".join(f"{form} in {n} layers" for form, n in Counter(lowering.values()).most_common()) or "static"
