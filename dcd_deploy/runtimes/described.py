"""A file against its description, where another tool has changed the file since.

A batch that the description leaves free may have become a number, and is that number then. A file may also do more than
it says: take any batch where one is described, or give more outputs. It is used as described then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from dcd_deploy.artifacts import ModelCard, TensorSpec
from dcd_deploy.errors import ModelFileError
from dcd_deploy.runtimes.session import Array, Input, Session

Specs = tuple[TensorSpec, ...]


class DescribedSession:
    """A session that does no more than is described; ``places`` are those of the described outputs."""

    def __init__(self, session: Session, inputs: Specs, outputs: Specs, places: Sequence[int]) -> None:
        self._session, self._places = session, tuple(places)
        self.runtime, self.version, self.metadata = session.runtime, session.version, session.metadata
        self.inputs, self.outputs = inputs, outputs

    def run(self, images: Input) -> Array:
        """Return the first output for the only input."""
        return self.run_all([images])[0]

    def run_all(self, inputs: Sequence[Input]) -> tuple[Array, ...]:
        """Return the described outputs for all inputs."""
        found = self._session.run_all(inputs)
        return tuple(found[place] for place in self._places)

    def prepare(self, *inputs: Input) -> Callable[[], object]:
        """Return what runs the whole model on the inputs."""
        return self._session.prepare(*inputs)


def as_described(session: Session, card: ModelCard) -> tuple[Session, ModelCard]:
    """Return a session, and a description with the sizes that the file has where it leaves them free.

    Raises:
        ModelFileError: the description is not of this model.
    """
    places = [_places(found, described) for found, described in _sides(session, card)]
    if None in places or len(places[0] or ()) != len(session.inputs):
        found, described = ([[tensor.shape for tensor in side] for side in one] for one in zip(*_sides(session, card)))
        raise ModelFileError(
            f"the file's description speaks of shapes {_listed(described)}, but the model has {_listed(found)}; export "
            "it again"
        )
    chosen = [[found[place] for place in at or ()] for (found, _), at in zip(_sides(session, card), places)]
    known = replace(card, inputs=_joined(card.inputs, chosen[0]), outputs=_joined(card.outputs, chosen[1]))
    narrowed = [
        tuple(replace(tensor, shape=one.shape) for tensor, one in zip(side, described))
        for side, described in zip(chosen, (known.inputs, known.outputs))
    ]
    if narrowed != [session.inputs, session.outputs]:
        session = DescribedSession(session, narrowed[0], narrowed[1], places[1] or ())
    return session, known


def _sides(session: Session, card: ModelCard) -> tuple[tuple[Specs, Specs], tuple[Specs, Specs]]:
    """Return the inputs and the outputs, as they were found and as they are described."""
    return (session.inputs, card.inputs), (session.outputs, card.outputs)


def _places(found: Specs, described: Specs) -> list[int] | None:
    """Return where the described tensors are: in their order, or where there are more, by their names."""
    places = list(range(len(found)))
    if len(found) != len(described):
        at = {tensor.name: place for place, tensor in enumerate(found)}
        places = [at.get(tensor.name, -1) for tensor in described]
    fits = all(place >= 0 and _fits(found[place].shape, one.shape) for place, one in zip(places, described))
    return places if fits else None


def _fits(found: tuple[int | None, ...], described: tuple[int | None, ...]) -> bool:
    """Whether a tensor can be used as it is described; of the sizes of a file the batch alone may be free."""
    if len(found) != len(described):
        return False
    pairs = enumerate(zip(found, described))
    return all(has == said or said is None or (has is None and axis == 0) for axis, (has, said) in pairs)


def _joined(described: Specs, found: Sequence[TensorSpec]) -> Specs:
    """Return descriptions whose free sizes are those that were found."""
    return tuple(
        replace(one, shape=tuple(has if said is None else said for has, said in zip(tensor.shape, one.shape)))
        for one, tensor in zip(described, found)
    )


def _listed(sides: Sequence[list[tuple[int | None, ...]]]) -> str:
    return " and ".join(", ".join(map(str, shapes)) for shapes in sides)
