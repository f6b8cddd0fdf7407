"""The spelling for onnxruntime: maps are (N, C, H, W), torch's own layout."""

from __future__ import annotations

import sys

import torch.nn.functional as F
from torch import Tensor, nn

from dcd_deploy.models.deploy.channels_first.classifier import DynamicClassifier
from dcd_deploy.models.deploy.fold import linear_of
from dcd_deploy.models.deploy.form import forms_in
from dcd_deploy.models.deploy.target import Spelling


class GlobalPool(nn.Module):
    """Average a map (N, C, H, W) to features (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, x.shape[2:]).flatten(1)


def as_it_is(layer: nn.Module) -> nn.Module:
    """Return the layer: torch's own layout is channels first."""
    return layer


CHANNELS_FIRST = Spelling(
    name="channels_first",
    entry=nn.Identity,
    layer=as_it_is,
    global_pool=GlobalPool,
    forms=forms_in(sys.modules[__name__]),
    dynamic_classifier=DynamicClassifier,
    static_classifier=linear_of,
)
