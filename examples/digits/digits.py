"""scikit-learn's handwritten digits as 32×32 RGB images, split once and for all into training and held-out samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SIZE = 32
MEAN = (0.5, 0.5, 0.5)
STD = (0.5, 0.5, 0.5)
LABELS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
HELD_OUT = 360
SEED = 2021


def load() -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Return training images, held-out images (n, 32, 32, 3), training labels, held-out labels."""
    digits = load_digits()
    gray = np.round(digits.images * (255 / 16)).astype(np.uint8)
    images = np.stack([enlarge(image) for image in gray])
    labels = digits.target.astype(np.int64)
    train, held, train_labels, held_labels = train_test_split(
        images, labels, test_size=HELD_OUT, random_state=SEED, stratify=labels
    )
    return train, held, train_labels, held_labels


def enlarge(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the 8×8 grey image as (32, 32, 3) RGB."""
    enlarged = Image.fromarray(gray).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return np.stack([np.asarray(enlarged)] * 3, axis=-1)


def normalised(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (n, 3, 32, 32) float32, scaled and normalised as the exported model does it."""
    mean, std = np.array(MEAN, np.float32), np.array(STD, np.float32)
    scaled = (images.astype(np.float32) / 255 - mean) / std
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))
