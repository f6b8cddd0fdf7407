"""The kernel order for onnxruntime's own blocks of channels (NCHWc), which its optimiser never gives to such a layer.

    x ⋆ W,  Wᵀ = W0'ᵀ ⊙ λ' + Q'ᵀ (Φ'ᵀ P'ᵀ),  + bias(x)

On x86 onnxruntime convolves in blocks of 8 or 16 channels, but moves only convolutions with constant weights there;
those with computed weights cost a pass to leave the blocks, a slower convolution, and a pass to come back.
``export.in_blocks`` moves these too. What it needs of the form are channels in multiples of the larger block, padded
by zeros where the layer has others, average pooling by windows, and the kernel transposed, as a row of K values for
each input channel, which is the order that the runtime's own reordering takes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_deploy.models.deploy.channels_first.attention import Attention
from dcd_deploy.models.deploy.channels_first.kernel import KernelForm
from dcd_deploy.models.deploy.fold import FoldedLayer, frozen, linear_of
from dcd_deploy.models.deploy.form import Form, FormCost, attention_macs, static_macs
from dcd_deploy.models.geometry import LayerGeometry
from dcd_deploy.models.sizes import MapSize

BLOCK = 16  # channels in the largest block, that of AVX-512
SMALL_BLOCK = 8  # that of every other x86-64 processor


def aligned(channels: int, block: int = BLOCK) -> int:
    """Return the number of channels rounded up to whole blocks."""
    return -(-channels // block) * block


def same_in_both_blocks(channels: int) -> bool:
    """Whether a map fills up to the same number of channels in blocks of 8 and of 16; one of 8 or 24 does not."""
    return aligned(channels, SMALL_BLOCK) == aligned(channels)


class NchwcForm(Form):
    """A dynamic convolution in the kernel order, in blocks of channels; (N, C, H, W) to (N, K, H', W')."""

    name: ClassVar[str] = "nchwc"
    only_for: ClassVar[tuple[str, ...] | None] = ("onnxruntime-x86",)
    everywhere: ClassVar[bool] = False
    free_batch: ClassVar[bool] = False

    def __init__(self, folded: FoldedLayer, size: MapSize) -> None:
        super().__init__(folded, size)
        g = self.geometry = folded.geometry
        if not self.suits(g):
            self.plain = KernelForm(folded, size)
            return
        wide = padded(folded)
        by_columns = wide.phi.view(g.L, g.L, g.S).transpose(0, 1).reshape(g.L * g.L, g.S)  # Φ'ᵀ; the bias I is its own
        self.attention = Attention(replace(wide, phi=by_columns), size.in_height, size.in_width, by_windows=True)
        self.static = frozen(wide.static.flatten(1).t())  # (C, K)
        self.query = frozen(wide.query.t())  # (C, L)
        self.project = frozen(wide.project.t())  # (L, K)
        self.shift = linear_of(wide.shift, wide.shift_bias)
        self.applied = Grouped(g.stride)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor
        if not self.suits(self.geometry):
            y = self.plain(x)
            return y
        x = F.pad(x, (0, 0, 0, 0, 0, aligned(self.geometry.C) - self.geometry.C))
        phi, scale, a = self.attention(x)
        if len(x) == 1:  # for which the sum and the product are one Gemm
            half = torch.matmul(phi.view(phi.shape[1:]), self.project)
            kernel = torch.addmm(self.static * scale, self.query, half)[None]
        else:
            half = torch.matmul(phi, self.project)
            kernel = self.static * scale[:, None, :] + torch.matmul(self.query, half)
        y = self.applied(x, kernel, self.shift(a))
        return y[:, : self.geometry.K]

    @classmethod
    def suits(cls, geometry: LayerGeometry) -> bool:
        """Only for 1×1: larger kernels are ordered by blocks of their inputs too, and are left in the plain layout."""
        return geometry.kernel == 1

    @classmethod
    def cost(cls, geometry: LayerGeometry, size: MapSize, *, activated: bool) -> FormCost:
        del activated  # fused
        g, attention = geometry, attention_macs(geometry)
        inputs, outputs = aligned(g.C), aligned(g.K)
        kernel = inputs * outputs
        return FormCost(
            constant_macs=attention + g.S * outputs + outputs * g.L**2,
            computed_macs=g.L * kernel + static_macs(g, size),  # the static layer's channels are filled up there too
            map_floats=g.C * size.inputs,
            layout_floats=kernel,
            weight_floats=attention + g.S * outputs + g.L * (inputs + 3 * outputs) + 6 * kernel,
            nodes=17,
        )


class Grouped(nn.Module):
    """Convolve each sample of x (N, C, H, W) by its own 1×1 kernel, Wᵀ (N, C, K), and a bias (N, K).

    N samples are N groups of one. It is a module so that its place in the network tells it from the operators that
    compute the kernel.
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        weights = kernel.mT.reshape(-1, channels, 1, 1)  # (N·K, C, 1, 1)
        y = F.conv2d(x.view(1, -1, height, width), weights, bias.view(-1), self.stride, groups=n)
        return y.view(n, -1, *y.shape[2:])


def padded(folded: FoldedLayer) -> FoldedLayer:
    """Return a 1×1 layer with channels of zeros added, in and out, up to whole blocks."""
    g = folded.geometry
    more_in, more_out = aligned(g.C) - g.C, aligned(g.K) - g.K
    rows = (0, 0, 0, more_out)  # F.pad counts dimensions from the last
    squeeze = F.pad(folded.squeeze.view(g.S, g.C, -1), (0, 0, 0, more_in)).flatten(1)
    return replace(
        folded,
        geometry=replace(g, C=aligned(g.C), K=aligned(g.K)),
        squeeze=squeeze,
        scale=F.pad(folded.scale, rows),
        static=F.pad(folded.static, (0, 0, 0, 0, 0, more_in, *rows[2:])),
        query=F.pad(folded.query, (0, more_in)),
        project=F.pad(folded.project, rows),
        bias=F.pad(folded.bias, rows[2:]),
        shift=F.pad(folded.shift, rows),
        shift_bias=F.pad(folded.shift_bias, rows[2:]),
    )
