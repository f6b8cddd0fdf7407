"""Dynamic convolutions that mix kernels by a softmax (arXiv 1912.03458), as canonical operators."""

from __future__ import annotations

from lowering_cases import Random

from dcd_deploy.dynamic.attention import Activation, Attention, Dense
from dcd_deploy.dynamic.operator import KERNELS, ConvGeometry, DynamicOperator, Mixture

SQUEEZED, KERNELS_MIXED = 5, 4


def dy_conv(seed: int, g: ConvGeometry) -> DynamicOperator:
    """Four kernels, mixed by a softmax behind a squeeze; as random numbers as keep maps of about one size."""
    random = Random(seed)
    fan_in = g.C // g.groups * g.taps
    squeeze = Dense(random.tensor(SQUEEZED, g.C) / g.C, None, Activation("relu"))
    softmax = Dense(random.tensor(KERNELS_MIXED, SQUEEZED), random.tensor(KERNELS_MIXED), Activation("softmax"))
    bank = random.tensor(KERNELS_MIXED, g.K, g.C // g.groups, *g.kernel) / fan_in**0.5
    mixture = Mixture(bank, random.tensor(KERNELS_MIXED, g.K) / 4)
    return DynamicOperator("dy_conv", g, Attention((1, 1), (squeeze,), {KERNELS: softmax}), (mixture,))


def depthwise(channels: int, stride: int = 1, kernel: int = 3) -> ConvGeometry:
    sides = ((kernel, kernel), (stride, stride), (kernel // 2, kernel // 2))
    return ConvGeometry(channels, channels, *sides, groups=channels)
