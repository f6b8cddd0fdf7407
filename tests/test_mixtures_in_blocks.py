"""Mixtures of kernels in onnxruntime's blocks of channels: 1×1 and depthwise layers, on processors of either block."""

from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from blocks import run_in_blocks_of
from mixed_kernels import depthwise, dy_conv
from torch import nn
from x86 import LIMIT, RUN, emulated, error

from dcd_deploy.dynamic.canonical import CanonicalLayer
from dcd_deploy.dynamic.folds import without_gains
from dcd_deploy.dynamic.operator import FILTERS, INPUTS, TAPS, ConvGeometry
from dcd_deploy.dynamic.shape import MapSize, shape_of
from dcd_deploy.export.onnx.in_blocks import DOMAIN, in_blocks
from dcd_deploy.export.onnx.simplify import simplify
from dcd_deploy.export.onnx.trace import to_onnx
from dcd_deploy.lowering.channels_first.nchwc import NchwcLowering
from dcd_deploy.runtimes.onnxruntime import OnnxRuntimeSession

SIDE = 8
CHANNELS = (6, 8, 24, 40)
WIDER = 10  # by so many outputs: 18, 34, 50, …, which are multiples of nothing


class Mixtures(nn.Module):
    """A widening 1×1 layer, two depthwise ones, and a narrowing one, added to what came in; (N, 3, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        torch.manual_seed(channels)
        c, wide, size = channels, channels + WIDER, MapSize(SIDE, SIDE, SIDE, SIDE)
        geometries = (ConvGeometry(c, wide), depthwise(wide), depthwise(wide, kernel=5), ConvGeometry(wide, c))
        operators = [without_gains(dy_conv(channels + i, g)) for i, g in enumerate(geometries)]
        halving = without_gains(dy_conv(channels, depthwise(c, stride=2)))
        self.first = nn.Conv2d(3, c, 3, 1, 1).double()
        self.layers = nn.ModuleList(NchwcLowering(one, size) for one in operators)
        self.halving = NchwcLowering(halving, MapSize(SIDE, SIDE, SIDE // 2, SIDE // 2))
        self.canonical = nn.ModuleList(CanonicalLayer(one) for one in (*operators, halving))

    def forward(self, x):
        return self.chain(x, (*self.layers, self.halving))

    def wanted(self, x):
        """The same by the operators themselves, in float64."""
        with torch.no_grad():
            return self.chain(x, self.canonical)

    def chain(self, x, layers):
        widening, *deep, narrowing, halving = layers
        x = torch.relu(self.first(x))
        y = torch.nn.functional.relu6(widening(x))
        for layer in deep:
            y = torch.nn.functional.hardswish(layer(y))
        return halving(narrowing(y) + x)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """For each number of channels and batch size the model in blocks, its input, and what is wanted; and a folder."""
    folder, found = tmp_path_factory.mktemp("mixtures"), {}
    for channels in CHANNELS:
        network = Mixtures(channels).eval()
        for batch in (1, 2) if channels == 24 else (1,):
            x = np.random.default_rng(channels).standard_normal((batch, 3, SIDE, SIDE), np.float32)
            moved = in_blocks(simplify(to_onnx(network, SIDE, SIDE, batch).tidied))
            onnx.save(moved, folder / f"{channels}-{batch}.onnx")
            np.save(folder / f"{channels}-{batch}.in.npy", x)
            found[channels, batch] = moved, x, network.wanted(torch.tensor(x, dtype=torch.float64)).numpy()
    return folder, found


def test_all_convolutions_are_in_blocks(cases):
    """And no kernel is transposed by another operator than the runtime's own."""
    _, found = cases
    for key, (moved, *_) in found.items():
        counts = Counter((node.domain, node.op_type) for node in moved.graph.node)
        assert counts[DOMAIN, "Conv"] == 6, key
        assert counts["", "Conv"] == counts["", "Transpose"] == 0, key


def test_on_this_machine(cases):
    _, found = cases
    for key, (moved, x, wanted) in found.items():
        assert error(OnnxRuntimeSession(moved.SerializeToString()).run(x), wanted) <= LIMIT, key


@pytest.mark.parametrize("block", [8, 16])
def test_in_blocks_of_either_size(cases, block):
    _, found = cases
    for key, (moved, x, wanted) in found.items():
        assert error(run_in_blocks_of(block, moved, x), wanted) <= LIMIT, key


def test_on_an_emulated_haswell(cases):
    folder, found = cases
    done = emulated("AVX2", "-c", RUN, folder)
    assert done.returncode == 0, done.stderr
    for (channels, batch), (_, _, wanted) in found.items():
        assert error(np.load(folder / f"{channels}-{batch}.out.npy"), wanted) <= LIMIT, channels


def test_a_kernel_in_another_order_is_seen(cases):
    """Here with the taps of the depthwise layers the wrong way round."""
    _, found = cases
    moved, x, wanted = found[24, 1]
    broken = onnx.ModelProto()
    broken.CopyFrom(moved)
    turned = 0
    for node in broken.graph.node:
        if node.op_type == "Conv" and (node.attribute and any(a.name == "group" and a.i > 1 for a in node.attribute)):
            pads = next(a for a in node.attribute if a.name == "pads")
            pads.ints[:] = [pads.ints[0] + 1, pads.ints[1], pads.ints[2] - 1, pads.ints[3]]
            turned += 1
    assert turned == 3
    assert error(OnnxRuntimeSession(broken.SerializeToString()).run(x), wanted) > LIMIT


@pytest.mark.parametrize(
    ("heads", "geometry", "suits"),
    [
        ((), depthwise(24), True),
        ((FILTERS, TAPS), depthwise(24), True),
        ((INPUTS,), depthwise(24), False),
        ((INPUTS,), ConvGeometry(24, 8), True),
        ((), replace(depthwise(24), dilation=(2, 2)), False),
        ((), replace(depthwise(24), padding_mode="reflect"), False),
        ((), replace(depthwise(24), groups=12), False),
    ],
)
def test_what_suits(heads, geometry, suits):
    shape = shape_of(dy_conv(0, geometry))
    assert NchwcLowering.suits(replace(shape, heads=(*shape.heads, *((name, 1, 1) for name in heads)))) == suits
