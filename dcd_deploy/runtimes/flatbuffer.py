"""Reading a TFLite file without the schema package: a flatbuffer is offsets and vectors.

    file      u32 offset of the root table, "TFL3"
    table     i32 back to its vtable, fields                vtable: u16 its size, u16 table's size, u16 of each field
    vector    u32 length, elements                          elements that are tables are u32 offsets from themselves

Every offset is checked against the file, which is untrusted; in passing that finds files that were cut short.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from dcd_deploy.errors import ModelFileError

IDENTIFIER = b"TFL3"
MODEL_BUFFERS, MODEL_METADATA = 4, 6  # fields of the root table
METADATA_NAME, METADATA_BUFFER = 0, 1
BUFFER_DATA, BUFFER_OFFSET, BUFFER_SIZE = range(3)
INSIDE = 1  # an offset up to this says that the bytes are in the buffer itself


class BoundedContent:
    """A file's content, and how many elements of vectors may still be read from it.

    No file has more of them than bytes, unless its vectors are one and the same, which would make reading it endless.
    """

    def __init__(self, content: bytes) -> None:
        self.content, self._left = content, len(content)

    def spend(self, elements: int) -> None:
        """Count elements that are read."""
        self._left -= elements
        if self._left < 0:
            raise ValueError("the same parts used again and again")


class Table:
    """A table in a file at ``at``; its fields are read by their numbers in the schema.

    All raise ValueError, IndexError or struct.error where the file is damaged.
    """

    def __init__(self, reading: BoundedContent, at: int) -> None:
        content = reading.content
        self.reading, self.content, self.at = reading, content, at
        self._vtable = at - struct.unpack_from("<i", content, at)[0]
        if at < 0 or self._vtable < 0:
            raise ValueError("a table outside the file")
        self._size, self._own = struct.unpack_from("<HH", content, self._vtable)
        if self._vtable + self._size > len(content) or at + self._own > len(content):
            raise ValueError(f"a table at {at} in a file of {len(content)} bytes")

    @classmethod
    def root(cls, content: bytes) -> Table:
        """Return the table in which everything else lies."""
        return cls(BoundedContent(content), _follow(content, 0))

    def number(self, field: int, form: str = "I", default: int = 0) -> int:
        """Return a scalar; ``form`` is its letter in ``struct``."""
        at = self._field(field)
        return int(struct.unpack_from(f"<{form}", self.content, at)[0]) if at else default

    def numbers(self, field: int) -> tuple[int, ...]:
        """Return a vector of int32."""
        start, length = self._vector(field, 4)
        return struct.unpack_from(f"<{length}i", self.content, start)

    def data(self, field: int) -> memoryview:
        """Return a vector of bytes, not copied."""
        start, length = self._vector(field, 1)
        return memoryview(self.content)[start : start + length]

    def span(self, field: int) -> tuple[int, int]:
        """Return where a vector of bytes begins in the file, and where it ends."""
        start, length = self._vector(field, 1)
        return start, start + length

    def text(self, field: int) -> str:
        """Return a text; one that is not UTF-8 is a ValueError."""
        found = self.data(field)
        self.reading.spend(len(found))
        return bytes(found).decode()

    def table(self, field: int) -> Table | None:
        """Return a table that a field points to."""
        at = self._field(field)
        return Table(self.reading, _follow(self.content, at)) if at else None

    def tables(self, field: int) -> Sequence[Table]:
        """Return a vector of tables."""
        start, length = self._vector(field, 4)
        return [Table(self.reading, _follow(self.content, start + 4 * i)) for i in range(length)]

    def _field(self, field: int) -> int:
        """Return where a field lies, or 0 if the table has none."""
        slot = 4 + 2 * field
        offset = struct.unpack_from("<H", self.content, self._vtable + slot)[0] if slot < self._size else 0
        if offset and offset >= self._own:
            raise ValueError(f"a field outside its table at {self.at}")
        return self.at + offset if offset else 0

    def _vector(self, field: int, width: int) -> tuple[int, int]:
        """Return the start and the length of a vector of elements ``width`` bytes wide."""
        at = self._field(field)
        if not at:
            return 0, 0
        vector = _follow(self.content, at)
        length: int = struct.unpack_from("<I", self.content, vector)[0]
        if vector + 4 + length * width > len(self.content):
            raise ValueError(f"{length * width} bytes at {vector} in a file of {len(self.content)} bytes")
        if width > 1:
            self.reading.spend(length)
        return vector + 4, length


def read_texts(content: bytes, where: str | Path) -> dict[str, str]:
    """Return the metadata of a TFLite file's root table, name → text; entries that are no text are left out.

    Raises:
        ModelFileError: this is no TFLite file, or one that is damaged.
    """
    expected = f"a TFLite model at '{where}'"
    check_mark(content, IDENTIFIER, expected)
    try:
        return dict(_texts(Table.root(content)))
    except (struct.error, IndexError, ValueError) as error:
        raise damaged(expected, error) from error


def check_mark(content: bytes, mark: bytes, expected: str) -> None:
    """Raise ModelFileError unless a file has the mark of its kind, which is ``expected``."""
    if content[4:8] != mark:
        raise ModelFileError(
            expected=expected,
            but=f"the file has no '{mark.decode()}' mark",
            advice="check the path, or fetch the file again",
        )


def damaged(expected: str, reason: object) -> ModelFileError:
    """Return the error of a file that is not what a writer of such files writes."""
    return ModelFileError(
        expected=expected, but=f"it is damaged or cut short ({reason})", advice="fetch the file again"
    )


def _texts(root: Table) -> Iterator[tuple[str, str]]:
    buffers = root.tables(MODEL_BUFFERS)
    for entry in root.tables(MODEL_METADATA):
        found = buffer_bytes(buffers[entry.number(METADATA_BUFFER)])  # of the others not one byte is copied
        root.reading.spend(len(found))
        with suppress(UnicodeDecodeError):
            name, text = entry.text(METADATA_NAME), bytes(found).rstrip(b"\0").decode()
            if text:  # of an entry whose bytes a tool dropped nothing is left
                yield name, text


def buffer_bytes(buffer: Table) -> memoryview:
    """Return the bytes of a buffer: in the flatbuffer, or behind it, where tools put them that write large files.

    Bytes outside the file are a ValueError.
    """
    offset, size = (buffer.number(field, "Q") for field in (BUFFER_OFFSET, BUFFER_SIZE))
    if offset <= INSIDE:
        return buffer.data(BUFFER_DATA)
    if offset + size > len(buffer.content):
        raise ValueError(f"a buffer of {size} bytes at {offset} in a file of {len(buffer.content)} bytes")
    return memoryview(buffer.content)[offset : offset + size]


def _follow(content: bytes, at: int) -> int:
    """Return where the offset at ``at`` points."""
    target: int = at + struct.unpack_from("<I", content, at)[0]
    if target + 4 > len(content):
        raise ValueError(f"offset {target} in a file of {len(content)} bytes")
    return target
