"""The lowerings for ExecuTorch's XNNPACK delegate: maps are torch's own (N, C, H, W), as its exporter takes them.

The delegate keeps maps channels last inside, so a product along channels is written on a permuted map (``rows``),
which the export takes out again. It refuses some operators (splits, means of one axis, convolutions and sums of
products with a computed weight): one of them, and the graph falls apart into many partitions.
"""

from __future__ import annotations

import sys

from dcd_deploy.lowering.lowering import Backend, lowerings_in

XNNPACK = Backend("xnnpack", lowerings_in(sys.modules[__name__]))
