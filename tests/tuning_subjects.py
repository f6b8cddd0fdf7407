"""Networks as tuning takes them, and a lowering as it gives it."""

from __future__ import annotations

import functools

import torch
from dynamic_layers import lively
from torch import nn

from dcd_deploy.benchmarks.measure import MeasureConfig
from dcd_deploy.lowering.capture import capture
from dcd_deploy.lowering.network import network_of
from dcd_deploy.models.dynamic import MobileNetDynamicConv
from dcd_deploy.models.geometry import mobilenet_geometry
from dcd_deploy.models.registry import build
from dcd_deploy.models.spec import NetworkSpec
from dcd_deploy.tuning.forecast import CapturedNetwork, subject_of
from dcd_deploy.tuning.lowering_file import TunedLowering

NETWORK = NetworkSpec("mobilenetv2_dcd")
FEW = MeasureConfig(runs=3, dropped=1, warmup_runs=1, warmup_seconds=0.0, min_runs=8, min_seconds=0.0, rounds=2)
PICTURE = ((3, 224, 224),)
LAYERS = tuple(f"features.{i}.conv.{j}" for i in range(2, 18) for j in (0, 6))
LOWERING = TunedLowering(
    "litert",
    "tflite",
    NETWORK.describe(),
    PICTURE,
    "litert",
    "2.3.0",
    "local",
    "cpu",
    1,
    dict.fromkeys(LAYERS, "branch"),
)


def subject_with(module: nn.Module, *shape: int, title: str = "network") -> CapturedNetwork:
    """Capture a module for an input of that shape."""
    torch.manual_seed(0)
    return subject_of(capture(network_of(module.eval(), torch.randn(1, *shape))), title)


@functools.cache
def widening(activation: type[nn.Module] | None = nn.ReLU6) -> CapturedNetwork:
    """A layer 8→24 on 8×8, behind a convolution, with an activation behind it."""
    behind = [activation()] if activation else []
    torch.manual_seed(0)
    first = lively(MobileNetDynamicConv(mobilenet_geometry(8, 24, 8)))
    return subject_with(nn.Sequential(nn.Conv2d(3, 8, 1), first, nn.BatchNorm2d(24), *behind), 3, 8, 8)


@functools.cache
def registry_subject(spec: NetworkSpec, side: int, most: int | None = None) -> CapturedNetwork:
    """Return a known network with random weights, of whose groups at most so many count."""
    torch.manual_seed(0)
    subject = subject_with(build(spec), 3, side, side, title=spec.describe())
    subject.__dict__["groups"] = subject.groups[:most]
    return subject


def layers_of(groups):
    """Return the paths of the layers, each once: one that is called twice may be of two groups."""
    return tuple(dict.fromkeys(path for group in groups for path in group.layers))
