"""Kernels that are computed, as pnnx understands them: what it takes for the samples' axis is of size 1."""

import onnx
import pytest
import torch
from dynamic_layers import lively
from mixture_layers import MixedKernels, OmniDimensional
from torch import nn

from dcd_deploy import export_module

LAYERS = {
    "depthwise": (6, {"K": 6, "groups": 6}),
    "a row for each group": (8, {"K": 4, "groups": 4}),
    "of one channel": (1, {"K": 8}),
    "to one channel": (6, {"K": 1}),
}


def graph_of(layer, channels, folder):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(channels, channels, 1), lively(layer)).float().eval()
    made = export_module(network, torch.randn(1, channels, 9, 7), out=folder)
    return onnx.shape_inference.infer_shapes(onnx.load(made.artifact.path)).graph


def sizes_in(graph):
    found = {each.name: tuple(each.dims) for each in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        found[value.name] = tuple(side.dim_value for side in value.type.tensor_type.shape.dim)
    return found


@pytest.mark.parametrize("name", LAYERS)
def test_what_scales_a_kernel_has_its_samples_and_its_rank(name, tmp_path):
    channels, settings = LAYERS[name]
    graph = graph_of(OmniDimensional(C=channels, **settings), channels, tmp_path)
    sizes = sizes_in(graph)
    products = [[sizes[operand] for operand in node.input] for node in graph.node if node.op_type == "Mul"]
    assert products
    for left, right in products:
        assert len(left) == len(right)
        assert left[0] == right[0] == 1


def test_no_computed_kernel_has_one_output(tmp_path):
    graph = graph_of(MixedKernels(K=1), 6, tmp_path)
    sizes, constants = sizes_in(graph), {each.name for each in graph.initializer}
    computed = [node.input[1] for node in graph.node if node.op_type == "Conv" and node.input[1] not in constants]
    assert [sizes[name] for name in computed] == [(2, 6, 3, 3)]
