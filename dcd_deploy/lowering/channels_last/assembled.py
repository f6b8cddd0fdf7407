"""W(x) from operators of TFLite, by columns for BATCH_MATMUL, by rows for FULLY_CONNECTED.

by columns  Wᵀ = W0ᵀ ⊙ λ + Σ π_m W_mᵀ ⊙ scales + (Qᵀ Φᵀ) Pᵀ     (N, 1, C/g·taps, K)
by rows     W = λ ⊙ W0 + Σ π_m W_m ⊙ scales + (P Φ) Q           (K, C·taps), of one sample and group
"""

from __future__ import annotations

import torch
from torch import Tensor

from dcd_deploy.dynamic.operator import DynamicOperator, Mixture
from dcd_deploy.lowering.assemble.kernel import Kernel
from dcd_deploy.lowering.assemble.terms import sums_to_one
from dcd_deploy.lowering.channels_last.operators import batch_matmul, fully_connected
from dcd_deploy.lowering.channels_last.parts import dense
from dcd_deploy.lowering.layers import frozen


class _WithBank(Kernel):
    """What both share: the bank is a layer.

    It is kept as its first kernel, and how much the others are more, where that saves one: XNNPACK packs, and reads, a
    bias beside all weights. Of shares that sum to one that is the first kernel: four are read in place of five.
    """

    def __init__(self, operator: DynamicOperator, *, columns: bool = False) -> None:
        mixture = operator.term(Mixture)
        self.from_first = mixture is not None and len(mixture.bank) > 1 and sums_to_one(operator)
        super().__init__(operator, columns=columns)

    def hold_bank(self, bank: Tensor) -> None:
        """Keep the bank as a layer."""
        self.mix = dense((bank[1:] - bank[:1]).t(), bank[0]) if self.from_first else dense(bank.t())

    def mixed(self, mix: Tensor) -> Tensor:
        """Return Σ π_m W_m, or Σ π_m W_mᵀ, all numbers in a row."""
        mixed: Tensor = self.mix(mix[..., 1:] if self.from_first else mix)
        return mixed

    def with_low_rank(self, kernel: Tensor | None, low_rank: Tensor, *, one: bool) -> Tensor:
        """Return the sum."""
        del one
        return low_rank if kernel is None else kernel + low_rank


class ColumnsKernel(_WithBank):
    """The kernel as maps have it: (N, g, C/g·taps, K/g), for heads (N, 1, 1, values) and Φᵀ (N, 1, L, L)."""

    def __init__(self, operator: DynamicOperator) -> None:
        super().__init__(operator, columns=True)

    def hold_low_rank(self, query: Tensor, project: Tensor) -> None:
        """Keep Qᵀ (1, 1, C·taps, L), and P as a layer."""
        self.query = frozen(query.t()[None, None])
        self.project_rows = dense(project)

    def low_rank(self, phi: Tensor, *, one: bool) -> Tensor:
        """Return (Qᵀ Φᵀ) Pᵀ."""
        del one
        product: Tensor = self.project_rows(batch_matmul(self.query, phi))
        return product

    def lead(self, *, one: bool) -> tuple[int, ...]:
        """Return the dimensions before those of a matrix."""
        del one
        return (-1, self.geometry.groups)

    def along_outputs(self, values: Tensor, *, one: bool) -> Tensor:
        """Return values (N, 1, 1, K) in the shape in which they scale a kernel's outputs."""
        return values if self.geometry.groups == 1 else super().along_outputs(values, one=one)


class ChannelsLastRows(_WithBank):
    """The kernel as torch has it, (K, C·taps), for heads (1, 1, 1, values) and Φ (1, 1, L, L)."""

    def hold_low_rank(self, query: Tensor, project: Tensor) -> None:
        """Keep Qᵀ (C·taps, L) and P (1, 1, K, L)."""
        self.query, self.project = frozen(query.t()), frozen(project[None, None])
        self.zeros = frozen(torch.zeros_like(query[0]))  # the operator has a bias

    def low_rank(self, phi: Tensor, *, one: bool) -> Tensor:
        """Return (P Φ) Q.

        The converter turns FULLY_CONNECTED of a constant by a computed weight around, and transposes what it gives.
        """
        del one
        half = batch_matmul(self.project, phi)
        return fully_connected(half.view(half.shape[2:]), self.query, self.zeros)
