"""What exporters refuse goes through them all the same, spelled out."""

import onnx
import pytest
import torch
import torch.nn.functional as F
from capturing import Calling
from torch import nn

from dcd_deploy import export_module
from dcd_deploy.export.deployable import deployable
from dcd_deploy.export.onnx.trace import trace_onnx
from dcd_deploy.lowering.capture import capture
from dcd_deploy.lowering.graph import op_name
from dcd_deploy.lowering.network import network_of
from dcd_deploy.lowering.passes.spell_out import SpanMaximum, SpellOut, attention
from dcd_deploy.runtimes import open_model
from dcd_deploy.samples import InputSpec


def attending(x):
    tokens = x.flatten(2).transpose(1, 2)
    return F.scaled_dot_product_attention(tokens, 2 * tokens, tokens + 1)


def masked(x):
    tokens = x.flatten(2).transpose(1, 2)
    mask = torch.arange(tokens.shape[1]) % 3 > 0
    return F.scaled_dot_product_attention(tokens, tokens, tokens, attn_mask=mask.expand(tokens.shape[1], -1))


CASES = {
    "attention": Calling(attending),
    "masked attention": Calling(masked),
    "pooling": nn.AdaptiveMaxPool2d((2, 5)),
    "pooling as a function": Calling(lambda x: F.adaptive_max_pool2d(x, (4, 3))),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_same_and_is_exported(name):
    network = network_of(nn.Sequential(nn.Conv2d(3, 4, 1), CASES[name]).eval(), torch.randn(1, 3, 9, 11))
    graph = capture(network).graph
    assert SpellOut()(graph).changed == 1
    with torch.no_grad():
        ours, theirs = graph.module(*network.examples)[0], network.run(*network.examples)[0]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    assert trace_onnx(deployable(graph.module), (InputSpec("input", (3, 9, 11)),), ("output",), None).tidied.graph.node


@pytest.mark.parametrize("pooling", [nn.AdaptiveMaxPool2d((3, 11)), nn.AdaptiveMaxPool2d(2, return_indices=True)])
def test_what_needs_no_spelling_stays(pooling):
    module = nn.Sequential(nn.Conv2d(3, 4, 1), pooling, Calling(lambda y: y[0] * y[1] if isinstance(y, tuple) else y))
    assert SpellOut()(capture(network_of(module.eval(), torch.randn(1, 3, 9, 11))).graph).changed == 0


def test_five_dimensions_and_a_mask_for_all():
    q, k, v = torch.randn(3, 2, 3, 4, 5, 6)
    mask = torch.randn(5, 5)
    torch.testing.assert_close(attention(q, k, v, mask), F.scaled_dot_product_attention(q, k, v, mask))
    torch.testing.assert_close(attention(q, k, v, scale=0.1), F.scaled_dot_product_attention(q, k, v, scale=0.1))


def test_a_span_that_is_off_by_one_is_noticed():
    x = torch.arange(9.0).reshape(1, 1, 1, 9)
    right = SpanMaximum(((0, 1),), ((0, 5), (4, 9)))(x)
    assert torch.equal(right, F.adaptive_max_pool2d(x, (1, 2)))
    assert not torch.equal(SpanMaximum(((0, 1),), ((0, 4), (4, 9)))(x), right)


@pytest.mark.parametrize(
    "made",
    [
        Calling(lambda x: (x.sigmoid() * 2) ** 2),
        Calling(lambda x: F.avg_pool2d(x, (3, 2), padding=1, divisor_override=5)),
        nn.AvgPool2d(3, 2, divisor_override=4),
    ],
)
def test_squares_and_means_over_another_number_are_right_and_exportable(tmp_path, made):
    """torch's ONNX exporter forgets the divisor; LiteRT's has no power of five dimensions."""
    example = torch.randn(1, 3, 9, 11)
    graph = capture(network_of(made.eval(), example)).graph
    wanted = made(example.double())
    assert SpellOut()(graph).changed == 1
    assert torch.allclose(graph.recompiled().module(example.double())[0], wanted, atol=1e-12)
    export_module(made, example, out=tmp_path, name="net")


def test_other_powers_and_means_stay():
    for made in (Calling(lambda x: x**3 + 2**x), nn.AvgPool2d(3, ceil_mode=True, divisor_override=4), nn.AvgPool2d(2)):
        assert SpellOut()(capture(network_of(made.eval(), torch.randn(1, 3, 9, 11))).graph).changed == 0


class Volumes(nn.Module):
    """Two convolutions of volumes without a bias, which onnxruntime fuses with what follows."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv3d(2, 4, 3, bias=False), nn.Conv3d(4, 3, 1, bias=False)

    def forward(self, x):
        x = torch.relu(self.first(x))
        return torch.relu(F.conv3d(x, self.second.weight.sigmoid(), stride=2)).flatten(1)


def test_convolutions_of_volumes_without_a_bias(tmp_path):
    result = export_module(Volumes().eval(), torch.randn(1, 2, 5, 6, 7), out=tmp_path)
    graph = onnx.load(result.artifact.path).graph
    biases = {node.input[2] for node in graph.node if node.op_type == "Conv" and len(node.input) > 2}
    assert {len(tensor.dims) for tensor in graph.initializer if tensor.name in biases} <= {1}
    assert result.built.report.passed


class Anchored(nn.Module):
    """Ultralytics' heads fill their anchors' strides with a tensor's number."""

    def __init__(self, way):
        super().__init__()
        self.conv, self.strides, self.way = nn.Conv2d(3, 4, 1), torch.tensor([8.0, 16.0]), way

    def forward(self, x):
        y = self.conv(x).flatten(2)
        if self.way == "full":
            return y * torch.full((y.shape[-1],), self.strides[1], dtype=y.dtype)
        return y * y.new_full((y.shape[-1],), self.strides[1].item() if self.way == "item" else self.strides[1])


@pytest.mark.parametrize("way", ["full", "new_full", "item"])
@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_a_tensor_fills_another(tmp_path, way, format):
    network, x = Anchored(way).eval(), torch.randn(1, 3, 4, 5)
    (found,) = open_model(export_module(network, x, to=format, out=tmp_path).artifact.path).run_all(x.numpy())
    torch.testing.assert_close(torch.from_numpy(found), network(x))


@pytest.mark.parametrize(
    "parts",
    [
        lambda x: x.chunk(3, 1),
        lambda x: x.split([1, 4], 1),
        lambda x: torch.split(x, 2, dim=1),
        lambda x: x.chunk(2, 2),
    ],
)
def test_parts_are_slices_for_xnnpack(parts):
    network = network_of(Calling(lambda x: [*(y * 2 for y in parts(x)), parts(x)[-1]]).eval(), torch.randn(1, 5, 6, 4))
    graph = capture(network).graph
    assert SpellOut(sliced=True)(graph).changed == 2
    for ours, theirs in zip(graph.module(*network.examples), network.run(*network.examples), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert not {"chunk", "split"} & {op_name(node) for node in graph.nodes if node.op.startswith("call")}
