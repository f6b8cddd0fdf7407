"""How a crop is drawn and rendered: a turned window, enlarged, and its colours, contrast, blur and noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

PATCH = 80
SIDES, TURN = (44.0, 64.0), math.radians(15)
GREY, MIRRORED = 0.3, 0.5
GAIN, BRIGHTNESS, CONTRAST, LOG_GAMMA, NOISE = 0.15, 0.08, 0.3, 0.3, 0.04


@dataclass(frozen=True)
class Look:
    """What is drawn of chance for each of N crops; sides and extents in pixels of the photograph."""

    sides: NDArray[np.float64]
    angles: NDArray[np.float64]
    mirrored: NDArray[np.bool_]
    grey: NDArray[np.bool_]
    gain: NDArray[np.float64]  # (N, 3)
    brightness: NDArray[np.float64]
    contrast: NDArray[np.float64]
    gamma: NDArray[np.float64]
    blur: NDArray[np.float64]
    noise: NDArray[np.float64]
    noise_seed: int

    @property
    def extents(self) -> NDArray[np.int64]:
        """The sides of the upright squares that hold the turned windows and the pixels that bilinear sampling reads."""
        spread = np.cos(self.angles) + np.abs(np.sin(self.angles))
        extents: NDArray[np.int64] = np.ceil(self.sides * spread).astype(np.int64) + 1
        return extents


def draw_look(rng: np.random.Generator, n: int) -> Look:
    """Draw N looks; training and held-out crops have the same."""
    return Look(
        sides=rng.uniform(*SIDES, n),
        angles=rng.uniform(-TURN, TURN, n),
        mirrored=rng.random(n) < MIRRORED,
        grey=rng.random(n) < GREY,
        gain=rng.uniform(1 - GAIN, 1 + GAIN, (n, 3)),
        brightness=rng.uniform(-BRIGHTNESS, BRIGHTNESS, n),
        contrast=rng.uniform(1 - CONTRAST, 1 + CONTRAST, n),
        gamma=np.exp(rng.uniform(-LOG_GAMMA, LOG_GAMMA, n)),
        blur=rng.uniform(-1, 1, n).clip(0),
        noise=rng.uniform(0, NOISE, n),
        noise_seed=int(rng.integers(2**31)),
    )


@dataclass(frozen=True)
class Windows:
    """Patches (N, 3, 80, 80) in 0 to 1, and where in them the windows' centres are, in pixels (N, 2)."""

    patches: Tensor
    centres: Tensor

    @classmethod
    def cut(
        cls, photographs: Sequence[NDArray[np.uint8]], corners: NDArray[np.int64], extents: NDArray[np.int64]
    ) -> Windows:
        """Cut a patch of the size around each square (row and column of its corner, extent)."""
        limits = np.array([pixels.shape[:2] for pixels in photographs]) - PATCH
        middles = corners + extents[:, None] / 2
        starts = np.clip(np.floor(middles).astype(np.int64) - PATCH // 2, 0, limits)
        patches = np.stack(
            [
                pixels[row : row + PATCH, column : column + PATCH]
                for pixels, (row, column) in zip(photographs, starts, strict=True)
            ]
        )
        return cls(torch.from_numpy(patches).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(middles - starts))


def render(windows: Windows, look: Look, size: int) -> Tensor:
    """Return the crops (N, 3, size, size) in 0 to 1."""
    n = len(windows.patches)
    crops = F.grid_sample(windows.patches, _grid(windows, look, size), padding_mode="border", align_corners=False)
    column = (n, 1, 1, 1)
    crops = crops * _like(look.gain, (n, 3, 1, 1))
    crops = torch.where(torch.from_numpy(look.grey).view(column), crops.mean(1, keepdim=True), crops)
    mean = crops.mean((1, 2, 3), keepdim=True)
    crops = mean + (crops - mean) * _like(look.contrast, column) + _like(look.brightness, column)
    crops = crops.clamp(0, 1) ** _like(look.gamma, column)
    crops = crops + _like(look.blur, column) * (_blurred(crops) - crops)
    noise = torch.randn(crops.shape, generator=torch.Generator().manual_seed(look.noise_seed))
    return (crops + _like(look.noise, column) * noise).clamp(0, 1)


def _grid(windows: Windows, look: Look, size: int) -> Tensor:
    """Where each output pixel is in its patch, in grid_sample's units: −1 to 1 over the patch."""
    n = len(windows.patches)
    zoom, flip = look.sides / PATCH, np.where(look.mirrored, -1, 1)
    cos, sin = zoom * np.cos(look.angles), zoom * np.sin(look.angles)
    rows, columns = (windows.centres.numpy() / PATCH * 2 - 1).T
    affine = np.stack([cos * flip, -sin, columns, sin * flip, cos, rows], 1)
    return F.affine_grid(_like(affine, (n, 2, 3)), [n, 3, size, size], align_corners=False)


def _blurred(crops: Tensor) -> Tensor:
    """Weigh each pixel and its eight neighbours by 1, 2, 1 in both directions; sums of slices beat a convolution."""
    wide = F.pad(crops, (1, 1, 1, 1), mode="reflect")
    rows = (wide[:, :, :-2] + wide[:, :, 2:]) / 4 + wide[:, :, 1:-1] / 2
    return (rows[..., :-2] + rows[..., 2:]) / 4 + rows[..., 1:-1] / 2


def _like(values: NDArray[np.float64], shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(values).float().view(shape)
