"""The spelling for TFLite: maps are (N, H, W, C), and every dense layer on pooled features a 1×1 convolution.

A convolution keeps four dimensions, which a fully connected layer would lose, so that λ' and the bias meet a map of any
batch size as they are; Φ' alone has to be reshaped. Activations stand directly behind the layer they belong to, where
the converter fuses them.
"""

from __future__ import annotations

import sys

from torch import Tensor, nn

from dcd_deploy.models.deploy.channels_last.classifier import DynamicClassifier
from dcd_deploy.models.deploy.channels_last.parts import Entry, GlobalPool, dense, on_channels_last
from dcd_deploy.models.deploy.form import forms_in
from dcd_deploy.models.deploy.target import Spelling


class StaticClassifier(nn.Module):
    """A plain linear classifier on features (N, 1, 1, C)."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.dense = dense(weight, bias)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.dense(x).flatten(1)
        return logits


CHANNELS_LAST = Spelling(
    name="channels_last",
    entry=Entry,
    layer=on_channels_last,
    global_pool=GlobalPool,
    forms=forms_in(sys.modules[__name__]),
    dynamic_classifier=DynamicClassifier,
    static_classifier=StaticClassifier,
)
