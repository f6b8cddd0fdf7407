"""The attention of a dynamic convolution: from what it looks at to the values of its named heads.

    g = adaptive average pool of the source, flattened channel-major      (N, C·rows·columns)
    a = stages(g)         Dense: f(W a + b)      Gated: a ⊙ f(W a + b)    (N, S)
    heads: name → f(W a + b)                                              (N, values)

The source is the layer's own input, or a second operand: another map, or a vector that somebody else computed (the
routing weights of CondConv).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

ACTIVATIONS = ("identity", "relu", "relu6", "sigmoid", "hardsigmoid", "silu", "hardswish", "tanh", "gelu", "softmax")


@dataclass(frozen=True)
class Activation:
    """v ↦ gain · f(v); of softmax, over the last axis, gain · softmax(v / temperature).

    Of ``relu6(v + 3) / 3``, the gate of the published layers, f is the hard sigmoid, and the gain 2.
    """

    name: str = "identity"
    gain: float = 1.0
    temperature: float = 1.0

    def __call__(self, v: Tensor) -> Tensor:
        if self.name == "identity":
            y = v
        elif self.name == "softmax":
            y = torch.softmax(v / self.temperature, -1)
        else:
            y = getattr(torch if self.name in ("sigmoid", "tanh") else F, self.name)(v)
        return y if self.gain == 1.0 else self.gain * y


IDENTITY = Activation()


def _linear(a: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return W a + b in the precision of a."""
    return F.linear(a, weight.to(a), None if bias is None else bias.to(a))


@dataclass(frozen=True)
class Dense:
    """a ↦ f(W a + b); W (outputs, inputs), b (outputs) or None."""

    weight: Tensor
    bias: Tensor | None = None
    activation: Activation = IDENTITY

    def __call__(self, a: Tensor) -> Tensor:
        return self.activation(_linear(a, self.weight, self.bias))

    @property
    def is_share_of_one(self) -> bool:
        """Whether it gives one value, the same to every input: the share of a single kernel."""
        return len(self.weight) == 1 and (self.activation.name == "softmax" or not bool(self.weight.any()))


@dataclass(frozen=True)
class Gated:
    """a ↦ a ⊙ f(W a + b), the squeeze's attention to itself; W (S, S), b (S) or None."""

    weight: Tensor
    bias: Tensor | None
    activation: Activation

    def __call__(self, a: Tensor) -> Tensor:
        return a * self.activation(_linear(a, self.weight, self.bias))


Stage = Dense | Gated


@dataclass(frozen=True)
class Attention:
    """``pool`` has the rows and columns of the pooled map; None where the source is a vector (N, values).

    A head of None passes on what the stages give. ``own`` says whether the source is the layer's input.
    """

    pool: tuple[int, int] | None
    stages: tuple[Stage, ...]
    heads: Mapping[str, Dense | None]
    own: bool = True

    def pooled(self, source: Tensor) -> Tensor:
        """Return the values (N, C·rows·columns) that the stages see, of a map (N, C, H, W) or a vector (N, values)."""
        if self.pool is None:
            return source.flatten(1)
        return F.adaptive_avg_pool2d(source, self.pool).flatten(1)

    def __call__(self, source: Tensor) -> dict[str, Tensor]:
        """Return the values (N, values) of every head."""
        a = self.pooled(source)
        for stage in self.stages:
            a = stage(a)
        return {name: a if head is None else head(a) for name, head in self.heads.items()}

    def without_gains(self) -> tuple[Attention, dict[str, float]]:
        """Return the same attention with gains of 1, and the gain that each head's values lack then.

        The gain of a stage goes into the weights behind it, so that a runtime's own activation serves.
        """
        stages: list[Stage] = []
        gain = 1.0
        for stage in self.stages:
            weight = stage.weight if gain == 1.0 else gain * stage.weight
            stages.append(replace(stage, weight=weight, activation=replace(stage.activation, gain=1.0)))
            # what a gate multiplies keeps the gain that it came with
            gain = stage.activation.gain * (gain if isinstance(stage, Gated) else 1.0)
        heads: dict[str, Dense | None] = {}
        lacking: dict[str, float] = {}
        for name, head in self.heads.items():
            if head is None:
                heads[name], lacking[name] = None, gain
                continue
            weight = head.weight if gain == 1.0 else gain * head.weight
            heads[name] = replace(head, weight=weight, activation=replace(head.activation, gain=1.0))
            lacking[name] = head.activation.gain
        return replace(self, stages=tuple(stages), heads=heads), lacking
