"""The proof that a graph in int8 has the formats that its ranges ask for: every layer, map and kernel.

A scale or zero point that is off, but the same for who makes a map and who reads it, hardly shows in what is computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from dcd_deploy.errors import VerificationError
from dcd_deploy.export.onnx.quantised.numbers import map_format, quantised_weights, weight_scales
from dcd_deploy.export.onnx.quantised.poolings import Pooling, poolings
from dcd_deploy.export.onnx.quantised.ranges import Ranges
from dcd_deploy.export.onnx.quantised.rewriting import IN_INT8
from dcd_deploy.export.onnx.quantised.roles import GENERATED_KERNEL, SUM, Int8Site

CONVOLUTION = "QLinearConv"
PARAMETERS = {CONVOLUTION: ((0, 1, 2), (-1, 6, 7)), "QuantizeLinear": ((-1, 1, 2),), "DequantizeLinear": ((0, 1, 2),)}


def check_formats(
    float32: onnx.ModelProto, int8: onnx.ModelProto, found: Sequence[Int8Site], ranges: Ranges, bits: int
) -> None:
    """Refuse a graph in which a site is left out, or has other numbers than those that belong there.

    Raises:
        VerificationError: it is so; the message names the place.
    """
    makers = {name: node for node in int8.graph.node for name in node.output}
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in int8.graph.initializer}
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in float32.graph.initializer}
    for site in found:
        if not _in_int8(site, makers):
            raise VerificationError(f"expected layer '{site.layer}' in int8, found it left out; {DEFECT}")
        for name in (*site.maps, site.output):
            wanted = map_format(*ranges.maps[name])
            _check(f"scale of '{name}'", tensors[f"{name}.scale"], wanted.scale)
            _check(f"zero point of '{name}'", tensors[f"{name}.zero"], wanted.zero)
        if site.role == SUM:
            continue
        name, kernel = site.node.name, site.node.input[1]
        if site.role == GENERATED_KERNEL:
            _check(f"scales of '{name}'", tensors[f"{name}.scales"], weight_scales(ranges.kernels[kernel], bits))
            continue
        numbers, scales = quantised_weights(weights[kernel], bits)
        _check(f"scales of '{name}'", tensors[f"{name}.scales"], scales)
        _check(f"weights of '{name}'", tensors[f"{name}.weight"], numbers)
    in_int8 = {site.output for site in found}
    _check_poolings([each for each in poolings(float32) if each.map in in_int8], ranges, makers, tensors)
    for node in int8.graph.node:
        for place, scale, zero in PARAMETERS.get(node.op_type, ()):
            value = (node.output[0] if place < 0 else node.input[place]).removesuffix(IN_INT8)
            if f"{value}.scale" in tensors:
                _check(f"parameters of '{value}' in '{node.name}'", list(node.input)[scale : zero + 1], _names(value))


def _check_poolings(
    pools: Sequence[Pooling],
    ranges: Ranges,
    makers: Mapping[str, onnx.NodeProto],
    tensors: Mapping[str, NDArray[np.generic]],
) -> None:
    for pooling in pools:
        name, source = pooling.last.output[0], pooling.map
        *behind, sums = _before(makers[name], makers)
        _check(f"sums of '{name}'", sums.op_type, "MatMulInteger")
        (factors,) = (node.input[1] for node in behind if node.op_type == "Mul")
        _check(f"factors of '{name}'", tensors[factors], pooling.factors(map_format(*ranges.maps[source]).scale))
        for side, wanted in (("rows", pooling.rows), ("columns", pooling.columns)):
            _check(f"{side} of '{name}'", tensors[f"{sums.input[0]}.{side}"].reshape(wanted.shape), wanted)
        _check(f"zero point of '{name}'", list(sums.input)[3:], [f"{source}.zero"])


def _before(node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Yield what makes means, from their layout back to their sums, or to the first that is none of it."""
    while node.op_type in ("Reshape", "Transpose", "Mul", "Cast"):
        yield node
        node = makers[node.input[0]]
    yield node


def _in_int8(site: Int8Site, makers: Mapping[str, onnx.NodeProto]) -> bool:
    """Whether a site's map is made in int8, and not quantised behind it."""
    maker = makers.get(site.output + IN_INT8)
    if maker is None or site.role != SUM:
        return maker is not None and maker.op_type == CONVOLUTION
    return bool(maker.input[0] == f"{site.node.name}.sum")


DEFECT = "this is a defect, please report it"


def _names(value: str) -> list[str]:
    return [f"{value}.scale", f"{value}.zero"]


def _check(what: str, found: object, wanted: NDArray[np.generic] | np.generic | list[str] | str) -> None:
    if not np.array_equal(np.asarray(found), np.asarray(wanted)):
        raise VerificationError(f"expected the {what} as its range asks for, found another; {DEFECT}")
