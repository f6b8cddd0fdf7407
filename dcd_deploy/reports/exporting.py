"""How an export reads."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from dcd_deploy.export.pipeline import ExportedFile, ExportResult
from dcd_deploy.export.stats import GraphStats
from dcd_deploy.reports import numbers
from dcd_deploy.reports.machine import as_plain
from dcd_deploy.reports.next_command import network_words
from dcd_deploy.reports.terminal import line, show_table
from dcd_deploy.reports.verification import show_verification

STAGES = {"onnx": ("ONNX graph", "as traced", "simplified"), "tflite": ("TFLite graph", "as converted", "finished")}


def show_export(
    screen: Console,
    result: ExportResult,
    request: Mapping[str, Any],
) -> None:
    """Print for each file its graph before and after our passes and its verification; then what to type next.

    ``request`` has the ``checkpoint`` and by which options the network was named.
    """
    for note in result.checkpoint_notes:
        line(screen, f"checkpoint: {note}")
    for file in result.files:
        _show_file(screen, file)
    for file in result.files:
        path, sidecar = file.artifact.path, file.artifact.sidecar_path.name
        line(screen, f"wrote {path} ({numbers.size(path.stat().st_size)}) and {sidecar}")
        if file.baseline is not None:
            line(screen, f"wrote {file.baseline} (static twin, untrained, for timing)")
    path = result.files[0].artifact.path
    own = request.get("network") is not None
    timed = not own or result.baseline is not None  # nobody else can make the twin of the user's own network
    bench = [f"dcd-deploy bench {path}"] if timed else []
    words = ["dcd-deploy", "verify", str(path), "--checkpoint", str(request["checkpoint"]), *network_words(request)]
    first, *others = [*bench, shlex.join(words)]
    line(screen, f"done in {result.seconds:.1f} s; next: {first}")
    for command in others:
        line(screen, f"      {command}")


def export_as_plain(result: ExportResult) -> dict[str, Any]:
    """Return for each file what its sidecar says, and where the files are."""
    return {"files": [_file_as_plain(file) for file in result.files], "seconds": result.seconds}


def _show_file(screen: Console, file: ExportedFile) -> None:
    title, before, after = STAGES[file.artifact.format]
    rows = _graph_rows(file.built.traced, file.built.finished)
    show_table(screen, title, ("", before, after), rows)
    show_verification(screen, file.built.report)
    for note in file.built.notes:
        line(screen, f"note: {note}")
    line(screen, f"order of computation: {_lowering(file.built.lowering)}")
    line(screen)


def _file_as_plain(file: ExportedFile) -> dict[str, Any]:
    sidecar: dict[str, Any] = json.loads(file.artifact.sidecar())
    return sidecar | {
        "path": str(file.artifact.path),
        "sidecar": str(file.artifact.sidecar_path),
        "baseline": None if file.baseline is None else str(file.baseline),
        "verification": as_plain(file.built.report),
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
    return ", ".join(f"{name} in {n} layers" for name, n in Counter(lowering.values()).most_common()) or "static"
