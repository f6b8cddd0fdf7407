"""Bundles for the tests: made, altered, and what Pillow makes of their pictures."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from dcd_deploy import commands

LARGE = {"height": 97, "width": 131, "resize": 140}  # a crop that is odd too
ONNXRUNTIME = Path(__file__).parent.parent / ".venv-onnxruntime"  # its headers and Java classes: `make test-programs`


def needs(met: object, what: str) -> pytest.MarkDecorator:
    """Return the mark of tests that are skipped where something is not installed; CI has all of it, or fails."""
    return pytest.mark.skipif(not met and "CI" not in os.environ, reason=f"needs {what}")


def made(path: Path, platform: str, out: Path, **options) -> Path:
    return commands.bundle(path, for_=platform, out=out, **options).folder


def odd_picture(path: Path) -> Path:
    """Save a picture of odd sizes in which each pixel is of its own."""
    pixels = np.random.default_rng(1).integers(0, 256, (283, 397, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def pillow_crop(path: Path, settings: dict[str, int]) -> np.ndarray:
    """Return the crop (height, width, 3) as Pillow resizes it."""
    with Image.open(path) as image:
        side, short = settings["resize"], min(image.size)
        wide, high = (side * size // short for size in image.size)
        resized = np.asarray(image.convert("RGB").resize((wide, high), Image.Resampling.BILINEAR))
    top, left = round((high - settings["height"]) / 2), round((wide - settings["width"]) / 2)
    return resized[top : top + settings["height"], left : left + settings["width"]]


def altered(folder: Path, to: Path, what: str) -> Path:
    """Return a copy of a bundle in which the model, the labels or the preprocessing is another."""
    shutil.copytree(folder, to)
    ALTERATIONS[what](to)
    return to


def _other_weights(folder: Path) -> None:
    path = folder / "model.onnx"
    model = onnx.load(path)
    largest = max(model.graph.initializer, key=lambda each: len(each.raw_data))
    largest.raw_data = bytes(len(largest.raw_data))
    onnx.save(model, path)


def _other_labels(folder: Path) -> None:
    path = folder / "labels.txt"
    lines = path.read_text("utf-8").splitlines()
    path.write_text("\n".join([lines[1], lines[0], *lines[2:]]) + "\n", "utf-8")


def _fewer_labels(folder: Path) -> None:
    path = folder / "labels.txt"
    path.write_text("".join(path.read_text("utf-8").splitlines(keepends=True)[:-1]), "utf-8")


def _other_mean(folder: Path) -> None:
    path = folder / "preprocessing.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"mean": [0.4, 0.5, 0.5]}))


def _unhashed(change):
    """Alter it and its hash too: the golden tensors have to tell."""

    def run(folder: Path) -> None:
        change(folder)
        path = folder / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"sha256": rehashed(folder)}))

    return run


def rehashed(folder: Path) -> dict[str, str]:
    from dcd_deploy.files import sha256

    names = json.loads((folder / "manifest.json").read_text())["sha256"]
    return {name: sha256(folder / name) for name in names}


def _cut(folder: Path) -> None:
    (path,) = folder.glob("model.*")
    path.write_bytes(path.read_bytes()[:1000])


ALTERATIONS = {
    "model": _other_weights,
    "labels": _other_labels,
    "preprocessing": _other_mean,
    "model and its hash": _unhashed(_other_weights),
    "preprocessing and its hash": _unhashed(_other_mean),
    "fewer labels and their hash": _unhashed(_fewer_labels),
    "a corrupt model": _cut,
    "a corrupt model and its hash": _unhashed(_cut),
}


def told(what: str) -> str:
    """Return the pattern of what a sample has to say of an alteration."""
    if what == "a corrupt model and its hash":
        return "the model cannot be opened"
    if what == "fewer labels and their hash":
        return "self-check failed: 9 lines in 'labels.txt', expected 10, one a class"
    return "self-check failed: " + ("error" if "and its hash" in what else ".* is not the file that was bundled")
