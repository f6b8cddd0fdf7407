"""The inputs of ``fuzz.py``: sound files, damaged in ways that a stranger, a bad disk or an enemy would.

Input number i of a kind is made from the seed and i alone. Where a file is mostly weights, most of the damage goes to
the rest: its offsets, sizes, names.
"""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz_seeds import KINDS

CHUNK, DISTINCT = 256, 120  # a chunk with more distinct bytes is taken for weights
EXTREMES = (-1, 0, 1, 2, 127, 255, 65_535, 1 << 20, 0x7FFFFFFF, -0x80000000, 0x40000000)
TEXTS = ("", "\ud800", "\x1b[2J", "a" * 20_000, "../../x", "\u202e", "\x00", "é" * 300, "NaN", "__proto__", "%s%n{0}")
NUMBERS = (0, 1e300, 5e-324, 2**40, float("nan"), float("inf"))
VALUES: tuple[Any, ...] = (None, True, False, -1, 0, 1, 2**31, 2**63, 10**400, 1e308, -1e-320, [], {}, [[]], *TEXTS)


def write_input(seeds: Path, kind: str, seed: int, number: int, folder: Path) -> Path:
    """Write input ``number`` of a kind, and return its path."""
    rng = random.Random(f"{kind} {seed} {number}")  # noqa: S311 - the same everywhere is what is wanted
    content = (seeds / KINDS[kind]).read_bytes()
    path = folder / KINDS[kind]
    path.write_bytes(_damaged(kind, content, rng))
    return path


def _damaged(kind: str, content: bytes, rng: random.Random) -> bytes:
    if kind in STRUCTURED and rng.random() < 0.7:
        return STRUCTURED[kind](content, rng)
    return _bytes(content, rng)


