"""The picture of a bundle: drawn, of odd sizes, so that resizing it has nothing to round off; and how it is written."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from dcd_deploy.runtimes.preprocessing import Picture

HEIGHT, WIDTH = 341, 427  # neither is a multiple of anything that a network takes
PNG_SIGNATURE, RGB, NO_FILTER = b"\x89PNG\r\n\x1a\n", 2, b"\0"


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
