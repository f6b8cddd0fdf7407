"""From a deploy form to a verified ExecuTorch program in memory, stage by stage.

deploy form, for XNNPACK            checked, 1e-9
  → ExecuTorch program              checked, 5e-5, in ExecuTorch's own runtime
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from dcd_deploy.artifacts import FLOAT32, ModelCard
from dcd_deploy.errors import ExportError, ModelFileError, OptionError
from dcd_deploy.export.build_config import BuildConfig
from dcd_deploy.export.built_model import BuiltModel
from dcd_deploy.export.checked_reference import CheckedReference
from dcd_deploy.export.executorch.convert import FORMAT_INSTEAD, emit_executorch
from dcd_deploy.export.executorch.graph import pte_stats
from dcd_deploy.progress import Progress, silent
from dcd_deploy.runtimes.executorch import ExecuTorchSession

STAGE = "ExecuTorch program"


@dataclass(frozen=True)
class BuiltPte(BuiltModel):
    """A verified ExecuTorch program, as its exporter has it: the file follows with the description."""

    edge: Any

    packages: ClassVar[tuple[str, ...]] = ("torch", "executorch", "numpy")

    def content(self, card: ModelCard) -> bytes:
        """Return the file, with its description inside."""
        return emit_executorch(self.edge, card.to_json())


def build_pte(
    made: Callable[[], Iterator[Any]],
    lowering: dict[str, str],
    notes: tuple[str, ...],
    config: BuildConfig,
    checked: Callable[[], CheckedReference],
    progress: Progress = silent,
) -> BuiltPte:
    """Verify what was lowered; ``made`` waits for it (``make``), ``checked`` for what it is compared with.

    ``lowering`` and ``notes`` are the deploy form's.

    Raises:
        OptionError: the batch is free, which a file for XNNPACK does not have.
        ExportError, VerificationError: a stage refused the network, or computed something else.
    """
    check_pte_options(config)
    with progress("lower to ExecuTorch, a minute or more"):
        (edge,) = made()
        model = emit_executorch(edge)
    passed, stats, sizes = checked(), pte_stats(model), {FLOAT32: len(model)}
    with progress(f"verify {STAGE}"), running():
        session = ExecuTorchSession(model, 1, trusted=True)
        passed = passed.compared(STAGE, session.run_all, config.tolerance, config.batch)
    return BuiltPte(config, passed.report, passed.reference, stats, stats, lowering, notes, sizes, edge)


@contextmanager
def running() -> Iterator[None]:
    """Tell what the runtime cannot run of a program that was made just now as a refusal of the network.

    Raises:
        ExportError: there is such.
    """
    try:
        yield
    except ModelFileError as error:
        said = str(error).partition("the runtime says: ")[2] or str(error)
        raise ExportError(
            "expected ExecuTorch's own runtime to run what its exporter made of the network, but it says: "
            f"{said}; write it in other operators, or end the network before them{FORMAT_INSTEAD}"
        ) from error


def check_pte_options(config: BuildConfig) -> None:
    """Raise OptionError where the batch is free, weights are to be stored small, or raw bytes to go in."""
    if config.input_type != FLOAT32:
        raise OptionError(expected="`input_` of float32 for ExecuTorch", found=config.input_type, advice="leave it out")
    if config.weights != FLOAT32:
        raise OptionError(expected="`weights` of float32 for ExecuTorch", found=config.weights, advice="leave it out")
    if config.batch is None:
        raise OptionError(expected="a `batch` number for ExecuTorch, whose files have fixed shapes", found="'dynamic'")
