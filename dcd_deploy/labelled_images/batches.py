"""Images of either kind: opened, held against a model's classes, and taken as batches of its input."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dcd_deploy.errors import InputFileError, OptionError, shown
from dcd_deploy.files import existing_file, suffix_of
from dcd_deploy.labelled_images import arrays
from dcd_deploy.labelled_images.arrays import LABELS, ImageArray, open_arrays
from dcd_deploy.labelled_images.folder import ImageFolder, open_folder
from dcd_deploy.labelled_images.form import Images, InputForm

LabelledImages = ImageFolder | ImageArray

EXPECTED = f"a folder of images, or {arrays.EXPECTED},"
CLASSES_SHOWN = 3


@dataclass(frozen=True)
class Batch:
    """Some images as input (N, C, H, W); ``indices`` (N) says which. ``unreadable`` are names and reasons."""

    indices: tuple[int, ...]
    values: Images
    unreadable: tuple[tuple[str, str], ...]


def open_images(path: str | os.PathLike[str]) -> LabelledImages:
    """Return the images of a folder or an .npz file.

    Raises:
        InputFileError: there is nothing there, no image, a class without one, or a damaged file.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return open_folder(path)
    except OSError as error:
        raise InputFileError(expected=f"a folder of images at '{path}'", but=error.strerror or error) from error
    path = existing_file(path, EXPECTED)
    if suffix_of(path) != arrays.SUFFIX:
        raise InputFileError(expected=EXPECTED, found=f"the file '{path.name}'")
    return open_arrays(path)


def batches(images: LabelledImages, form: InputForm, size: int) -> Iterator[Batch]:
    """Yield all images as inputs, ``size`` at a time; the unreadable ones are named and left out.

    Raises:
        OptionError: the model takes something else.
    """
    images.check(form)
    for start in range(0, len(images), size):
        indices, values, unreadable = [], [], []
        for i in range(start, min(start + size, len(images))):
            try:
                values.append(images.tensor(i, form))
                indices.append(i)
            except InputFileError as error:
                unreadable.append((images.names[i], error.found or str(error)))
        empty = np.zeros((0, *(axis or 0 for axis in form.shape)), form.dtype)
        yield Batch(tuple(indices), np.concatenate(values) if values else empty, tuple(unreadable))


def check_classes(images: LabelledImages, classes: int, labels: Sequence[str] = ()) -> None:
    """Refuse labels that are not those of a model with so many classes, whose names are ``labels`` if it has any.

    Raises:
        OptionError: there are no labels, or they do not match.
    """
    if images.labels is None:
        raise OptionError(
            expected="a folder of class folders, each with its images, as torchvision's ImageFolder has them, or "
            f"'{LABELS}' in the .npz file",
            found="images without labels",
        )
    names = images.class_names
    if names is None:
        if max(images.labels) >= classes:
            raise OptionError(
                expected=f"labels from 0 to {classes - 1}, as the model has {classes} classes", found=max(images.labels)
            )
        return
    if len(names) != classes:
        raise OptionError(
            expected=f"{classes} class folders, as the model has {classes} classes",
            found=f"{len(names)}: {_few(names)}",
        )
    if set(names) == set(labels) and list(names) != list(labels):
        raise OptionError(
            expected=f"class folders that are sorted by name as the model's labels are: {_few(labels)}",
            found=_few(names),
            advice="name the folders so that they sort so, such as '00 zero', '01 one'",
        )


def _few(names: Sequence[str]) -> str:
    more = ", …" if len(names) > CLASSES_SHOWN else ""
    return ", ".join(f"'{shown(name, 40)}'" for name in names[:CLASSES_SHOWN]) + more
