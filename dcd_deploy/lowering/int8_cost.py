"""What a decomposed layer costs in int8 in each order, beyond what both have: in instructions of a Cortex-A76.

    kernel     W(x) by a float32 product (L a weight), ⊙ λ, quantised, and laid out anew for each inference
    factored   Q x, and P Φ laid out and convolved with it; the sum of two maps

Counted under emulation, operator by operator, on MobileNetV2-DCD ×1.0 (onnxruntime 1.32). A convolution by computed
weights costs more a multiply-add than one by constant weights, which onnxruntime packs at load. Where the two are near,
the kernel order is taken: it has one map in int8 where the other has four, which is worth 4 dB on the digits.
"""

from __future__ import annotations

from dcd_deploy.dynamic.shape import MapSize, OperatorShape

GEMM = 0.36  # a multiply-add in float32
SCALE_AND_QUANTISE = 4.8  # a weight: ⊙ λ, and to int8
LAY_OUT = 6.9  # a weight that is computed
DOT, LATE = 0.10, 0.16  # a multiply-add in int8 by constant weights, by computed ones
CUT, LATE_CUT = 1.0, 2.5  # a value of a map that is made: requantised
ADD = 1.3  # a value of a sum
NODES = 30_000  # more of them
WORTH = 1.2  # what the kernel order may cost more


def kernel(shape: OperatorShape, size: MapSize) -> float:
    """Return the instructions of the kernel order."""
    g, weights, pixels = shape.geometry, shape.kernel_size, size.outputs
    summands = shape.latent + shape.kernels  # of P Φ Q, or of a mixture
    made = weights * (GEMM * summands + SCALE_AND_QUANTISE + LAY_OUT)
    return made + pixels * (weights * LATE + g.K * LATE_CUT)


def static(shape: OperatorShape, size: MapSize) -> float:
    """Return the instructions of the static layer."""
    return size.outputs * (shape.kernel_size * DOT + shape.geometry.K * CUT)


def factored(shape: OperatorShape, size: MapSize) -> float:
    """Return the instructions of the sum of two."""
    g, latent, pixels = shape.geometry, shape.latent, size.outputs
    made = g.K * latent * (GEMM * latent + SCALE_AND_QUANTISE + LAY_OUT)
    query = pixels * latent * (g.C * DOT + CUT)
    return made + static(shape, size) + query + pixels * g.K * (latent * LATE + LATE_CUT + ADD) + NODES


def beyond_static(lowering: str, shape: OperatorShape, size: MapSize) -> float:
    """Return the instructions of a lowering, "kernel" or "factored", beyond those of the static layer."""
    return {"kernel": kernel, "factored": factored}[lowering](shape, size) - static(shape, size)


def chosen(shape: OperatorShape, size: MapSize) -> str:
    """Return the name of the lowering that a decomposed layer gets."""
    return "kernel" if kernel(shape, size) <= WORTH * factored(shape, size) else "factored"
