"""A padded convolution of a single pixel as what is left of it: the one tap that does not read padding.

    Conv<3×3, pads 1>(x (N, C, 1, 1), W)          →      Conv<1×1>(x, W[:, :, 1:2, 1:2])

OpenCV 4's depthwise 3×3 reads beyond such a map: whatever lies there is added. The last layers of a network see maps
that small when its input is.
"""

from __future__ import annotations

import onnx_ir as ir

from dcd_deploy.export.onnx.portable.rewriting import added_constant, attribute, constant, nodes_of

GEOMETRY = ("kernel_shape", "pads", "dilations", "strides", "auto_pad")


def one_pixel(graph: ir.Graph) -> None:
    """Cut constant kernels over maps of one pixel to the tap that meets it."""
    for node in nodes_of(graph, "Conv"):
        tap, weight = _tap(node), constant(node.inputs[1])
        if tap is None or weight is None:
            continue
        row, column = tap
        name = f"{node.inputs[1].name}.tap"  # type: ignore[union-attr]  # it is constant
        node.replace_input_with(1, added_constant(graph, name, weight[:, :, row : row + 1, column : column + 1]))
        for one in GEOMETRY:
            node.attributes.pop(one, None)
        node.attributes.add(ir.AttrInt64s("kernel_shape", [1, 1]))


def _tap(node: ir.Node) -> tuple[int, int] | None:
    """Return the row and column of the tap that reads a pixel from which one is made; None where there is none."""
    shapes = [None if value is None else value.shape for value in (node.inputs[0], node.outputs[0])]
    if any(shape is None or len(shape) != 4 or list(shape)[2:] != [1, 1] for shape in shapes):
        return None
    pads, dilations = attribute(node, "pads", (0,) * 4), attribute(node, "dilations", (1, 1))
    if not any(pads) or any(pad % dilation for pad, dilation in zip(pads, dilations, strict=False)):
        return None
    return pads[0] // dilations[0], pads[1] // dilations[1]
