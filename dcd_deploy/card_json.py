"""The description of an exported file, read back from its JSON.

It is untrusted input: everything is checked before it is used.
"""

from __future__ import annotations

import math

from dcd_deploy.artifacts import (
    FLOAT32,
    LARGEST_SIZE,
    LAYOUTS,
    MOST_AXES,
    MOST_ZOOM,
    PRECISIONS,
    SCHEMA,
    WEIGHTS,
    CarriedOutput,
    Json,
    ModelCard,
    Precision,
    Preprocessing,
    Reference,
    StoredWeights,
    TensorSpec,
    guessed_layout,
)
from dcd_deploy.errors import ModelFileError
from dcd_deploy.fields import finite, reason, text, whole
from dcd_deploy.files import parse_json

FIRST_SCHEMA = 1
MOST_TENSORS = 256


def read_card(content: str) -> ModelCard:
    """Return the description of which this is the JSON.

    Raises:
        ModelFileError: the text is not such a description; the message names the field.
    """
    try:
        return _parse_card(parse_json(content))
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise ModelFileError(
            expected="a dcd_deploy description in the file's metadata",
            found=f"a damaged one ({reason(error)})",
            advice="export it again",
        ) from error


def _parse_card(data: Json) -> ModelCard:
    if not isinstance(data, dict):
        raise ValueError("not an object")
    schema = data.get("schema")
    if schema not in (FIRST_SCHEMA, SCHEMA) or isinstance(schema, bool):
        raise ValueError(f"schema {schema!r}, this version reads schema {FIRST_SCHEMA} to {SCHEMA}")
    data = _as_second(data) if schema == FIRST_SCHEMA else data
    spec, preprocessing, reference = data["spec"], data["preprocessing"], data["reference"]
    card = ModelCard(
        arch=text(data["arch"]),
        spec=None if spec is None else dict(spec),
        inputs=_parse_tensors(data["inputs"]),
        outputs=_parse_tensors(data["outputs"]),
        preprocessing=None if preprocessing is None else _parse_preprocessing(preprocessing),
        labels=tuple(map(text, data["labels"])),
        lowering={text(k): text(v) for k, v in dict(data["lowering"]).items()},
        checkpoint_sha256=text(data["checkpoint_sha256"]),
        producer=text(data["producer"]),
        reference=None if reference is None else _parse_reference(reference),
        assumed=tuple(map(text, data["assumed"])),
        runtime=None if data.get("runtime") is None else text(data["runtime"]),
        weights=_parse_weights(dict(data.get("weights", {}))),
        target=None if data.get("target") is None else text(data["target"]),
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
    return TensorSpec(text(data["name"]), shape, text(data["dtype"]), layout)


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
    return StoredWeights(format, *(None if value is None else finite(value) for value in decibels))


def _parse_precision(data: Json) -> Precision:
    format, images, bits = data.get("format", FLOAT32), data.get("images", 0), data.get("bits")
    if format not in PRECISIONS:
        raise ValueError(f"precision {format!r}, this version knows {', '.join(PRECISIONS)}")
    numbers = {key: _finite_or_none(data.get(key)) for key in ("snr_db", "least_db", "float_top1", "top1", "largest")}
    kept = tuple(map(text, data.get("kept_float", ())))
    bits = None if bits is None else _size(bits)
    return Precision(format, whole(images, 0, LARGEST_SIZE), bits, kept_float=kept, **numbers)


def _finite_or_none(value: object) -> float | None:
    return None if value is None else finite(value)


def _parse_reference(data: Json) -> Reference:
    tolerance = finite(data["tolerance"])
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance {tolerance} is not between 0 and 1")
    outputs = {text(name): _parse_carried(carried) for name, carried in dict(data["outputs"]).items()}
    if not outputs or len({len(carried.values) for carried in outputs.values()}) != 1:
        raise ValueError("reference outputs of different numbers of samples, or none")
    scales = tuple(map(finite, data["scales"]))
    if any(scale <= 0 for scale in scales) or len(scales) > MOST_TENSORS:
        raise ValueError("reference inputs of no size")
    contrast = finite(data["contrast"])
    if not 0 < contrast <= 1:
        raise ValueError(f"contrast {contrast} is not between 0 and 1")
    return Reference(contrast, outputs, tolerance, scales)


def _parse_carried(data: Json) -> CarriedOutput:
    shape, step = tuple(map(_size, data["shape"])), _size(data["step"])
    values = tuple(tuple(map(finite, row)) for row in data["values"])
    count = -(-math.prod(shape) // step)
    if not values or any(len(row) != count for row in values) or len(shape) >= MOST_AXES:
        raise ValueError("reference outputs are not a table of every step-th value")
    return CarriedOutput(shape, step, finite(data["range"]), values)


def _size(value: object) -> int:
    return whole(value, 1, LARGEST_SIZE)


def _three(values: object) -> tuple[float, float, float]:
    if not isinstance(values, list) or len(values) != 3:
        raise ValueError(f"expected three numbers, found {values!r}")
    red, green, blue = map(finite, values)
    return red, green, blue
