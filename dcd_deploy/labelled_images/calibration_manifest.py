"""Which images a file was calibrated on, by their hashes: those that no evaluation of it should count.

In a file's description, or the sidecar beside it, under ``calibration``:

    {"images": 2, "sha256": ["9f86d0…", "60303a…"]}

A hash is that of an image file's bytes, or of the bytes of a row of an .npz file's images.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

KEY = "calibration"
MOST_IMAGES = 1 << 20
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class CalibrationManifest:
    """The hexadecimal SHA-256 of each image, in the order in which they were used; ``images`` is their number."""

    images: int
    sha256: tuple[str, ...]

    @classmethod
    def of(cls, hashes: list[str] | tuple[str, ...]) -> CalibrationManifest:
        """Return the manifest of images with these hashes."""
        return cls(len(hashes), tuple(hashes))

    @classmethod
    def from_plain(cls, data: object) -> CalibrationManifest:
        """Read it back from JSON's objects and lists, which anybody may have written.

        Raises:
            ValueError: it is no manifest.
        """
        if not isinstance(data, dict) or not isinstance(data.get("sha256"), list):
            raise ValueError(f"'{KEY}' is not an object with a list 'sha256'")
        hashes = data["sha256"]
        if len(hashes) > MOST_IMAGES or not all(isinstance(each, str) and SHA256.fullmatch(each) for each in hashes):
            raise ValueError(f"'{KEY}' lists something else than at most {MOST_IMAGES} SHA-256")
        if data.get("images") != len(hashes) or isinstance(data["images"], bool):
            raise ValueError(f"'{KEY}' has another number of images than of SHA-256")
        return cls.of(hashes)
