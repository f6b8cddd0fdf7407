"""What a pass is: it says what it requires and ensures, and its base checks both.

A refusal is a value: which node was left as it is, and why. It is no error; what it costs is told to the user.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from dcd_deploy.lowering.graph import NetworkGraph


class ContractError(Exception):
    """A pass was given what it does not take, or did not keep what it promises: a defect of ours."""


@dataclass(frozen=True)
class PassRefusal:
    """A node, by its path in the trained network, that a pass left as it is, and why."""

    path: str
    reason: str


@dataclass
class PassResult:
    """How many nodes were changed, and what was refused."""

    changed: int = 0
    refusals: list[PassRefusal] = field(default_factory=list)


class Pass(ABC):
    """One change of the graph, in place. ``reason`` says why it is there."""

    name: ClassVar[str]
    reason: ClassVar[str]

    @abstractmethod
    def apply(self, graph: NetworkGraph) -> PassResult:
        """Change the graph."""

    def requires(self, graph: NetworkGraph) -> str | None:
        """Return what the graph lacks for this pass; None where it lacks nothing."""
        del graph
        return None

    def ensures(self, graph: NetworkGraph) -> str | None:
        """Return what is amiss in the graph after this pass; None where all is as promised."""
        del graph
        return None

    def __call__(self, graph: NetworkGraph) -> PassResult:
        """Run the pass, and check its contract.

        Raises:
            ContractError: it is broken.
        """
        if lacking := self.requires(graph):
            raise ContractError(f"the pass '{self.name}' requires: {lacking}")
        result = self.apply(graph)
        graph.recompiled()
        if amiss := self.ensures(graph):
            raise ContractError(f"the pass '{self.name}' promises: {amiss}")
        return result
