"""From the modules of an attention to its stages. What its parts do not tell is left open, as alternatives.

Linear, 1×1 convolution              Dense
BatchNorm behind it                  folded into it
activation behind it                 its activation, told by trying it
a module around one square Linear    Gated: a ⊙ gate(W a + b), the squeeze's attention to itself
pooling                              rows and columns
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from torch import nn

from dcd_deploy.dynamic.adapters.parts import (
    activation_of,
    children_of,
    dense,
    dense_sizes,
    followed_by_norm,
    inside,
    is_activation,
    is_dense,
    is_norm,
    kind,
    norm_affine,
    pair,
)
from dcd_deploy.dynamic.attention import IDENTITY, Activation, Dense, Gated, Stage
from dcd_deploy.dynamic.operator import Pair
from dcd_deploy.dynamic.refusal import OutsideError

GATES = (
    Activation("hardsigmoid", 2.0),  # relu6(v + 3) / 3
    Activation("hardsigmoid"),
    Activation("sigmoid"),
    Activation("sigmoid", 2.0),
)
POOLS = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)
OTHER_POOLS = (nn.AdaptiveMaxPool2d, nn.MaxPool2d, nn.AdaptiveMaxPool1d)
SKIPPED = (nn.Flatten, nn.Unflatten, nn.Dropout, nn.Dropout2d, nn.Identity, nn.AvgPool2d)


@dataclass
class Trunk:
    """The stages, and for each of them its possible activations, most likely first; the size of a pooling it holds."""

    stages: list[Stage] = field(default_factory=list)
    activations: list[tuple[Activation, ...]] = field(default_factory=list)
    pool: Pair | None = None

    @property
    def inputs(self) -> int:
        """Values that the first stage sees."""
        return int(self.stages[0].weight.shape[1])

    @property
    def outputs(self) -> int:
        """Values that the last stage gives."""
        return int(self.stages[-1].weight.shape[0])

    def leave_open(self, *activations: Activation) -> None:
        """Let the stages that no module gives an activation have one of these, which then is in the forward."""
        self.activations = [activations if said == (IDENTITY,) else said for said in self.activations]

    def alternatives(self) -> Iterator[tuple[Stage, ...]]:
        """Yield the stages with every choice of activations, most likely first."""
        for chosen in itertools.product(*self.activations):
            yield tuple(replace(stage, activation=one) for stage, one in zip(self.stages, chosen, strict=True))


def read_trunk(parts: Iterable[tuple[str, nn.Module]]) -> Trunk:
    """Return the trunk that the named modules make, one behind the other.

    Raises:
        OutsideError: a part is nothing that an attention holds, or its sizes do not fit.
    """
    trunk = Trunk()
    for name, module in _in_sequence(parts):
        _add(trunk, name, module)
    if not trunk.stages:
        raise OutsideError("its attention holds no Linear layer")
    return trunk


def _in_sequence(parts: Iterable[tuple[str, nn.Module]]) -> Iterator[tuple[str, nn.Module]]:
    for name, module in parts:
        if isinstance(module, nn.Sequential):
            yield from _in_sequence((f"{name}.{key}", child) for key, child in module.named_children())
        else:
            yield name, module


def _add(trunk: Trunk, name: str, module: nn.Module) -> None:
    if is_dense(module):
        _check_inputs(trunk, name, module)
        trunk.stages.append(dense(module))
        trunk.activations.append((IDENTITY,))
    elif is_norm(module):
        scale, shift = norm_affine(name, module)
        last = trunk.stages[-1] if trunk.stages else None
        if not isinstance(last, Dense) or len(scale) != len(last.weight):
            raise OutsideError(f"{name} is {kind(module)} with no Linear layer of its size in front")
        trunk.stages[-1] = followed_by_norm(last, scale, shift)
    elif isinstance(module, OTHER_POOLS):
        raise OutsideError(f"{name} is {kind(module)}: the canonical attention pools by averages")
    elif isinstance(module, POOLS):
        trunk.pool = pair(module.output_size)
    elif isinstance(module, SKIPPED):
        return
    elif (activation := activation_of(module)) is not None:
        if activation != IDENTITY and trunk.stages:
            trunk.activations[-1] = (activation,)
    else:
        _add_gated(trunk, name, module)


def _check_inputs(trunk: Trunk, name: str, module: nn.Module) -> None:
    inputs = dense_sizes(module)[1]
    if trunk.stages and inputs != trunk.outputs:
        raise OutsideError(f"{name} takes {inputs} values, but what is in front of it gives {trunk.outputs}")


def _add_gated(trunk: Trunk, name: str, module: nn.Module) -> None:
    """Add a module that weighs its own input; the gate that it holds comes first."""
    parts = list(inside(module))
    layers = [part for _, part in parts if is_dense(part)]
    others = [f"{name}.{path}" for path, part in parts if not (is_dense(part) or is_activation(part))]
    if not children_of(module) or len(layers) != 1 or others:
        raise OutsideError(
            f"{others[0] if others else name} is nothing that the canonical attention holds ({kind(module)})"
        )
    outputs, inputs = dense_sizes(layers[0])
    if outputs != inputs:
        raise OutsideError(f"{name} makes {outputs} values of {inputs}: it cannot weigh its own input")
    _check_inputs(trunk, name, layers[0])
    said = [one for _, part in parts if (one := activation_of(part)) is not None and one != IDENTITY]
    weights = dense(layers[0])
    trunk.stages.append(Gated(weights.weight, weights.bias, IDENTITY))
    trunk.activations.append(tuple(said) or GATES)
