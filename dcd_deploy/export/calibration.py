"""Images from which the ranges of an int8 file are taken: a folder of pictures, or an .npz file of inputs.

Ranges are the least and the largest value of each map over the images. Few images miss the extremes, and what lies
beyond a range is cut off: 16 images of digits lose 7 dB against 128. So are those of one class, which are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dcd_deploy.artifacts import Preprocessing
from dcd_deploy.errors import InputFileError, OptionError
from dcd_deploy.labelled_images import InputForm, batches, open_images
from dcd_deploy.labelled_images.calibration_manifest import CalibrationManifest
from dcd_deploy.samples import Images, Inputs, InputSpec, generated_inputs

LEAST_IMAGES, MOST_IMAGES = 128, 512
ADVICE = "give images like those that the network will see, of all classes"


@dataclass(frozen=True, eq=False)
class Calibration:
    """Inputs (N, C, H, W), their labels (N) if there are any, and the manifest of what they are.

    ``others`` are what the network takes beside them, which nobody but a generator gives.
    """

    images: Images
    labels: tuple[int, ...] | None
    manifest: CalibrationManifest
    source: str
    others: Inputs = ()

    @property
    def inputs(self) -> Inputs:
        """All inputs of the network (N, …)."""
        return (self.images, *self.others)


def read_calibration(path: Path, inputs: Sequence[InputSpec], preprocessing: Preprocessing | None) -> Calibration:
    """Return at most ``MOST_IMAGES`` images, evenly spaced, as inputs of a network.

    Raises:
        InputFileError: there are too few, all of one class, or one that cannot be read.
        OptionError: the network takes something else.
    """
    if len(inputs) != 1 or len(inputs[0].shape) != 3:
        raise OptionError(
            expected="`calibrate` for a network that takes one input (N, C, H, W)",
            found=", ".join(f"'{each.name}' {each.shape}" for each in inputs),
            advice="choose `weights` int8, or `precision` float16 without `calibrate`",
        )
    found = open_images(path)
    if len(found) < LEAST_IMAGES:
        raise InputFileError(
            expected=f"at least {LEAST_IMAGES} calibration images in '{path}'", found=len(found), advice=ADVICE
        )
    found = found.part(_spread(len(found)))
    if found.labels is not None and len(set(found.labels)) == 1:
        raise InputFileError(
            expected=f"calibration images of several classes in '{path}'", found="one class", advice=ADVICE
        )
    form, parts = InputForm(inputs[0].shape, inputs[0].dtype, preprocessing), []
    for batch in batches(found, form, LEAST_IMAGES):
        if batch.unreadable:
            name, reason = batch.unreadable[0]
            raise InputFileError(expected=f"a picture '{name}' in '{path}'", but=reason, advice="repair or remove it")
        parts.append(batch.values)
    hashes = [found.sha256(i) for i in range(len(found))]
    return Calibration(np.concatenate(parts), found.labels, CalibrationManifest.of(hashes), path.name)


def generated_calibration(inputs: Sequence[InputSpec], preprocessing: Preprocessing | None) -> Calibration:
    """Return generated inputs, for a twin that is made for timing, and for half precision."""
    images, *others = generated_inputs(inputs, preprocessing, LEAST_IMAGES)
    return Calibration(images, None, CalibrationManifest.of([]), "generated pictures", tuple(others))


def _spread(count: int) -> list[int]:
    """Return the places of at most ``MOST_IMAGES`` of so many, evenly spaced."""
    return [int(place) for place in np.linspace(0, count - 1, min(count, MOST_IMAGES)).round()]
