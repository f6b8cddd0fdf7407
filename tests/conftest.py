"""What many tests need: networks with live statistics, the bundled checkpoints, and the files exported from them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dcd_deploy import commands
from dcd_deploy.models.registry import build
from dcd_deploy.models.spec import NetworkSpec

ROOT = Path(__file__).parent.parent
DIGITS = ROOT / "examples" / "digits"
sys.path.insert(0, str(DIGITS))

DIGITS_OPTIONS = {"input_size": 32, "resize": 32, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
SMALL = NetworkSpec("resnet10_dcd", num_classes=10)  # few nodes, so that tracing it is quick


def live_network(spec: NetworkSpec, seed: int = 0) -> nn.Module:
    """Return a float64 train-form network whose BatchNorms are far from the identity, calibrated so that it is not chaotic."""
    torch.manual_seed(seed)
    network = build(spec)
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            low, high = (0.1, 0.3) if name.endswith("bn2") and isinstance(module, nn.BatchNorm1d) else (0.7, 1.3)
            nn.init.uniform_(module.weight, low, high)
            nn.init.normal_(module.bias, 0.0, 0.1)
            module.momentum = None  # average over all that it sees
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
    network.train()
    with torch.no_grad():
        for _ in range(2):
            network(torch.randn(16, 3, 64, 64))
    return network.double().eval()


def save_checkpoint(path: Path, network: nn.Module, arch: str = "") -> Path:
    """Write what the published training script writes."""
    state = {f"module.{key}": value.float() for key, value in network.state_dict().items()}
    torch.save({"epoch": 3, "arch": arch, "state_dict": state, "best_prec1": torch.tensor(71.5), "optimizer": {}}, path)
    return path


@pytest.fixture(scope="session")
def small_network() -> nn.Module:
    return live_network(SMALL)


@pytest.fixture(scope="session")
def small_checkpoint(small_network, tmp_path_factory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("small") / "model_best.pth.tar", small_network, SMALL.arch)


@pytest.fixture(scope="session")
def digits_checkpoint() -> Path:
    return DIGITS / "dcd.pth.tar"


@pytest.fixture(scope="session")
def digits_export(digits_checkpoint, tmp_path_factory):
    """The bundled dynamic checkpoint, exported with its twin."""
    out = tmp_path_factory.mktemp("digits")
    labels = DIGITS / "labels.txt"
    return commands.export(digits_checkpoint, out=out, name="digits", labels=labels, with_baseline=True, **DIGITS_OPTIONS)


@pytest.fixture(scope="session")
def held_out():
    """The digits that no training saw: pictures (n, 32, 32, 3) uint8 and labels."""
    import digits

    _, images, _, labels = digits.load()
    return images, labels


@pytest.fixture(scope="session")
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, 40, 56, 3), dtype=np.uint8)
