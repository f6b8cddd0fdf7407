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

from dcd_deploy.errors import ModelFileError

METADATA_KEY = "dcd_deploy"
INPUT, OUTPUT = "input", "logits"  # what the files call their tensors
SCHEMA = 1
LARGEST_SIZE = 1 << 20
FLOAT32_TOLERANCE = 5e-5  # the stated limit of every check in float32; ``export.verify`` argues for it
RESIZE_FOR_CROP = 256 / 224  # the published evaluation: resize the short side to 256, crop 224

Json = dict[str, Any]


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape and type of an input or output; a dimension of None is free."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"


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
class Reference:
    """Outputs of the float64 train form on the first verification inputs, so that any device can check itself."""

    contrast: float
    logits: tuple[tuple[float, ...], ...]
    range: float
    tolerance: float

    @property
    def limit(self) -> float:
        """The tolerance of a later check: a file may ask for a stricter one than the stated limit, not for a laxer."""
        return min(self.tolerance, FLOAT32_TOLERANCE)


@dataclass(frozen=True)
class ModelCard:
    """The description inside an exported file."""

    arch: str
    spec: Json
    input: TensorSpec
    output: TensorSpec
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    lowering: dict[str, str]
    checkpoint_sha256: str
    producer: str
    reference: Reference | None = None
    schema: int = SCHEMA

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
            return _parse_card(json.loads(text))
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
            raise ModelFileError(
                f"expected a dcd_deploy description in the file's metadata, found a damaged one ({_reason(error)}); "
                "export it again"
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
    return f"no field {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__


def _parse_card(data: Json) -> ModelCard:
    if not isinstance(data, dict):
        raise ValueError("not an object")
    if data.get("schema") != SCHEMA:
        raise ValueError(f"schema {data.get('schema')!r}, this version reads schema {SCHEMA}")
    reference = data["reference"]
    return ModelCard(
        arch=_text(data["arch"]),
        spec=dict(data["spec"]),
        input=_parse_tensor(data["input"]),
        output=_parse_tensor(data["output"]),
        preprocessing=_parse_preprocessing(data["preprocessing"]),
        labels=tuple(_text(label) for label in data["labels"]),
        lowering={_text(k): _text(v) for k, v in dict(data["lowering"]).items()},
        checkpoint_sha256=_text(data["checkpoint_sha256"]),
        producer=_text(data["producer"]),
        reference=None if reference is None else _parse_reference(reference),
    )


def _parse_tensor(data: Json) -> TensorSpec:
    shape = tuple(None if size is None else _size(size) for size in data["shape"])
    return TensorSpec(_text(data["name"]), shape, _text(data["dtype"]))


def _parse_preprocessing(data: Json) -> Preprocessing:
    mean, std = _three(data["mean"]), _three(data["std"])
    if min(std) <= 0:
        raise ValueError(f"std {std} is not positive")
    height, width, resize = (_size(data[key]) for key in ("height", "width", "resize"))
    if resize < max(height, width):
        raise ValueError(f"resize {resize} is smaller than the crop {height}×{width}")
    return Preprocessing(height, width, resize, mean, std)


def _parse_reference(data: Json) -> Reference:
    logits = tuple(tuple(_finite(value) for value in row) for row in data["logits"])
    if not logits or len({len(row) for row in logits}) != 1:
        raise ValueError("reference logits are not a table")
    tolerance = _finite(data["tolerance"])
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance {tolerance} is not between 0 and 1")
    return Reference(_finite(data["contrast"]), logits, _finite(data["range"]), tolerance)


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
