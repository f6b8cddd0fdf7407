"""Which form a dynamic convolution gets under ``auto`` for TFLite's XNNPACK kernels.

    1×1, and at least ``KERNEL_FROM`` output pixels    kernel: the map is read and written once
    all else                                           branch: no K×C kernel to compute and to pack

Read off measurements in alternating blocks; ``docs/performance.md`` has them.
"""

from __future__ import annotations

from dcd_deploy.models.geometry import LayerGeometry
from dcd_deploy.models.sizes import MapSize

KERNEL_FROM = 14 * 14


def cheapest_form(geometry: LayerGeometry, size: MapSize, *, activated: bool) -> str:
    """Return the name of the form that is expected to be the fastest."""
    return "kernel" if geometry.kernel == 1 and activated and size.outputs >= KERNEL_FROM else "branch"
