"""Twelve photographs that Python packages ship, and 96×96 crops of them: the class is which photograph it is.

Each photograph is a grid of blocks of 80 pixels. Every fourth block is held out, none beside another. A crop is a
turned square window that lies wholly in the blocks of its split, so no pixel of a held-out crop was ever trained on.
"""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from crops import Look, Windows, draw_look, render
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

SIZE = 96
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
BLOCK = 80
HELD_OUT_PER_CLASS = 300
HELD_OUT_SEED, CALIBRATION_SEED = 2021, 2022

Split = Literal["train", "held-out", "fit", "validation"]  # train is fit and validation together
CC0, PUBLIC = "CC0", "public domain"


class Photograph(NamedTuple):
    """A class: its label, the file in its package, its licence as the package states it."""

    label: str
    package: str
    file: str
    licence: str

    @property
    def free(self) -> bool:
        """Whether crops of it may be passed on without conditions."""
        return self.licence in {CC0, PUBLIC}


PHOTOGRAPHS = (
    Photograph("brick wall", "skimage", "data/brick.png", CC0),
    Photograph("cat", "skimage", "data/chelsea.png", CC0),
    Photograph("temple", "sklearn", "datasets/images/china.jpg", "CC BY 2.0"),
    Photograph("coffee", "skimage", "data/coffee.png", CC0),
    Photograph("coins", "skimage", "data/coins.png", "no known copyright restrictions"),
    Photograph("flower", "sklearn", "datasets/images/flower.jpg", "CC BY 2.0"),
    Photograph("grass", "skimage", "data/grass.png", CC0),
    Photograph("gravel", "skimage", "data/gravel.png", CC0),
    Photograph("galaxies", "skimage", "data/hubble_deep_field.jpg", PUBLIC),
    Photograph("tissue", "skimage", "data/ihc.png", "no known copyright restrictions"),
    Photograph("retina", "skimage", "data/retina.jpg", CC0),
    Photograph("rocket", "skimage", "data/rocket.jpg", PUBLIC),
)
LABELS = tuple(photograph.label for photograph in PHOTOGRAPHS)
RETINA_SQUARE, RETINA_SIZE = (205, 205, 1205, 1205), (512, 512)  # inside the round field, at a size that shows vessels


def load() -> list[NDArray[np.uint8]]:
    """Return the photographs as (H, W, 3) RGB.

    Raises:
        SystemExit: A package that ships one is not installed.
    """
    return [_pixels(photograph) for photograph in PHOTOGRAPHS]


def _pixels(photograph: Photograph) -> NDArray[np.uint8]:
    package = find_spec(photograph.package)
    if package is None or package.origin is None:
        raise SystemExit("the photographs are in scikit-learn and scikit-image: pip install --no-deps scikit-image")
    with Image.open(Path(package.origin).parent / photograph.file) as image:
        rgb = image.convert("RGB")
    if photograph.label == "retina":
        rgb = rgb.resize(RETINA_SIZE, Image.Resampling.BOX, box=RETINA_SQUARE)
    return np.asarray(rgb)


def allowed(height: int, width: int, split: Split) -> NDArray[np.bool_]:
    """Return which pixels (height, width) belong to a split."""
    row, column = np.arange(height)[:, None] // BLOCK, np.arange(width)[None] // BLOCK
    held_out = (row % 2 == 0) & (column % 2 == 1)
    validation = (row % 4 == 1) & (column % 4 == 0)
    masks: dict[Split, NDArray[np.bool_]] = {
        "train": ~held_out,
        "held-out": held_out,
        "fit": ~held_out & ~validation,
        "validation": validation,
    }
    return masks[split]


class Source:
    """Draws crops of one split."""

    def __init__(self, split: Split) -> None:
        self.photographs = load()
        self.areas = []  # of each photograph, how many pixels of the split lie above and left of each corner
        for pixels in self.photographs:
            height, width, _ = pixels.shape
            inside = allowed(height, width, split)
            self.areas.append(np.pad(inside.cumsum(0).cumsum(1), ((1, 0), (1, 0))))

    def draw(self, rng: np.random.Generator, labels: NDArray[np.int64], size: int = SIZE) -> Tensor:
        """Return crops (N, 3, size, size) in 0 to 1 of the photographs that the labels (N,) name."""
        look: Look = draw_look(rng, len(labels))
        corners = np.stack([self._corner(rng, *each) for each in zip(labels, look.extents, strict=True)])
        windows = Windows.cut([self.photographs[label] for label in labels], corners, look.extents)
        return render(windows, look, size)

    def _corner(self, rng: np.random.Generator, label: int, extent: int) -> NDArray[np.int64]:
        """Return row and column of a square of that extent that lies wholly in the split."""
        area = self.areas[label]
        while True:
            row, column = (int(rng.integers(0, limit - extent)) for limit in area.shape)
            below, right = row + extent, column + extent
            if area[below, right] - area[row, right] - area[below, column] + area[row, column] == extent**2:
                return np.array([row, column])


def fixed_crops(split: Split, per_class: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the same crops (N, 96, 96, 3) and labels (N,) at every call, N = 12 × per_class, classes in turn."""
    source, rng = Source(split), np.random.default_rng(seed)
    labels = np.tile(np.arange(len(LABELS)), per_class)
    drawn = [source.draw(rng, batch) for batch in np.array_split(labels, math.ceil(len(labels) / 64))]
    images = [np.rint(crops.numpy() * 255).astype(np.uint8).transpose(0, 2, 3, 1) for crops in drawn]
    return np.concatenate(images), labels


def held_out(per_class: int = HELD_OUT_PER_CLASS) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the held-out crops, on which no choice was made."""
    return fixed_crops("held-out", per_class, HELD_OUT_SEED)


def calibration(per_class: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return crops of the training blocks, for what is calibrated."""
    return fixed_crops("train", per_class, CALIBRATION_SEED)


def normalised(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (N, 3, 96, 96) float32, scaled and normalised as the exported model does it."""
    mean, std = np.array(MEAN, np.float32), np.array(STD, np.float32)
    scaled = (images.astype(np.float32) / 255 - mean) / std
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))
