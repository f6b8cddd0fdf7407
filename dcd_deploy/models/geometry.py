"""The sizes of one dynamic layer, and the four published rules that give them.

A layer is ``W(x) = diag(λ(x)) W0 + P Φ(x) Q`` with W0: K×C, P: K×L, Φ: L×L, Q: L×C (arXiv 2103.08756, eq. 4 and 8).
λ and Φ come from the layer's own input, average-pooled to ``pool``×``pool`` and squeezed to S values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from dcd_deploy.models.spec import NetworkSpec

CLASSIFIER_LATENT = 32
CLASSIFIER_SQUEEZE = 32
RESNET_SQUEEZE = 16
NORMS = ("bn1", "bn2")
SMALLEST = 4  # L and S of MobileNetV2, and S of the basic block, never go below this


@dataclass(frozen=True)
class LayerGeometry:
    """``C`` channels in, ``K`` out, ``L`` latent, ``S`` squeezed; ``pool`` is the side of the pooled map.

    ``biases`` names the parts that have one beyond the published ones; ``norms`` those of bn1 and bn2 that there are.
    """

    C: int
    K: int
    L: int
    S: int
    pool: int = 1
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    biases: tuple[str, ...] = ()
    norms: tuple[str, ...] = NORMS

    @property
    def squeezed_from(self) -> int:
        """Inputs of the squeeze: C values for each cell of the pooled map."""
        return self.C * self.pool**2


def mobilenet_geometry(inputs: int, outputs: int, fc_squeeze: int) -> LayerGeometry:
    """Return the sizes of a 1×1 layer of MobileNetV2-DCD (upstream ``DYModule``)."""
    pool = 2 if inputs < outputs else 1
    pooled = inputs * pool**2
    reduction = 8 if pool == 2 else 2
    latent = min(pooled // reduction, outputs // reduction)
    while latent**2 > 2 * pooled:
        reduction *= 2
        latent = min(pooled // reduction, outputs // reduction)
    latent = max(latent, SMALLEST)
    squeeze = max(max(pooled, latent**2) // fc_squeeze, SMALLEST)
    return LayerGeometry(inputs, outputs, latent, squeeze, pool)


def basic_geometry(inputs: int, outputs: int, stride: int) -> LayerGeometry:
    """Return the sizes of a 3×3 layer of a ResNet basic block (upstream ``conv_basic_dy``)."""
    latent = math.isqrt(4 * inputs)
    squeeze = max(max(4 * inputs, latent**2) // RESNET_SQUEEZE, SMALLEST)
    return LayerGeometry(inputs, outputs, latent, squeeze, pool=2, kernel=3, stride=stride, padding=1)


def bottleneck_geometry(inputs: int, outputs: int, kernel: int, stride: int) -> LayerGeometry:
    """Return the sizes of a layer of a ResNet bottleneck (upstream ``conv_dy``)."""
    latent = math.isqrt(inputs)
    squeeze = max(inputs, latent**2) // RESNET_SQUEEZE
    return LayerGeometry(inputs, outputs, latent, squeeze, kernel=kernel, stride=stride, padding=kernel // 2)


def classifier_geometry(inputs: int, classes: int) -> LayerGeometry:
    """Return the sizes of the dynamic classifier (upstream ``DYCls``)."""
    return LayerGeometry(inputs, classes, CLASSIFIER_LATENT, CLASSIFIER_SQUEEZE)


def own_geometry(spec: NetworkSpec, name: str, rule: LayerGeometry) -> LayerGeometry:
    """Return the sizes of the dynamic layer ``name``: those of the family's rule, but for what ``spec`` says."""
    own = next((layer for layer in spec.layers if layer.name == name), None)
    if own is None:
        return rule
    return replace(rule, L=own.L, S=own.S, pool=own.pool, biases=own.biases, norms=own.norms)
