"""Kernels as matrices: a product of a matrix and the patches of a map is a convolution.

by rows     (K, C/g·taps) for one group, (g, K/g, C/g·taps) for several; inputs channel-major, taps behind
by columns  the transposes of these
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from dcd_deploy.dynamic.operator import ConvGeometry, LowRank


def kernel_matrix(weight: Tensor, g: ConvGeometry, *, columns: bool = False) -> Tensor:
    """Return kernels (…, K, C/g, kh, kw) as matrices."""
    matrix = weight.flatten(-3)
    if g.groups > 1:
        matrix = matrix.reshape(*matrix.shape[:-2], g.groups, g.K // g.groups, matrix.shape[-1])
    return matrix.mT if columns else matrix


def query_taps(term: LowRank, g: ConvGeometry) -> Tensor:
    """Return Q (L, C·taps), laid into zeros around the tap that it reads."""
    (row, column), (height, width) = g.origin, g.kernel
    around = (column, width - 1 - column, row, height - 1 - row)
    return F.pad(term.query[:, :, None, None], around).flatten(1)
