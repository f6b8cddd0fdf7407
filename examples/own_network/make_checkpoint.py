"""Write segmenter.pt and pairs.npz: random weights, norms with the statistics of what they see, and recorded answers.

It stands where your training would. It is run from any folder, and writes there, or into the folder that it is given.
"""

import sys
from pathlib import Path

import torch
from network import Segmenter
from torch import nn

import dcd_deploy


def main(folder: Path) -> None:
    """Write both files into the folder."""
    torch.manual_seed(0)
    network = Segmenter()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.7, 1.3)
            nn.init.normal_(part.bias, 0.0, 0.1)
    with torch.no_grad():
        for _ in range(20):
            network(torch.randn(16, 3, 64, 96))
    torch.save({"epoch": 1, "state_dict": network.state_dict()}, folder / "segmenter.pt")
    dcd_deploy.record_reference(network, torch.randn(8, 3, 64, 96), folder / "pairs.npz")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path())
