"""Train MobileNetV2-DCD and its static twin on crops of twelve photographs, on one CPU core each.

    python examples/photographs/train_photographs.py --arch mobilenetv2_dcd --out examples/photographs/dcd.pth.tar
    python examples/photographs/train_photographs.py --arch mobilenetv2 --out examples/photographs/static.pth.tar

One cycle, no choice by held-out accuracy, which is computed once, at the end. Writes the file that the published
training script writes, with the weights of convolutions and linear layers in float16 and without momentum.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import photographs
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_deploy.models.dynamic import DynamicLayer
from dcd_deploy.models.registry import build
from dcd_deploy.models.spec import NetworkSpec

WIDTH, FC_SQUEEZE, DROPOUT = 0.25, 8, 0.1
STEPS, BATCH, PEAK_RATE, WEIGHT_DECAY, SMOOTHING = 2500, 64, 0.1, 1e-4, 0.1
SMALL_SIZE, SMALL_PART = 64, 0.6  # the first part of the steps is on smaller crops, at under half the time
LARGEST_GRADIENT = 2.0
REPORT_STEPS, KEEP_STEPS = 50, 250


def initialise(network: nn.Module) -> None:
    """He initialisation of the convolutions; λ starts near 1."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        if isinstance(module, DynamicLayer):
            nn.init.normal_(module.fc_scale.weight, std=0.01)


def normalised(crops: Tensor) -> Tensor:
    """Scale crops in 0 to 1 as the exported model does it."""
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (photographs.MEAN, photographs.STD))
    return ((crops - mean) / std).contiguous(memory_format=torch.channels_last)


def accuracy(network: nn.Module, split: photographs.Split) -> float:
    """Return top-1 in percent on 300 crops of each class, in float32 and eval mode."""
    source = photographs.Source(split, photographs.load())
    images, labels = photographs.fixed_crops(source, photographs.HELD_OUT_PER_CLASS, photographs.HELD_OUT_SEED)
    network.eval()
    with torch.inference_mode():
        answers = [network(torch.from_numpy(photographs.normalised(part))).argmax(1) for part in np.split(images, 36)]
    return 100 * float((torch.cat(answers).numpy() == labels).mean())


class Training:
    """A network, its optimizer, and how many steps of the cycle are done. Step and seed say what a step draws."""

    def __init__(self, spec: NetworkSpec, options: argparse.Namespace) -> None:
        torch.manual_seed(options.seed)
        self.seed, self.steps, self.done = options.seed, options.steps, 0
        self.network = build(spec)
        initialise(self.network)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch has no types there
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), options.peak, momentum=0.9, weight_decay=WEIGHT_DECAY, nesterov=True
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, options.peak, total_steps=options.steps)
        self.source = photographs.Source("fit" if options.validate else "train", photographs.load())

    def step(self) -> tuple[float, float]:
        """Take one step; return loss and top-1 of its batch in percent."""
        torch.manual_seed(self.seed * 1_000_000 + self.done)
        rng = np.random.default_rng([self.seed, self.done])
        chosen = rng.integers(0, len(photographs.LABELS), BATCH)
        size = SMALL_SIZE if self.done < SMALL_PART * self.steps else photographs.SIZE
        logits = self.network(normalised(self.source.draw(rng, chosen, size)))
        labels = torch.from_numpy(chosen)
        loss = F.cross_entropy(logits, labels, label_smoothing=SMOOTHING)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types there
        nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)  # else early steps saturate λ
        self.optimizer.step()
        self.schedule.step()
        self.done += 1
        return loss.item(), 100 * float((logits.argmax(1) == labels).float().mean())

    def state(self) -> dict[str, Any]:
        """Return what a run that was stopped needs to go on as if it had not been."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "done": self.done,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.done = state["done"]


def run(training: Training, kept: Path | None) -> None:
    """Take the steps that are left, and report; keep the state now and then."""
    if kept and kept.exists():
        training.restore(torch.load(kept, weights_only=True))
    training.network.train()
    figures = []
    while training.done < training.steps:
        figures.append(training.step())
        if training.done % REPORT_STEPS == 0:
            loss, right = np.mean(figures, axis=0)
            print(
                f"step {training.done}  loss {loss:.3f}  train {right:.1f} %  {time.process_time():.0f} s", flush=True
            )
            figures.clear()
        if kept and training.done % KEEP_STEPS == 0:
            torch.save(training.state(), kept)


def halved(network: nn.Module) -> dict[str, Tensor]:
    """Round matrices and kernels to float16, in the network too, and return the state; vectors stay as they are."""
    state = {key: value.half() if value.ndim > 1 else value for key, value in network.state_dict().items()}
    network.load_state_dict(state)
    return {f"module.{key}": value.contiguous() for key, value in state.items()}


def main() -> None:
    """Parse the command line, train, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="mobilenetv2_dcd", choices=("mobilenetv2_dcd", "mobilenetv2"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--peak", type=float, default=PEAK_RATE, help="the cycle's highest learning rate")
    parser.add_argument("--validate", action="store_true", help="leave the validation blocks out, and judge by them")
    parser.add_argument("--state", type=Path, help="keep the state here, and go on from it where there is one")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    spec = NetworkSpec(options.arch, len(photographs.LABELS), WIDTH, FC_SQUEEZE, DROPOUT)
    training = Training(spec, options)
    run(training, options.state)
    state = halved(training.network)
    split: photographs.Split = "validation" if options.validate else "held-out"
    found = accuracy(training.network, split)
    checkpoint = {"epoch": options.steps, "arch": spec.arch, "state_dict": state, "best_prec1": found}
    torch.save(checkpoint | {"optimizer": {"state": {}, "param_groups": []}}, options.out)
    print(f"{split} {found:.2f} %; wrote {options.out}, {options.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
