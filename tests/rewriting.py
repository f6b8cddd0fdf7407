"""Small ONNX graphs as text, what goes into them, and their operators."""

from collections import Counter

import numpy as np
import onnx

EXACT = 1e-12  # of values about one, in float64


def parsed(body: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> net {body}')


def inputs_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {one.name: [d.dim_value or 2 for d in one.type.tensor_type.shape.dim] for one in model.graph.input}
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


def operators(model: onnx.ModelProto) -> dict[str, int]:
    return dict(Counter(node.op_type for node in model.graph.node))