def _bytes(content: bytes, rng: random.Random) -> bytes:
    """Return the content with a few of its bytes changed, cut out, put in or moved."""
    data = bytearray(content)
    places = _telling(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        if not data:
            break
        at = min(rng.choice(places) if places and rng.random() < 0.9 else rng.randrange(len(data)), len(data) - 1)
        rng.choice(DAMAGES)(data, at, rng)
    return bytes(data)


def _telling(content: bytes) -> list[int]:
    """Return the places that are no weights."""
    starts = range(0, len(content), CHUNK)
    return [i for start in starts if len(set(content[start : start + CHUNK])) <= DISTINCT
            for i in range(start, min(start + CHUNK, len(content)))]  # fmt: skip


def _flip(data: bytearray, at: int, rng: random.Random) -> None:
    data[at] ^= 1 << rng.randrange(8)


def _set(data: bytearray, at: int, rng: random.Random) -> None:
    data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _number(data: bytearray, at: int, rng: random.Random) -> None:
    at -= at % 4
    data[at : at + 4] = struct.pack("<i", rng.choice(EXTREMES))


def _near(data: bytearray, at: int, rng: random.Random) -> None:
    at -= at % 4
    if at + 4 <= len(data):
        value = struct.unpack_from("<I", data, at)[0] + rng.choice((-64, -8, -4, -1, 1, 4, 8, 64))
        struct.pack_into("<I", data, at, value & 0xFFFFFFFF)


def _cut(data: bytearray, at: int, rng: random.Random) -> None:
    del data[at : at + rng.choice((1, 4, 16, 256, len(data)))]


def _insert(data: bytearray, at: int, rng: random.Random) -> None:
    data[at:at] = rng.randbytes(rng.choice((1, 4, 16, 256)))


def _move(data: bytearray, at: int, rng: random.Random) -> None:
    start, size = rng.randrange(len(data)), rng.choice((4, 16, 64, 1024))
    data[at : at + size] = data[start : start + size]


DAMAGES: tuple[Callable[[bytearray, int, random.Random], None], ...] = (
    _flip, _set, _number, _number, _near, _near, _cut, _insert, _move,
)  # fmt: skip


def _json(content: bytes, rng: random.Random) -> bytes:
    """Return a document with a few of its values changed, dropped or renamed."""
    document = json.loads(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        holder, key = _place(document, rng)
        if isinstance(holder, dict) and rng.random() < 0.2:
            holder[rng.choice(TEXTS)] = holder.pop(key)
        elif rng.random() < 0.15:
            del holder[key]
        elif isinstance(holder, list) and rng.random() < 0.2:
            holder *= rng.choice((0, 2, 50))
        else:
            holder[key] = _value(holder[key], rng)
    text = json.dumps(document, ensure_ascii=rng.random() < 0.8)
    return text.encode("utf-8", "surrogatepass")


def _place(document: Any, rng: random.Random) -> tuple[Any, Any]:
    holder, key = [document], 0
    while isinstance(holder[key], list | dict) and holder[key] and rng.random() < 0.85:
        holder = holder[key]
        key = rng.choice(list(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
    return holder, key


def _value(old: Any, rng: random.Random) -> Any:
    if isinstance(old, int | float) and not isinstance(old, bool) and rng.random() < 0.6:
        near = (old * 1000, -old, old + 1, old / 7 if abs(old) < 1e300 else 7)
        return rng.choice((*near, *NUMBERS))
    return rng.choice(VALUES)


def _zip(content: bytes, rng: random.Random) -> bytes:
    """Return an archive whose entries are damaged, but have the checksums of what they are."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(made, "w") as other:
        entries = archive.infolist()
        telling = [e for e in entries if e.filename.endswith((".pkl", ".npy", "byteorder", "version"))]
        chosen = rng.choice(telling if telling and rng.random() < 0.9 else entries)
        for entry in entries:  # dated as ZipInfo does, not by the clock
            data = archive.read(entry)
            other.writestr(zipfile.ZipInfo(entry.filename), _bytes(data, rng) if entry is chosen else data)
    return made.getvalue()


def _onnx(content: bytes, rng: random.Random) -> bytes:
    """Return a model whose parts are other ones."""
    import onnx  # noqa: PLC0415 - where it is wanted

    model = onnx.load_from_string(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        rng.choice(ONNX_CHANGES)(model.graph, model, rng)
    return bytes(model.SerializeToString())


def _attribute(graph: Any, _: Any, rng: random.Random) -> None:
    node = rng.choice(graph.node)
    for attribute in node.attribute:
        if attribute.ints and rng.random() < 0.7:
            attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(EXTREMES)
        attribute.i = rng.choice(EXTREMES)


def _wiring(graph: Any, _: Any, rng: random.Random) -> None:
    node, other = rng.choice(graph.node), rng.choice(graph.node)
    if node.input and other.output:
        node.input[rng.randrange(len(node.input))] = rng.choice((other.output[0], "", "nothing", graph.output[0].name))


def _operator(graph: Any, _: Any, rng: random.Random) -> None:
    rng.choice(graph.node).op_type = rng.choice(("Loop", "Resize", "ConstantOfShape", rng.choice(graph.node).op_type))


def _sizes(graph: Any, _: Any, rng: random.Random) -> None:
    tensor = rng.choice((*graph.initializer, *graph.initializer, *graph.input, *graph.output))
    dims = tensor.dims if hasattr(tensor, "dims") else tensor.type.tensor_type.shape.dim
    if dims and hasattr(tensor, "dims"):
        dims[rng.randrange(len(dims))] = rng.choice(EXTREMES)
    elif dims:
        rng.choice(dims).dim_value = rng.choice(EXTREMES)


def _texts(graph: Any, model: Any, rng: random.Random) -> None:
    text = rng.choice([each for each in TEXTS if "\ud800" not in each])
    place = rng.choice((graph, rng.choice(graph.node), graph.input[0], graph.output[0], *model.metadata_props))
    if hasattr(place, "value"):
        damaged = _json(place.value.encode(), rng) if place.value.startswith("{") else text.encode()
        place.value = damaged.decode("utf-8", "replace")
    else:
        place.name = text


ONNX_CHANGES: tuple[Callable[[Any, Any, random.Random], None], ...] = (_attribute, _wiring, _operator, _sizes, _texts)


def _pte(content: bytes, rng: random.Random) -> bytes:
    """Damage a program that no longer says its own hash, as those of others do not."""
    return _bytes(content.replace(b"dcd_deploy_sha256", b"dcd_deploy_sha_no"), rng)


STRUCTURED: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "onnx": _onnx,
    "pte": _pte,
    "checkpoint": _zip,
    "recorded": _zip,
    "result": _json,
    "profile": _json,
    "lowering": _json,
    "description": _json,
}
