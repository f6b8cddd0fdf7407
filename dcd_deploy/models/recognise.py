"""Where in a checkpoint a known network lies, and under which names: its keys as the network has them.

    model.backbone.features.0.0.weight → features.0.0.weight     the prefix before a family's anchors
    model.head.fc.weight               → classifier.0.weight     the one head that takes the backbone's features
    student.… and teacher.…            → student.…               of two networks the one that is no copy
    aux_head.…                         → left out                a module that no part of the network can use

All that is done is said in the checkpoint's notes. What might take part in the answer is never left out: it stays
among the keys, and the network is then not found.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from dcd_deploy.errors import OptionError, shown
from dcd_deploy.models.checkpoint import DATA_PARALLEL, Checkpoint, renamed
from dcd_deploy.models.infer import PHI, Shapes
from dcd_deploy.models.registry import FAMILIES, Family
from dcd_deploy.models.reparametrised import put_together

COPY = re.compile(r"(?:^|_)(?:teacher|ema|momentum|target|swa|k|old)(?:_|$)")  # a second network, for training alone
TRAINING = re.compile(r"^aux|criterion|loss(?:es)?(?:_|$)|(?:^|_)loss|queue", re.IGNORECASE)
DYNAMIC_HEAD = ("cls.weight", "fc_phi.weight", "fc_scale.weight")
ANSWERS = tuple(f"classifier.{index}.{part}weight" for index in "01" for part in ("", "cls."))
CLASSIFIER = re.compile(r"classifier\.([01])")


def recognised(checkpoint: Checkpoint) -> tuple[Checkpoint, Family | None]:
    """Return the checkpoint with its keys as the network of a family has them, and the family; None if there is none.

    Raises:
        OptionError: there are several networks, and nothing says which is meant.
    """
    found = put_together(checkpoint)
    if any(f".{DATA_PARALLEL}" in key for key in found.state_dict):
        state = renamed(found.path, found.state_dict, lambda key: key.replace(f".{DATA_PARALLEL}", "."))
        found = found.with_state(state)
    for family in FAMILIES:
        prefixes = _prefixes(found.state_dict, family)
        if prefixes:
            return _Renaming(found, family, _one_of(prefixes, found)).renamed(), family
    return found, None


def _prefixes(keys: Iterable[str], family: Family) -> list[str]:
    """Return what stands before the family's anchors, for each network of it."""
    known, first = set(keys), family.anchors[0]
    found = [key.removesuffix(first) for key in known if key == first or key.endswith(f".{first}")]
    return sorted(prefix for prefix in found if all(prefix + anchor in known for anchor in family.anchors))


def _one_of(prefixes: list[str], checkpoint: Checkpoint) -> str:
    """Return the one prefix of a network that is no copy, kept for training alone, of another."""
    if "" in prefixes:
        return ""
    originals = [p for p in prefixes if not any(COPY.search(part) for part in p.split("."))]
    chosen = originals or prefixes
    if len(chosen) > 1:
        names = ", ".join(f"'{shown(prefix)}'" for prefix in chosen)
        raise OptionError(
            expected=f"one network in '{checkpoint.path}'",
            found=f"{len(chosen)}, behind {names}",
            advice="choose with `prefix`",
        )
    return chosen[0]


