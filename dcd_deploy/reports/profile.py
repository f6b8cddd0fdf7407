"""How a profile reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console

from dcd_deploy.benchmarks.profile import ProfiledNode, ProfileResult, Sums
from dcd_deploy.errors import UnknownNameError
from dcd_deploy.network_names import labelled
from dcd_deploy.reports import terminal as numbers
from dcd_deploy.reports.counts import NO_LAYER
from dcd_deploy.reports.json import as_plain
from dcd_deploy.reports.terminal import line, show_table
from dcd_deploy.runtimes.nodes import PARTS, UNKNOWN

SLOWEST = 10
TABLES = ("layer", "operator", "type")


def check_table(by: str) -> None:
    """Raise UnknownNameError unless ``by`` is one of ``TABLES``."""
    if by not in TABLES:
        raise UnknownNameError("table of a profile", by, TABLES)


def show_profile(screen: Console, result: ProfileResult, request: Mapping[str, Any]) -> None:
    """Print the times by layer, by operator or by type of operator, the parts, and the sum beside the latency."""
    by = request.get("by", "layer")
    threads = f"{result.threads} thread{'s' * (result.threads > 1)}"
    line(screen, f"{labelled(result.model, result.network)}  {result.runtime}, {threads}, {_runs(result)}")
    line(screen)
    if by == "operator":
        _show_nodes(screen, "operators, in the order in which they ran", result.nodes, result.total_ms)
    elif by == "type":
        _show_sums(screen, "type of operator", result.by_type(), result)
    else:
        _show_sums(screen, "layer", result.by_layer(), result)
        slowest = sorted(result.nodes, key=lambda node: -node.median_ms)[:SLOWEST]
        _show_nodes(screen, f"the {len(slowest)} slowest operators", slowest, result.total_ms)
    _show_parts(screen, result)
    _show_total(screen, result)


def _runs(result: ProfileResult) -> str:
    return f"median of {result.runs} runs of each node"


def profile_as_plain(result: ProfileResult) -> dict[str, Any]:
    """Return a profile for JSON, its sums included."""
    sums = {"layers": result.by_layer(), "parts": result.by_part(), "types": result.by_type()}
    plain: dict[str, Any] = as_plain(result)
    return plain | {key: [as_plain(found) | {"total_ms": found.total_ms} for found in sums[key]] for key in sums}


def _show_sums(screen: Console, title: str, sums: Iterable[Sums], result: ProfileResult) -> None:
    found = list(sums)
    parts = [part for part in PARTS if part != UNKNOWN or any(UNKNOWN in each.parts_ms for each in found)]
    columns = (title, *(f"{part} ms" for part in parts), "sum ms", "share", "MACs", "read", "written", "nodes")
    show_table(screen, "", columns, (_sum_row(each, parts, result.total_ms) for each in found))


def _sum_row(found: Sums, parts: Iterable[str], total_ms: float) -> tuple[str, ...]:
    return (
        found.name or NO_LAYER,
        *(_ms(found.parts_ms.get(part, 0.0)) for part in parts),
        _ms(found.total_ms),
        _share(found.total_ms, total_ms),
        numbers.count(found.macs),
        numbers.size(found.bytes_read),
        numbers.size(found.bytes_written),
        str(found.nodes),
    )


def _show_nodes(screen: Console, title: str, nodes: Iterable[ProfiledNode], total_ms: float) -> None:
    rows = [
        (
            node.name,
            node.operator,
            node.layer or NO_LAYER,
            node.part,
            _ms(node.median_ms),
            _share(node.median_ms, total_ms),
            numbers.count(node.macs),
        )
        for node in nodes
    ]
    show_table(screen, title, ("name", "operator", "layer", "part", "ms", "share", "MACs"), rows, left=4)


def _show_parts(screen: Console, result: ProfileResult) -> None:
    parts = [
        f"{found.name} {numbers.milliseconds(found.total_ms)} ({_share(found.total_ms, result.total_ms)})"
        for found in sorted(result.by_part(), key=lambda found: PARTS.index(found.name))
    ]
    line(screen, f"parts: {', '.join(parts)}")


def _show_total(screen: Console, result: ProfileResult) -> None:
    difference = result.total_ms / result.latency_ms - 1
    share = numbers.percent(abs(difference))
    gap = f"{share} of it is between the nodes, or below the profiler's microsecond"
    verdict = f"the profiler itself adds {share}" if difference >= 0 else gap
    line(
        screen,
        f"sum of the nodes {numbers.milliseconds(result.total_ms)}, latency without the profiler "
        f"{numbers.milliseconds(result.latency_ms)}: {verdict}",
    )


def _ms(value: float) -> str:
    return f"{value:.3f}"


def _share(value: float, total: float) -> str:
    return numbers.percent(value / total) if total else "–"
