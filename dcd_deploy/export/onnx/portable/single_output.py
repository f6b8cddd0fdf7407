"""A convolution by a computed kernel of a single output as one of each channel by itself, and their sum.

    Conv(x (N, C, …), W (1, C, …), b)      →      Conv(Conv<group C>(x, Reshape(W, (C, 1, …))), ones (1, C, 1, …), b)

pnnx takes the kernel's first axis, of size 1, for the sample's: ncnn computes another map, or none, without a word.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from dcd_deploy.export.onnx.portable.rewriting import (
    FREE,
    added_constant,
    attribute,
    before,
    constant,
    maker,
    nodes_of,
    replace,
)


def single_output(graph: ir.Graph) -> None:
    """Let no convolution have a computed kernel of one output and several inputs."""
    for node in nodes_of(graph, "Conv"):
        sizes = _kernel_sizes(node)
        if sizes is None or sizes[0] != 1 or sizes[1] == 1 or attribute(node, "group", 1) != 1:
            continue
        name, around = node.outputs[0].name, [1] * len(sizes[2:])
        each = _of_each_channel(graph, node, sizes)
        ones = np.ones([1, sizes[1], *around], each.dtype.numpy() if each.dtype else np.float32)
        inputs, bias = [each, added_constant(graph, f"{name}/ones", ones)], (*node.inputs, None)[2]
        if bias is None or constant(bias) is not None:
            replace(node, "Conv", [*inputs, bias])
            continue
        shape = added_constant(graph, f"{name}/bias.sizes", np.array([FREE, 1, *around]))
        replace(node, "Add", [before(node, "Conv", inputs, "sum"), before(node, "Reshape", [bias, shape], "bias")])


def _kernel_sizes(node: ir.Node) -> list[int] | None:
    """Return the sizes of a convolution's kernel that is computed; None of others, or where they are not known."""
    weight = node.inputs[1]
    if weight is None or weight.shape is None or constant(weight) is not None:
        return None
    return [size for size in weight.shape if isinstance(size, int)] if weight.shape.is_static() else None


def _of_each_channel(graph: ir.Graph, node: ir.Node, sizes: list[int]) -> ir.Value:
    """Return what the convolution gives of each channel by itself."""
    reshaped = maker(node.inputs[1], "Reshape")
    flat = node.inputs[1] if reshaped is None else reshaped.inputs[0]
    shape = added_constant(graph, f"{node.outputs[0].name}/kernels.sizes", np.array([sizes[1], 1, *sizes[2:]]))
    kernels = before(node, "Reshape", [flat, shape], "kernels")
    geometry = {name: each.value for name, each in node.attributes.items() if name != "group"}
    return before(node, "Conv", [node.inputs[0], kernels], "each", group=sizes[1], **geometry)
