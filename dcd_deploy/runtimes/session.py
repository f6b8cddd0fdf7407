"""What every runtime offers: open a file, say what goes in and out, run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, Union

import numpy as np
from numpy.typing import NDArray

from dcd_deploy.artifacts import TensorSpec
from dcd_deploy.errors import ModelFileError, OptionError

Array = NDArray[np.float32]
Input = NDArray[Union[np.float32, np.uint8]]  # of a file that takes them, the raw bytes of pictures
MOST_THREADS = 1024


class Session(Protocol):
    """One opened model. Arrays go in and come out as torch has them, maps (N, C, H, W), whatever the file's layout."""

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

    def run(self, images: Input) -> Array:
        """Return the first output for the only input."""

    def run_all(self, inputs: Sequence[Input]) -> tuple[Array, ...]:
        """Return all outputs, in the file's order, for all inputs.

        Raises:
            ModelFileError: the model takes other inputs.
        """

    def prepare(self, *inputs: Input) -> Callable[[], object]:
        """Set the inputs, and return what runs the model on them and nothing else."""


def check_threads(threads: int) -> int:
    """Return a number of threads that a runtime may be given; 0 is as many as there are cores.

    Raises:
        OptionError: it is none.
    """
    if not isinstance(threads, int) or isinstance(threads, bool) or not 0 <= threads <= MOST_THREADS:
        raise OptionError(f"expected threads as a whole number from 0 to {MOST_THREADS}, found {threads!r:.40}")
    return threads


def check_count(inputs: Sequence[Input], wanted: tuple[TensorSpec, ...]) -> None:
    """Raise ModelFileError unless there are as many inputs as the model takes."""
    if len(inputs) != len(wanted):
        names = ", ".join(f"'{each.name}'" for each in wanted)
        raise ModelFileError(f"the model takes {len(wanted)} inputs ({names}), found {len(inputs)}; give them all")
