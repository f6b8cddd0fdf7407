"""The spelling for onnxruntime: maps are (N, C, H, W), dense layers on pooled features are Gemm."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from dcd_deploy.models.deploy.channels_first.branch import BranchForm
from dcd_deploy.models.deploy.channels_first.classifier import DynamicClassifier
from dcd_deploy.models.deploy.channels_first.cost import cheapest_form
from dcd_deploy.models.deploy.channels_first.half import HalfForm
from dcd_deploy.models.deploy.channels_first.kernel import KernelForm
from dcd_deploy.models.deploy.fold import linear_of
from dcd_deploy.models.deploy.target import Target


class GlobalPool(nn.Module):
    """Average a map (N, C, H, W) to features (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, x.shape[2:]).flatten(1)


def as_it_is(layer: nn.Module) -> nn.Module:
    """Return the layer: torch's own layout is channels first."""
    return layer


CHANNELS_FIRST = Target(
    name="channels_first",
    entry=nn.Identity,
    layer=as_it_is,
    global_pool=GlobalPool,
    forms={"branch": BranchForm, "half": HalfForm, "kernel": KernelForm},
    choose=cheapest_form,
    dynamic_classifier=DynamicClassifier,
    static_classifier=linear_of,
)
