"""Means of maps in int8 as products of whole numbers: which are found, what they give, and faults that are caught."""

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper

from dcd_deploy.errors import VerificationError
from dcd_deploy.export.onnx.quantised.build import calibrated, rewritten
from dcd_deploy.export.onnx.quantised.formats import check_formats
from dcd_deploy.export.onnx.quantised.poolings import poolings
from dcd_deploy.export.onnx.quantised.roles import sites
from dcd_deploy.runtimes.onnxruntime import OnnxRuntimeSession

CHANNELS, SIDE, BITS = 6, 8, 7
OPSET = 18


def reduced(axes=(2, 3), keepdims=0):
    return [("ReduceMean", {"axes": np.array(axes)}, {"keepdims": keepdims})]


def reshaped(*sizes):
    return ("Reshape", {"sizes": np.array(sizes)}, {})


def averaged(size, step, **attributes):
    return [("AveragePool", {}, {"kernel_shape": [size] * 2, "strides": [step] * 2, **attributes})]


THIRDS = np.kron(*[np.repeat(np.eye(3), (3, 3, 3), axis=0) / 3] * 2).astype(np.float32)
# name → side of the map, the operators that follow it, and the cells that they are the means of
FOUND = {
    "whole": (SIDE, reduced(), 1),
    "whole, axes kept": (SIDE, reduced(keepdims=1), 1),
    "global": (SIDE, [("GlobalAveragePool", {}, {}), reshaped(1, CHANNELS)], 1),
    "in two steps": (
        SIDE,
        [reshaped(1, CHANNELS * SIDE, SIDE, 1), *reduced(), reshaped(1, CHANNELS, SIDE, 1), *reduced()],
        1,
    ),
    "quarters": (SIDE, averaged(4, 4), 2),
    "quarters that overlap": (7, [*averaged(4, 3), reshaped(1, 4 * CHANNELS)], 2),
    "quarters by halves": (
        SIDE,
        [
            reshaped(1, 2 * CHANNELS, SIDE // 2, SIDE),
            *reduced((2,)),
            reshaped(1, 4 * CHANNELS, SIDE // 2),
            *reduced((2,)),
        ],
        2,
    ),
    "by a matrix": (9, [reshaped(1, CHANNELS, 81), ("MatMul", {"m": THIRDS}, {}), reshaped(1, CHANNELS, 3, 3)], 3),
}
NOT_FOUND = {
    "with padding": (SIDE, averaged(4, 4, pads=[2, 2, 2, 2])),
    "windows that leave pixels out": (SIDE, averaged(3, 5)),
    "many cells": (SIDE, averaged(1, 1)),
    "over channels": (SIDE, reduced((1,))),
    "weights that are no means": (3, [reshaped(1, CHANNELS, 9), ("MatMul", {"m": np.eye(9, 1, dtype="f4")}, {})]),
}


def network(side, steps):
    """Return a convolution in int8, and operators behind its map."""
    rng = np.random.default_rng(0)
    constants = {"w": rng.normal(size=(CHANNELS, 3, 1, 1)).astype(np.float32)}
    nodes, last = [helper.make_node("Conv", ["x", "w"], ["map"], name="layer/static/conv")], "map"
    for i, (kind, inputs, attributes) in enumerate(steps):
        constants |= {f"{name}.{i}": values for name, values in inputs.items()}
        names = [last, *(f"{name}.{i}" for name in inputs)]
        last = f"value.{i}"
        nodes.append(
            helper.make_node(kind, names, [last], name=f"layer/attention.pool/{kind.lower()}_{i}", **attributes)
        )
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, side, side])
    target = helper.make_tensor_value_info(last, TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "g", [source], [target], tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    return onnx.shape_inference.infer_shapes(made, data_prop=True)  # files have a shape for each output


def quantised(model, side):
    """Return the graph in int8 with its sites, ranges and a picture."""
    pictures = np.random.default_rng(1).normal(size=(4, 3, side, side)).astype(np.float32)
    found = sites(model.graph)
    ranges = calibrated(model, found, (pictures,))
    return rewritten(model, found, ranges, BITS), found, ranges, pictures[:1]


@pytest.mark.parametrize("name", FOUND)
def test_means_are_those_of_the_map_in_int8(name):
    side, steps, cells = FOUND[name]
    model = network(side, steps)
    made, found, ranges, picture = quantised(model, side)
    check_formats(model, made, found, ranges, BITS)
    kinds = [node.op_type for node in made.graph.node]
    assert ("MatMulInteger" in kinds, "DequantizeLinear" in kinds) == (True, False)
    session = OnnxRuntimeSession(with_output(made, "map.int8", TensorProto.UINT8).SerializeToString())
    means, numbers = session.run_all([picture])
    scale, zero = (value(made, f"map.{part}") for part in ("scale", "zero"))
    wanted = F.adaptive_avg_pool2d(torch.from_numpy((numbers.astype(np.float64) - zero) * scale), cells).numpy()
    assert means.shape == OnnxRuntimeSession(model.SerializeToString()).run(picture).shape
    np.testing.assert_allclose(means.reshape(wanted.shape), wanted, rtol=1e-6, atol=1e-7)


def with_output(model, name, kind):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.output.append(helper.make_tensor_value_info(name, kind, None))
    return copy


def value(model, name):
    return next(numpy_helper.to_array(each) for each in model.graph.initializer if each.name == name)


@pytest.mark.parametrize("name", NOT_FOUND)
def test_what_is_no_mean_over_few_cells_stays(name):
    side, steps = NOT_FOUND[name]
    model = network(side, steps)
    assert poolings(model) == []
    made, _, _, picture = quantised(model, side)
    assert "MatMulInteger" not in {node.op_type for node in made.graph.node}
    right, found = (OnnxRuntimeSession(each.SerializeToString()).run(picture) for each in (model, made))
    assert np.abs(found - right).max() < 0.05 * np.ptp(right)


def test_a_mean_ends_where_other_products_begin():
    """The pooled values' first layer, as a product by constant weights, is none of it."""
    weights = np.random.default_rng(2).normal(size=(CHANNELS, 4)).astype(np.float32)
    model = network(SIDE, [*reduced(), ("MatMul", {"m": weights}, {})])
    (found,) = poolings(model)
    assert [node.op_type for node in found.nodes] == ["ReduceMean"]


def test_a_map_in_float32_is_pooled_in_float32():
    model = network(SIDE, reduced())
    made = rewritten(model, sites(model.graph), quantised(model, SIDE)[2], BITS, keep_float=["layer"])
    assert [node.op_type for node in made.graph.node] == ["Conv", "ReduceMean"]


@pytest.mark.parametrize("part", ["rows", "columns", "factors", "zero point"])
def test_faults_are_caught(part):
    side, steps, _ = FOUND["quarters"]
    model = network(side, steps)
    made, found, ranges, _ = quantised(model, side)
    if part == "zero point":
        (product,) = (node for node in made.graph.node if node.op_type == "MatMulInteger")
        product.input[3] = product.input[2]
    else:
        (tensor,) = (each for each in made.graph.initializer if each.name.endswith(part))
        values = numpy_helper.to_array(tensor)
        other = ~values if values.dtype == np.bool_ else 2 * values
        tensor.CopyFrom(numpy_helper.from_array(other, tensor.name))
    with pytest.raises(VerificationError, match=f"{part} of"):
        check_formats(model, made, found, ranges, BITS)


def test_a_pool_left_in_float32_is_caught():
    model = network(SIDE, reduced())
    made, found, ranges, _ = quantised(model, SIDE)
    (means,) = (node for node in made.graph.node if node.output[0] == model.graph.output[0].name)
    means.CopyFrom(model.graph.node[-1])
    with pytest.raises(VerificationError, match="sums of"):
        check_formats(model, made, found, ranges, BITS)
