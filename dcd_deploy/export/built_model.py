"""What every format's build returns: a verified graph that is not yet on disk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any, ClassVar

from dcd_deploy.artifacts import (
    FLOAT32,
    INT8,
    ModelCard,
    Precision,
    StoredWeights,
    TensorSpec,
    file_shape,
)
from dcd_deploy.export.build_config import BuildConfig
from dcd_deploy.export.stats import GraphStats
from dcd_deploy.export.truth import TrainReference
from dcd_deploy.export.verify import (
    CALIBRATED,
    VerificationReport,
)
from dcd_deploy.lowering.targets import target_for


@dataclass(frozen=True)
class BuiltModel(ABC):
    """A verified graph that is not yet on disk; ``traced`` and ``finished`` count it before and after our passes.

    ``sizes`` are the bytes that it takes with its weights stored in each way, of those not chosen about. ``notes`` say
    what of the lowering costs something, or was not lowered, and why.
    """

    config: BuildConfig
    report: VerificationReport
    reference: TrainReference
    traced: GraphStats
    finished: GraphStats
    lowering: dict[str, str]
    notes: tuple[str, ...]
    sizes: dict[str, int]
    largest: float | None = field(default=None, kw_only=True)  # activation, of a file in float16

    layout = "nchw"  # of all tensors of four dimensions
    opset: ClassVar[int | None] = None
    packages: ClassVar[tuple[str, ...]] = ()  # that made it

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs as the file has them."""
        return tuple(replace(self._spec(each.name, each.shape), dtype=each.dtype) for each in self.config.entries)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs as the file has them."""
        return tuple(self._spec(name, values.shape[1:]) for name, values in self.reference.outputs.items())

    def _spec(self, name: str, shape: tuple[int, ...]) -> TensorSpec:
        whole = (self.config.batch, *shape)
        return TensorSpec(name, file_shape(whole, self.layout), layout=self.layout if len(whole) == 4 else None)

    @property
    def weights(self) -> StoredWeights:
        """How the weights are stored, and what is left of the outputs."""
        left = min((noise.told_db for noise in self.report.noise if noise.against != CALIBRATED), default=None)
        return StoredWeights(self.config.weights, left, None if left is None else self.config.least_db)

    @property
    def precision(self) -> Precision:
        """What is computed in, and what is left of the outputs."""
        if self.config.precision == FLOAT32:
            return Precision()
        images = 0 if self.config.calibration is None else len(self.config.calibration.images)
        runtimes = (each for each in self.report.noise if each.against == CALIBRATED)
        noise = min(runtimes, key=lambda each: each.snr_db)
        found = self.report.accuracy
        before, after = (None, None) if found is None else (found.float_top1, found.top1)
        kept = self.config.keep_float
        bits = self.bits if self.config.precision == INT8 else None
        judged = (noise.told_db, noise.least_db, before, after)
        return Precision(self.config.precision, images, bits, *judged, kept, self.largest)

    @property
    def bits(self) -> int:
        """Those of weights in int8."""
        return target_for(self.config.target, "onnx").weight_bits

    @property
    def runtime(self) -> str | None:
        """The runtime that it is made for, where that is not the usual one."""
        return None

    @property
    def versions(self) -> dict[str, str]:
        """The versions of the packages that made it."""
        return {name: version(name) for name in self.packages}

    @property
    def facts(self) -> dict[str, Any]:
        """What the sidecar says about this format alone."""
        return {}

    @abstractmethod
    def content(self, card: ModelCard) -> bytes:
        """Return the file, with its description inside."""
