"""TFLite files that compute in int8: which operators do so is decided by their roles, the rest stays in float32.

    pools    the means that attention reads, written so that XNNPACK takes them in int8
    roles    which operators are computed in int8
    ranges   the least and largest values of their maps, over the calibration images
    build    the graph in int8, by ai-edge-quantizer; constants that stay floats are stored small

Maps are int8 with a zero point, weights symmetric with a scale for each output channel. XNNPACK has no int8 operator
that takes a computed weight: a kernel W(x) is computed, and applied, in float32.
"""

from dcd_deploy.export.tflite.quantised.build import BITS, TfliteQuantiser

__all__ = ["BITS", "TfliteQuantiser"]
