"""The lowerings for TFLite: maps are (N, H, W, C), and every dense layer on pooled features a 1×1 convolution.

A convolution keeps four dimensions, which a fully connected layer would lose, so that λ and the bias meet a map of any
batch size as they are; Φ alone has to be reshaped. Activations stand directly behind the layer they belong to, where
the converter fuses them.
"""

from __future__ import annotations

import sys

from dcd_deploy.lowering.lowering import Backend, lowerings_in

CHANNELS_LAST = Backend("channels_last", lowerings_in(sys.modules[__name__]))
