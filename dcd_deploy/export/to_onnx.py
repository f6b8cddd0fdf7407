"""Deploy form → ONNX, by tracing it with torch's exporter.

The exporter's own graph is kept as it came ("raw"), and once more after the exporter's clean-up of the constructs
that only it understands ("tidied": shape arithmetic, sequences, casts). ``simplify`` takes it from there.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import onnx
import torch
from torch import nn

from dcd_deploy.artifacts import INPUT, OUTPUT
from dcd_deploy.errors import ExportError, OptionError
from dcd_deploy.export.build import DEFAULT_OPSET
from dcd_deploy.export.deployable import deployable
from dcd_deploy.export.older_opset import in_older_opset

OPSETS = range(15, 27)
TRACED_FROM = 18  # the exporter's own oldest; it goes below in silence, where it can


@dataclass(frozen=True)
class TracedOnnx:
    """The exporter's graph as it came, and tidied."""

    raw: onnx.ModelProto
    tidied: onnx.ModelProto


def to_onnx(
    network: nn.Module,
    height: int,
    width: int,
    batch: int | None = 1,
    opset: int = DEFAULT_OPSET,
    channels: int = 3,
) -> TracedOnnx:
    """Trace a network, as a rule the deploy form, in float32.

    Its inputs are (batch, channels, height, width); a batch of None stays free.

    Raises:
        OptionError: the opset is not among ``OPSETS``.
        ExportError: the exporter refused the network, or the opset lacks what it needs.
    """
    check_opset(opset)
    program = _trace(deployable(network), (channels, height, width), batch, max(opset, TRACED_FROM))
    raw = onnx.ModelProto()
    raw.CopyFrom(program.model_proto)
    program.optimize()
    tidied = program.model_proto
    if opset < TRACED_FROM:
        tidied = in_older_opset(tidied, opset)
    found = next(entry.version for entry in tidied.opset_import if entry.domain == "")
    if found != opset:
        raise ExportError(f"expected a model of opset {opset}, but the exporter gave {found}; choose another --opset")
    return TracedOnnx(raw, tidied)


def check_opset(opset: int) -> None:
    """Raise OptionError unless the opset is among ``OPSETS``."""
    if opset not in OPSETS:
        raise OptionError(
            f"expected an opset in {OPSETS.start}..{OPSETS.stop - 1}, the ones that come out right, found {opset}; "
            "choose another --opset"
        )


def _trace(network: nn.Module, shape: tuple[int, int, int], batch: int | None, opset: int) -> torch.onnx.ONNXProgram:
    example = torch.zeros(batch or 2, *shape)
    free = ({0: torch.export.Dim("N")},) if batch is None else None
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                optimize=False,
                opset_version=opset,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=free,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error).strip().splitlines()[0]
        raise ExportError(
            f"torch's ONNX exporter refused the network at {shape[1]}×{shape[2]}: {reason}; try another --lowering"
        ) from error
    assert program is not None
    return program


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks about itself off the user's terminal; its errors are raised."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
