"""W(x) as a matrix for each sample and group, the sum of the terms.

A product of it and the patches of a map is the convolution.

    by rows     (K, C/g·taps) for one group, (g, K/g, C/g·taps) for several; inputs channel-major, taps behind
                W  = λ ⊙ W0  + Σ π_m W_m  ⊙ scales + (P Φ) Q
    by columns  the transposes of these
                Wᵀ = W0ᵀ ⊙ λ + Σ π_m W_mᵀ ⊙ scales + Qᵀ (Φᵀ Pᵀ)

Of one sample, P Φ Q is made from its smaller side: P (Φ Q) where a kernel has more outputs than inputs.

Heads are (N, values), and matrices (N, …); for one sample ``one`` drops the N, since a sum and a product of plain
matrices is one operator (Gemm).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_deploy.dynamic.operator import (
    FILTERS,
    INPUTS,
    KERNELS,
    SCALE,
    TAPS,
    ConvGeometry,
    DynamicOperator,
    LowRank,
    Mixture,
    RowScaled,
)
from dcd_deploy.lowering.layers import frozen


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


def query_first(operator: DynamicOperator) -> bool:
    """Whether Φ Q is smaller than P Φ."""
    g = operator.geometry
    return g.K // g.groups > g.C // g.groups * g.taps


Heads = Mapping[str, Tensor]
ROWS_IN_ONNX = 3  # dimensions of Σ π_m W_m as a row; channels last it has four


class Kernel(nn.Module):
    """Give W(x) by rows (N, K, R), of several groups (N, g, K/g, R), or by columns, R = C/g·taps.

    ``phi`` is Φ (N, L, L); by columns, Φᵀ.
    """

    def __init__(self, operator: DynamicOperator, *, columns: bool = False) -> None:
        super().__init__()
        g = self.geometry = operator.geometry
        self.columns, self.query_first = columns, query_first(operator)
        row_scaled, low_rank, mixture = (
            operator.term(RowScaled),
            operator.term(LowRank),
            operator.term(Mixture),
        )
        self.static = None
        if row_scaled is not None:
            self.static = frozen(kernel_matrix(row_scaled.weight, g, columns=columns))
        if low_rank is not None:
            self.hold_low_rank(query_taps(low_rank, g), low_rank.project)
        if {INPUTS, TAPS} & operator.attention.heads.keys():
            self.ones = frozen(torch.ones(g.C // g.groups, g.taps, dtype=torch.float64))
        self.mixes = mixture is not None
        if mixture is not None:
            self.hold_bank(kernel_matrix(mixture.bank, g, columns=columns).flatten(1))

    def hold_low_rank(self, query: Tensor, project: Tensor) -> None:
        """Keep Q (L, C·taps) and P (K, L)."""
        self.query = frozen(query.t() if self.columns else query)
        self.project = frozen(project.t() if self.columns else project)

    def hold_bank(self, bank: Tensor) -> None:
        """Keep the bank (M, K·R), as the numbers of each kernel's matrix lie in a row.

        It has three dimensions: one of two would be packed by onnxruntime, and a product of a row with what is packed
        runs a quarter slower than with what lies as it is.
        """
        self.bank = frozen(bank[None])

    def forward(self, heads: Heads, phi: Tensor | None) -> Tensor:
        one = next(iter(heads.values())).shape[0] == 1
        low_rank = None if phi is None else self.low_rank(phi, one=one)
        kernel = None if self.static is None else self.static * self.along_outputs(heads[SCALE], one=one)
        if self.mixes:
            mixed = self._scaled(self.mixed(heads[KERNELS]), heads, one=one)
            kernel = mixed if kernel is None else kernel + mixed
        if low_rank is None:
            assert kernel is not None
            return kernel
        return self.with_low_rank(kernel, low_rank, one=one)

    def low_rank(self, phi: Tensor, *, one: bool) -> Tensor:
        """Return P Φ Q, or its inner product alone, or the transpose, where the other factor comes with the sum."""
        phi = phi.view(phi.shape[1:]) if one else phi
        if one and self.query_first:
            return torch.matmul(self.query, phi) if self.columns else torch.matmul(phi, self.query)
        if self.columns:
            return torch.matmul(phi, self.project)
        half = torch.matmul(self.project, phi)
        return half if one else torch.matmul(half, self.query)

    def with_low_rank(self, kernel: Tensor | None, low_rank: Tensor, *, one: bool) -> Tensor:
        """Return the kernel, if there is one, plus P Φ Q."""
        if not (one or self.columns):
            return low_rank if kernel is None else kernel + low_rank
        first = one and self.query_first
        outer = self.project if first else self.query
        left, right = (low_rank, outer) if self.columns == first else (outer, low_rank)
        if kernel is None:
            return torch.matmul(left, right)
        return torch.addmm(kernel, left, right) if one else kernel + torch.matmul(left, right)

    def mixed(self, mix: Tensor) -> Tensor:
        """Return Σ π_m W_m, all numbers in a row."""
        return torch.matmul(mix if mix.shape[0] == 1 else mix[:, None], self.bank)

    def lead(self, *, one: bool) -> tuple[int, ...]:
        """Return the dimensions before those of a matrix."""
        groups = self.geometry.groups
        return (*(() if one else (-1,)), *((groups,) if groups > 1 else ()))

    def along_outputs(self, values: Tensor, *, one: bool) -> Tensor:
        """Return values (N, K) in the shape in which they scale a kernel's outputs."""
        g = self.geometry
        if g.groups > 1:
            outputs = g.K // g.groups
            return values.reshape(*self.lead(one=one), *((1, outputs) if self.columns else (outputs, 1)))
        if one:
            return values if self.columns else values.view(-1, 1)
        return values[:, None, :] if self.columns else values[:, :, None]

    def _scaled(self, mixed: Tensor, heads: Heads, *, one: bool) -> Tensor:
        """Return Σ π_m W_m ⊙ scales, of rows with their N as long as they are scaled.

        Without it pnnx takes groups for samples, and ncnn crashes, or scales along another axis.
        """
        g = self.geometry
        if one and not self.columns and mixed.dim() == ROWS_IN_ONNX:
            scaled = self._scaled(mixed, heads, one=False)
            return scaled.reshape(scaled.shape[1:])
        matrix = (g.C // g.groups * g.taps, g.K // g.groups)
        mixed = mixed.reshape(*self.lead(one=one), *(matrix if self.columns else matrix[::-1]))
        if (inner := self._along_inputs(heads, one=one)) is not None:
            mixed = mixed * inner
        filters = heads.get(FILTERS)
        return mixed if filters is None else mixed * self.along_outputs(filters, one=one)

    def _along_inputs(self, heads: Heads, *, one: bool) -> Tensor | None:
        """Return α_in (N, C) times α_tap (N, taps) in the shape in which they scale a kernel's inputs."""
        g, lead = self.geometry, self.lead(one=one)
        inputs, taps = heads.get(INPUTS), heads.get(TAPS)
        if inputs is None and taps is None:
            return None
        row = self.ones if inputs is None else inputs.reshape(*lead, g.C // g.groups, 1)
        if inputs is None:  # the same for all groups
            lead = tuple(1 if size == g.groups else size for size in lead)
        if taps is not None:
            row = row * taps.reshape(*(1 if size == g.groups else size for size in lead), 1, g.taps)
        elif g.taps > 1:  # some runtimes have no operator that expands
            row = row * self.ones
        inner = g.C // g.groups * g.taps
        return row.reshape(*lead, *((inner, 1) if self.columns else (1, inner)))
