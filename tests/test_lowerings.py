"""Every lowering of every backend computes what the canonical operator means, in float64, for layers of any kind."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lowering_cases import FAMILIES, OnChannelsFirst, Random

from dcd_deploy.dynamic.canonical import CanonicalLayer
from dcd_deploy.dynamic.folds import without_gains
from dcd_deploy.dynamic.operator import ConvGeometry
from dcd_deploy.dynamic.shape import MapSize, shape_of
from dcd_deploy.lowering.channels_first import CHANNELS_FIRST
from dcd_deploy.lowering.channels_last import CHANNELS_LAST

EXACT = 1e-12
BACKENDS = {backend.name: backend for backend in (CHANNELS_FIRST, CHANNELS_LAST)}
LOWERINGS = [(backend, name) for backend in BACKENDS for name in BACKENDS[backend].lowerings]


def sized(x, y) -> MapSize:
    return MapSize(1, 1, 1, 1) if x.dim() == 2 else MapSize(*x.shape[2:], *y.shape[2:])


def lowered(operator, backend: str, name: str, size: MapSize):
    """The lowering on maps (N, C, H, W); None where it refuses."""
    lowering = BACKENDS[backend].lowerings[name]
    if lowering.refusal(shape_of(operator)) is not None:
        return None
    made = lowering(without_gains(operator), size)
    return OnChannelsFirst(made) if backend == "channels_last" else made


@st.composite
def geometries(draw, family: str) -> ConvGeometry:
    side = st.tuples(st.integers(1, 3), st.integers(1, 3))
    if draw(st.integers(0, 9)) == 0:
        return ConvGeometry(draw(st.integers(1, 8)), draw(st.integers(1, 8)), vector=True)
    kernel = draw(st.sampled_from([(1, 1), (3, 3), (3, 1)]) | side)
    dilation = draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (2, 2)]))
    stride = draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (1, 2)]))
    low_rank = family in ("decomposition", "low rank", "all terms")
    if low_rank:
        padding = tuple(d * draw(st.integers(0, k - 1)) for k, d in zip(kernel, dilation, strict=True))
    else:
        padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    groups = 1 if low_rank else draw(st.sampled_from([1, 1, 2, 3]))
    per_group = st.integers(1, 3 if groups > 1 else 8)
    channels, outputs = groups * draw(per_group), groups * draw(per_group)
    if groups > 1 and draw(st.booleans()):
        groups, outputs = channels, channels
    mode = draw(st.sampled_from(["zeros", "zeros", "reflect", "replicate", "circular"]))
    return ConvGeometry(channels, outputs, kernel, stride, padding, dilation, groups, mode)


@st.composite
def cases(draw):
    family = draw(st.sampled_from(FAMILIES))
    g = draw(geometries(family))
    source = draw(st.sampled_from(["own", "own", "own", "map", "vector"]))
    seed, n = draw(st.integers(0, 9999)), draw(st.integers(1, 3))
    random = Random(seed)
    operator = random.operator(family, g, source)
    sides = [
        max(d * (k - 1) + 1, p + 1) + draw(st.integers(0, 5))
        for k, d, p in zip(g.kernel, g.dilation, g.padding, strict=True)
    ]
    x = random.tensor(n, g.C) if g.vector else random.tensor(n, g.C, *sides)
    operand = {"own": None, "map": random.tensor(n, 5, 4, 6), "vector": random.tensor(n, 4)}[source]
    return operator, x, operand


@settings(max_examples=400, deadline=None)
@given(case=cases())
def test_every_lowering_equals_the_canonical_operator(case):
    operator, x, operand = case
    with torch.inference_mode():
        wanted = CanonicalLayer(operator)(x, operand)
        for backend, name in LOWERINGS:
            made = lowered(operator, backend, name, sized(x, wanted))
            if made is None:
                continue
            y = made(x, operand)
            assert y.shape == wanted.shape, (backend, name)
            assert (y - wanted).abs().max() <= EXACT * max(1.0, wanted.abs().max()), (backend, name)
