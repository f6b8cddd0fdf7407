"""What int8 costs layer by layer: the signal-to-noise ratio of each map and kernel, isolated and accumulated.

    accumulated   both graphs on the same images: the noise of all layers before is in it
    isolated      each layer of the int8 graph reads the maps of the float32 graph, quantised: its own noise alone

Both graphs stand in one, side by side (``beside``), and only sums of squares leave the runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from dcd_deploy.errors import VerificationError
from dcd_deploy.export.noise import MOST_DB
from dcd_deploy.export.onnx.quantised.beside import Pair, both_graphs
from dcd_deploy.export.onnx.quantised.build import with_small_constants
from dcd_deploy.export.onnx.quantised.exact import exact_session
from dcd_deploy.export.onnx.quantised.roles import GENERATED_KERNEL, SCALED_KERNEL, SUM, Int8Site
from dcd_deploy.samples import Images

IMAGES = 32  # that layers are judged on
LEAST_MAP_DB = 15.0  # a layer's own noise: 8 bits leave 24 to 40 dB, numbers that do not belong together 5 to 15
LEAST_KERNEL_DB = 40.0  # W(x) or λ in float32, against that of the rounded weights: 41 to 79; λ of 4 bits 30 to 40


@dataclass(frozen=True)
class LayerNoise:
    """A layer's node in int8, by its role, and what is left of its output, and of its generated kernel or λ."""

    layer: str
    role: str
    isolated_db: float
    accumulated_db: float
    kernel_db: float | None


def layer_noise(
    float32: onnx.ModelProto, int8: onnx.ModelProto, found: Sequence[Int8Site], images: Images
) -> list[LayerNoise]:
    """Return the noise of each site that ends a layer in int8, in their order."""
    halves = {site.layer for site in found if site.role == SCALED_KERNEL}  # of which the sum counts
    ends = [site for site in found if site.role == SUM or site.layer not in halves]
    kernels = [site for site in found if site.role in (GENERATED_KERNEL, SCALED_KERNEL)]
    pairs = [Pair.of_map(site) for site in ends] + [Pair.of_kernel(site) for site in kernels]
    rounded = with_small_constants(float32)  # so that of a kernel only what is wrong is left
    isolated = _decibels(both_graphs(rounded, int8, pairs, apart=True), images[:IMAGES])
    accumulated = _decibels(both_graphs(float32, int8, pairs[: len(ends)], apart=False), images[:IMAGES])
    of_kernels: dict[str, float] = {}
    for site, value in zip(kernels, isolated[len(ends) :], strict=True):
        of_kernels[site.layer] = min(float(value), of_kernels.get(site.layer, MOST_DB))
    return [
        LayerNoise(site.layer, site.role, float(alone), float(whole), of_kernels.get(site.layer))
        for site, alone, whole in zip(ends, isolated, accumulated, strict=False)
    ]


def check_layer_noise(layers: Sequence[LayerNoise]) -> None:
    """Refuse a graph in which one layer alone costs more than its bits can.

    Raises:
        VerificationError: it does; the message names the layer.
    """
    for each in layers:
        limits = (("output", each.isolated_db, LEAST_MAP_DB), ("kernel", each.kernel_db, LEAST_KERNEL_DB))
        for what, found, least in limits:
            if found is not None and not found >= least:
                raise VerificationError(
                    f"ONNX in int8: expected the {what} of layer '{each.layer}', by itself, with at least "
                    f"{least:.0f} dB of signal over noise, found {found:.1f} dB; keep it in float32 with `keep_float`"
                )


def _decibels(model: onnx.ModelProto, images: Images) -> NDArray[np.float64]:
    session = exact_session(model)
    sums = np.sum([[v.item() for v in session.run_all((images[i : i + 1],))] for i in range(len(images))], axis=0)
    noise, signal = np.split(sums.astype(np.float64), 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        decibels = np.minimum(10 * np.log10(signal / noise), MOST_DB)
    return np.where(noise == 0, MOST_DB, decibels)  # of a map of zeros too, which has no signal
