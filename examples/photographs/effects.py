"""What held-out crops lose when the dynamic part of the network stands still, paired with the network as it is.

    python examples/photographs/effects.py
    python examples/photographs/effects.py --checkpoint other.pth.tar --per-class 75

Each row: top-1, how many decisions are others than the network's, and the signal over noise of the logits. Φ and λ
("scale") are set, in all layers, to their means over calibration crops or to those of the crop before. Model files are
judged by ``dcd-deploy evaluate`` on the crops that ``write_crops.py`` writes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import photographs
import torch
from numpy.typing import NDArray

from dcd_deploy.export.noise import snr_db
from dcd_deploy.export.pipeline import capture_network
from dcd_deploy.export.reference import run_torch
from dcd_deploy.export.sensitivity import Heads, Observe, observing
from dcd_deploy.lowering.capture import Captured
from dcd_deploy.lowering.network import network_of
from dcd_deploy.lowering.outputs import OUTPUT
from dcd_deploy.lowering.static_twin import mean_heads
from dcd_deploy.models.checkpoint import read_checkpoint
from dcd_deploy.models.fit import fit, load_network
from dcd_deploy.models.trained import random_example

BATCH = 50
CALIBRATION_PER_CLASS = 8
Logits = NDArray[np.float64]


def captured_from(checkpoint: Path) -> Captured:
    """Return the network of a checkpoint, in float64, with dynamic layers whose heads can be observed."""
    found = read_checkpoint(checkpoint)
    example = random_example((3, photographs.SIZE, photographs.SIZE))
    return capture_network(network_of(load_network(found, fit(found)), example, OUTPUT))


def means_of(captured: Captured) -> dict[str, Heads]:
    """Return the mean of each head of each layer over calibration crops."""
    images, _ = photographs.calibration(CALIBRATION_PER_CLASS)
    batches = [
        (torch.from_numpy(part).double(),) for part in np.array_split(photographs.normalised(images), len(images))
    ]
    return dict(mean_heads(captured, batches))


def set_to_means(means: dict[str, Heads], names: tuple[str, ...]) -> Observe:
    """Return what sets the heads of these names to their means."""

    def replaced(path: str, heads: Heads) -> Heads:
        return {name: means[path][name].expand_as(value) if name in names else value for name, value in heads.items()}

    return replaced


def of_the_crop_before(_path: str, heads: Heads) -> Heads:
    """Give each crop the heads of the crop before it in the batch, which is of another class."""
    return {name: value.roll(1, 0) for name, value in heads.items()}


def faults(captured: Captured) -> Iterator[tuple[str, Observe]]:
    """Yield what is done to the heads, by name."""
    means = means_of(captured)
    yield "Φ at its mean", set_to_means(means, ("phi",))
    yield "λ at its mean", set_to_means(means, ("scale",))
    yield "both at their means", set_to_means(means, ("phi", "scale"))
    yield "both of another crop", of_the_crop_before


def logits_of(captured: Captured, images: NDArray[np.float32]) -> Logits:
    """Return the logits (N, 12) in float64."""
    network = captured.as_module()
    parts = np.array_split(images, max(1, len(images) // BATCH))
    return np.concatenate([run_torch(network, (part,))[OUTPUT] for part in parts]).astype(np.float64)


def row(name: str, logits: Logits, wanted: Logits, labels: NDArray[np.int64]) -> str:
    """Return a row of the table."""
    decisions, right = logits.argmax(1), wanted.argmax(1)
    top1, changed = 100 * (decisions == labels).mean(), 100 * (decisions != right).mean()
    noise = "–" if logits is wanted else f"{snr_db(logits, wanted):.1f}"
    return f"| {name} | {top1:.1f} | {changed:.1f} | {noise} |"


def main() -> None:
    """Parse the command line, judge, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path(__file__).parent / "dcd.pth.tar")
    parser.add_argument("--per-class", type=int, default=photographs.HELD_OUT_PER_CLASS)
    options = parser.parse_args()
    crops, labels = photographs.held_out(options.per_class)
    images = photographs.normalised(crops)
    captured = captured_from(options.checkpoint)
    wanted = logits_of(captured, images)
    print("| | top-1 % | decisions changed % | logits' signal over noise, dB |\n|---|--:|--:|--:|")
    print(row("as it is", wanted, wanted, labels), flush=True)
    for name, observe in faults(captured):
        with observing(captured.graph.module, observe):
            print(row(name, logits_of(captured, images), wanted, labels), flush=True)


if __name__ == "__main__":
    main()
