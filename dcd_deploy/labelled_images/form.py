"""What a model takes for a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcd_deploy.artifacts import FLOAT32, ModelCard, Preprocessing

Images = NDArray[np.float32 | np.uint8]


@dataclass(frozen=True)
class InputForm:
    """What a model takes: the shape (C, H, W) of one sample, its type, and how it is made of a picture."""

    shape: tuple[int | None, ...]
    dtype: str = FLOAT32
    preprocessing: Preprocessing | None = None

    @classmethod
    def of_card(cls, card: ModelCard) -> InputForm:
        """Return that of an exported file's first input."""
        return cls(card.input.torch_shape[1:], card.input_type, card.preprocessing)
