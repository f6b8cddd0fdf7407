"""What every check compares with: inputs, and the outputs that are right on them. Needs numpy alone.

The outputs are those of the float64 network (``reference``), or what the user's own network answered (``recorded``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dcd_deploy.samples import Images, Inputs

Outputs = NDArray[np.float64]
HALF_UNIT, HALF_SMALLEST = 2.0**-11, 2.0**-25  # how far rounding to half precision moves a number: relative, absolute
SYMBOLS = {
    "phi": "Φ",
    "scale": "λ",
    "kernels": "π",
    "filters": "α of filters",
    "inputs": "α of inputs",
    "taps": "α of taps",
}


@dataclass(frozen=True)
class Sensitivity:
    """How much the inputs move the heads of the dynamic layers, by the name of the head.

    ``variation`` is, for each layer, the largest distance of the head's values from their mean over the inputs,
    relative to their size. ``frozen`` is the change of the outputs, relative to their range, when that head of all
    layers stays as the first input sets it.
    """

    variation: dict[str, dict[str, float]]
    frozen: dict[str, float]


@dataclass(frozen=True)
class TrainReference:
    """Inputs, the right outputs on them by name, and what float32 alone costs this network.

    ``sensitivity`` is None for a network without dynamic layers; ``float32_error`` is that of the network itself in
    float32, relative to the range; ``contrast`` that of generated inputs. Outputs that were ``stored_half`` stand for
    the interval of numbers that half precision rounds to them. ``as_initialised``: the network was never trained.
    ``one_at_a_time`` says why the network, or its graph, was run on each input by itself, where it was.
    """

    inputs: Inputs
    outputs: Mapping[str, Outputs]
    sensitivity: Sensitivity | None = None
    float32_error: float = 0.0
    contrast: float | None = None
    stored_half: frozenset[str] = field(default_factory=frozenset)
    as_initialised: bool = False
    one_at_a_time: str = ""

    @property
    def images(self) -> Images:
        """The first input, of most networks the only one."""
        return self.inputs[0]

    @property
    def names(self) -> tuple[str, ...]:
        """The outputs' names."""
        return tuple(self.outputs)

    def range(self, name: str | None = None) -> float:
        """Largest minus smallest value of an output, of the first without a name: the yardstick of its errors."""
        return float(np.ptp(self.outputs[self.names[0] if name is None else name]))

    def distance(self, name: str, found: Outputs, rows: NDArray[np.intp]) -> float:
        """Return the largest distance of what was found from the right values of these rows."""
        wanted = self.outputs[name][rows]
        distance = np.abs(found - wanted)
        if name in self.stored_half:
            distance = (distance - HALF_UNIT * np.abs(wanted) - HALF_SMALLEST).clip(min=0.0)
        return float(distance.max())
