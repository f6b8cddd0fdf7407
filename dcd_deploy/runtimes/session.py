"""What every runtime offers: open a file, say what goes in and out, run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dcd_deploy.artifacts import TensorSpec


class Session(Protocol):
    """One opened model. Its only input and output are the first of each."""

    @property
    def runtime(self) -> str:
        """The name of the runtime's package."""

    @property
    def version(self) -> str:
        """Its version."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs, in the file's order."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs, in the file's order."""

    @property
    def metadata(self) -> dict[str, str]:
        """The texts stored in the file."""

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the output (N, classes) for images (N, 3, H, W)."""

    def prepare(self, images: NDArray[np.float32]) -> Callable[[], object]:
        """Set images (N, 3, H, W) as the input, and return what runs the model on them and nothing else."""