class _Renaming:
    """The tensors of a checkpoint, sorted into backbone, head, and what is left."""

    def __init__(self, checkpoint: Checkpoint, family: Family, prefix: str) -> None:
        self.checkpoint = checkpoint
        self.family = family
        self.prefix = prefix
        self.shapes: Shapes = {key: tuple(value.shape) for key, value in checkpoint.state_dict.items()}
        self.backbone = [key for key in self.shapes if self._root(key) in family.roots]
        self.rest = [key for key in self.shapes if key not in set(self.backbone)]
        within = {key.removeprefix(prefix): self.shapes[key] for key in self.backbone}
        self.features = family.features(within)
        self.notes: list[str] = []
        self.left_out: list[str] = []

    def renamed(self) -> Checkpoint:
        """Return the checkpoint under the network's own names."""
        names = {key: self._part(key.removeprefix(self.prefix)) for key in self.backbone}
        names |= self._head_names()
        for group, keys in self._others(names).items():
            if self._is_apart(group, keys, names):
                self.notes.append(f"left out: '{shown(group)}' ({len(keys)} tensors), which the network does not use")
                self.left_out += keys
            else:
                names |= {key: key.removeprefix(self.prefix) for key in keys}
        if self.prefix:
            taken = sum(key.startswith(self.prefix) for key in names)
            self.notes.insert(0, f"prefix '{self.prefix}' taken from {taken} keys")
        state = renamed(
            self.checkpoint.path,
            {key: value for key, value in self.checkpoint.state_dict.items() if key in names},
            lambda key: names[key],
        )
        return replace(self.checkpoint.with_state(state, *self.notes), left_out=tuple(self.left_out))

    def _root(self, key: str) -> str | None:
        """Return the first part of a key behind the prefix; None for other keys."""
        return key.removeprefix(self.prefix).partition(".")[0] if key.startswith(self.prefix) else None

    def _part(self, key: str) -> str:
        """Return the key with Q and P as the family calls them, where a dynamic layer has the other family's names."""
        layer, _, leaf = key.rpartition(".")
        module, _, part = layer.rpartition(".")
        for family in FAMILIES:
            if part in family.parts and family is not self.family:
                return f"{module}.{self.family.parts[family.parts.index(part)]}.{leaf}"
        return key

    def _head_names(self) -> dict[str, str]:
        """Return the names that the tensors of the one head get; none where there is no head, or no single one."""
        heads = [head for head in self._heads() if not _is_for_training(head.removeprefix(self.prefix))]
        own = [head for head in heads if CLASSIFIER.fullmatch(head.removeprefix(self.prefix))]
        head = own[0] if len(own) == 1 else heads[0] if len(heads) == 1 else None
        if head is None:
            return {}
        known = CLASSIFIER.fullmatch(head.removeprefix(self.prefix))
        if not known or not head.startswith(self.prefix):
            self.notes.append(f"head '{shown(head)}' read as the classifier")
        index = known[1] if known else "0"
        return {key: f"classifier.{index}{key.removeprefix(head)}" for key in self.rest if key.startswith(f"{head}.")}

    def _heads(self) -> list[str]:
        """Return the modules, dynamic or linear, that take the backbone's features."""
        known = set(self.rest)
        dynamic = [key.removesuffix(".cls.weight") for key in self.rest if key.endswith(".cls.weight")]
        dynamic = [head for head in dynamic if all(f"{head}.{part}" in known for part in DYNAMIC_HEAD)]
        linear = [
            key.removesuffix(".weight")
            for key in self.rest
            if key.endswith(".weight") and not any(key.startswith(f"{head}.") for head in dynamic)
        ]
        modules: dict[str, set[str]] = defaultdict(set)
        for key in self.rest:
            module, _, leaf = key.rpartition(".")
            modules[module].add(leaf)
        linear = [head for head in linear if modules[head] <= {"weight", "bias"}]
        taken = [head for head in dynamic if self._takes_features(f"{head}.cls.weight")]
        return taken + [head for head in linear if self._takes_features(f"{head}.weight")]

    def _takes_features(self, key: str) -> bool:
        shape = self.shapes[key]
        return len(shape) == 2 and shape[1] == self.features

    def _others(self, names: dict[str, str]) -> dict[str, list[str]]:
        """Return the keys that have no name yet, by the module nearest to the top that parts from the backbone."""
        groups: dict[str, list[str]] = defaultdict(list)
        for key in self.rest:
            if key not in names:
                groups[self._group(key)].append(key)
        return groups

    def _group(self, key: str) -> str:
        """Return the first parts of a key, up to where it leaves the way to the backbone."""
        way, parts = self.prefix.split(".")[:-1], key.split(".")
        depth = next((i for i, (a, b) in enumerate(zip(way, parts, strict=False)) if a != b), len(way))
        return ".".join(parts[: depth + 1]) + ("." if len(parts) > depth + 1 else "")

    def _is_apart(self, group: str, keys: list[str], names: dict[str, str]) -> bool:
        """Whether a module can be left out: it is for training alone, or fits nowhere between input and answer."""
        last = group.rstrip(".").rpartition(".")[2]
        if not group.endswith("."):
            return False
        if _is_for_training(group):
            return True
        if any(key.startswith(group) for key in names) or last == "classifier" or any(PHI in key for key in keys):
            return False
        return not any(self._might_take_part(self.shapes[key], names) for key in keys)

    def _might_take_part(self, shape: tuple[int, ...], names: dict[str, str]) -> bool:
        """Whether a tensor has the size of the input's channels, the features or the answer."""
        answers = {size for key, name in names.items() if name.endswith(ANSWERS) for size in self.shapes[key][:1]}
        ends = {self.features, *answers}
        stem = self.shapes.get(self.prefix + self.family.anchors[0], ())
        sizes = [size for size in shape if size > 1]
        if len(sizes) <= 1:
            return not sizes or sizes[0] in {*ends, *stem[1:2]}
        return not ends.isdisjoint(shape[:2])


def _is_for_training(path: str) -> bool:
    return any(COPY.search(part) or TRAINING.search(part) for part in path.split(".") if part)
