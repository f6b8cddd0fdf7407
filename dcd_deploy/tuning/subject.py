"""The network that is tuned, or told the costs of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from dcd_deploy.errors import OptionError
from dcd_deploy.lowering.capture import Captured
from dcd_deploy.tuning.layer_case import LayerGroup, groups_of

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Subject:
    """``title`` names the network; ``inputs`` are the shapes of its inputs without the batch."""

    title: str
    inputs: Shapes
    captured: Captured

    @cached_property
    def groups(self) -> tuple[LayerGroup, ...]:
        """The shapes of its dynamic convolutions."""
        return groups_of(self.captured)

    def check_dynamic(self) -> None:
        """Raise OptionError unless the network has a dynamic convolution; what was refused as one is named."""
        if self.groups:
            return
        refused = "; ".join(f"'{path}' is none: {why.reason}" for path, why in self.captured.refused.items())
        raise OptionError(
            expected="a network with dynamic layers",
            found=f"{self.title}, which has no dynamic convolution" + (f" ({refused[:300]})" if refused else ""),
        )


def subject_of(captured: Captured, title: str) -> Subject:
    """Return a captured network as what is tuned."""
    inputs = tuple(tuple(int(side) for side in one.shape[1:]) for one in captured.network.examples)
    return Subject(title, inputs, captured)


def sizes_text(inputs: Iterable[tuple[int, ...]]) -> str:
    """Return shapes for people: "3×224×224"."""
    return " and ".join("×".join(map(str, one)) for one in inputs)
