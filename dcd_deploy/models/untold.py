"""What no tensor of a checkpoint tells: BatchNorm's eps, the gate, the "+ q", strides, the stem's pool, its pictures.

Networks that differ in these have the same tensors and another function. Where nobody says otherwise they are taken
as published, and that is said.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from dcd_deploy.errors import OptionError, UnknownNameError
from dcd_deploy.models.spec import DYNAMIC, GATE_NAMES, LARGEST_EPS, LARGEST_STRIDE, PUBLISHED_GATE, NetworkSpec

FORMULAS = {PUBLISHED_GATE: "relu6(v + 3) / 3", "relu6/6": "relu6(v + 3) / 6", "sigmoid": "sigmoid(v)"}


@dataclass(frozen=True)
class Untold:
    """What the user says of it; None where it is to be as published.

    ``strides`` are the stem's and each stage's; ``stem_stride`` and ``last_stride`` change one of the usual: that of
    the stem, and that of the last stage which halves its map.
    """

    bn_eps: float | None = None
    gate: str | None = None
    residual_q: bool | None = None
    strides: tuple[int, ...] | None = None
    stem_stride: int | None = None
    last_stride: int | None = None
    stem_pool: bool | None = None

    def __post_init__(self) -> None:
        """Refuse at once what no network has.

        Raises:
            UnknownNameError: there is no such gate.
            OptionError: a number is out of its range, or strides are said twice.
        """
        if self.gate is not None and self.gate not in GATE_NAMES:
            raise UnknownNameError("gate", self.gate, GATE_NAMES)
        eps = self.bn_eps
        if eps is not None and (
            isinstance(eps, bool) or not isinstance(eps, int | float) or not 0 < eps <= LARGEST_EPS
        ):
            raise OptionError(expected=f"`bn_eps` as a number, more than 0, up to {LARGEST_EPS:g}", found=repr(eps))
        for option, values in (
            ("strides", self.strides or ()),
            ("stem_stride", () if self.stem_stride is None else (self.stem_stride,)),
            ("last_stride", () if self.last_stride is None else (self.last_stride,)),
        ):
            for value in values:
                if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_STRIDE:
                    raise OptionError(
                        expected=f"`{option}` as a whole number, 1 to {LARGEST_STRIDE}", found=repr(value)
                    )
        if self.strides is not None and not (self.stem_stride is None and self.last_stride is None):
            raise OptionError(
                expected="`strides`, or `stem_stride` and `last_stride`", found="both", advice="leave one out"
            )

    def applied(self, spec: NetworkSpec, usual: tuple[int, ...]) -> NetworkSpec:
        """Return ``spec`` with what is said; ``usual`` are the strides of its family.

        Raises:
            OptionError: the family has another number of strides.
        """
        strides = self._strides(spec, usual)
        return replace(
            spec,
            bn_eps=spec.bn_eps if self.bn_eps is None else float(self.bn_eps),
            gate=self.gate or spec.gate,
            residual_q=spec.residual_q if self.residual_q is None else self.residual_q,
            strides=() if strides == usual else strides,
            stem_pool=spec.stem_pool if self.stem_pool is None else self.stem_pool,
        )

    def _strides(self, spec: NetworkSpec, usual: tuple[int, ...]) -> tuple[int, ...]:
        if self.strides is not None:
            if len(self.strides) != len(usual):
                raise OptionError(
                    expected=f"`strides` of {len(usual)} numbers for {spec.arch}, the stem's first "
                    f"(usual: {_listed(usual)})",
                    found=len(self.strides),
                )
            return tuple(self.strides)
        found = list(spec.strides or usual)
        if self.stem_stride is not None:
            found[0] = self.stem_stride
        if self.last_stride is not None:
            found[max(i for i, stride in enumerate(usual) if stride > 1)] = self.last_stride
        return tuple(found)

    def over(self, spec: NetworkSpec) -> Untold:
        """Return this, and for what it leaves open what ``spec`` has: the settings with which a file was made."""
        said_strides = not (self.strides is None and self.stem_stride is None and self.last_stride is None)
        return replace(
            self,
            bn_eps=spec.bn_eps if self.bn_eps is None else self.bn_eps,
            gate=self.gate or spec.gate,
            residual_q=spec.residual_q if self.residual_q is None else self.residual_q,
            strides=self.strides if said_strides else spec.strides or None,
            stem_pool=spec.stem_pool if self.stem_pool is None else self.stem_pool,
        )


def assumed(spec: NetworkSpec, said: Untold, usual: tuple[int, ...], *, has_pool: bool) -> tuple[str, ...]:
    """Return in a few words each what neither the tensors nor the user say, with the option that sets it."""
    found = []
    if said.bn_eps is None:
        found.append(f"BatchNorm eps {spec.bn_eps:g} (`bn_eps`)")
    if said.gate is None and _has_gate(spec):
        found.append(f"gate {FORMULAS[spec.gate]} (`gate`)")
    if said.residual_q is None and _has_gate(spec):
        found.append(f"{'with' if spec.residual_q else 'without'} '+ q' in the dynamic layers (`residual_q`)")
    if said.strides is None:
        found += _assumed_strides(said, spec.strides or usual)
    if said.stem_pool is None and has_pool:
        found.append(f"{'a' if spec.stem_pool else 'no'} pool behind the stem (`stem_pool`)")
    return tuple(found)


def assumed_size(height: int, width: int) -> str:
    """Return in a few words the input size that nobody said, with the option that sets it."""
    return f"input {height}×{width} (`input_size`)"


def assumed_of_pictures(resize: int, said: Collection[str]) -> tuple[str, ...]:
    """Return in a few words each how pictures become an input, where no option is ``said``; ``resize`` is the usual."""
    names = {"mean": "mean", "std": "deviation"}
    open_ = [option for option in names if option not in said]
    found = []
    if open_:
        words, options = " and ".join(names[each] for each in open_), ", ".join(f"`{each}`" for each in open_)
        found.append(f"{words} of ImageNet ({options})")
    if "resize" not in said:
        found.append(f"short side {resize} before the crop (`resize`)")
    return tuple(found)


def _has_gate(spec: NetworkSpec) -> bool:
    return spec.dynamic or spec.head == DYNAMIC


def _assumed_strides(said: Untold, strides: tuple[int, ...]) -> list[str]:
    if said.stem_stride is None and said.last_stride is None:
        return [f"strides {_listed(strides)}, the stem's first (`stem_stride`, `last_stride`, `strides`)"]
    if said.stem_stride is None:
        return [f"stem stride {strides[0]} (`stem_stride`)"]
    if said.last_stride is None:
        return [f"strides of the stages {_listed(strides[1:])} (`last_stride`, `strides`)"]
    return []


def _listed(strides: tuple[int, ...]) -> str:
    return ",".join(map(str, strides))
