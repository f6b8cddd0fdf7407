"""Nodes in int8 in the place of float32 ones.

A map is quantised where it is made, and dequantised where float32 reads it.

x → Conv → Clip → y         x_q → QLinearConv → y_q
W(x), b(x) → Conv           W(x) → QuantizeLinear, b(x) → Mul by 1/(s_x s_k) → Cast; both → QLinearConv
λ ⊙ (W0 * x)                QLinearConv with scales λ s_k
a + b                       DequantizeLinear of both, Add, QuantizeLinear
means over cells            x_q → MatMulInteger → Mul (``poolings``)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from dcd_deploy.export.naming import free_name
from dcd_deploy.export.onnx.quantised.numbers import (
    MapFormat,
    map_format,
    quantised_bias,
    quantised_weights,
    weight_scales,
)
from dcd_deploy.export.onnx.quantised.poolings import Pooling
from dcd_deploy.export.onnx.quantised.ranges import Ranges
from dcd_deploy.export.onnx.quantised.roles import GENERATED_KERNEL, SCALED_KERNEL, SUM, Int8Site

IN_INT8 = ".int8"  # behind the name of a map: the same in int8


class Rewriting:
    """A graph that is written anew, node by node."""

    def __init__(self, graph: onnx.GraphProto, ranges: Ranges, bits: int) -> None:
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.ranges, self.bits = ranges, bits
        self.nodes: list[onnx.NodeProto] = []
        self.taken = {node.name for node in graph.node}
        self.added: dict[str, onnx.TensorProto] = {}
        self.in_int8: set[str] = set()  # maps that there are in int8
        self.pools = itertools.count()
        self.grids: set[str] = set()  # zeros and ones for pools, by name
        self.in_float: set[str] = {each.name for each in graph.input}

    def formatted(self, name: str) -> MapFormat:
        """Return the format of a map."""
        return map_format(*self.ranges.maps[name])

    def constant(self, name: str, values: NDArray[np.generic]) -> str:
        """Add a constant of that name, once."""
        self.added.setdefault(name, numpy_helper.from_array(values, name))
        return name

    def node(self, kind: str, inputs: Iterable[str], output: str, name: str, **attributes: Any) -> str:
        """Add a node."""
        self.nodes.append(helper.make_node(kind, list(inputs), [output], free_name(name, self.taken), **attributes))
        return output

    def parameters(self, name: str) -> list[str]:
        """Return the scale and zero point of a map, as constants."""
        found = self.formatted(name)
        return [
            self.constant(f"{name}.scale", np.array(found.scale)),
            self.constant(f"{name}.zero", np.array(found.zero)),
        ]

    def quantised(self, name: str, place: str) -> str:
        """Return a map in int8, quantised here unless it is there already."""
        if name not in self.in_int8:
            self.node("QuantizeLinear", [name, *self.parameters(name)], name + IN_INT8, f"{place}/quantizelinear")
            self.in_int8.add(name)
        return name + IN_INT8

    def in_single(self, name: str, place: str) -> None:
        """Make sure that a map is there in float32."""
        if name in self.in_int8 and name not in self.in_float:
            self.node("DequantizeLinear", [name + IN_INT8, *self.parameters(name)], name, f"{place}/dequantizelinear")
            self.in_float.add(name)

    def kept(self, node: onnx.NodeProto) -> None:
        """Take over a node in float32."""
        for name in node.input:
            self.in_single(name, node.name.rpartition("/")[0] or node.name)
        self.nodes.append(node)
        self.in_float.update(node.output)

    def pooled(self, pooling: Pooling) -> None:
        """Write means of a map that is there in int8."""
        source, means = pooling.map, pooling.last.output[0]
        _, zero = self.parameters(source)
        cells, pixels = pooling.pixels.shape
        grid = self._grid(pooling)
        place = pooling.nodes[0].name.rpartition("/")[0] or means
        name = f"means.{next(self.pools)}"  # short: there are many, and each stands in the file twice

        def then(kind: str, inputs: Iterable[str], part: str, **attributes: Any) -> str:
            return self.node(kind, inputs, f"{name}.{part}", f"{place}/{kind.lower()}", **attributes)

        size = (pixels, math.prod(pooling.means) // cells)
        last = then("Transpose", [source + IN_INT8], "last", perm=[0, 2, 3, 1])
        rows = then("Reshape", [last, self._sizes(size)], "rows")
        sums = then("MatMulInteger", [grid, rows, self.constant("none", np.array(0, np.uint8)), zero], "sums")
        single = then("Cast", [sums], "single", to=onnx.TensorProto.FLOAT)  # no DequantizeLinear: onnxruntime moves it
        factors = self.constant(f"{name}.factors", pooling.factors(self.formatted(source).scale))
        if pooling.means == (cells, size[1]) == (1, size[1]):  # as they lie
            self.node("Mul", [single, factors], means, f"{place}/mul")
        else:
            done = then("Mul", [single, factors], "done")
            by_channel = then("Transpose", [done], "first", perm=[1, 0]) if cells > 1 else done
            self.node("Reshape", [by_channel, self._sizes(pooling.means)], means, f"{place}/reshape")
        self.in_float.add(means)

    def _grid(self, pooling: Pooling) -> str:
        """Return zeros and ones (cells, H·W), the same value for all maps of one size; onnxruntime makes it at load."""
        sides = pooling.rows, pooling.columns
        name = "cells." + ".".join(str(size) for side in sides for size in side.shape)
        if name in self.grids:
            return name
        self.grids.add(name)
        (rows, height), (columns, width) = (side.shape for side in sides)
        upright = self.constant(f"{name}.rows", pooling.rows.reshape(rows, 1, height, 1))
        across = self.constant(f"{name}.columns", pooling.columns.reshape(1, columns, 1, width))
        whole = self.node("And", [upright, across], f"{name}.whole", f"{name}/and")
        numbers = self.node("Cast", [whole], f"{name}.numbers", f"{name}/cast", to=onnx.TensorProto.UINT8)
        size = self._sizes((rows * columns, height * width))
        return self.node("Reshape", [numbers, size], name, f"{name}/reshape")

    def _sizes(self, sizes: tuple[int, ...]) -> str:
        return self.constant("sizes." + ".".join(map(str, sizes)), np.array(sizes, np.int64))

    def written(self, site: Int8Site) -> None:
        """Write a site in int8."""
        if site.role == SUM:
            self._sum(site)
        else:
            self._convolution(site)
        self.in_int8.add(site.output)

    def _sum(self, site: Int8Site) -> None:
        place = site.node.name.rpartition("/")[0]
        parts = []
        for i, name in enumerate(site.maps):
            source, parameters = self.quantised(name, place), self.parameters(name)
            self.node("DequantizeLinear", [source, *parameters], f"{site.node.name}.{i}", f"{place}/dequantizelinear")
            parts.append(f"{site.node.name}.{i}")
        total = self.node("Add", parts, f"{site.node.name}.sum", site.node.name)
        parameters = self.parameters(site.output)  # whose range is that behind the activation, if there is one
        self.node("QuantizeLinear", [total, *parameters], site.output + IN_INT8, f"{place}/quantizelinear")

    def _convolution(self, site: Int8Site) -> None:
        node = site.node
        x, place = site.maps[0], node.name.rpartition("/")[0]
        source = self.quantised(x, place)
        weights = self._generated(site) if site.role == GENERATED_KERNEL else self._static(site)
        if site.role == SCALED_KERNEL:
            weights[1] = self._scaled(site, weights[1], place)
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        inputs = [source, *self.parameters(x), *weights[:3], *self.parameters(site.output), *weights[3:]]
        self.node(
            "QLinearConv", inputs, site.output + IN_INT8, f"{node.name.rpartition('/')[0]}/qlinearconv", **attributes
        )

    def _static(self, site: Int8Site) -> list[str]:
        """Return constant weights in int8, their scales and zero point, and the bias if there is one."""
        name, step = site.node.name, self.formatted(site.maps[0]).scale
        numbers, scales = quantised_weights(self.constants[site.node.input[1]], self.bits)
        found = self._weights(name, self.constant(f"{name}.weight", numbers), scales)
        if len(site.node.input) > 2:
            bias = quantised_bias(self.constants[site.node.input[2]], scales.astype(np.float64) * step)
            found.append(self.constant(f"{name}.bias", bias))
        return found

    def _scaled(self, site: Int8Site, scales: str, place: str) -> str:
        """Return the scales of a kernel times λ."""
        assert site.follower is not None
        (head,) = (name for name in site.follower.input if name != site.node.output[0])
        row = self.constant("row", np.array([-1], np.int64))
        flat = self.node("Reshape", [head, row], f"{site.node.name}.heads", f"{place}/reshape")
        return self.node("Mul", [flat, scales], f"{site.node.name}.scaled", f"{place}/mul")

    def _generated(self, site: Int8Site) -> list[str]:
        """Return W(x) in int8, scales and zero point, and b(x) in steps of the products."""
        name, place = site.node.name, site.node.name.rpartition("/")[0]
        for each in site.node.input[1:]:
            self.in_single(each, place)
        scales = weight_scales(self.ranges.kernels[site.node.input[1]], self.bits)
        found = self._weights(name, f"{name}.kernel", scales)
        self.node("QuantizeLinear", [site.node.input[1], *found[1:]], found[0], f"{place}/quantizelinear", axis=0)
        if len(site.node.input) > 2:
            steps = self.constant(
                f"{name}.steps", (1 / (scales * self.formatted(site.maps[0]).scale)).astype(np.float32)
            )
            scaled = self.node("Mul", [site.node.input[2], steps], f"{name}.shift", f"{place}/mul")
            found.append(self.node("Cast", [scaled], f"{name}.bias", f"{place}/cast", to=onnx.TensorProto.INT32))
        return found

    def _weights(self, name: str, numbers: str, scales: NDArray[np.float32]) -> list[str]:
        zeros = np.zeros(len(scales), np.int8)
        return [numbers, self.constant(f"{name}.scales", scales), self.constant(f"zeros.{len(scales)}", zeros)]
