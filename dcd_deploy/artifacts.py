"""What an exported file knows about itself: the description inside it, and the JSON sidecar beside it.

The description travels in the file's own metadata under ``METADATA_KEY``, so that an app needs the one file alone. It
is untrusted input when it is read back: everything is checked before it is used.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dcd_deploy.errors import ModelFileError, shown
from dcd_deploy.files import parse_json

METADATA_KEY = "dcd_deploy"
INPUT, OUTPUT = "input", "logits"  # what the files of classifiers call their tensors
FEATURES = "features"  # what comes out of one of them without a head
SCHEMA, FIRST_SCHEMA = 2, 1
LARGEST_SIZE, MOST_AXES, MOST_TENSORS = 1 << 20, 8, 256
NHWC, NCHW = LAYOUTS = ("nhwc", "nchw")
LITERT_COMPILED = "litert-compiled"  # a runtime, and the target of its files
FLOAT32, FLOAT16, INT8 = WEIGHTS = ("float32", "float16", "int8")  # how large weights are stored
FLOAT32, UINT8 = INPUT_TYPES = ("float32", "uint8")  # of pictures: normalised, or raw bytes
PRECISIONS = (FLOAT32, INT8)  # what layers are computed in
FLOAT32_TOLERANCE = 5e-5  # the stated limit of every check in float32; ``export.verify`` argues for it
INT8_TOLERANCE = 0.05  # of an int8 file against its own outputs on another machine (docs/quantisation.md)
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


@dataclass(frozen=True)
class ModelCard:
    """The description inside an exported file.

    ``spec`` has the settings of a network that this program knows; of a user's own module there is none, and ``arch``
    is the name of its class. ``preprocessing`` is None where the first input is no picture of three channels.
    ``assumed`` says what no tensor of a checkpoint tells, and how to set it; ``runtime`` the runtime that the file
    was made for, where that is not the usual one for its kind. ``target`` and ``opset`` are as the export was told, and
    None in older files.
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
        stated = FLOAT32_TOLERANCE if self.precision.format == FLOAT32 else INT8_TOLERANCE
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

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Read the description back.

        Raises:
            ModelFileError: the text is not such a description; the message names the field.
        """
        try:
            return _parse_card(parse_json(text))
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise ModelFileError(
                expected="a dcd_deploy description in the file's metadata",
                found=f"a damaged one ({_reason(error)})",
                advice="export it again",
            ) from error


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


def _reason(error: Exception) -> str:
    return f"no field {error}" if isinstance(error, KeyError) else shown(str(error), 200) or type(error).__name__


def _parse_card(data: Json) -> ModelCard:
    if not isinstance(data, dict):
        raise ValueError("not an object")
    schema = data.get("schema")
    if schema not in (FIRST_SCHEMA, SCHEMA) or isinstance(schema, bool):
        raise ValueError(f"schema {schema!r}, this version reads schema {FIRST_SCHEMA} to {SCHEMA}")
    data = _as_second(data) if schema == FIRST_SCHEMA else data
    spec, preprocessing, reference = data["spec"], data["preprocessing"], data["reference"]
    card = ModelCard(
        arch=_text(data["arch"]),
        spec=None if spec is None else dict(spec),
        inputs=_parse_tensors(data["inputs"]),
        outputs=_parse_tensors(data["outputs"]),
        preprocessing=None if preprocessing is None else _parse_preprocessing(preprocessing),
        labels=tuple(_text(label) for label in data["labels"]),
        lowering={_text(k): _text(v) for k, v in dict(data["lowering"]).items()},
        checkpoint_sha256=_text(data["checkpoint_sha256"]),
        producer=_text(data["producer"]),
        reference=None if reference is None else _parse_reference(reference),
        assumed=tuple(_text(line) for line in data["assumed"]),
        runtime=None if data.get("runtime") is None else _text(data["runtime"]),
        weights=_parse_weights(dict(data.get("weights", {}))),
        target=None if data.get("target") is None else _text(data["target"]),
        opset=None if data.get("opset") is None else _size(data["opset"]),
        precision=_parse_precision(dict(data.get("precision", {}))),
    )
    if preprocessing is not None and card.input.torch_shape[1:] != (3, *_plane(card.preprocessing)):
        raise ValueError("the preprocessing makes another picture than the first input takes")
    if card.reference is not None and list(card.reference.outputs) != [output.name for output in card.outputs]:
        raise ValueError("the reference has other outputs than the model")
    return card


def _plane(preprocessing: Preprocessing | None) -> tuple[int, int]:
    return (0, 0) if preprocessing is None else (preprocessing.height, preprocessing.width)


def _as_second(data: Json) -> Json:
    """Return a description of the first schema, of a classifier of RGB pictures, in the words of the second."""
    tensors = {name: [dict(data[old])] for name, old in (("inputs", "input"), ("outputs", "output"))}
    for tensor in (*tensors["inputs"], *tensors["outputs"]):
        tensor["layout"] = guessed_layout(tuple(tensor["shape"]))
    reference = data["reference"]
    if reference is not None:
        table = reference["logits"]
        if not isinstance(table, list) or not table or not all(isinstance(row, list) for row in table):
            raise ValueError("reference logits are not a table")
        carried = {"shape": [len(table[0])], "step": 1, "range": reference["range"], "values": table}
        outputs = {tensors["outputs"][0]["name"]: carried}
        reference = {**reference, "outputs": outputs, "scales": []}
    return {**data, **tensors, "reference": reference, "assumed": []}


def _parse_tensors(data: object) -> tuple[TensorSpec, ...]:
    if not isinstance(data, list) or not 0 < len(data) <= MOST_TENSORS:
        raise ValueError(f"not a list of 1 to {MOST_TENSORS} tensors")
    tensors = tuple(map(_parse_tensor, data))
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise ValueError("two tensors have one name")
    return tensors


def _parse_tensor(data: Json) -> TensorSpec:
    shape = tuple(None if size is None else _size(size) for size in data["shape"])
    layout = data["layout"]
    if len(shape) > MOST_AXES:
        raise ValueError(f"{len(shape)} dimensions, more than {MOST_AXES}")
    if layout not in (LAYOUTS if len(shape) == 4 else (None,)):
        raise ValueError(f"layout {layout!r} of a tensor of {len(shape)} dimensions")
    return TensorSpec(_text(data["name"]), shape, _text(data["dtype"]), layout)


def _parse_preprocessing(data: Json) -> Preprocessing:
    mean, std = _three(data["mean"]), _three(data["std"])
    if min(std) <= 0:
        raise ValueError(f"std {std} is not positive")
    height, width, resize = (_size(data[key]) for key in ("height", "width", "resize"))
    if resize < max(height, width):
        raise ValueError(f"resize {resize} is smaller than the crop {height}×{width}")
    if resize > MOST_ZOOM * max(height, width):
        raise ValueError(f"resize {resize} is more than {MOST_ZOOM} times the crop {height}×{width}")
    return Preprocessing(height, width, resize, mean, std)


def _parse_weights(data: Json) -> StoredWeights:
    format = data.get("format", FLOAT32)
    if format not in WEIGHTS:
        raise ValueError(f"weights {format!r}, this version knows {', '.join(WEIGHTS)}")
    decibels = (data.get(key) for key in ("snr_db", "least_db"))
    return StoredWeights(format, *(None if value is None else _finite(value) for value in decibels))


def _parse_precision(data: Json) -> Precision:
    format, images, bits = data.get("format", FLOAT32), data.get("images", 0), data.get("bits")
    if format not in PRECISIONS:
        raise ValueError(f"precision {format!r}, this version knows {', '.join(PRECISIONS)}")
    if not isinstance(images, int) or not 0 <= images <= LARGEST_SIZE:
        raise ValueError(f"{images!r} calibration images")
    numbers = {key: _finite_or_none(data.get(key)) for key in ("snr_db", "least_db", "float_top1", "top1")}
    kept = tuple(_text(name) for name in data.get("kept_float", ()))
    return Precision(format, images, None if bits is None else _size(bits), kept_float=kept, **numbers)


def _finite_or_none(value: object) -> float | None:
    return None if value is None else _finite(value)


def _parse_reference(data: Json) -> Reference:
    tolerance = _finite(data["tolerance"])
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance {tolerance} is not between 0 and 1")
    outputs = {_text(name): _parse_carried(carried) for name, carried in dict(data["outputs"]).items()}
    if not outputs or len({len(carried.values) for carried in outputs.values()}) != 1:
        raise ValueError("reference outputs of different numbers of samples, or none")
    scales = tuple(map(_finite, data["scales"]))
    if any(scale <= 0 for scale in scales) or len(scales) > MOST_TENSORS:
        raise ValueError("reference inputs of no size")
    contrast = _finite(data["contrast"])
    if not 0 < contrast <= 1:
        raise ValueError(f"contrast {contrast} is not between 0 and 1")
    return Reference(contrast, outputs, tolerance, scales)


def _parse_carried(data: Json) -> CarriedOutput:
    shape, step = tuple(map(_size, data["shape"])), _size(data["step"])
    values = tuple(tuple(map(_finite, row)) for row in data["values"])
    count = -(-math.prod(shape) // step)
    if not values or any(len(row) != count for row in values) or len(shape) >= MOST_AXES:
        raise ValueError("reference outputs are not a table of every step-th value")
    return CarriedOutput(shape, step, _finite(data["range"]), values)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected text, found {type(value).__name__}")
    return value


def _size(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= LARGEST_SIZE:
        raise ValueError(f"size {value!r} is not in 1..{LARGEST_SIZE}")
    return value


def _finite(value: object) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a finite number")
    return float(value)


def _three(values: object) -> tuple[float, float, float]:
    if not isinstance(values, list) or len(values) != 3:
        raise ValueError(f"expected three numbers, found {values!r}")
    red, green, blue = map(_finite, values)
    return red, green, blue
