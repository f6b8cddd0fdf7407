"""Mixtures whose shares are a softmax's: every lowering is right, and each target takes the quick ones."""

from dataclasses import replace

import pytest
import torch
from deployed import BACKENDS, LOWERINGS, lowered, sized
from mixed_kernels import depthwise, dy_conv

from dcd_deploy.dynamic.attention import Activation
from dcd_deploy.dynamic.canonical import CanonicalLayer
from dcd_deploy.dynamic.operator import KERNELS, ConvGeometry
from dcd_deploy.dynamic.shape import MapSize, shape_of
from dcd_deploy.lowering.assemble.terms import sums_to_one
from dcd_deploy.lowering.targets import LITERT, ONNXRUNTIME_X86, PORTABLE_ONNX, PORTABLE_TFLITE

EXACT = 1e-12
GEOMETRIES = (ConvGeometry(8, 24), depthwise(24), depthwise(24, stride=2), ConvGeometry(6, 8, (3, 3), padding=(1, 1)))
ACTIVATIONS = {
    "softmax": (Activation("softmax"), True),
    "of another temperature": (Activation("softmax", temperature=30.0), True),
    "a softmax twice": (Activation("softmax", gain=2.0), False),
    "sigmoid": (Activation("sigmoid"), False),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_bias_outside_the_mixture(geometry, name):
    """It goes into the kernels' biases where their shares sum to one, and nowhere else."""
    activation, sums = ACTIVATIONS[name]
    operator = dy_conv(1, geometry)
    heads = {KERNELS: replace(operator.attention.heads[KERNELS], activation=activation)}
    bias = torch.linspace(-1, 1, geometry.K, dtype=torch.float64)
    operator = replace(operator, bias=bias, attention=replace(operator.attention, heads=heads))
    assert sums_to_one(operator) == sums
    for batch in (1, 2):
        x = torch.randn(batch, geometry.C, 7, 7, dtype=torch.float64)
        wanted = CanonicalLayer(operator)(x)
        for lowering in LOWERINGS:
            made = lowered(operator, lowering, sized(x, wanted))
            if made is not None:
                assert (made(x) - wanted).abs().max() <= EXACT * max(1.0, wanted.abs().max()), lowering


@pytest.mark.parametrize(
    ("target", "expand", "filter_", "project"),
    [
        (ONNXRUNTIME_X86, "nchwc", "nchwc", "nchwc"),
        (PORTABLE_ONNX, "kernel", "kernel", "kernel"),
        (LITERT, "homogeneous", "branch", "kernel"),
        (PORTABLE_TFLITE, "kernel", "branch", "kernel"),
    ],
    ids=lambda value: f"{value.name} {value.format}" if not isinstance(value, str) else value,
)
def test_auto_takes_what_was_measured_to_be_quick(target, expand, filter_, project):
    for channels, side in ((24, 56), (64, 14)):
        size = MapSize(side, side, side, side)
        wanted = {
            ConvGeometry(channels, 6 * channels): (expand, True),
            depthwise(6 * channels): (filter_, True),
            ConvGeometry(6 * channels, channels): (project, False),
        }
        for geometry, (name, activated) in wanted.items():
            assert target.choose(shape_of(dy_conv(0, geometry)), size, activated=activated) == name


@pytest.mark.parametrize("side", [112, 28, 7, 1])
def test_a_mixture_is_in_blocks_at_any_size_where_its_kernel_can_be_ordered(side):
    size = MapSize(side, side, side, side)
    ways = {
        "nchwc": [ConvGeometry(160, 960), ConvGeometry(960, 160), depthwise(960)],
        "kernel": [ConvGeometry(32, 32, (3, 3), padding=(1, 1))],  # ordered by its inputs too
    }
    for name, geometries in ways.items():
        for geometry in geometries:
            assert ONNXRUNTIME_X86.choose(shape_of(dy_conv(0, geometry)), size, activated=True) == name


def test_multiply_adds_do_not_depend_on_the_layout():
    shape, size = shape_of(dy_conv(0, depthwise(32))), MapSize(14, 14, 14, 14)
    costs = ONNXRUNTIME_X86.costs(shape, size, activated=True)
    assert costs["kernel"].macs == costs["nchwc"].macs < costs["branch"].macs
    assert set(costs) <= set(BACKENDS["channels_first"].lowerings)
