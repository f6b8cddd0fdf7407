"""The reference of every check: the train form in float64, and the proof that the inputs exercise its dynamic branch.

The pictures are as vivid as the network bears: far from what it was trained on, a dynamic network may amplify
rounding until float32 and float64 disagree, and then no file can be told from another. The first contrast at which
the train form itself agrees with itself, computed in both, is taken.

Freezing Φ (or λ) of every layer to the value that the first input gives it is the fault that a careless trace makes.
How far that moves the outputs says how well the inputs would show it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dcd_deploy.artifacts import Preprocessing
from dcd_deploy.models.dynamic import DynamicLayer, gate
from dcd_deploy.samples import Images, verification_inputs

CONTRASTS = (1.0, 0.5, 0.25)
REPRODUCIBLE = 0.2  # of the tolerance, which leaves room for a runtime's other order of summation
SMALLEST_SIZE = 1e-300  # a head that is all zero does not vary

Outputs = NDArray[np.float64]
Heads = dict[str, nn.Linear]
Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]


@dataclass(frozen=True)
class Sensitivity:
    """How much the inputs move the dynamic branch.

    ``variation`` is, for each layer, the largest distance of Φ (or λ) from its mean over the inputs, relative to its
    size. ``frozen`` is the change of the outputs, relative to their range, when all Φ (or λ) stay as the first input
    sets them.
    """

    phi_variation: dict[str, float]
    scale_variation: dict[str, float]
    frozen_phi: float
    frozen_scale: float


@dataclass(frozen=True)
class TrainReference:
    """Inputs, the float64 train form's outputs on them, and what float32 alone costs this network."""

    images: Images
    outputs: Outputs
    sensitivity: Sensitivity | None  # None for a static network
    float32_error: float  # of the train form itself in float32, relative to the range
    contrast: float | None = None  # of generated pictures

    @property
    def range(self) -> float:
        """Largest minus smallest output, the yardstick of every error."""
        return float(np.ptp(self.outputs))


def generated_reference(network: nn.Module, preprocessing: Preprocessing, tolerance: float) -> TrainReference:
    """Run the float64 train-form ``network`` on the most vivid pictures on which it is reproducible.

    Where it is reproducible on none, the pictures that come nearest are taken, and the gate has to decide.
    """
    tried = []
    for contrast in CONTRASTS:
        images = verification_inputs(preprocessing, contrast=contrast)
        outputs, error = _outputs_and_error(network, images)
        tried.append((error, contrast, images, outputs))
        if error <= REPRODUCIBLE * tolerance:
            break
    # no comparison with NaN is true, so that min() would keep a NaN that comes first
    error, contrast, images, outputs = min(tried, key=lambda one: math.inf if math.isnan(one[0]) else one[0])
    return TrainReference(images, outputs, measure_sensitivity(network, images, outputs), error, contrast)


def make_reference(network: nn.Module, images: Images) -> TrainReference:
    """Run the float64 train-form ``network`` on ``images`` (N, 3, H, W)."""
    outputs, error = _outputs_and_error(network, images)
    return TrainReference(images, outputs, measure_sensitivity(network, images, outputs), error)


def _outputs_and_error(network: nn.Module, images: Images) -> tuple[Outputs, float]:
    """Return the outputs in float64, and how far float32 is from them, relative to their range."""
    outputs = run_torch(network, images)
    single = run_torch(copy.deepcopy(network).float(), images)
    with np.errstate(invalid="ignore"):  # infinite outputs make NaN, which ranks last
        spread = float(np.ptp(outputs))
        return outputs, float(np.abs(single - outputs).max()) / spread if spread else math.nan


def run_torch(network: nn.Module, images: Images) -> Outputs:
    """Return the outputs (N, classes) of a torch network, computed in its own precision."""
    weight = next(network.parameters())
    with torch.inference_mode():
        outputs: Tensor = network(torch.from_numpy(images).to(weight.dtype))
    found: Outputs = outputs.double().numpy()
    return found


def measure_sensitivity(network: nn.Module, images: Images, outputs: Outputs) -> Sensitivity | None:
    """Measure how the inputs move Φ and λ, and how much that matters to the outputs."""
    layers = {name: module for name, module in network.named_modules() if isinstance(module, DynamicLayer)}
    if not layers:
        return None
    phi_heads = {name: layer.fc_phi for name, layer in layers.items()}
    scale_heads = {name: layer.fc_scale for name, layer in layers.items()}
    phi_variation: dict[str, float] = {}
    scale_variation: dict[str, float] = {}
    with (
        _hooked(phi_heads, lambda name: _variation_meter(phi_variation, name, nn.Identity())),
        _hooked(scale_heads, lambda name: _variation_meter(scale_variation, name, gate)),
    ):
        run_torch(network, images)
    return Sensitivity(
        phi_variation,
        scale_variation,
        frozen_phi=_frozen_effect(network, images, outputs, phi_heads),
        frozen_scale=_frozen_effect(network, images, outputs, scale_heads),
    )


def _variation_meter(found: dict[str, float], name: str, activation: Callable[[Tensor], Tensor]) -> Hook:
    """Return a hook that notes how far a head's values get from their mean over the inputs, relative to their size."""

    def measure(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        del module, inputs
        values = activation(output)
        size = values.norm(dim=1).mean().clamp_min(SMALLEST_SIZE)
        found[name] = float((values - values.mean(0)).norm(dim=1).max() / size)

    return measure


def _frozen_effect(network: nn.Module, images: Images, outputs: Outputs, heads: Heads) -> float:
    """Return the relative change of the outputs when every head says what it says to the first input."""

    def freeze(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        del module, inputs
        return output[:1].expand_as(output)

    with _hooked(heads, lambda _: freeze):
        frozen = run_torch(network, images)
    with np.errstate(invalid="ignore", divide="ignore"):  # such outputs are refused by name in ``new_report``
        return float(np.abs(frozen - outputs).max() / np.ptp(outputs))


@contextmanager
def _hooked(heads: Heads, hook_of: Callable[[str], Hook]) -> Iterator[None]:
    handles = [head.register_forward_hook(hook_of(name)) for name, head in heads.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
