"""Reading picture files, for the command line; an app usually has its picture in memory already."""

from __future__ import annotations

import os

import numpy as np

from dcd_deploy.errors import InputFileError
from dcd_deploy.files import existing_file
from dcd_deploy.optional import require
from dcd_deploy.runtimes.preprocessing import Picture


def read_picture(path: str | os.PathLike[str]) -> Picture:
    """Return the picture file as RGB (height, width, 3) uint8, turned as its camera says.

    Raises:
        InputFileError: it is not a picture.
        MissingDependencyError: Pillow is not installed.
    """
    path = existing_file(path, "a picture")
    image_module, operations = require("PIL.Image"), require("PIL.ImageOps")
    try:
        with image_module.open(path) as image:
            return np.asarray(operations.exif_transpose(image).convert("RGB"))
    except (OSError, ValueError, SyntaxError, image_module.DecompressionBombError) as error:
        raise InputFileError(expected=f"a picture at '{path}'", but=f"it cannot be read: {error}") from error
