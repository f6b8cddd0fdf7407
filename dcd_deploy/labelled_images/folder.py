"""A folder of image files, as torchvision's ImageFolder has it: classes are its class folders, sorted.

Images are made into inputs as ``predict`` does it: grey, alpha, CMYK, turned by the camera.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dcd_deploy.errors import InputFileError, OptionError, shown
from dcd_deploy.files import existing_file, sha256
from dcd_deploy.labelled_images.form import Images, InputForm
from dcd_deploy.optional import check_installed
from dcd_deploy.runtimes.pictures import read_picture
from dcd_deploy.runtimes.preprocessing import preprocess

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # torchvision's
MOST_FILES = 20_000_000


@dataclass(frozen=True)
class ImageFolder:
    """Image files below ``root``, by their names relative to it; without class folders there are no labels."""

    root: Path
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    labels: tuple[int, ...] | None = None
    class_names: tuple[str, ...] | None = None
    newest_ns: int = 0  # when one of them was last changed, since 1970

    def __len__(self) -> int:
        return len(self.names)

    @property
    def identity(self) -> str:
        """A hash of the names, sizes and labels of all files; the same for a copy of the folder on another machine."""
        rows = zip(self.names, self.sizes, self.labels or [""] * len(self), strict=True)
        return hashlib.sha256("\n".join(map(ascii, (*rows, self.class_names))).encode()).hexdigest()

    def part(self, indices: Sequence[int]) -> ImageFolder:
        """Return only the images of these indices."""
        labels = None if self.labels is None else tuple(self.labels[i] for i in indices)
        names, sizes = tuple(self.names[i] for i in indices), tuple(self.sizes[i] for i in indices)
        return replace(self, names=names, sizes=sizes, labels=labels)

    def sha256(self, index: int) -> str:
        """Return the hash of a file's bytes."""
        return sha256(existing_file(self.root / self.names[index], "an image"))

    def check(self, form: InputForm) -> None:
        """Refuse, before any image is read, what could read none.

        Raises:
            OptionError: the model takes no pictures.
            MissingDependencyError: Pillow is not installed.
        """
        check_installed("PIL.Image")
        if form.preprocessing is None:
            raise OptionError(
                expected="a model that takes RGB pictures and says its preprocessing",
                found=f"one that takes {form.shape}",
                advice="give an .npz file of inputs that you prepared yourself",
            )

    def tensor(self, index: int, form: InputForm) -> Images:
        """Return an image as input (1, C, H, W), grey, alpha and CMYK as ``predict`` takes them.

        Raises:
            InputFileError: it cannot be read.
        """
        assert form.preprocessing is not None
        return preprocess(read_picture(self.root / self.names[index]), form.preprocessing, form.dtype)


def open_folder(root: Path) -> ImageFolder:
    """Return the images of a folder; of a folder without class folders those that lie in it, without labels.

    Raises:
        InputFileError: there is no image, or a class without one.
        OSError: it cannot be read.
    """
    classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    if not classes:
        names = sorted(entry.name for entry in os.scandir(root) if _is_image(entry.name))
        if not names:
            raise InputFileError(
                expected=f"images or class folders in '{root}'",
                found="neither",
                advice=f"the names of images end in {', '.join(SUFFIXES)}",
            )
        return _folder(root, names)
    names, labels = [], []
    for label, name in enumerate(classes):
        below = list(_images_below(root, name))
        if not below:
            raise InputFileError(
                expected=f"at least one image in every class folder of '{root}'", found=f"none in '{shown(name, 100)}'"
            )
        names += below
        labels += [label] * len(below)
        if len(names) > MOST_FILES:
            raise InputFileError(expected=f"at most {MOST_FILES} images in '{root}'", found="more")
    return replace(_folder(root, names), labels=tuple(labels), class_names=tuple(classes))


def _folder(root: Path, names: Sequence[str]) -> ImageFolder:
    found = [_size_and_time(root / name) for name in names]
    return ImageFolder(root, tuple(names), tuple(size for size, _ in found), newest_ns=max(time for _, time in found))


def _images_below(root: Path, folder: str) -> Iterator[str]:
    """Yield the names of all images below a class folder in a fixed order; links are followed, but not in a circle."""
    seen = set()
    for place, folders, files in os.walk(root / folder, followlinks=True):
        status = Path(place).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        below = Path(place).relative_to(root)
        yield from ((below / name).as_posix() for name in sorted(files) if _is_image(name))


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _size_and_time(path: Path) -> tuple[int, int]:
    """Return a file's size and when it was changed; zeros where it cannot be looked at, as of a link to nowhere."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns
