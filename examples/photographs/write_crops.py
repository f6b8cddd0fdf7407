"""Write crops as an .npz file, or the folder of held-out blocks that the tests read.

    python examples/photographs/write_crops.py held-out held-out.npz
    python examples/photographs/write_crops.py free free.npz
    python examples/photographs/write_crops.py calibration calibration.npz --per-class 25
    python examples/photographs/write_crops.py blocks examples/photographs/held_out

``free`` are the held-out crops of the eight free photographs, for which scikit-image need not be installed. A file
holds ``images`` (N, 3, 96, 96), float32, normalised, and ``labels`` (N,). Held-out and calibration crops have no pixel
of a photograph in common.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import photographs
from PIL import Image

MAKERS = {
    "held-out": photographs.held_out,
    "free": photographs.free_held_out,
    "calibration": photographs.calibration,
}


def write_blocks(folder: Path) -> None:
    """Write the photographs that are free, black but for their held-out blocks."""
    folder.mkdir(exist_ok=True)
    for label, pixels in photographs.load().items():
        photograph = photographs.PHOTOGRAPHS[label]
        if photograph.free:
            height, width, _ = pixels.shape
            image = Image.fromarray(pixels * photographs.allowed(height, width, "held-out")[..., None])
            grey = bool((pixels == pixels[..., :1]).all())
            image.convert("L" if grey else "RGB").save(folder / f"{photograph.label}.png", optimize=True)


def main() -> None:
    """Parse the command line, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=(*MAKERS, "blocks"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--per-class", type=int, default=photographs.HELD_OUT_PER_CLASS)
    options = parser.parse_args()
    if options.what == "blocks":
        write_blocks(options.out)
        return
    images, labels = MAKERS[options.what](options.per_class)
    np.savez_compressed(options.out, images=photographs.normalised(images), labels=labels)
    print(f"wrote {len(labels)} crops to {options.out}")


if __name__ == "__main__":
    main()
