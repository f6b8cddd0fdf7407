"""How ``inspect`` reads: a checkpoint, a model file, or a checkpoint that fits no known network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console

from dcd_deploy.artifacts import FLOAT32, UINT8, ModelCard, Preprocessing, StoredWeights, TensorSpec
from dcd_deploy.reports import terminal as numbers
from dcd_deploy.reports.terminal import line, show_table
from dcd_deploy.reports.wording import precision_words

if TYPE_CHECKING:
    from dcd_deploy.export.executorch.graph import PteFileSummary
    from dcd_deploy.export.onnx.summary import OnnxFileSummary
    from dcd_deploy.export.stats import GraphStats
    from dcd_deploy.export.tflite.summary import TfliteFileSummary
    from dcd_deploy.models.fit import Mismatch
    from dcd_deploy.models.inspection import CheckpointSummary
    from dcd_deploy.models.sizes import LayerSummary, NetworkSummary


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


LAYER_COLUMNS = (
    "dynamic layer",
    "kernel",
    "input",
    "C",
    "K",
    "L",
    "S",
    "static",
    "branch",
    "branch/static",
    "params",
    "of all",
)


def show_checkpoint(screen: Console, summary: CheckpointSummary) -> None:
    """Print what a checkpoint holds, a row for each dynamic layer, and totals beside the static twin."""
    network = summary.network
    size = f"{network.height}×{network.width}"
    info = "".join(f", {key} {value}" for key, value in summary.info.items())
    line(screen, f"{summary.path}  {numbers.size(summary.size_bytes)}  sha256 {summary.sha256[:16]}…")
    line(screen, f"weights: {summary.source}, {', '.join(summary.dtypes)}{info}")
    line(screen, f"network: {network.title}{_outputs(network)}; at {size}")
    for note in summary.notes:
        line(screen, f"checkpoint: {note}")
    if summary.assumed:
        line(screen, f"assumed, since no tensor tells: {'; '.join(summary.assumed)}")
    line(screen)
    if network.layers:
        title = "multiply-adds for one input, in the order of computation of the training code"
        show_table(screen, title, LAYER_COLUMNS, map(_layer_row, network.layers))
    show_table(screen, "", ("total", "params", "multiply-adds as trained", "over the twin"), _total_rows(network))


def show_onnx_file(screen: Console, summary: OnnxFileSummary) -> None:
    """Print inputs, outputs, operators and metadata of an ONNX file."""
    versions = "" if summary.opset is None else f"opset {summary.opset}  IR {summary.ir_version}"
    line(screen, f"{summary.path}  {numbers.size(summary.size_bytes)}  {summary.producer}  {versions}".rstrip())
    line(screen)
    _show_tensors(screen, summary)
    if summary.required_operators:
        line(screen, "operators that a build of onnxruntime needs for it (build.sh --include_ops_by_config):")
        for operators in summary.required_operators:
            line(screen, f"  {operators}")
        line(screen)
    elif summary.graph is None:
        line(screen, "its nodes, multiply-adds and opset are read with the package onnx: pip install onnx")
        line(screen)
    else:
        _show_graph(screen, summary.graph)
    _show_card(screen, summary)


def show_tflite_file(screen: Console, summary: TfliteFileSummary) -> None:
    """Print inputs, outputs, operators, delegation and metadata of a TFLite file."""
    line(screen, f"{summary.path}  {numbers.size(summary.graph.size_bytes)}  opened by {summary.runtime}")
    line(screen)
    _show_tensors(screen, summary)
    _show_graph(screen, summary.graph)
    found = summary.delegation
    pieces = f"{found.partitions} partition{'s' * (found.partitions != 1)}"
    line(screen, f"XNNPACK takes {found.taken} of {summary.graph.nodes} operators, in {pieces}")
    rows = [(f"{left.index}", left.operator, left.reason) for left in found.left_out]
    if rows:
        show_table(screen, "left to TFLite's plain kernels", ("place", "operator", "reason"), rows, left=3)
    if summary.flag:
        line(
            screen,
            "made for CompiledModel with XNNPACK's flag DYNAMIC_FULLY_CONNECTED, with which XNNPACK takes them all;",
        )
        line(screen, "without it the file is right, but two to three times slower. How to set it:")
        for language, code in summary.flag.items():
            line(screen, f"  {language}: {code}")
    line(screen)
    _show_card(screen, summary)


def show_pte_file(screen: Console, summary: PteFileSummary) -> None:
    """Print inputs, outputs, operators, partitions and metadata of an ExecuTorch program."""
    found = summary.program
    line(screen, f"{summary.path}  {numbers.size(summary.graph.size_bytes)}  ExecuTorch program")
    line(screen)
    _show_tensors(screen, summary)
    _show_graph(screen, summary.graph)
    backends = ", ".join(each.backend for each in found.delegates) or "none"
    line(screen, f"partitions: {len(found.delegates)} ({backends}), {len(found.outside)} operators outside")
    if found.intact is not None:
        line(screen, f"hash: {'as it was written' if found.intact else 'CHANGED since it was written'}")
    line(screen)
    _show_card(screen, summary)


def _show_tensors(screen: Console, summary: OnnxFileSummary | TfliteFileSummary | PteFileSummary) -> None:
    tensors = [("input", *_tensor(t)) for t in summary.inputs] + [("output", *_tensor(t)) for t in summary.outputs]
    show_table(screen, "", ("", "name", "shape", "type"), tensors, left=4)


def _show_graph(screen: Console, graph: GraphStats) -> None:
    counts = [(name, str(number)) for name, number in graph.operators.items()]
    show_table(
        screen,
        f"{graph.nodes} nodes, {numbers.count(graph.macs)} multiply-adds for one input",
        ("operator", "nodes"),
        counts,
    )


def _show_card(screen: Console, summary: OnnxFileSummary | TfliteFileSummary | PteFileSummary) -> None:
    if summary.card is not None:
        show_table(screen, "description", ("", ""), _card_rows(summary.card), left=2)
    else:
        line(screen, "no description: a foreign file, or a copy that lost it")
    for key, text in summary.metadata.items():
        line(screen, f"{key}: {text[:200]}")


def _outputs(network: NetworkSummary) -> str:
    """Say what comes out of a known network; a user knows that of their own."""
    spec = network.spec
    if spec is None:
        return ""
    if spec.head_kind == "none":
        return f", {spec.num_classes} features"
    return f", {spec.num_classes} classes, {'with' if spec.dropout else 'without'} dropout"


def _layer_row(layer: LayerSummary) -> tuple[str, ...]:
    stride = f" s{layer.stride}" if layer.stride > 1 else ""
    bank = f"{layer.kernels} of " if layer.kernels else ""
    return (
        layer.name,
        f"{bank}{layer.kernel}×{layer.kernel_width or layer.kernel}{stride}",
        f"{layer.height}×{layer.width}",
        *(str(value) for value in (layer.C, layer.K, layer.L, layer.S)),
        numbers.count(layer.macs_static),
        numbers.count(layer.macs_branch),
        numbers.percent(layer.macs_branch / layer.macs_static),
        numbers.count(layer.params),
        numbers.percent(layer.params_share),
    )


def _total_rows(network: NetworkSummary) -> list[tuple[str, ...]]:
    more = numbers.percent(network.macs / network.twin_macs - 1)
    return [
        (network.title, numbers.count(network.params), numbers.count(network.macs), f"+{more}"),
        ("static twin", numbers.count(network.twin_params), numbers.count(network.twin_macs), ""),
    ]


def _tensor(spec: TensorSpec) -> tuple[str, str, str]:
    return spec.name, "×".join("N" if size is None else str(size) for size in spec.shape), spec.dtype


def _preprocessing(p: Preprocessing | None, input_type: str) -> str:
    if p is None:
        return "none (no RGB picture)"
    raw = " bytes, normalised within:" if input_type == UINT8 else ","
    return f"resize {p.resize}, crop {p.height}×{p.width}, RGB{raw} mean {p.mean}, std {p.std}"


def _weights(stored: StoredWeights) -> str:
    left = "" if stored.snr_db is None else f", {stored.snr_db:.1f} dB of signal over noise left"
    return stored.format + left + ("" if stored.least_db is None else f" (at least {stored.least_db:.0f})")


def _card_rows(card: ModelCard) -> list[tuple[str, str]]:
    settings = "".join(f", {key} {value}" for key, value in (card.spec or {}).items() if key != "arch")
    labels = (
        f"{len(card.labels)}: {', '.join(card.labels[:8])}{' …' * (len(card.labels) > 8)}" if card.labels else "none"
    )
    lowerings = Counter(card.lowering.values()).most_common()
    made_from = f"sha256 {card.checkpoint_sha256}" if card.checkpoint_sha256 else "none (a twin made for timing)"
    reference = "none"
    if card.reference is not None:
        reference = f"{card.reference.samples} samples, tolerance {numbers.error(card.reference.tolerance)}"
    return [
        ("network", card.arch + settings),
        ("preprocessing", _preprocessing(card.preprocessing, card.input_type)),
        *(("layout", f"{tensor.name} {tensor.layout}") for tensor in (*card.inputs, *card.outputs) if tensor.layout),
        ("weights", _weights(card.weights)),
        *([] if card.precision.format == FLOAT32 else [("precision", precision_words(card.precision))]),
        ("target", card.target or "not said"),
        *([] if card.opset is None else [("opset", str(card.opset))]),
        ("labels", labels),
        ("lowering", ", ".join(f"{lowering} in {number} layers" for lowering, number in lowerings) or "static"),
        ("checkpoint", made_from),
        ("reference", reference),
        *(("assumed", line) for line in card.assumed),
        ("producer", card.producer),
    ]
