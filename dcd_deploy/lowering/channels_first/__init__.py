"""The lowerings for onnxruntime: maps are (N, C, H, W), torch's own layout."""

from __future__ import annotations

import sys

from dcd_deploy.lowering.lowering import Backend, lowerings_in

CHANNELS_FIRST = Backend("channels_first", lowerings_in(sys.modules[__name__]))
