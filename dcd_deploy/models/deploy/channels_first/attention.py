"""The attention of a folded layer: from its input to Φ', λ' and a'."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from dcd_deploy.models.deploy.fold import FoldedLayer, linear_of, pooled_squeeze

LARGE = 28  # from this side on, two means over rows and columns are quicker than one pooling by windows


class Attention(nn.Module):
    """Map x (N, C, H, W), or (N, C) at the classifier, to Φ' (N, L, L), λ' (N, K) and a' (N, S).

    Its layers are linear ones on the pooled values in a row, where a hard sigmoid fuses with the layer before it.
    ``by_windows`` keeps the pooling one operator, for layouts in which that is quick.
    """

    def __init__(self, folded: FoldedLayer, height: int, width: int, *, by_windows: bool = False) -> None:
        super().__init__()
        self.geometry = folded.geometry
        squeeze, kernel, stride = pooled_squeeze(folded, height, width)
        self.pool = Pool(squeeze.shape[2], squeeze.shape[3], kernel, stride, by_windows=by_windows)
        self.squeeze = linear_of(squeeze.flatten(1))
        self.gate = linear_of(folded.gate)
        self.phi = linear_of(folded.phi, folded.phi_bias)
        self.scale = linear_of(folded.scale)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a = self.squeeze(self.pool(x))
        a = a * F.hardsigmoid(self.gate(a))
        phi: Tensor = self.phi(a)
        return phi.view(-1, self.geometry.L, self.geometry.L), F.hardsigmoid(self.scale(a)), a


class Pool(nn.Module):
    """Average a map (N, C, H, W) to a row of values (N, C·rows·columns).

    In the plain layout onnxruntime pools by windows one value at a time, but takes means over trailing or whole
    dimensions by vectors: 36 µs against 9 µs for the quarters of 24×56×56. Quarters of even sides are such means.
    """

    whole_by_means: ClassVar[bool] = True

    def __init__(
        self, rows: int, columns: int, kernel: tuple[int, int], stride: tuple[int, int], *, by_windows: bool = False
    ) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.whole = (rows, columns) == (1, 1) and self.whole_by_means and not by_windows
        quarters = (rows, columns) == (2, 2) and kernel == stride  # not overlapping: both sides are even
        self.by_means = quarters and min(kernel) >= LARGE // 2 and not by_windows

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 2:
            return x
        if self.whole:
            return x.mean((2, 3))
        if self.by_means:
            n, channels, height, width = x.shape
            halves = x.reshape(n, 2 * channels, height // 2, width).mean(2)
            return halves.reshape(n, 4 * channels, width // 2).mean(2)
        return F.avg_pool2d(x, self.kernel, self.stride).flatten(1)
