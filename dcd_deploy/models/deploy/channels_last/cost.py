"""Which form a dynamic convolution gets under ``auto`` for TFLite's XNNPACK kernels.

    1×1 on at least 14² pixels where it widens (an activation follows), 56² where it narrows    kernel
    all else                                                                                    branch

In the kernel order the wide map is read or written once, by one matmul; the other orders pass over it repeatedly.
That is worth a K×C kernel for each sample as long as the map is larger than the kernel. 3×3 layers have no runtime that
convolves with computed weights. Read off measurements in alternating blocks: ``docs/performance.md`` has them.
"""

from __future__ import annotations

from dcd_deploy.models.geometry import LayerGeometry
from dcd_deploy.models.sizes import MapSize

WIDENING_FROM, NARROWING_FROM = 14 * 14, 56 * 56


def cheapest_form(geometry: LayerGeometry, size: MapSize, *, activated: bool) -> str:
    """Return the name of the form that is expected to be the fastest."""
    enough = WIDENING_FROM if activated else NARROWING_FROM
    return "kernel" if geometry.kernel == 1 and size.outputs >= enough else "branch"
