"""Which operators of a float32 graph are computed in int8, by the roles that their names tell.

static kernel      static, query, mixture    int8: constant weights on maps
P, ⊙ λ, the sum    project, dynamic          int8 on large maps alone: each map more that is rounded costs signal.
                                             float32 in layers that narrow, and where a cache holds the map
between layers     sums, padding, pools      int8, where the maps that they read are
generated kernel   kernel, shift, applied    float32: W(x), and its product with the map
Φ                  dynamic, a product        float32
attention          attention                 float32, from the pooled values on
classifier         of the last layer         float32 where a cache holds W0: what is rounded last falls on the logits
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from dcd_deploy.errors import OptionError
from dcd_deploy.export.tflite.file import TfliteModel, text_of
from dcd_deploy.lowering.passes.substitute import some
from dcd_deploy.lowering.places import ATTENTION, DYNAMIC, STATIC, is_within

KERNELS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})
FOLLOWING = frozenset({"ADD", "MAX_POOL_2D", "MEAN", "CONCATENATION"})
IN_FLOAT = frozenset({ATTENTION, "kernel", "shift", "applied"})
DYNAMIC_HALF = frozenset({"project", DYNAMIC})
CACHED = 1 << 14  # values of a map or matrix: 64 KiB in float32, the first cache of a Cortex-A76


def in_int8(model: TfliteModel, keep_float: Collection[str] = ()) -> list[int]:
    """Return the places of the operators that are computed in int8, but for the layers within ``keep_float``.

    Raises:
        OptionError: a name of ``keep_float`` has no layer that would be in int8.
    """
    operators = model.graph.operators
    layers = list(dict.fromkeys(layer_of(model, operators[i]) for i in _Choice(model).places()))
    known = [*layers, *(layer_of(model, each) for each in operators if part_of(model, each) == ATTENTION)]
    for name in keep_float:
        if not any(is_within(layer, (name,)) for layer in known):
            raise OptionError(
                expected=f"`keep_float` with layers that are computed in int8, such as {some(layers)}",
                found=f"'{name}'",
            )
    return _Choice(model, keep_float).places()


class _Choice:
    """Follows a graph from its inputs on, and knows which of its maps are in int8."""

    def __init__(self, model: TfliteModel, keep_float: Collection[str] = ()) -> None:
        self.model, self.keep_float = model, keep_float
        self.small = _small(model)
        self.last = _last(model)
        self.maps = {int(tensor) for tensor in model.graph.inputs}
        self.readers = {int(tensor): each for each in model.graph.operators for tensor in each.inputs}

    def places(self) -> list[int]:
        """Return the places of the operators in int8."""
        found = []
        for i, operator in enumerate(self.model.graph.operators):
            if self._serves(operator):
                self.maps.update(map(int, operator.outputs))
                found.append(i)
        return found

    def _serves(self, operator: Any) -> bool:
        if self._stays(operator):
            return False
        kind, reader = self.model.operator_name(operator), self.readers.get(int(operator.outputs[0]))
        computed = [int(tensor) for tensor in operator.inputs if not is_constant(self.model, tensor)]
        known = [tensor in self.maps for tensor in computed]
        if kind in KERNELS:
            return is_constant(self.model, operator.inputs[1])
        if kind == "PAD":  # moves fewer bytes
            return all(known) or (reader is not None and self._is_kernel(reader))
        if kind == "RESHAPE":
            return all(known) and reader is not None and self.model.operator_name(reader) == "MEAN"
        if kind == "CONCATENATION":  # whose operands have one scale: none that is a constant's
            known += [False] * (len(operator.inputs) - len(known))
        return any(known) if kind == "MUL" else kind in FOLLOWING and bool(known) and all(known)

    def _is_kernel(self, operator: Any) -> bool:
        return self.model.operator_name(operator) in KERNELS and self._serves(operator)

    def _stays(self, operator: Any) -> bool:
        layer, part = layer_of(self.model, operator), part_of(self.model, operator)
        weighted = self.model.operator_name(operator) in KERNELS
        small = layer in self.small and part in DYNAMIC_HALF
        last = weighted and layer in self.last and self._is_small_matrix(operator)
        return is_within(layer, self.keep_float) or small or last or (weighted and part in IN_FLOAT)

    def _is_small_matrix(self, operator: Any) -> bool:
        """Whether a kernel is applied to one pixel, and a cache holds it in float32."""
        result, kernel = (self.model.graph.tensors[i].shape for i in (operator.outputs[0], operator.inputs[1]))
        return bool(np.prod(result[:-1]) == 1 and np.prod(kernel) <= CACHED)


def _small(model: TfliteModel) -> set[str]:
    """Return the layers whose W0 gives fewer channels than it takes, or a map that a cache holds."""
    found = set()
    for operator in model.graph.operators:
        if model.operator_name(operator) == "CONV_2D" and part_of(model, operator) == STATIC:
            outputs, *_, inputs = model.graph.tensors[operator.inputs[1]].shape
            if outputs < inputs or np.prod(model.graph.tensors[operator.outputs[0]].shape) <= CACHED:
                found.add(layer_of(model, operator))
    return found


def _last(model: TfliteModel) -> set[str]:
    """Return the layers that make the outputs, if need be in another shape."""
    ends = {int(tensor) for tensor in model.graph.outputs}
    found = set()
    for operator in reversed(model.graph.operators):
        if ends.intersection(operator.outputs):
            found.add(layer_of(model, operator))
            ends |= {int(operator.inputs[0])} if model.operator_name(operator) == "RESHAPE" else set()
    return found


def is_constant(model: TfliteModel, tensor: int) -> bool:
    """Whether a tensor is in the file, and not computed."""
    data = model.root.buffers[model.graph.tensors[tensor].buffer].data
    return data is not None and len(data) > 0


def layer_of(model: TfliteModel, operator: Any) -> str:
    """Return the layer of an operator, by its name."""
    return _name(model, operator).partition("/")[0]


def part_of(model: TfliteModel, operator: Any) -> str:
    """Return what within its layer an operator is: "attention" of "features.2.conv.0/attention.squeeze/conv2d"."""
    return _name(model, operator).partition("/")[2].partition("/")[0].partition(".")[0]


def _name(model: TfliteModel, operator: Any) -> str:
    return text_of(model.graph.tensors[operator.outputs[0]].name)
