"""Ranges over the calibration images: the least and largest value of each map, the largest of each channel of W(x).

The float32 graph itself tells them, by operators that are added to it: no map leaves the runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from dcd_deploy.errors import VerificationError
from dcd_deploy.export.rounding import Values
from dcd_deploy.runtimes.onnxruntime import OnnxRuntimeSession
from dcd_deploy.samples import Inputs


@dataclass(frozen=True)
class Ranges:
    """(least, largest) of each map, and the largest absolute weight (K) of each output channel of each kernel."""

    maps: dict[str, tuple[float, float]]
    kernels: dict[str, Values]


def measured(model: onnx.ModelProto, maps: Sequence[str], kernels: Sequence[str], inputs: Inputs) -> Ranges:
    """Run the graph on all inputs (N, …), one by one.

    Raises:
        VerificationError: a map is not finite.
    """
    maps, kernels = list(dict.fromkeys(maps)), list(dict.fromkeys(kernels))
    session = OnnxRuntimeSession(_telling(model, maps, kernels).SerializeToString())
    lows, highs = np.full(len(maps), np.inf), np.full(len(maps), -np.inf)
    largest: list[NDArray[np.floating]] = [np.zeros(1, np.float32)] * len(kernels)
    first = len(model.graph.output)
    for i in range(len(inputs[0])):
        found = session.run_all(tuple(values[i : i + 1] for values in inputs))[first:]
        lows = np.minimum(lows, [values.item() for values in found[: len(maps)]])
        highs = np.maximum(highs, [values.item() for values in found[len(maps) : 2 * len(maps)]])
        largest = [np.maximum(a, b.ravel()) for a, b in zip(largest, found[2 * len(maps) :], strict=True)]
    for name, low, high in zip(maps, lows, highs, strict=True):
        if not np.isfinite([low, high]).all():
            raise VerificationError(f"expected finite values on the calibration images, found others in '{name}'")
    bounds = {name: (float(low), float(high)) for name, low, high in zip(maps, lows, highs, strict=True)}
    return Ranges(bounds, {name: values.astype(np.float32) for name, values in zip(kernels, largest, strict=True)})


def _telling(model: onnx.ModelProto, maps: Sequence[str], kernels: Sequence[str]) -> onnx.ModelProto:
    """Return the graph that also gives the extremes; of kernels (K, …) of each channel."""
    telling = onnx.ModelProto()
    telling.CopyFrom(model)
    graph = telling.graph
    types = {each.name: each.type.tensor_type.elem_type for each in graph.input}
    for kind in ("ReduceMin", "ReduceMax"):
        for i, name in enumerate(maps):
            whole = name
            if types.get(name, onnx.TensorProto.FLOAT) != onnx.TensorProto.FLOAT:
                whole = f"whole.{kind}.{i}"
                graph.node.append(helper.make_node("Cast", [name], [whole], to=onnx.TensorProto.FLOAT))
            graph.node.append(helper.make_node(kind, [whole], [f"{kind}.{i}"], keepdims=0))
    for i, name in enumerate(kernels):
        graph.node.append(helper.make_node("Abs", [name], [f"size.{i}"]))
        graph.node.append(helper.make_node("Flatten", [f"size.{i}"], [f"rows.{i}"], axis=1))
        graph.node.append(helper.make_node("TopK", [f"rows.{i}", "one"], [f"Largest.{i}", f"where.{i}"], axis=1))
    graph.initializer.append(helper.make_tensor("one", onnx.TensorProto.INT64, [1], [1]))
    names = [f"{kind}.{i}" for kind in ("ReduceMin", "ReduceMax") for i in range(len(maps))]
    names += [f"Largest.{i}" for i in range(len(kernels))]
    graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    return telling
