"""Twelve photographs that Python packages ship, and 96×96 crops of them: the class is which photograph it is.

Each photograph is a grid of blocks of 80 pixels. Every fourth block is held out, none beside another. A crop is a
turned square window that lies wholly in the blocks of its split, so no pixel of a held-out crop was ever trained on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
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
HELD_OUT_BLOCKS = Path(__file__).parent / "held_out"
PART = 100  # crops are drawn so many at a time

Split = Literal["train", "held-out", "fit", "validation"]  # train is fit and validation together
Crops = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images (N, 96, 96, 3) and labels (N,)
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


def load() -> dict[int, NDArray[np.uint8]]:
    """Return the photographs (H, W, 3), RGB, by their labels' numbers.

    Raises:
        SystemExit: A package that ships one is not installed.
    """
    return {label: _pixels(photograph) for label, photograph in enumerate(PHOTOGRAPHS)}


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
    """Draws crops of one split from photographs (H, W, 3) by their labels' numbers."""

    def __init__(self, split: Split, photographs: Mapping[int, NDArray[np.uint8]]) -> None:
        self.photographs = photographs
        self.areas = {}  # of each photograph, how many pixels of the split lie above and left of each corner
        for label, pixels in photographs.items():
            height, width, _ = pixels.shape
            inside = allowed(height, width, split)
            self.areas[label] = np.pad(inside.cumsum(0).cumsum(1), ((1, 0), (1, 0)))

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


def fixed_crops(source: Source, per_class: int, seed: int) -> Crops:
    """Return the same crops at every call, classes in turn; those of a class are the same beside any others."""
    images = [_of_class(source, label, per_class, seed) for label in source.photographs]
    return np.stack(images, 1).reshape(-1, SIZE, SIZE, 3), np.tile(list(source.photographs), per_class)


def _of_class(source: Source, label: int, count: int, seed: int) -> NDArray[np.uint8]:
    """Return crops (count, 96, 96, 3) of one photograph; fewer are the first of more."""
    rng = np.random.default_rng([seed, label])
    parts = [source.draw(rng, np.full(PART, label)) for _ in range(math.ceil(count / PART))]
    crops: NDArray[np.float32] = torch.cat(parts)[:count].numpy()
    return np.rint(crops * 255).astype(np.uint8).transpose(0, 2, 3, 1)


def held_out(per_class: int = HELD_OUT_PER_CLASS) -> Crops:
    """Return the held-out crops of all classes, on which no choice is made."""
    return fixed_crops(Source("held-out", load()), per_class, HELD_OUT_SEED)


def free_held_out(per_class: int = HELD_OUT_PER_CLASS) -> Crops:
    """Return those of them that are of free photographs, whose held-out blocks lie here in ``held_out``."""
    free = {label: HELD_OUT_BLOCKS / f"{one.label}.png" for label, one in enumerate(PHOTOGRAPHS) if one.free}
    blocks = {label: np.asarray(Image.open(path).convert("RGB")) for label, path in free.items()}
    return fixed_crops(Source("held-out", blocks), per_class, HELD_OUT_SEED)


def calibration(per_class: int) -> Crops:
    """Return crops of the training blocks, for what is calibrated."""
    return fixed_crops(Source("train", load()), per_class, CALIBRATION_SEED)


def normalised(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (N, 3, 96, 96) float32, scaled and normalised as the exported model does it."""
    mean, std = np.array(MEAN, np.float32), np.array(STD, np.float32)
    scaled = (images.astype(np.float32) / 255 - mean) / std
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))
