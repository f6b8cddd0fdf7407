"""W(x) by columns, channels last: Wᵀ = W0ᵀ ⊙ λ + Σ π_m W_mᵀ ⊙ scales + (Qᵀ Φᵀ) Pᵀ, (N, 1, C/g·taps, K)."""

from __future__ import annotations

from torch import Tensor

from dcd_deploy.dynamic.operator import DynamicOperator, Mixture
from dcd_deploy.lowering.assemble.kernel import Kernel
from dcd_deploy.lowering.assemble.terms import sums_to_one, term_of
from dcd_deploy.lowering.channels_last.operators import batch_matmul
from dcd_deploy.lowering.channels_last.parts import dense
from dcd_deploy.lowering.layers import frozen


class ColumnsKernel(Kernel):
    """The kernel as maps have it: (N, g, C/g·taps, K/g), for heads (N, 1, 1, values) and Φᵀ (N, 1, L, L)."""

    def __init__(self, operator: DynamicOperator) -> None:
        mixture = term_of(operator, Mixture)
        self.from_first = mixture is not None and len(mixture.bank) > 1 and sums_to_one(operator)
        super().__init__(operator, columns=True)

    def hold_low_rank(self, query: Tensor, project: Tensor) -> None:
        """Keep Qᵀ (1, 1, C·taps, L), and P as a layer."""
        self.query = frozen(query.t()[None, None])
        self.project_rows = dense(project)

    def hold_bank(self, bank: Tensor) -> None:
        """Keep the bank as a layer.

        XNNPACK packs, and reads, a bias beside all weights. Of shares that sum to one that is the first kernel, and the
        weights are how much the others are more: four kernels read in place of five.
        """
        self.mix = dense((bank[1:] - bank[:1]).t(), bank[0]) if self.from_first else dense(bank.t())

    def low_rank(self, phi: Tensor, *, one: bool) -> Tensor:
        """Return (Qᵀ Φᵀ) Pᵀ."""
        del one
        product: Tensor = self.project_rows(batch_matmul(self.query, phi))
        return product

    def with_low_rank(self, kernel: Tensor | None, low_rank: Tensor, *, one: bool) -> Tensor:
        """Return the sum."""
        del one
        return low_rank if kernel is None else kernel + low_rank

    def mixed(self, mix: Tensor) -> Tensor:
        """Return Σ π_m W_mᵀ, all numbers in a row."""
        mixed: Tensor = self.mix(mix[..., 1:] if self.from_first else mix)
        return mixed

    def lead(self, *, one: bool) -> tuple[int, ...]:
        """Return the dimensions before those of a matrix."""
        del one
        return (-1, self.geometry.groups)

    def along_outputs(self, values: Tensor, *, one: bool) -> Tensor:
        """Return values (N, 1, 1, K) in the shape in which they scale a kernel's outputs."""
        return values if self.geometry.groups == 1 else super().along_outputs(values, one=one)
