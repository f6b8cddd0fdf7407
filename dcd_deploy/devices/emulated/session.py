"""An exported model whose outputs are computed by the aarch64 runtime under emulation: what verification runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcd_deploy.artifacts import TensorSpec
from dcd_deploy.devices.emulated.cores import Core
from dcd_deploy.devices.emulated.guest import TIME_LIMIT, Guest, opened_guest
from dcd_deploy.devices.emulated.root import installed_root
from dcd_deploy.errors import ModelFileError
from dcd_deploy.progress import Progress, silent
from dcd_deploy.runtimes.litert import laid_out
from dcd_deploy.runtimes.model import Model, open_model, runtimes_for
from dcd_deploy.runtimes.session import Session


class EmulatedSession:
    """Takes what the file says of itself from the session opened here, and its outputs from the guest."""

    def __init__(self, here: Session, guest: Guest) -> None:
        self._guest = guest
        self.inputs: tuple[TensorSpec, ...] = here.inputs
        self.outputs: tuple[TensorSpec, ...] = here.outputs
        self.metadata = here.metadata
        self.runtime = here.runtime
        self.version = guest.version

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the first output for ``images`` (N, 3, H, W)."""
        found = self._guest.run(laid_out(images, self.inputs[0].shape))
        if found.ndim != 2 or found.dtype != np.float32 or len(found) != len(images):
            raise ModelFileError(f"expected outputs (N, classes) of float32, found {found.shape} of {found.dtype}")
        return found

    def prepare(self, images: NDArray[np.float32]) -> Callable[[], object]:
        """Return what runs the model on ``images``; how long that takes says nothing about the core."""
        return lambda: self.run(images)


@contextmanager
def emulated_model(
    path: Path,
    core: Core,
    runtime: str | None = None,
    time_limit: float = TIME_LIMIT,
    progress: Progress = silent,
) -> Iterator[Model]:
    """Yield the model of a file as ``open_model`` returns it, run on an emulated ``core``.

    Raises:
        DeviceLackError: QEMU is not installed, or the root not set up.
        ModelFileError: the file is damaged.
    """
    here = open_model(path, threads=1, runtime=runtime)
    chosen = runtime or runtimes_for(path)[0]
    with ExitStack() as guests:
        with progress(f"start {chosen} on emulated {core.name}"):
            guest = guests.enter_context(opened_guest(installed_root(), core, chosen, path, time_limit=time_limit))
        yield Model(EmulatedSession(here.session, guest), here.card, here.format)
