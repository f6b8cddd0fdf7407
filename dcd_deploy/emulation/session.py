"""An exported model whose outputs are computed by the aarch64 runtime under emulation: what verification runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from dcd_deploy.artifacts import TensorSpec
from dcd_deploy.emulation.cores import Core
from dcd_deploy.emulation.guest import TIME_LIMIT, Guest, opened_guest
from dcd_deploy.emulation.root import installed_root
from dcd_deploy.errors import ModelFileError
from dcd_deploy.progress import Progress, silent
from dcd_deploy.runtimes.choice import usual_runtime
from dcd_deploy.runtimes.isolated import isolated_model
from dcd_deploy.runtimes.litert import as_torch, laid_out
from dcd_deploy.runtimes.model import Model
from dcd_deploy.runtimes.session import Array, Input, Session, check_count


class EmulatedSession:
    """Takes what the file says of itself from the session opened here, and its outputs from the guest."""

    def __init__(self, here: Session, guest: Guest) -> None:
        self._guest = guest
        self.inputs: tuple[TensorSpec, ...] = here.inputs
        self.outputs: tuple[TensorSpec, ...] = here.outputs
        self.metadata = here.metadata
        self.runtime = here.runtime
        self.version = guest.version

    def run(self, images: Input) -> Array:
        """Return the first output for ``images`` (N, C, H, W)."""
        return self.run_all([images])[0]

    def run_all(self, inputs: Sequence[Input]) -> tuple[Array, ...]:
        """Return all outputs for all inputs."""
        check_count(inputs, self.inputs)
        given = (laid_out(values, spec) for values, spec in zip(inputs, self.inputs, strict=True))
        found = self._guest.run(*given)
        for values, spec in zip(found, self.outputs, strict=True):
            wanted = tuple(size or len(inputs[0]) for size in spec.shape)
            if values.shape != wanted or values.dtype != np.float32:
                raise ModelFileError(
                    expected=f"an output {wanted} of float32", found=f"{values.shape} of {values.dtype}"
                )
        return tuple(as_torch(values, spec) for values, spec in zip(found, self.outputs, strict=True))

    def prepare(self, *inputs: Input) -> Callable[[], object]:
        """Return what runs the model on the inputs; how long that takes says nothing about the core."""
        return lambda: self.run_all(inputs)


@contextmanager
def emulated_model(
    path: Path,
    core: Core,
    time_limit: float = TIME_LIMIT,
    progress: Progress = silent,
) -> Iterator[Model]:
    """Yield the model of a file as ``open_model`` returns it, run on an emulated ``core``.

    Raises:
        DeviceLackError: QEMU is not installed, or the root not set up.
        ModelFileError: the file is damaged.
    """
    chosen = usual_runtime(path)
    with ExitStack() as guests:
        here = guests.enter_context(isolated_model(path, threads=1, runtime=chosen))
        with progress(f"start {chosen} on emulated {core.name}"):
            guest = guests.enter_context(
                opened_guest(installed_root(), core, chosen, path, (), time_limit, len(here.session.outputs))
            )
        yield Model(EmulatedSession(here.session, guest), here.card, here.format)
