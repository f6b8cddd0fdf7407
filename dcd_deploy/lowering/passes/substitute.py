"""Put a lowering in the place of each dynamic layer: the one asked for, or the one that the target's rule chooses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import fx

from dcd_deploy.dynamic.canonical import CanonicalLayer
from dcd_deploy.dynamic.folds import without_gains
from dcd_deploy.dynamic.shape import MapSize, OperatorShape, shape_of
from dcd_deploy.errors import ExportError, OptionError
from dcd_deploy.lowering.annotate import is_activation
from dcd_deploy.lowering.graph import ORIGIN, NetworkGraph, op_name, shape
from dcd_deploy.lowering.lowering import ONE, Lowering
from dcd_deploy.lowering.passes.contract import Pass, PassRefusal, PassResult
from dcd_deploy.lowering.places import is_within
from dcd_deploy.lowering.targets import Target, target_for

AUTO, TFLITE = "auto", "tflite"
Choice = str | Mapping[str, str]  # "auto", the lowering of all layers, or of each layer by its path


@dataclass(frozen=True)
class LayerSite:
    """A call of a dynamic layer: its path, sizes, and whether an activation follows that a runtime can fuse.

    It is ``of_several`` where it gets several samples for one of the network's, such as the frames of a clip.
    """

    path: str
    shape: OperatorShape
    size: MapSize
    activation: str  # in torch's words; "none"
    of_several: bool = False

    @property
    def activated(self) -> bool:
        """Whether an activation follows."""
        return self.activation != "none"


def sites(graph: NetworkGraph) -> Iterator[tuple[fx.Node, LayerSite]]:
    """Yield the calls of the graph's dynamic layers, in their order; the second call of a layer is "path#2"."""
    calls: Counter[str] = Counter()
    for node in list(graph.nodes):
        layer = graph.submodule(node)
        if isinstance(layer, CanonicalLayer):
            path = str(node.meta.get(ORIGIN, node.target))
            calls[path] += 1
            path = path if calls[path] == 1 else f"{path}#{calls[path]}"
            size = MapSize(*_plane(node.args[0]), *_plane(node))
            several = _samples(node) > max(map(_samples, graph.module.graph.find_nodes(op="placeholder")), default=1)
            yield node, LayerSite(path, shape_of(layer.operator), size, _activation(graph, node), several)


def _plane(node: object) -> tuple[int, int]:
    found = shape(node) if isinstance(node, fx.Node) else None
    assert found is not None, "the shapes of the graph are not noted"
    return (found[2], found[3]) if len(found) == 4 else (1, 1)


def _samples(node: fx.Node) -> int:
    return (shape(node) or (1,))[0]


def _activation(graph: NetworkGraph, node: fx.Node) -> str:
    """Return the activation that alone reads a node."""
    reader = next(iter(node.users), None)
    if reader is None or len(node.users) > 1 or not is_activation(reader, module := graph.submodule(reader)):
        return "none"
    return type(module).__name__.lower() if module is not None else op_name(reader)


class Substitute(Pass):
    """Choose and put in place; ``rows`` says which lowering each dynamic layer got.

    Layers within ``keep_float`` compute in float32; in TFLite the target's rule for float32 chooses for them. In ONNX
    that rule may choose blocked maps, which layers in int8 beside them cannot read.
    """

    name: ClassVar[str] = "substitute"
    reason: ClassVar[str] = "exporters understand ordinary operators alone, and runtimes run some orders far quicker"

    def __init__(self, target: Target, choice: Choice = AUTO, keep_float: Collection[str] = ()) -> None:
        self.target, self.choice, self.keep_float = target, choice, keep_float
        self.rows: dict[str, str] = {}

    def apply(self, graph: NetworkGraph) -> PassResult:
        result = PassResult()
        for node, site in sites(graph):
            layer = graph.submodule(node)
            assert isinstance(layer, CanonicalLayer)
            wanted = self._wanted(site)
            kind, refused = self._possible(site, wanted)
            if refused:
                result.refusals.append(PassRefusal(site.path, refused))
            made = kind(without_gains(layer.operator), site.size)
            node.target = graph.add_module(f"{site.path}_lowered", made)
            self.rows[site.path] = kind.name
            result.changed += 1
        self._check_used()
        return result

    def ensures(self, graph: NetworkGraph) -> str | None:
        left = next(iter(graph.layers()), None)
        return None if left is None else f"every dynamic layer is lowered, but '{left}' is not"

    def _wanted(self, site: LayerSite) -> str:
        if isinstance(self.choice, Mapping):
            if site.path not in self.choice:
                if site.shape.geometry.vector:
                    return self._chosen(site)
                raise OptionError(expected=f"a lowering for layer '{site.path}'", found=some(self.choice))
            return self.choice[site.path]
        if self.choice != AUTO:
            return self.choice
        return self._chosen(site)

    def _chosen(self, site: LayerSite) -> str:
        """Return what the target's rule chooses."""
        target = self.target
        if target.format == TFLITE and is_within(site.path, self.keep_float):
            target = target_for(target.name, target.format).for_batch(1)  # as all files in int8
        if site.of_several:
            target = target.for_several()
        if not target.costs(site.shape, site.size, activated=site.activated):
            each = [
                f"'{name}': {one.refusal(site.shape) or 'of one sample'}"
                for name, one in target.backend.lowerings.items()
            ]
            where = "of several samples at once" if site.of_several else "at this batch"
            way = "let its forward take one at a time" if site.of_several else "export it at `batch` 1"
            raise ExportError(
                expected=f"an order of computation for '{site.path}' that serves in {target.format} {where}",
                found=f"none ({'; '.join(each)})",
                advice=f"{way}, or export to another format",
            )
        return target.choose(site.shape, site.size, activated=site.activated)

    def _possible(self, site: LayerSite, wanted: str) -> tuple[type[Lowering], str | None]:
        """Return the lowering asked for, or, where it cannot compute the layer, the target's own choice and why."""
        kind = self.target.backend.lowerings[wanted]
        reason = kind.refusal(site.shape)
        if reason is None and site.of_several and kind.batches == ONE:
            reason = "it is of one sample, and the layer gets several at once"
        if reason is None:
            return kind, None
        chosen = self._chosen(site)
        return self.target.backend.lowerings[chosen], f"'{wanted}' cannot compute it ({reason}); it is '{chosen}'"

    def _check_used(self) -> None:
        if isinstance(self.choice, Mapping) and (unused := set(self.choice) - set(self.rows)):
            raise OptionError(expected="lowerings for the layers of this network alone", found=f"{some(unused)} too")


def some(names: object) -> str:
    """Return the first few of many names."""
    first = sorted(names)[:3]  # type: ignore[call-overload]  # any collection of texts
    return ", ".join(f"'{name}'" for name in first) + (", …" if len(first) == 3 else "") if first else "none"
