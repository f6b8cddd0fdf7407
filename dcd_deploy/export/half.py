"""The gate of files that compute in half precision: no activation leaves its range, and enough is left of the outputs.

    largest activation   at most 65504; of a pool that adds up before it divides, the sum
    SNR of the outputs   at least 30 dB, in half precision on this machine, against the float32 graph
    top-1, with labels   at most 1 point lost, or two images

By what comes out, this machine rounds every map to half precision and adds up in float32, and XNNPACK on an emulated
ARM core adds up in half precision, too, and takes numbers below 6e-5 for zero. Weights are judged so here; the rest
costs what was measured under emulation (docs/quantisation.md).
"""

from __future__ import annotations

from collections.abc import Mapping

from dcd_deploy.errors import VerificationError
from dcd_deploy.export.build_config import BuildConfig
from dcd_deploy.export.calibration import Calibration, generated_calibration

HALF_LARGEST = 65504.0
STAY = "stay with `precision` float32; `weights` float16 makes the file as small"


def images_for(config: BuildConfig) -> Calibration:
    """Return the images on which a file is judged: those that the user gave, or generated pictures."""
    return config.calibration or generated_calibration(config.entries, config.preprocessing)


def largest_activation(sizes: Mapping[str, float], sums: Mapping[str, float], advice: str = STAY) -> float:
    """Return the largest of the activations, given by name, whose range and whose ``sums`` half precision has.

    Raises:
        VerificationError: one is larger; the message names the first.
    """
    for kind, found in (("activations", sizes), ("sums in pools", sums)):
        name = next((name for name, size in found.items() if not size <= HALF_LARGEST), None)
        if name is not None:
            raise VerificationError(
                f"expected {kind} of at most {HALF_LARGEST:.0f}, the largest number of half precision, found "
                f"{found[name]:.3g} in '{name}'; {advice}"
            )
    return max(sizes.values())
