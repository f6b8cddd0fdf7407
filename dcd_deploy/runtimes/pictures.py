"""What an app has of a picture, as the array that preprocessing takes.

path of a file │ its content, as bytes │ Pillow's image │ array (H, W, 3) uint8   →   array (H, W, 3) uint8, RGB
"""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, Union

import numpy as np

from dcd_deploy.errors import OptionError
from dcd_deploy.runtimes.preprocessing import Picture, decoded, read_picture

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

Image = Union[Picture, str, "os.PathLike[str]", bytes, "PillowImage"]


def as_picture(image: Image) -> Picture:
    """Return an image as RGB pixels; files, bytes and Pillow's images are turned as their camera says.

    Raises:
        InputFileError: a file or its content is no picture.
        OptionError: it is none of these.
        MissingDependencyError: Pillow is not installed, and it would be needed.
    """
    if isinstance(image, np.ndarray):
        return image
    if isinstance(image, (str, os.PathLike)):
        return read_picture(image)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return decoded(io.BytesIO(image), f"{len(image)} bytes")
    pillow = sys.modules.get("PIL.Image")  # whoever has an image of it has loaded it
    if pillow is not None and isinstance(image, pillow.Image):
        return decoded(image, "an image of Pillow")
    raise OptionError(
        expected="an RGB picture: a path, bytes of a picture file, Pillow's image, or an array (height, width, 3) of "
        "uint8",
        found=type(image).__name__,
    )
