"""A target: a backend on a runtime and a kind of machine, and which lowering a dynamic layer gets there.

    onnxruntime-x86   keeps maps in blocks of channels (its NCHWc layout); everything else pays for leaving them
    onnxruntime-arm   plain layout; timed with onnxruntime's blocked layout switched off
    litert            TFLite's XNNPACK kernels, channels last
    litert-compiled   the same where they are told to take computed weights: LiteRT's CompiledModel with one flag
    executorch        the same kernels through ExecuTorch's delegate, which takes computed weights as it is
    portable          of each format, what is good on all of its targets and bad on none

The rates, which decide for each layer, are nanoseconds, fitted by ``scripts/fit_costs.py`` to every lowering of every
layer shape of the published networks, each measured interleaved with its static layer, on one thread of an x86-64 core
with AVX-512; ``docs/performance.md`` shows them beside what was measured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dcd_deploy.dynamic.shape import MIXTURE, MapSize, OperatorShape
from dcd_deploy.errors import OptionError, UnknownNameError
from dcd_deploy.lowering import int8_cost
from dcd_deploy.lowering.channels_first import CHANNELS_FIRST
from dcd_deploy.lowering.channels_first.nchwc import NchwcLowering
from dcd_deploy.lowering.channels_last import CHANNELS_LAST
from dcd_deploy.lowering.lowering import ANY, KNOWN, ONE, Backend, Cost, Rates, static_cost
from dcd_deploy.lowering.xnnpack import XNNPACK

BLOCKS = NchwcLowering.name
UNTOLD = 0.03  # of a price: estimates nearer than this are equal, and the lowering of fewer operators is taken


@dataclass(frozen=True)
class Target:
    """A runtime on a kind of machine.

    ``lowerings`` names those of the backend that its rule chooses from (``serving``). With several rates, one for each
    kind of machine, the one is taken whose time, over the best one's on the same machine, is smallest where it is
    largest: good everywhere and bad nowhere.
    """

    name: str
    format: str
    backend: Backend
    lowerings: tuple[str, ...]
    rates: tuple[Rates, ...]
    precision: str = "float32"  # what layers compute in
    weight_bits: int = 7  # in int8: 8 where the machine does not add two products in 16 bits (x86 without VNNI does)
    for_vectors: tuple[str, ...] = ()  # lowerings that serve for (N, C) to (N, K) alone
    narrowing_kernels_from: int = 0  # pixels; a kernel for a narrowing layer is an operator more, for less and less
    is_batch_free: bool = False

    @classmethod
    def serving(
        cls, name: str, format: str, backend: Backend, *rates: Rates, narrowing_kernels_from: int = 0
    ) -> Target:
        """Return the target of that name, with all lowerings of the backend that say that they are for it."""
        served = tuple(key for key, one in backend.lowerings.items() if one.only_for is None or name in one.only_for)
        return cls(name, format, backend, served, rates, narrowing_kernels_from=narrowing_kernels_from)

    def for_batch(self, batch: int | None) -> Target:
        """Return the target with those lowerings alone that serve for a batch size, or for a free one (None)."""
        serving = {ANY, *([] if batch is None else [KNOWN]), *([ONE] if batch == 1 else [])}
        names = tuple(name for name in self.lowerings if self.backend.lowerings[name].batches in serving)
        return replace(self, lowerings=names, is_batch_free=batch is None)

    def for_several(self) -> Target:
        """Return the target without the lowerings of one sample alone, for a layer that gets several at once."""
        return replace(
            self, lowerings=tuple(name for name in self.lowerings if self.backend.lowerings[name].batches != ONE)
        )

    def costs(self, shape: OperatorShape, size: MapSize, *, activated: bool) -> dict[str, Cost]:
        """Return what the layer costs in each lowering that serves here."""
        names = self.lowerings + (self.for_vectors if shape.geometry.vector else ())
        lowerings = {name: self.backend.lowerings[name] for name in names}
        suiting = [name for name, one in lowerings.items() if one.suits(shape)]
        if not suiting:  # right, if not quick
            suiting = [name for name, one in lowerings.items() if one.refusal(shape) is None]
        others = [name for name in suiting if name != "kernel"]
        if others and self._too_small(shape, size):
            suiting = others
        return {name: lowerings[name].cost(shape, size, activated=activated) for name in suiting}

    def _too_small(self, shape: OperatorShape, size: MapSize) -> bool:
        if MIXTURE in shape.terms:  # whose other order convolves by each kernel, at any size
            return False
        return shape.geometry.C > shape.geometry.K and size.outputs < self.narrowing_kernels_from

    def choose(self, shape: OperatorShape, size: MapSize, *, activated: bool) -> str:
        """Return the name of the lowering that a dynamic layer gets."""
        costs = self.costs(shape, size, activated=activated)
        if self.counted_apart and {"kernel", "factored"} <= costs.keys():
            return int8_cost.chosen(shape, size)
        if MIXTURE in shape.terms and BLOCKS in costs:  # on 7×7 too, by less than the rates can tell
            return BLOCKS
        regrets = dict.fromkeys(costs, 0.0)
        for rates in self.rates:
            times = {name: rates.microseconds(cost) for name, cost in costs.items()}
            quickest = min(times.values())
            regrets = {name: max(regrets[name], time / quickest) for name, time in times.items()}
        best = min(regrets, key=lambda name: regrets[name])
        static = static_cost(shape, size)
        as_quick = [name for name in costs if self._as_quick(costs[name], costs[best], static)]
        return min(as_quick, key=lambda name: (costs[name].nodes, regrets[name]))

    def extras(self, shape: OperatorShape, size: MapSize, *, activated: bool) -> dict[str, float]:
        """Return what each lowering costs more than the static layer, by the only rates: in µs, or as ``unit`` says."""
        costs = self.costs(shape, size, activated=activated)
        if self.counted_apart and not shape.geometry.vector:
            return {name: int8_cost.beyond_static(name, shape, size) / 1e3 for name in costs}
        (rates,) = self.rates
        static = rates.microseconds(static_cost(shape, size))
        return {name: rates.microseconds(cost) - static for name, cost in costs.items()}

    @property
    def unit(self) -> str:
        """What ``extras`` counts."""
        return "thousand instructions" if self.precision == "int8" else "µs"

    @property
    def counted_apart(self) -> bool:
        """Whether ``int8_cost`` prices its layers, and no rates."""
        return self.precision == "int8" and self.format == "onnx"

    def _as_quick(self, cost: Cost, best: Cost, static: Cost) -> bool:
        """Whether the rates cannot tell a lowering's price over the static layer from the best one's."""

        def price(of: Cost, rates: Rates) -> float:
            return rates.microseconds(of) - rates.microseconds(static)

        return all(price(cost, rates) <= price(best, rates) + UNTOLD * abs(price(best, rates)) for rates in self.rates)


X86 = Rates(0.01119, 0.0126, 0.05595, 0.06952, 0.03061, 260.9)
X86_STANDARD = Rates(0.009959, 0.01266, 0.06318, 0.04547, 0.02779, 301.3)  # without what x86 alone can run
PLAIN = Rates(0.01173, 0.0118, 0.008644, 0.06459, 0.02542, 295.6)
LITERT_XNNPACK = Rates(0.009812, 0.0102, 0.02604, 0.0, 0.02777, 85.49)
COMPILED = Rates(0.01955, 0.01981, 0.06106, 0.0, 0.08764, 0.0)  # XNNPACK where it takes computed weights
TFLITE_INT8 = Rates(0.09, 0.36, 0.8, 0.0, 0.8, 500.0)  # instructions of a cortex-a76, W(x) in float32, all else in int8
DELEGATED = COMPILED  # the same kernels, through ExecuTorch; not fitted apart
PORTABLE = "portable"

ONNXRUNTIME_X86 = Target.serving("onnxruntime-x86", "onnx", CHANNELS_FIRST, X86)
ONNXRUNTIME_ARM = replace(Target.serving("onnxruntime-arm", "onnx", CHANNELS_FIRST, PLAIN), weight_bits=8)
LITERT = Target.serving("litert", "tflite", CHANNELS_LAST, LITERT_XNNPACK)
LITERT_COMPILED = Target.serving("litert-compiled", "tflite", CHANNELS_LAST, COMPILED)
EXECUTORCH = Target.serving("executorch", "pte", XNNPACK, DELEGATED)
PORTABLE_ONNX = Target.serving(PORTABLE, "onnx", CHANNELS_FIRST, X86_STANDARD, PLAIN)
PORTABLE_TFLITE = Target.serving(PORTABLE, "tflite", CHANNELS_LAST, LITERT_XNNPACK, narrowing_kernels_from=56 * 56)
PORTABLE_PTE = Target.serving(PORTABLE, "pte", XNNPACK, DELEGATED)

PORTABLES = (PORTABLE_ONNX, PORTABLE_TFLITE, PORTABLE_PTE)
TARGETS = (ONNXRUNTIME_X86, ONNXRUNTIME_ARM, LITERT, LITERT_COMPILED, EXECUTORCH, *PORTABLES)
TARGET_NAMES = tuple(dict.fromkeys(target.name for target in TARGETS))


def target_for(name: str, format: str, precision: str = "float32") -> Target:
    """Return the target of that name for a format, "onnx" or "tflite", and a precision.

    In "float16" layers are computed in the order of "float32".

    Raises:
        UnknownNameError: there is no such target.
        OptionError: it runs files of another format.
    """
    if name not in TARGET_NAMES:
        raise UnknownNameError("target", name, TARGET_NAMES)
    for target in TARGETS:
        if (target.name, target.format) == (name, format):
            return in_int8(target) if precision == "int8" else replace(target, precision=precision)
    formats = " and ".join(target.format for target in TARGETS if target.name == name)
    raise OptionError(
        expected=f"`target` {name} with `to` {formats}", found=f"`to` {format}", advice="choose the one or the other"
    )


def in_int8(target: Target) -> Target:
    """Return the target whose files compute in int8: from the lowerings that serve there, at the rates of int8."""
    target = replace(target, precision="int8")
    if target.format == "tflite":
        return replace(target, rates=(TFLITE_INT8,))
    if target.format != "onnx":
        return target
    return replace(target, lowerings=("kernel", "factored"), for_vectors=("branch",))
