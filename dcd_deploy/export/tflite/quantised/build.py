"""From a float32 graph and calibration images to the graph in int8, whose other large constants are stored small."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dcd_deploy.artifacts import INT8
from dcd_deploy.export.naming import free_name
from dcd_deploy.export.rounding import rounded
from dcd_deploy.export.tflite.file import TfliteModel, text_of
from dcd_deploy.export.tflite.quantised.map_noise import noisiest_layers
from dcd_deploy.export.tflite.quantised.numbers import check_numbers
from dcd_deploy.export.tflite.quantised.pools import with_means
from dcd_deploy.export.tflite.quantised.ranges import Ranges, measured
from dcd_deploy.export.tflite.quantised.roles import in_int8
from dcd_deploy.export.tflite.quantised.silent import hold_biases
from dcd_deploy.export.tflite.store import constants, store_tflite
from dcd_deploy.native_output import without_remarks
from dcd_deploy.optional import require
from dcd_deploy.samples import Images

BITS = 8
WEIGHTS = {"num_bits": BITS, "symmetric": True, "granularity": "CHANNELWISE", "dtype": "INT"}
MAPS = {"num_bits": BITS, "symmetric": False, "granularity": "TENSORWISE", "dtype": "INT"}
STATIC_RANGES = {
    "activation_tensor_config": MAPS,
    "weight_tensor_config": WEIGHTS,
    "compute_precision": "INTEGER",
    "explicit_dequantize": False,
}
EXCESS = 1.5  # of the rounding of what stays in float32, for fewer scales: 2 dB of some 45
ALGORITHM = "min_max_uniform_quantize"
ADDED = {"QUANTIZE": "_quantized", "DEQUANTIZE": "_dequant"}  # what ai-edge-quantizer calls what it adds


@dataclass(frozen=True, eq=False)
class TfliteQuantiser:
    """A float32 graph, the ranges of its maps, and the ``images`` that they are from, as its input has them."""

    model: TfliteModel
    ranges: Ranges
    images: Images

    @classmethod
    def of(cls, content: bytes, images: Images) -> TfliteQuantiser:
        """Measure the ranges.

        Raises:
            VerificationError: a map is not finite on the images.
        """
        model = prepared(content)
        return cls(model, measured(model, (images,)), images)

    def graph(self, keep_float: Collection[str] = ()) -> bytes:
        """Return the graph in int8, all but the layers ``keep_float``, unchecked."""
        return rewritten(self.model, in_int8(self.model, keep_float), self.ranges)

    def quantised(self, keep_float: Collection[str] = (), *, judged: bool = True) -> bytes:
        """Return the same graph, checked.

        One that is not ``judged`` may be of random weights, whose biases int32 does not hold in steps of tiny maps.

        Raises:
            OptionError: a layer of ``keep_float`` is none that would be in int8.
            VerificationError: the quantizer wrote another number than it should.
        """
        made = self.graph(keep_float)
        if judged:
            chosen = in_int8(self.model, keep_float)
            check_numbers(self.model, chosen, self.ranges, TfliteModel.from_bytes(made))
        return made

    def noisiest(self, keep_float: Collection[str] = ()) -> list[str]:
        """Return all other layers that have maps in int8, of which least signal is left first."""
        return noisiest_layers(self.model, in_int8(self.model, keep_float), self.ranges, self.images)


def prepared(content: bytes) -> TfliteModel:
    """Return the float32 graph in operators that XNNPACK has in int8."""
    model = TfliteModel.from_bytes(content)
    with_means(model)
    return model


def rewritten(model: TfliteModel, chosen: Sequence[int], ranges: Ranges) -> bytes:
    """Return the graph with these operators in int8; what stays in float32 is stored small."""
    with _quiet():
        quantizer = require("ai_edge_quantizer.quantizer").Quantizer(model.to_bytes(), _recipe(model, chosen))
        made = bytes(
            quantizer.quantize(ranges, enable_progress_report=False, enable_progress_bar=False).quantized_model
        )
    result = _with_buffers(made)
    hold_biases(model, result)
    _name(result)
    for index, values in list(constants(result)):
        buffer = result.root.buffers[result.graph.tensors[index].buffer]
        buffer.data = np.ascontiguousarray(rounded(values, INT8, EXCESS)).reshape(-1).view(np.uint8)
    return store_tflite(result.to_bytes(), INT8)


def _with_buffers(content: bytes) -> TfliteModel:
    """Read a file of ai-edge-quantizer, which may keep the numbers of its buffers behind the graph."""
    model = TfliteModel.from_bytes(content)
    for buffer in model.root.buffers:
        if buffer.data is None and buffer.offset > 1 and buffer.size:
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def _recipe(model: TfliteModel, chosen: Sequence[int]) -> list[dict[str, Any]]:
    """Return ai-edge-quantizer's words for it: for each kind of operator, the names of those in int8."""
    names: dict[str, list[str]] = {}
    for i in chosen:
        operator = model.graph.operators[i]
        written = ";".join(text_of(model.graph.tensors[tensor].name) for tensor in operator.outputs)
        names.setdefault(model.operator_name(operator), []).append(re.escape(written))
    return [
        {
            "regex": f"^({'|'.join(written)});?$",
            "operation": kind,
            "algorithm_key": ALGORITHM,
            "op_config": STATIC_RANGES,
        }
        for kind, written in names.items()
    ]


def _name(model: TfliteModel) -> None:
    """Name what was added as all else is: layer, part, operator."""
    taken = {text_of(tensor.name) for tensor in model.graph.tensors}
    for operator in model.graph.operators:
        kind, tensor = model.operator_name(operator), model.graph.tensors[operator.outputs[0]]
        if (ending := ADDED.get(kind)) and (old := text_of(tensor.name)).endswith(ending):
            place = old.removesuffix(ending).rpartition("/")[0] or "input/input"
            tensor.name = free_name(f"{place}/{kind.lower()}", taken).encode()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the quantizer says of itself off the user's terminal; its errors are raised."""
    streams = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    with without_remarks(), streams[0], streams[1]:
        yield
