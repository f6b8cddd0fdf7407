"""What all lowerings share that apply a computed kernel as one matrix, by a fully connected operator, to one sample."""

from __future__ import annotations

from typing import ClassVar

from dcd_deploy.dynamic.shape import LOW_RANK, MIXTURE, MapSize, OperatorShape
from dcd_deploy.lowering.assemble import terms as costs
from dcd_deploy.lowering.lowering import ONE, Cost, Lowering


class OneMatrixLowering(Lowering):
    """A dynamic convolution of one group, of one sample, whose kernel is one matrix for all pixels or patches."""

    batches: ClassVar[str] = ONE
    smaller_side: ClassVar[bool] = False  # whether Φ Q is made in place of P Φ, where it is smaller

    @classmethod
    def refusal(cls, shape: OperatorShape) -> str | None:
        """Return why a product of the map, or of its patches, by one matrix is not the layer."""
        return None if shape.geometry.groups == 1 else "it has groups, and the operator has one matrix for all channels"

    @classmethod
    def suits(cls, shape: OperatorShape) -> bool:
        """Where no patches are taken, or every other order takes them too."""
        g = shape.geometry
        return g.groups == 1 and not g.vector and (g.pointwise or MIXTURE in shape.terms)

    @classmethod
    def cost(cls, shape: OperatorShape, size: MapSize, *, activated: bool) -> Cost:
        """Return what a layer costs; its activation nothing."""
        del activated
        g, latent = shape.geometry, shape.latent
        inputs, x = g.C * g.taps, g.C * size.inputs
        low_rank = costs.NOTHING
        if LOW_RANK in shape.terms:
            inner, outer = sorted((inputs, g.K)) if cls.smaller_side else (g.K, inputs)
            computed, streamed = inner * latent**2 + latent * shape.kernel_size, latent * (3 * inner + outer)
            low_rank = Cost(0, computed, 0, 0, streamed, 0)
        taken_apart = 0 if g.pointwise else inputs * size.outputs  # by a convolution by ones and zeros
        around = Cost(taken_apart * g.taps, 0, x + 2 * taken_apart, 0, 0, taken_apart > 0)
        return costs.added(costs.kernel(shape, size, shape.kernel_size, g.K), low_rank, around)
