"""Which nodes of a float32 graph are computed in int8, by the role that their names tell.

    features.0.0/static/conv              a convolution with constant weights
    features.2.conv.0/applied/conv        one with weights W(x) that the nodes before it compute
    features.2.conv.6/scaled/conv         one with constant weights, whose output λ multiplies (lowering "factored")
    features.2.conv.6/query/conv          the first half of its low-rank branch; the other is an applied one
    features.2.conv.6/dynamic/add         their sum
    features.3.conv.6/residual/add        a sum of maps behind a layer

An activation that alone reads such a node goes with it: its limits are those of the range that its output is cut to. So
does the product with λ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import onnx

from dcd_deploy.lowering.places import DYNAMIC, RESIDUAL, STATIC

APPLIED, SCALED, QUERY = "applied", "scaled", "query"
STATIC_KERNEL, GENERATED_KERNEL, SCALED_KERNEL, SUM = "static kernel", "generated kernel", "scaled kernel", "sum"
CUTTING, SCALING = ("Clip", "Relu"), ("Mul",)
ROLES = {STATIC: STATIC_KERNEL, APPLIED: STATIC_KERNEL, QUERY: STATIC_KERNEL, SCALED: SCALED_KERNEL}


@dataclass(frozen=True)
class Int8Site:
    """A node in int8, the activation or product with λ that goes with it, and the layer that both are of."""

    role: str
    layer: str
    node: onnx.NodeProto
    follower: onnx.NodeProto | None

    @property
    def maps(self) -> tuple[str, ...]:
        """The maps that go in."""
        return tuple(self.node.input) if self.role == SUM else (self.node.input[0],)

    @property
    def output(self) -> str:
        """The map that comes out, behind its follower."""
        return str((self.follower or self.node).output[0])


def layer_of(name: str) -> str:
    """Return the layer of a node, by its name."""
    return name.partition("/")[0]


def sites(graph: onnx.GraphProto) -> list[Int8Site]:
    """Return the nodes that can be computed in int8, in their order."""
    constants = {tensor.name for tensor in graph.initializer}
    readers = _readers(graph.node)
    factored = {layer_of(node.name) for node in graph.node if node.name.split("/")[1:2] == [SCALED]}
    outputs = {output.name for output in graph.output}
    found = []
    for node in graph.node:
        if (role := _role(node, constants, factored)) is not None:
            follower = _follower(node, readers, outputs, SCALING if role == SCALED_KERNEL else CUTTING)
            found.append(Int8Site(role, layer_of(node.name), node, follower))
    return found


def _role(node: onnx.NodeProto, constants: Collection[str], factored: Collection[str]) -> str | None:
    parts = node.name.split("/")
    if len(parts) != 3:
        return None
    if node.op_type == "Conv":
        if parts[1] == APPLIED and node.input[1] not in constants:
            return GENERATED_KERNEL
        return ROLES.get(parts[1]) if node.input[1] in constants else None
    maps = node.op_type == "Add" and not set(node.input).intersection(constants)
    return SUM if maps and (parts[1] == RESIDUAL or (parts[1] == DYNAMIC and parts[0] in factored)) else None


def _readers(nodes: Iterable[onnx.NodeProto]) -> dict[str, list[onnx.NodeProto]]:
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            found.setdefault(name, []).append(node)
    return found


def _follower(
    node: onnx.NodeProto, readers: dict[str, list[onnx.NodeProto]], outputs: set[str], kinds: tuple[str, ...]
) -> onnx.NodeProto | None:
    reading = readers.get(node.output[0], [])
    if len(reading) == 1 and reading[0].op_type in kinds and node.output[0] not in outputs:
        return reading[0]
    return None


def layers(found: Iterable[Int8Site]) -> list[str]:
    """Return the layers of sites, each once, in their order."""
    return list(Counter(site.layer for site in found))
