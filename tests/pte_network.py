"""A small network with dynamic layers of both orders, a residual sum and a mixture, which lowers to XNNPACK quickly.

python tests/pte_network.py    writes golden/small.pte, with what the network answers; needs the extra executorch
"""

from pathlib import Path

import numpy as np
import torch
from foreign_networks import calibrated
from mixture_layers import MixedKernels
from torch import Tensor, nn

from dcd_deploy.models.dynamic import MobileNetDynamicConv, ResNetDynamicConv
from dcd_deploy.models.geometry import basic_geometry, mobilenet_geometry

SMALL = Path(__file__).parent / "golden" / "small.pte"
EXAMPLE = torch.zeros(1, 3, 16, 16)


class Small(nn.Module):
    """Pictures (N, 3, 16, 16) to five numbers; the maps behind ``wide`` and ``narrow`` are added up."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU6())
        self.wide = nn.Sequential(MobileNetDynamicConv(mobilenet_geometry(8, 24, 4)), nn.BatchNorm2d(24), nn.ReLU6())
        self.narrow = nn.Sequential(MobileNetDynamicConv(mobilenet_geometry(24, 8, 4)), nn.BatchNorm2d(8))
        self.square = nn.Sequential(ResNetDynamicConv(basic_geometry(8, 8, 1)), nn.BatchNorm2d(8), nn.ReLU())
        self.mixed = nn.Sequential(MixedKernels(8, 8, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.narrow(self.wide(x))
        x = self.mixed(self.square(x))
        y: Tensor = self.head(x.mean((2, 3)))
        return y


def small() -> nn.Module:
    """The network, in eval mode, always the same."""
    torch.manual_seed(0)
    return calibrated(Small(), EXAMPLE)


def inputs(count: int) -> np.ndarray:
    """Inputs that no export has seen."""
    return np.random.default_rng(5).normal(0.2, 1.1, (count, *EXAMPLE.shape[1:])).astype(np.float32)


def main() -> None:
    """Write the file and the answers."""
    import dcd_deploy

    done = dcd_deploy.export_module(small(), EXAMPLE + 0.1, to="executorch", out=SMALL.parent, name=SMALL.stem)
    done.artifact.sidecar_path.unlink()
    with torch.no_grad():
        np.save(SMALL.with_suffix(".npy"), small().double()(torch.from_numpy(inputs(2)).double()).numpy())


if __name__ == "__main__":
    main()
