"""Reading the texts that a TFLite file carries, without the schema package: a flatbuffer is offsets and vectors.

    file      u32 offset of the root table, "TFL3"
    table     i32 back to its vtable, fields                vtable: u16 its size, u16 table's size, u16 of each field
    vector    u32 length, elements                          elements that are tables are u32 offsets from themselves

Every offset is checked against the file, which is untrusted; in passing that finds files that were cut short.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from dcd_deploy.errors import ModelFileError

IDENTIFIER = b"TFL3"
MODEL_BUFFERS, MODEL_METADATA = 4, 6  # fields of the root table
METADATA_NAME, METADATA_BUFFER = 0, 1
BUFFER_DATA = 0


def read_texts(content: bytes, where: str | Path) -> dict[str, str]:
    """Return the metadata of a TFLite file's root table, name → text; entries that are no text are left out.

    Raises:
        ModelFileError: this is no TFLite file, or one that is damaged.
    """
    if content[4:8] != IDENTIFIER:
        raise ModelFileError(
            expected=f"a TFLite model at '{where}'",
            but=f"the file has no '{IDENTIFIER.decode()}' mark",
            advice="check the path, or fetch the file again",
        )
    try:
        return _texts(content)
    except (struct.error, IndexError, ValueError) as error:
        raise ModelFileError(
            expected=f"a TFLite model at '{where}'",
            but=f"it is damaged or cut short ({error})",
            advice="fetch the file again",
        ) from error


def _texts(content: bytes) -> dict[str, str]:
    root = _follow(content, 0)
    buffers = [_field_bytes(content, table, BUFFER_DATA) for table in _tables(content, root, MODEL_BUFFERS)]
    texts = {}
    for entry in _tables(content, root, MODEL_METADATA):
        name = _field_bytes(content, entry, METADATA_NAME)
        at = _field(content, entry, METADATA_BUFFER)
        index = struct.unpack_from("<I", content, at)[0] if at else 0
        try:
            texts[name.decode()] = buffers[index].rstrip(b"\0").decode()
        except UnicodeDecodeError:
            continue
    return texts


def _follow(content: bytes, at: int) -> int:
    """Return where the offset at ``at`` points."""
    target: int = at + struct.unpack_from("<I", content, at)[0]
    if target + 4 > len(content):
        raise ValueError(f"offset {target} in a file of {len(content)} bytes")
    return target


def _field(content: bytes, table: int, index: int) -> int:
    """Return where a table's field lies, or 0 if it has none."""
    vtable = table - struct.unpack_from("<i", content, table)[0]
    if vtable < 0:
        raise ValueError("a table outside the file")
    size = struct.unpack_from("<H", content, vtable)[0]
    slot = 4 + 2 * index
    offset = struct.unpack_from("<H", content, vtable + slot)[0] if slot < size else 0
    return table + offset if offset else 0


def _vector(content: bytes, table: int, index: int, width: int) -> tuple[int, int]:
    """Return the start and the length of a field that is a vector of elements ``width`` bytes wide."""
    at = _field(content, table, index)
    if not at:
        return 0, 0
    vector = _follow(content, at)
    length: int = struct.unpack_from("<I", content, vector)[0]
    if vector + 4 + length * width > len(content):
        raise ValueError(f"{length * width} bytes at {vector} in a file of {len(content)} bytes")
    return vector + 4, length


def _tables(content: bytes, table: int, index: int) -> Iterator[int]:
    start, length = _vector(content, table, index, 4)
    return (_follow(content, start + 4 * i) for i in range(length))


def _field_bytes(content: bytes, table: int, index: int) -> bytes:
    start, length = _vector(content, table, index, 1)
    return content[start : start + length]
