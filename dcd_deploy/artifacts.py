"""What an exported file knows about itself: the description inside it, and the JSON sidecar beside it.

The description travels in the file's own metadata under ``METADATA_KEY``, so that an app needs the one file alone.
``card_json`` reads it back.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

METADATA_KEY = "dcd_deploy"
INPUT, OUTPUT = "input", "logits"  # what the files of classifiers call their tensors
FEATURES = "features"  # what comes out of one of them without a head
SCHEMA = 2
LARGEST_SIZE, MOST_AXES = 1 << 20, 8  # of a tensor
NHWC, NCHW = LAYOUTS = ("nhwc", "nchw")
LITERT_COMPILED = "litert-compiled"  # a runtime, and the target of its files
FLOAT32, FLOAT16, INT8 = WEIGHTS = ("float32", "float16", "int8")  # how large weights are stored
FLOAT32, UINT8 = INPUT_TYPES = ("float32", "uint8")  # of pictures: normalised, or raw bytes
PRECISIONS = (FLOAT32, FLOAT16, INT8)  # what layers are computed in
FLOAT32_TOLERANCE = 5e-5  # the stated limit of every check in float32; ``export.verify`` argues for it
INT8_TOLERANCE = 0.05  # of an int8 file against its own outputs on another machine (docs/quantisation.md)
FLOAT16_TOLERANCE = 0.02  # of one in half precision, which machines add up in their own ways
MOST_ZOOM = 16  # of what a picture is resized to, over the crop
RESIZE_FOR_CROP = 256 / 224  # the published evaluation: resize the short side to 256, crop 224

Json = dict[str, Any]


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape and type of an input or output, as the file has it; a dimension of None is free.

    ``layout`` is "nhwc" or "nchw" of a tensor of four dimensions, None of any other.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"
    layout: str | None = None

    @property
    def torch_shape(self) -> tuple[int | None, ...]:
        """The shape as torch has it, (N, C, H, W) where there are four dimensions."""
        if self.layout != NHWC:
            return self.shape
        n, height, width, channels = self.shape
        return n, channels, height, width


def file_shape(shape: tuple[int | None, ...], layout: str) -> tuple[int | None, ...]:
    """Return a shape of torch, (N, C, H, W) where it has four dimensions, as a file of this layout has it."""
    if layout != NHWC or len(shape) != 4:
        return shape
    n, channels, height, width = shape
    return n, height, width, channels


def guessed_layout(shape: tuple[int | None, ...]) -> str | None:
    """Return the layout of a tensor of which no description says it: (N, H, W, 3) is taken for pictures."""
    if len(shape) != 4:
        return None
    return NHWC if shape[3] == 3 and shape[1] != 3 else NCHW


@dataclass(frozen=True)
class Preprocessing:
    """From a picture to the input tensor: resize the short side, crop the centre, scale to 0..1, normalise; RGB."""

    height: int
    width: int
    resize: int
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    @classmethod
    def for_size(cls, height: int, width: int, **settings: Any) -> Preprocessing:
        """Return the published preprocessing, scaled to another input size."""
        settings.setdefault("resize", math.ceil(max(height, width) * RESIZE_FOR_CROP))
        return cls(height, width, **settings)


@dataclass(frozen=True)
class CarriedOutput:
    """What one output of the float64 reference is on the carried inputs: every ``step``-th value of each sample.

    ``shape`` is that of one sample as torch has it; ``values`` has a row for each input; ``range`` is the yardstick of
    errors.
    """

    shape: tuple[int, ...]
    step: int
    range: float
    values: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Reference:
    """Outputs of the float64 reference on the first verification inputs, so that any device can check itself.

    The inputs are generated anew (``samples.generated_inputs``) at a ``contrast``; ``scales`` has the size of the
    numbers of each input that is no picture.
    """

    contrast: float
    outputs: dict[str, CarriedOutput]
    tolerance: float
    scales: tuple[float, ...] = ()

    @property
    def samples(self) -> int:
        """On how many inputs there are outputs."""
        return len(next(iter(self.outputs.values())).values)


@dataclass(frozen=True)
class StoredWeights:
    """How a file stores its large weights, a name of ``WEIGHTS``; it computes with them in float32 whatever they are.

    ``snr_db`` is the signal-to-noise ratio of the outputs that rounding the weights leaves, of the worst output, and
    ``least_db`` what was asked for; None where nothing was rounded, and in twins, which are made for timing.
    """

    format: str = FLOAT32
    snr_db: float | None = None
    least_db: float | None = None


@dataclass(frozen=True)
class Precision:
    """What a file computes in, a name of ``PRECISIONS``: in int8, on ranges from so many calibration ``images``.

    Of float16, ``largest`` is the largest activation on the images; half precision ends at 65504.

    ``snr_db`` and ``least_db`` are as those of ``StoredWeights``, measured on the calibration images, where the float32
    network answers ``float_top1`` of them rightly, and the file ``top1``, both from 0 to 1, if they have labels. The
    layers ``kept_float`` are computed in float32 since the user said so. ``bits`` are those of weights.
    """

    format: str = FLOAT32
    images: int = 0
    bits: int | None = None
    snr_db: float | None = None
    least_db: float | None = None
    float_top1: float | None = None
    top1: float | None = None
    kept_float: tuple[str, ...] = ()
    largest: float | None = None


def stated_tolerance(precision: str) -> float:
    """Return the stated limit of a file's check against what it carries."""
    return {FLOAT32: FLOAT32_TOLERANCE, FLOAT16: FLOAT16_TOLERANCE, INT8: INT8_TOLERANCE}[precision]


