"""Train small networks of nobody's on the bundled digits, and print what int8 leaves of them (docs/quantisation.md).

    python scripts/own_int8.py        about five minutes of one core

dy_mobile      inverted bottlenecks of DY-Conv
condconv       ``mixing_networks.condconv_mobile``
dy_residual    ``mixing_networks.dy_conv_residual``
timm           nine CondConv layers of timm's tf_efficientnet_cc_b0_4e, its stem and first block
segmenter      ``tests/foreign_networks.py``: DCD, two outputs; it finds the ink, and a blurred picture
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "examples" / "digits"), str(ROOT / "tests")]

import digits  # noqa: E402
import mixing_networks as mixing  # noqa: E402
import timm_networks  # type: ignore[import-not-found]  # noqa: E402  # of the tests
from foreign_networks import Segmenter  # type: ignore[import-not-found]  # noqa: E402  # of the tests

import dcd_deploy  # noqa: E402
from dcd_deploy.export.noise import snr_db  # noqa: E402
from dcd_deploy.runtimes import open_model  # noqa: E402

EPOCHS, BATCH, RATE, CALIBRATION = 6, 32, 3e-3, 256
FILES = (("onnx", "onnxruntime-arm"), ("onnx", "portable"), ("tflite", "litert"))


class Inverted(nn.Module):
    """Expand, filter and project by DY-Conv, around a shortcut where the sizes allow it."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        wide, routing = 4 * inputs, mixing.SoftmaxRouting
        self.expand = mixing.MixedConv(inputs, wide, 1, routing(inputs))
        self.filter = mixing.MixedConv(wide, wide, 3, routing(wide), stride, groups=wide)
        self.project = mixing.MixedConv(wide, outputs, 1, routing(wide))
        self.bn1, self.bn2, self.bn3 = nn.BatchNorm2d(wide), nn.BatchNorm2d(wide), nn.BatchNorm2d(outputs)
        self.around = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.bn1(self.expand(x)))
        projected: Tensor = self.bn3(self.project(F.relu6(self.bn2(self.filter(y)))))
        return x + projected if self.around else projected


def dy_mobile() -> nn.Module:
    """Return the network of DY-Conv bottlenecks; its parameters are random."""
    stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
    blocks = [Inverted(16, 24, 2), Inverted(24, 24, 1), Inverted(24, 40, 2), Inverted(40, 40, 1)]
    return nn.Sequential(stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, 10))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "dy_mobile": dy_mobile,
    "condconv": lambda: mixing.condconv_mobile(10),
    "dy_residual": lambda: mixing.dy_conv_residual(10),
    "timm": timm_networks.condconv_blocks,
    "segmenter": Segmenter,
}


def loss(found: Tensor | dict[str, Tensor], x: Tensor, labels: Tensor) -> Tensor:
    """Return what is trained for: the digit, or the ink and a blurred picture."""
    if isinstance(found, Tensor):
        return F.cross_entropy(found, labels)
    grey = x.mean(1, keepdim=True)
    ink = F.cross_entropy(found["mask"], (grey[:, 0] > 0).long())
    return ink + F.mse_loss(found["edges"], F.avg_pool2d(grey, 2) / 2 + 0.5)


def trained(name: str, images: Tensor, labels: Tensor) -> nn.Module:
    """Return a trained network, in eval mode."""
    torch.manual_seed(0)
    network, steps = NETWORKS[name](), EPOCHS * (len(images) // BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    for _ in range(EPOCHS):
        order = torch.randperm(len(images))
        for start in range(0, len(images) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            optimiser.zero_grad()
            loss(network(images[chosen]), images[chosen], labels[chosen]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    return network.eval()


def rows(name: str, network: nn.Module, held: np.ndarray, labels: np.ndarray, calibrate: Path) -> None:
    """Print what each int8 file of a network keeps of its outputs, and of its accuracy."""
    with torch.no_grad():
        found = network(torch.from_numpy(held))
    right = [values.numpy() for values in (found.values() if isinstance(found, dict) else [found])]
    for format, target in FILES:
        made = dcd_deploy.export_module(
            network,
            torch.randn(1, 3, 32, 32),
            to=format,
            target=target,
            out=calibrate.parent,
            precision="int8",
            calibrate=calibrate,
        )
        model = open_model(made.artifact.path)
        each = [model.run_all(held[i : i + 1]) for i in range(len(held))]
        values = [np.concatenate(parts) for parts in zip(*each, strict=True)]
        left = ", ".join(f"{snr_db(a, b.astype(np.float64)):.1f} dB" for a, b in zip(values, right, strict=True))
        top1 = [f"{(one.argmax(1) == labels).mean():.1%}" for one in (right[0], values[0]) if one.ndim == 2]
        print(name, format, target, left, " → ".join(top1), flush=True)


def main() -> None:
    """Train and export all of them."""
    pictures, unseen, labels, held_labels = digits.load()
    images, held = digits.normalised(pictures), digits.normalised(unseen)
    with tempfile.TemporaryDirectory() as folder:
        np.savez(calibrate := Path(folder) / "digits.npz", images=images[:CALIBRATION], labels=labels[:CALIBRATION])
        for name in NETWORKS:
            network = trained(name, torch.from_numpy(images), torch.from_numpy(labels))
            rows(name, network, held, held_labels, calibrate)


if __name__ == "__main__":
    main()
