"""The standard metadata of TFLite files, which other tools read: what goes in, what comes out, and the labels.

It is a flatbuffer of its own ("M001", TFLite's metadata_schema.fbs) in a buffer of the model. Files that it mentions,
here the labels, are appended to the model as an uncompressed zip archive.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence

import flatbuffers

from dcd_deploy.artifacts import UINT8, ModelCard, Preprocessing, TensorSpec

BUFFER_NAME, IDENTIFIER = "TFLITE_METADATA", b"M001"
PARSER_VERSION = "1.0.0"
LABELS_FILE = "labels.txt"
TENSOR_AXIS_LABELS, IMAGE_PROPERTIES, NORMALIZATION_OPTIONS, RGB = 2, 2, 1, 1
GREY_LEVELS = 255.0  # these tools normalise pixels 0..255

Field = tuple[str, int | float]  # kind ("offset", "byte", "uint") and value
FIXED_DATE = (1980, 1, 1, 0, 0, 0)


def standard_metadata(card: ModelCard) -> bytes:
    """Return the metadata flatbuffer that says what ``card`` says, as far as the schema has words for it."""
    b = flatbuffers.Builder(1024)
    pictures = card.preprocessing
    entries = [
        _entry(b, each.name) if i or pictures is None else _picture(b, each, pictures)
        for i, each in enumerate(card.inputs)
    ]
    answers = [_answer(b, card, each.name) for each in card.outputs]
    subgraph = _table(b, {2: _vector(b, entries), 3: _vector(b, answers)})
    model = {
        0: _text(b, card.arch),
        1: _text(b, f"{card.arch}, from the checkpoint with sha256 {card.checkpoint_sha256 or '(none)'}"),
        2: _text(b, card.producer),
        3: _vector(b, [subgraph]),
        7: _text(b, PARSER_VERSION),
    }
    b.Finish(_table(b, model)[1], file_identifier=IDENTIFIER)
    return bytes(b.Output())


def _picture(b: flatbuffers.Builder, tensor: TensorSpec, p: Preprocessing) -> Field:
    """Write what a picture that goes in is; bytes are to be normalised no more."""
    raw = tensor.dtype == UINT8
    normalise = _table(
        b,
        {
            0: _floats(b, [0.0 if raw else GREY_LEVELS * value for value in p.mean]),
            1: _floats(b, [1.0 if raw else GREY_LEVELS * value for value in p.std]),
        },
    )
    unit = _table(b, {0: ("byte", NORMALIZATION_OPTIONS), 1: normalise})
    size = _table(b, {0: ("uint", p.width), 1: ("uint", p.height)})
    image = _table(b, {0: ("byte", RGB), 1: size})
    content = _table(b, {0: ("byte", IMAGE_PROPERTIES), 1: image})
    text = "RGB picture, its short side resized and its centre cropped" + (", raw bytes" if raw else ", normalised")
    return _table(b, {0: _text(b, tensor.name), 1: _text(b, text), 3: content, 4: _vector(b, [unit])})


def _entry(b: flatbuffers.Builder, name: str) -> Field:
    """Write that something else goes in."""
    return _table(b, {0: _text(b, name), 1: _text(b, "prepared as for training")})


def _answer(b: flatbuffers.Builder, card: ModelCard, name: str) -> Field:
    """Write what comes out."""
    if not card.is_classifier:
        return _table(b, {0: _text(b, name)})
    answer = {0: _text(b, name), 1: _text(b, "logits, one for each class")}
    if card.labels:
        labels = _table(b, {0: _text(b, LABELS_FILE), 2: ("byte", TENSOR_AXIS_LABELS)})
        answer[6] = _vector(b, [labels])
    return _table(b, answer)


def labels_archive(labels: Sequence[str]) -> bytes:
    """Return what is appended to a model file: a zip archive with the labels, or nothing where there are none."""
    if not labels:
        return b""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        file.writestr(zipfile.ZipInfo(LABELS_FILE, FIXED_DATE), "\n".join(labels) + "\n")
    return archive.getvalue()


def _table(b: flatbuffers.Builder, fields: dict[int, Field]) -> Field:
    """Write a table with these fields, slot → (kind, value)."""
    b.StartObject(max(fields) + 1)
    for slot, (kind, value) in fields.items():
        if kind == "offset":
            b.PrependUOffsetTRelativeSlot(slot, value, 0)
        elif kind == "byte":
            b.PrependUint8Slot(slot, value, 0)
        else:
            b.PrependUint32Slot(slot, value, 0)
    return "offset", b.EndObject()


def _text(b: flatbuffers.Builder, text: str) -> Field:
    return "offset", b.CreateString(text)


def _vector(b: flatbuffers.Builder, offsets: Sequence[Field]) -> Field:
    b.StartVector(4, len(offsets), 4)
    for _, offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return "offset", b.EndVector()


def _floats(b: flatbuffers.Builder, values: Sequence[float]) -> Field:
    b.StartVector(4, len(values), 4)
    for value in reversed(values):
        b.PrependFloat32(value)
    return "offset", b.EndVector()