@dataclass(frozen=True)
class ModelCard:
    """The description inside an exported file.

    ``spec`` has the settings of a network that this program knows; of a user's own module there is none, and ``arch``
    is the name of its class. ``preprocessing`` is None where the first input is no picture of three channels.
    ``assumed`` says what no tensor of a checkpoint tells, and how to set it; ``runtime`` the runtime that the file
    was made for, where that was said, or is not the usual one for its kind. ``target`` and ``opset`` are as the export
    was told, and None in older files.
    """

    arch: str
    spec: Json | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocessing: Preprocessing | None
    labels: tuple[str, ...]
    lowering: dict[str, str]
    checkpoint_sha256: str
    producer: str
    reference: Reference | None = None
    assumed: tuple[str, ...] = ()
    runtime: str | None = None
    weights: StoredWeights = StoredWeights()
    target: str | None = None
    opset: int | None = None
    precision: Precision = Precision()
    schema: int = SCHEMA

    @property
    def input(self) -> TensorSpec:
        """The first input, of most networks the only one."""
        return self.inputs[0]

    @property
    def limit(self) -> float:
        """The tolerance of a later check: a file may ask for a stricter one than the stated limit, not for a laxer."""
        stated = stated_tolerance(self.precision.format)
        return stated if self.reference is None else min(self.reference.tolerance, stated)

    @property
    def input_type(self) -> str:
        """What the first input takes: "uint8", a picture's raw bytes, or normalised values."""
        return UINT8 if self.input.dtype == UINT8 else FLOAT32

    @property
    def output(self) -> TensorSpec:
        """The first output."""
        return self.outputs[0]

    @property
    def is_classifier(self) -> bool:
        """Whether the only output is (N, classes)."""
        return len(self.outputs) == 1 and len(self.output.shape) == 2

    def to_json(self) -> str:
        """Return the text that is stored in the file."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class Artifact:
    """An exported file on disk, with its description and the facts that its sidecar records."""

    path: Path
    format: str
    card: ModelCard
    facts: Json = field(default_factory=dict)

    @property
    def sidecar_path(self) -> Path:
        """The JSON file beside the model."""
        return self.path.with_name(f"{self.path.name}.json")

    def sidecar(self) -> str:
        """Return the sidecar's text: the description, then the facts."""
        content = {"file": self.path.name, "format": self.format, **asdict(self.card), **self.facts}
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
