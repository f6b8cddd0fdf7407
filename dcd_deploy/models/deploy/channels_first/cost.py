"""What each order of computation costs, as a stated model: ``auto`` takes the cheapest for each layer.

    time = constant / CONSTANT_MACS_PER_US + computed / COMPUTED_MACS_PER_US
         + warm / WARM_FLOATS_PER_US + cold / COLD_FLOATS_PER_US + nodes · US_PER_NODE

"Constant" and "computed" are multiply-adds by weights that are known in advance, which a runtime packs into its best
layout, and by weights that are not. "Warm" and "cold" are floats that are read or written on top of what the static
layer moves. Cold are those of weights, which every inference streams anew, and of maps larger than ``LARGEST_WARM``.
With X = C·H·W in, Y = K·H·W out, U = L·H·W latent:

    branch   warm: Q's part cut off 4(Y+U), ⊙λ 2Y, Φ' 2U, P' with the sum U+2Y; the activation, if any, 2Y
    half     warm: Q's part cut off 4(Y+U), ⊙λ 2Y, V·q with the sum U+2Y; the activation, if any, 2Y
    kernel   cold: diag(λ)W0 2KC, + PΦQ 2KC, its use KC
             warm: X out of the blocked layout that constant convolutions use, 2X (3×3: and unfolded, 2·9·X);
             the activation is fused

The rates were read off one thread of an x86-64 server core (AVX-512, 2 MB L2) with onnxruntime 1.32's profiler; only
their proportions matter to the choice. ``docs/performance.md`` has the choices beside the measured times.
"""

from __future__ import annotations

from dataclasses import dataclass

from dcd_deploy.models.geometry import LayerGeometry
from dcd_deploy.models.sizes import MapSize

CONSTANT_MACS_PER_US = 75_000
COMPUTED_MACS_PER_US = 50_000
WARM_FLOATS_PER_US = 8_000
COLD_FLOATS_PER_US = 4_000
US_PER_NODE = 3.0
LARGEST_WARM = 512 * 1024  # floats; 2 MB

NODES = {"branch": 14, "half": 17, "kernel": 16}  # after onnxruntime's fusions


@dataclass(frozen=True)
class FormCost:
    """Cost of one dynamic layer in one form at batch 1, its attention included."""

    constant_macs: int
    computed_macs: int
    warm_floats: int
    cold_floats: int
    nodes: int

    @property
    def macs(self) -> int:
        """All multiply-adds."""
        return self.constant_macs + self.computed_macs

    @property
    def microseconds(self) -> float:
        """The model's estimate."""
        computing = self.constant_macs / CONSTANT_MACS_PER_US + self.computed_macs / COMPUTED_MACS_PER_US
        moving = self.warm_floats / WARM_FLOATS_PER_US + self.cold_floats / COLD_FLOATS_PER_US
        return computing + moving + self.nodes * US_PER_NODE


def form_costs(g: LayerGeometry, size: MapSize, *, activated: bool) -> dict[str, FormCost]:
    """Return the cost of every form of a dynamic convolution that is followed by an activation, or not."""
    x, y, u = g.C * size.inputs, g.K * size.outputs, g.L * size.outputs
    passes = 4 * (y + u) * (g.kernel == 1) + u + (6 if activated else 4) * y
    unpack = 2 * x * (1 if g.kernel == 1 else 1 + g.kernel**2)
    static = g.kernel**2 * g.K * g.C * size.outputs
    attention = g.squeezed_from * g.S + g.S**2 + g.S * (g.L**2 + g.K)
    features, shift, half = attention + static + g.L * g.C * size.outputs, g.S * g.K, g.K * g.L**2
    return {
        "branch": _cost("branch", features + g.L * y, g.L * u, y, passes + 2 * u),
        "half": _cost("half", features + shift, half + g.L * y, y, passes),
        "kernel": _cost(
            "kernel", attention + shift, half + g.K * g.L * g.C + static, x, unpack, 5 * g.kernel**2 * g.K * g.C
        ),
    }


def cheapest_form(g: LayerGeometry, size: MapSize, *, activated: bool) -> str:
    """Return the name of the form that the model finds fastest."""
    costs = form_costs(g, size, activated=activated)
    return min(costs, key=lambda name: costs[name].microseconds)


def _cost(
    form: str, constant_macs: int, computed_macs: int, largest_map: int, map_floats: int, weight_floats: int = 0
) -> FormCost:
    warm = map_floats if largest_map <= LARGEST_WARM else 0
    return FormCost(constant_macs, computed_macs, warm, map_floats - warm + weight_floats, NODES[form])
