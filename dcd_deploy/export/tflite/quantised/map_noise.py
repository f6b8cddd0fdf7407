"""How much rounding costs each layer, told by its maps: the noise of a step against what the map holds.

SNR of a map = 10 log10( mean(x²) / (s² / 12) ),   s its step;   of a layer, that of its worst map
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from dcd_deploy.export.tflite.file import TfliteModel, text_of
from dcd_deploy.export.tflite.quantised.numbers import LEVELS
from dcd_deploy.export.tflite.quantised.ranges import Ranges, mean_squares
from dcd_deploy.export.tflite.quantised.roles import layer_of
from dcd_deploy.samples import Images

IMAGES = 32


def noisiest_layers(model: TfliteModel, chosen: Collection[int], ranges: Ranges, images: Images) -> list[str]:
    """Return the layers with operators in int8, at the places ``chosen``, of which least signal is left first."""
    squares = mean_squares(model, images[:IMAGES])
    left: dict[str, float] = {}
    for place in chosen:
        operator = model.graph.operators[place]
        layer, name = layer_of(model, operator), text_of(model.graph.tensors[operator.outputs[0]].name)
        low, high = (float(ranges[name][end].item()) for end in ("min", "max"))
        step = (max(high, 0.0) - min(low, 0.0)) / LEVELS
        signal = squares[name] / step**2 or np.inf  # a map of zeros loses nothing
        left[layer] = min(signal, left.get(layer, np.inf))
    return sorted(left, key=lambda layer: left[layer])
