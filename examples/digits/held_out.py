"""Write the held-out digits, which no training saw, for `dcd-deploy evaluate`.

python examples/digits/held_out.py held        a folder of class folders with PNG files
python examples/digits/held_out.py held.npz    normalised, as the exported model takes them

The folders are called by number and name, so that they sort as the labels do.
"""

from __future__ import annotations

import sys
from pathlib import Path

import digits
import numpy as np
from numpy.typing import NDArray
from PIL import Image


def write(path: Path, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
    """Write images (n, 32, 32, 3) and labels (n) to a folder, or to a file that ends in .npz."""
    if path.suffix == ".npz":
        np.savez(path, images=digits.normalised(images), labels=labels)
        return
    for i, label in enumerate(labels):
        folder = path / f"{label} {digits.LABELS[label]}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[i]).save(folder / f"{i:03}.png")


if __name__ == "__main__":
    found = digits.load()
    write(Path(sys.argv[1]), found[1], found[3])
