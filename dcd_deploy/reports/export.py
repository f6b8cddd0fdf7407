"""How an export reads, and what to type next, with the options by which the network was named."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console

from dcd_deploy.artifacts import FLOAT16, FLOAT32, INT8, ModelCard, StoredWeights
from dcd_deploy.export.pipeline import ExportedFile, ExportResult
from dcd_deploy.export.stats import GraphStats
from dcd_deploy.export.verify import VerificationReport
from dcd_deploy.reports import terminal as numbers
from dcd_deploy.reports.json import as_plain
from dcd_deploy.reports.terminal import line, show_table
from dcd_deploy.reports.verify import show_comparisons, show_inputs
from dcd_deploy.reports.wording import precision_words


def network_words(options: Mapping[str, Any]) -> list[str]:
    """Return the options that say which network it is, and what of it is kept whole, as words of a command line."""
    words: list[str] = []
    if network := options.get("network"):
        words += ["--network", network]
        words += ["--network-args", arguments] if (arguments := options.get("network_args")) else []
    return words + [word for path in options.get("leaf") or () for word in ("--leaf", path)]


STAGES = {
    "onnx": ("ONNX graph", "as traced", "simplified"),
    "ort": ("ONNX graph", "as traced", "simplified"),
    "tflite": ("TFLite graph", "as converted", "finished"),
    "pte": ("ExecuTorch program, one partition for XNNPACK", "as lowered", "finished"),
}
TWIN = "static twin: the trained weights, heads fixed at their mean; for timing, no baseline of accuracy"
MOST_NOTES = 4  # of one pass
NOISE_COLUMNS = ("layer", "role", "isolated", "accumulated", "kernel or λ")
FORMATS = {"onnx": "ONNX", "ort": "ONNX, saved as .ort", "tflite": "TFLite", "pte": "ExecuTorch"}


def show_export(screen: Console, result: ExportResult, request: Mapping[str, Any]) -> None:
    """Print what was exported, for each format what it is and how near the trained network, and what to type next.

    With ``verbose`` in ``request`` each graph before and after our passes and all comparisons too. ``request`` has the
    ``checkpoint`` and by which options the network was named.
    """
    first = result.files[0]
    line(screen, f"{_title(first.artifact.card)}; from {request['checkpoint']}")
    for note in result.checkpoint_notes:
        line(screen, f"checkpoint: {note}")
    if first.built.report.assumed:
        line(screen, f"assumed, since no tensor tells: {'; '.join(first.built.report.assumed)}")
    if request.get("verbose"):
        show_inputs(screen, first.built.report)
    for file in result.files:
        _show_file(screen, file, verbose=bool(request.get("verbose")))
    for file in result.files:
        line(screen, f"wrote {_written(file)}")
    _show_next(screen, result, request)


def _show_next(screen: Console, result: ExportResult, request: Mapping[str, Any]) -> None:
    path = result.files[0].artifact.path
    own = request.get("network") is not None
    timed = not own or result.baseline is not None  # nobody else can make the twin of the user's own network
    bench = [shlex.join(["dcd-deploy", "bench", str(path)])] if timed else []
    words = ["dcd-deploy", "verify", str(path), "--checkpoint", str(request["checkpoint"]), *network_words(request)]
    first, *others = [*bench, shlex.join(words)]
    line(screen, f"done in {result.seconds:.1f} s; next: {first}")
    for command in others:
        line(screen, f"      {command}")


def _title(card: ModelCard) -> str:
    """Say which network a file is, and what it takes."""
    from dcd_deploy.models.spec import NetworkSpec

    name = card.arch if card.spec is None else NetworkSpec.from_json(card.spec).describe()
    sizes = ", ".join("×".join("any" if side is None else str(side) for side in one.shape) for one in card.inputs)
    return f"{name}, for inputs {sizes}"


def _written(file: ExportedFile) -> str:
    path, sidecar = file.artifact.path, file.artifact.sidecar_path.name
    words = f"{path} ({numbers.size(path.stat().st_size)}) and {sidecar}"
    return words if file.baseline is None else f"{words}; {file.baseline.name} ({TWIN})"


def export_as_plain(result: ExportResult) -> dict[str, Any]:
    """Return for each file what its sidecar says, and where the files are."""
    return {"files": [_file_as_plain(file) for file in result.files], "seconds": result.seconds}


def _show_file(screen: Console, file: ExportedFile, *, verbose: bool) -> None:
    built, kind = file.built, file.artifact.format
    if verbose:
        title, before, after = STAGES[kind]
        show_table(screen, title, ("", before, after), _graph_rows(built.traced, built.finished))
        show_comparisons(screen, built.report)
        if noise := built.facts.get("layer_noise"):
            show_table(screen, "what each layer costs in int8", NOISE_COLUMNS, map(_noise_row, noise), left=2)
    trained = numbers.count(file.artifact.facts["macs"]["released_form"])
    macs = f"{numbers.count(built.finished.macs)} multiply-adds for one input (as trained {trained})"
    line(screen, f"{FORMATS[kind]}: {built.finished.nodes} nodes, {numbers.size(built.finished.size_bytes)}, {macs}")
    line(screen, f"  verified: {_nearness(built.report)}")
    line(screen, f"  order of computation: {_lowering(built.lowering)}")
    if (precision := built.precision).format == FLOAT32:
        line(screen, f"  weights: {_weights(built.weights, built.sizes)}")
    else:
        line(screen, f"  precision: {precision_words(precision)}")
    for note in _few((*built.report.notes, *built.notes)):
        line(screen, f"  note: {note}")


def _few(notes: Sequence[str]) -> Iterator[str]:
    """Give the notes, but of what one pass left as it was the first ones alone: networks have dozens of reshapes."""
    of_pass: Counter[str] = Counter()
    for note in notes:
        name = note.partition(": '")[0]  # as ``lowering.deploy`` begins what a pass says of a path
        of_pass[name] += ": '" in note
        if of_pass[name] <= MOST_NOTES:
            yield note
    for name, count in of_pass.items():
        if count > MOST_NOTES:
            yield f"{name}: {count - MOST_NOTES} more, which the file's sidecar lists"


def _nearness(report: VerificationReport) -> str:
    """Say how far the finished file is from the trained network, on what, and that nothing else failed."""
    last = [one for one in report.comparisons if one.stage == report.comparisons[-1].stage]
    worst = max(last, key=lambda one: one.relative / one.tolerance)
    error = f"{numbers.error(worst.relative)} of the outputs' range from {worst.against}"
    inputs = f"on {report.samples} {report.inputs}"
    return f"{error}, limit {numbers.error(worst.tolerance)}, {inputs}; {len(report.comparisons)} comparisons passed"


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
        ("multiply-adds", numbers.count(before.macs), numbers.count(after.macs)),
        *((f"  {name}", _or_dash(before, name), _or_dash(after, name)) for name in operators),
    ]


def _or_dash(stats: GraphStats, operator: str) -> str:
    return str(stats.operators.get(operator, "–"))


def _noise_row(each: Mapping[str, Any]) -> tuple[str, ...]:
    kernel = "–" if each["kernel_db"] is None else f"{each['kernel_db']:.1f} dB"
    return each["layer"], each["role"], f"{each['isolated_db']:.1f} dB", f"{each['accumulated_db']:.1f} dB", kernel


def _weights(stored: StoredWeights, sizes: Mapping[str, int]) -> str:
    """Say how weights are stored and what that saves and costs; of float32, what a smaller choice would save."""
    if sizes.keys() == {FLOAT32}:  # ExecuTorch has no other way to store them
        return FLOAT32
    if stored.format == FLOAT32:
        small, half = (numbers.size(sizes[name]) for name in (INT8, FLOAT16))
        return f"float32; --weights int8 would take about {small}, float16 {half}, as quick; what it costs is said then"
    left = "" if stored.snr_db is None else f"; {stored.snr_db:.1f} dB of signal over noise are left"
    least = "" if stored.least_db is None else f" (at least {stored.least_db:.0f} is asked for)"
    return f"{stored.format}, {numbers.size(sizes[FLOAT32])} → {numbers.size(sizes[stored.format])}{left}{least}"


def _lowering(lowering: dict[str, str]) -> str:
    return ", ".join(f"{name} in {n} layers" for name, n in Counter(lowering.values()).most_common()) or "static"
