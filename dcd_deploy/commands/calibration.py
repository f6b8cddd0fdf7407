"""The options that say what a file computes in, from what a user gives to the settings of its build."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcd_deploy.artifacts import FLOAT16, FLOAT32
from dcd_deploy.commands.options import StrPath
from dcd_deploy.errors import InputFileError, OptionError
from dcd_deploy.progress import Progress

if TYPE_CHECKING:
    from dcd_deploy.export.build_config import BuildConfig


def precision_settings(
    precision: str, weights: str, keep_float: Sequence[str] | str, budget: float | None
) -> dict[str, Any]:
    """Return the settings of a build; what computes in float16 stores its weights so, too."""
    return {
        "precision": precision,
        "weights": FLOAT16 if precision == FLOAT16 and weights == FLOAT32 else weights,
        "keep_float": (keep_float,) if isinstance(keep_float, str) else tuple(keep_float),
        "budget": budget,
    }


def check_calibrate(precision: str, calibrate: StrPath | None) -> None:
    """Refuse a precision without the images that it needs, and images without a precision that takes them.

    Raises:
        OptionError, InputFileError: it is so, or there is nothing at that path.
    """
    if precision != FLOAT16 and (precision == FLOAT32) != (calibrate is None):
        raise OptionError(
            expected="`precision` int8 and `calibrate`, together",
            found="the one without the other",
            advice="`calibrate` names a folder of images like those that the network will see, or an .npz file of them",
        )
    if calibrate is not None and not Path(calibrate).exists():
        raise InputFileError(expected=f"calibration images at '{calibrate}'", but="there is nothing there")


def calibrated(build: BuildConfig, calibrate: StrPath | None, progress: Progress) -> BuildConfig:
    """Return the settings with the calibration images, if there are any.

    Raises:
        OptionError, InputFileError: they are none, or none for such a network.
    """
    if calibrate is None:
        return build
    from dcd_deploy.export.calibration import read_calibration

    with progress("read calibration images"):
        images = read_calibration(Path(calibrate), build.entries, build.preprocessing)
    return replace(build, calibration=images)
