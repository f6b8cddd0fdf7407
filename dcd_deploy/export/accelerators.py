"""What the accelerators of a phone take of a model file: by the rules that their own tools publish, without a phone.

    file → nodes, each taken or left, with the reason → partitions: runs of taken nodes that no left one interrupts

A partition is handed over whole; between two of them maps go to the processor and back, so one is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from dcd_deploy.files import existing_file, suffix_of, unknown_model_file
from dcd_deploy.runtimes.nodes import NAME

LAYERS_SHOWN = 3


@dataclass(frozen=True)
class Breaker:
    """An operator that is left to the processor: how many nodes for one reason, and the first layers (or nodes)."""

    operator: str
    nodes: int
    reason: str
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Accelerator:
    """How an accelerator would divide the file. ``unchecked`` are conditions of its table that no graph shows."""

    name: str
    rules: str
    nodes: int
    taken: int
    partitions: int
    breakers: tuple[Breaker, ...] = ()
    unchecked: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether it takes all, in one piece."""
        return self.partitions == 1 and self.taken == self.nodes


@dataclass(frozen=True)
class MobileSummary:
    """What each accelerator that runs files of this kind takes of one."""

    path: Path
    accelerators: tuple[Accelerator, ...]
    note: str


# kind of file → where it is read, and what is said below
READERS = {
    ".onnx": "dcd_deploy.export.onnx.mobile:onnx_accelerators",
    ".ort": "dcd_deploy.export.onnx.mobile:ort_accelerators",
    ".tflite": "dcd_deploy.export.tflite.mobile:tflite_accelerators",
    ".pte": "dcd_deploy.export.executorch.graph:pte_accelerators",
}
NOTES = {
    ".onnx": "by rules, not on a device; TFLite's GPU delegate takes .tflite files alone",
    ".ort": "by rules, not on a device; TFLite's GPU delegate takes .tflite files alone",
    ".tflite": "XNNPACK was asked itself, the others by rules, not on a device; NNAPI and CoreML take .onnx files here",
    ".pte": "an ExecuTorch program is divided when it is exported: this one is XNNPACK's, and no other takes it",
}


def summarise_mobile(path: Path) -> MobileSummary:
    """Return what the accelerators of phones take of a model file.

    Raises:
        InputFileError: there is no such file.
        UnknownNameError: it is no model file.
        ModelFileError: it is damaged.
        MissingDependencyError: the packages that have the rules are not installed.
    """
    suffix = suffix_of(existing_file(path, "a model file"))
    if suffix not in READERS:
        raise unknown_model_file(path, READERS)
    module, _, name = READERS[suffix].partition(":")
    read: Callable[[Path], tuple[Accelerator, ...]] = getattr(import_module(module), name)
    return MobileSummary(path, read(path), NOTES[suffix])


def breakers(left: Iterable[tuple[str, str, str]]) -> tuple[Breaker, ...]:
    """Group nodes that were left (operator, reason, name of the node), the most frequent first."""
    names: dict[tuple[str, str], list[str]] = {}
    for operator, reason, name in left:
        names.setdefault((operator, reason), []).append(name)
    found = [Breaker(*key, _first_layers(each)) for key, each in _counted(names)]
    return tuple(sorted(found, key=lambda each: -each.nodes))


def _counted(names: dict[tuple[str, str], list[str]]) -> list[tuple[tuple[str, int, str], list[str]]]:
    return [((operator, len(each), reason), each) for (operator, reason), each in names.items()]


def _first_layers(names: Sequence[str]) -> tuple[str, ...]:
    layers = (found["layer"] if (found := NAME.fullmatch(name)) else name for name in names)
    return tuple(dict.fromkeys(layers))[:LAYERS_SHOWN]


def partitions(taken: Sequence[bool], inputs: Sequence[Iterable[str]], outputs: Sequence[Iterable[str]]) -> int:
    """Count the runs of taken nodes, as TFLite divides a graph.

    Nodes that are ready and of the kind of the present run join it, in their order, until there is none; then the
    other kind is next. ``inputs`` and ``outputs`` are the names of each node's tensors.
    """
    made = {name for each in outputs for name in each}
    waiting = list(range(len(taken)))
    kind, runs = bool(taken) and taken[0], 0
    while waiting:
        joined = False
        for i in list(waiting):
            if taken[i] == kind and not made & set(inputs[i]):
                waiting.remove(i)
                made -= set(outputs[i])
                joined = True
        if not joined and not any(taken[i] != kind and not made & set(inputs[i]) for i in waiting):
            raise ValueError("a graph in which nodes wait for each other")
        runs += joined and kind
        kind = not kind
    return runs
