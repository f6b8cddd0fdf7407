"""Train MobileNetV2-DCD and its static twin on handwritten digits, on the CPU, in minutes.

    python examples/digits/train.py --arch mobilenetv2_dcd --out examples/digits/dcd.pth.tar
    python examples/digits/train.py --arch mobilenetv2 --out examples/digits/static.pth.tar

Writes the file that the published training script writes: a dict of ``epoch``, ``arch``, ``state_dict`` (every key
behind ``module.``), ``best_prec1`` and ``optimizer``. The optimizer's momentum is left out, as it would double the
file.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import digits
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_deploy.models.dynamic import DynamicLayer
from dcd_deploy.models.registry import build
from dcd_deploy.models.spec import NetworkSpec

WIDTH, FC_SQUEEZE, DROPOUT = 0.25, 8, 0.1
EPOCHS, BATCH, PEAK_RATE, WEIGHT_DECAY, SMOOTHING = 100, 64, 0.1, 1e-4, 0.1
LARGEST_GRADIENT = 2.0
TURN, ZOOM, SHIFT = math.radians(10), 0.1, 0.08
SEED = 1


def jitter(images: Tensor) -> Tensor:
    """Turn, zoom and shift every image by a little, each its own way; (N, 3, H, W) to the same."""
    n = len(images)
    turn, zoom = (torch.rand(n) * 2 - 1) * TURN, 1 + (torch.rand(n) * 2 - 1) * ZOOM
    shift = (torch.rand(n, 2, 1) * 2 - 1) * 2 * SHIFT
    cos, sin = zoom * turn.cos(), zoom * turn.sin()
    rotation = torch.stack([cos, -sin, sin, cos], 1).view(n, 2, 2)
    grid = F.affine_grid(torch.cat([rotation, shift], 2), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def initialise(network: nn.Module) -> None:
    """He initialisation of the convolutions; λ starts near 1."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        if isinstance(module, DynamicLayer):
            nn.init.normal_(module.fc_scale.weight, std=0.01)


def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return top-1 accuracy in percent, in float32 and eval mode."""
    network.eval()
    with torch.inference_mode():
        right = (network(images).argmax(1) == labels).float().mean()
    return 100 * float(right)


def train(spec: NetworkSpec, epochs: int) -> dict[str, object]:
    """Train and return the checkpoint of the last epoch (no epoch is picked by its held-out accuracy)."""
    torch.manual_seed(SEED)
    train_x, held_x, train_y, held_y = digits.load()
    images, held = torch.from_numpy(digits.normalised(train_x)), torch.from_numpy(digits.normalised(held_x))
    labels, held_labels = torch.from_numpy(train_y), torch.from_numpy(held_y)
    network = build(spec)
    initialise(network)
    optimizer = torch.optim.SGD(network.parameters(), PEAK_RATE, momentum=0.9, weight_decay=WEIGHT_DECAY, nesterov=True)
    steps = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, epochs=epochs, steps_per_epoch=steps)
    start = time.perf_counter()
    for epoch in range(1, epochs + 1):
        network.train()
        for batch in torch.randperm(len(images))[: steps * BATCH].view(steps, BATCH):
            loss = F.cross_entropy(network(jitter(images[batch])), labels[batch], label_smoothing=SMOOTHING)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no types there
            nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)  # else early steps drive λ into saturation
            optimizer.step()
            schedule.step()
        if epoch % 10 == 0 or epoch == epochs:
            held_out = accuracy(network, held, held_labels)
            print(f"epoch {epoch:3d}  held-out {held_out:.2f} %  {time.perf_counter() - start:.0f} s", flush=True)
    return {
        "epoch": epochs,
        "arch": spec.arch,
        "state_dict": {f"module.{key}": value for key, value in network.state_dict().items()},
        "best_prec1": accuracy(network, held, held_labels),
        "optimizer": {"state": {}, "param_groups": optimizer.state_dict()["param_groups"]},
    }


def main() -> None:
    """Parse the command line, train, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="mobilenetv2_dcd", choices=("mobilenetv2_dcd", "mobilenetv2"))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    spec = NetworkSpec(options.arch, 10, WIDTH, FC_SQUEEZE, DROPOUT)
    torch.save(train(spec, options.epochs), options.out)
    print(f"wrote {options.out}, {options.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
