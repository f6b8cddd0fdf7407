"""What a sample holds itself against: an input with its output, and a picture with its logits.

The picture is drawn, of odd sizes, so that resizing it has nothing to round off.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np

from dcd_deploy.artifacts import FLOAT32, NHWC, UINT8, ModelCard
from dcd_deploy.errors import ModelFileError, OptionError
from dcd_deploy.runtimes.model import Model
from dcd_deploy.runtimes.preprocessing import Picture
from dcd_deploy.runtimes.selfcheck import carried_inputs, self_check
from dcd_deploy.runtimes.session import Array, Input
from dcd_deploy.samples import raw_pictures, verification_inputs

HEIGHT, WIDTH = 341, 427  # neither is a multiple of anything that a network takes
PNG_SIGNATURE, RGB, NO_FILTER = b"\x89PNG\r\n\x1a\n", 2, b"\0"
TOLERANCE = 1e-4  # of the outputs' range: other machines and runtimes add to the 5e-5 of the file


@dataclass(frozen=True)
class Golden:
    """``input`` (1, …) in the file's own layout and its ``output`` (classes,); ``logits`` (classes,) of ``picture``.

    ``range`` is the yardstick of errors.
    """

    input: Input
    output: Array
    picture: Picture
    logits: Array
    range: float


def classifier_card(model: Model, *, takes_bytes: bool = False) -> ModelCard:
    """Return the description of a model that a sample can run; ``takes_bytes``: also one of raw bytes.

    Raises:
        ModelFileError: it has none. OptionError: it is no classifier of pictures, or takes several at once.
    """
    card = model.described()
    if card.preprocessing is None or not card.is_classifier or len(card.inputs) != 1:
        outputs = ", ".join(f"'{output.name}' {output.shape}" for output in card.outputs)
        raise OptionError(
            expected="a classifier of RGB pictures, whose only output is (1, classes)",
            found=f"outputs {outputs}",
            advice="run other models with dcd_deploy.runtimes",
        )
    if card.input.shape[0] not in (1, None):
        raise OptionError(
            expected="a model that takes one picture",
            found=f"a batch of {card.input.shape[0]}",
            advice="export it anew",
        )
    if card.input_type != FLOAT32 and not takes_bytes:
        raise OptionError(
            expected="a model of normalised pictures, as this platform's sample makes them",
            found="one that takes raw bytes",
            advice="export it without `input_`",
        )
    return card


def golden(model: Model, picture: Picture) -> Golden:
    """Return what the model has to answer: as its file carries it, where it does, else as it answers here.

    Raises:
        VerificationError: the model does not compute here what its file carries.
    """
    card = classifier_card(model, takes_bytes=True)
    given, output, spread = _carried(model, card) if card.reference else _answered(model, card)
    logits = model.run(model.preprocess(picture))[0]
    if not np.isfinite(logits).all() or not spread > 0:
        raise ModelFileError(
            expected="finite outputs that differ", found="others", advice="the file is damaged: export it again"
        )
    given = given.transpose(0, 2, 3, 1) if card.input.layout == NHWC else given
    return Golden(np.ascontiguousarray(given, card.input_type), output, picture, logits.astype(np.float32), spread)


def _carried(model: Model, card: ModelCard) -> tuple[Input, Array, float]:
    """Return the first carried input, its output and the range; a sample of the output where not all is carried."""
    self_check(model).checked()
    assert card.reference is not None
    (carried,) = card.reference.outputs.values()
    first = carried_inputs(card)[0][:1]
    output = np.array(carried.values[0], np.float32) if carried.step == 1 else model.run(first)[0]
    return first, output, carried.range


def _answered(model: Model, card: ModelCard) -> tuple[Input, Array, float]:
    assert card.preprocessing is not None
    wanted = card.preprocessing
    if card.input_type == UINT8:
        first: Input = raw_pictures((3, wanted.height, wanted.width), 1)
    else:
        first = verification_inputs(wanted, 1)
    output = model.run(first)[0]
    return first, output, float(np.ptp(output))


def drawn_picture() -> Picture:
    """Return a landscape (341, 427, 3): a sky, a sun, hills with hard edges and fine stripes."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    picture = np.stack([90 + y * 90 // HEIGHT, 140 + y * 60 // HEIGHT, 225 - y * 40 // HEIGHT], axis=-1)
    picture[(x - 310) ** 2 + (y - 90) ** 2 < 45**2] = (250, 215, 70)
    picture[y > 170 + (x - 110) ** 2 // 210] = (60, 120, 75)
    picture[y > 215 + (x - 330) ** 2 // 300] = (35, 85, 60)
    picture[(y > 295) & ((x + y) % 7 < 3)] = (205, 190, 140)
    return picture.astype(np.uint8)


def png(picture: Picture) -> bytes:
    """Return an RGB picture (H, W, 3) as a PNG file."""
    height, width, _ = picture.shape
    rows = b"".join(NO_FILTER + row.tobytes() for row in picture)
    header = struct.pack(">IIBBBBB", width, height, 8, RGB, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return PNG_SIGNATURE + b"".join(_chunk(name, content) for name, content in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def ppm(picture: Picture) -> bytes:
    """Return an RGB picture (H, W, 3) as a binary PPM file, which a program reads without a library."""
    height, width, _ = picture.shape
    return f"P6\n{width} {height}\n255\n".encode() + picture.tobytes()
