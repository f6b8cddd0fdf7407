"""One layer in one form as a model file, with the neighbours that decide in which layout its maps come and go.

    widening layer of MobileNetV2     sum (here: the input) → layer → ReLU6 → depthwise
    any other, with an activation     depthwise → layer → activation → depthwise
    without                           depthwise → layer

Depthwise layers are cheap, and are what real neighbours have in common: constant weights. The weights are random;
latency does not depend on them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from dcd_deploy.export.deployable import deployable
from dcd_deploy.export.in_blocks import in_blocks
from dcd_deploy.export.simplify import simplify
from dcd_deploy.export.to_onnx import to_onnx
from dcd_deploy.export.to_tflite import to_tflite
from dcd_deploy.models.deploy.network import lower_sequence
from dcd_deploy.models.deploy.target import Target
from dcd_deploy.models.dynamic import ResNetDynamicConv
from dcd_deploy.tuning.layer_case import NONE, RELU6, LayerCase

STATIC = "static"  # in place of a form: the layer of the static twin
SEED = 0
RELAXED = 1e30  # nobody relies on what it computes


def write_layer_model(case: LayerCase, form: str, target: Target, path: Path) -> None:
    """Write the layer in ``form``, or as the static twin has it (STATIC), to ``path``.

    Raises:
        ExportError: the converter refused it.
    """
    g, size = case.geometry, case.size
    lowering = "auto" if form == STATIC else form
    layers = _layers(case, dynamic=form != STATIC)
    network = lower_sequence(layers, g.C, size.in_height, size.in_width, lowering, target)
    shape = (size.in_height, size.in_width)
    if target.format == "tflite":
        path.write_bytes(to_tflite(deployable(network), *shape, channels=g.C))
        return
    images = np.random.default_rng(SEED).standard_normal((1, g.C, *shape), np.float32)
    model = simplify(to_onnx(network, *shape, channels=g.C).tidied, images, RELAXED)
    path.write_bytes((in_blocks(model) or model).SerializeToString())


def _layers(case: LayerCase, *, dynamic: bool) -> nn.Sequential:
    g = case.geometry
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        layer = ResNetDynamicConv(g) if dynamic else nn.Conv2d(g.C, g.K, g.kernel, g.stride, g.padding, bias=False)
        layers = [] if case.follows_sum else _depthwise(g.C)
        layers += [layer, nn.BatchNorm2d(g.K)]
        if case.activation != NONE:
            layers += [nn.ReLU6() if case.activation == RELU6 else nn.ReLU(), *_depthwise(g.K)]
    return nn.Sequential(*layers).eval()


def _depthwise(channels: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, channels, 3, 1, 1, groups=channels, bias=False), nn.BatchNorm2d(channels), nn.ReLU6()]
