"""The lowerings against the forms that they replace: the same costs, choices and nodes; it goes when those go."""

from dataclasses import astuple, replace

import pytest
import torch
from golden_cases import LAYERS, load_module
from lowering_cases import OnChannelsFirst, Random, published
from torch import nn

from dcd_deploy.dynamic.canonical import CanonicalLayer
from dcd_deploy.dynamic.folds import without_gains
from dcd_deploy.dynamic.operator import KERNELS, TAPS, ConvGeometry, DynamicOperator
from dcd_deploy.dynamic.shape import MapSize, shape_of
from dcd_deploy.export.deployable import deployable
from dcd_deploy.export.simplify import simplify
from dcd_deploy.export.tflite_file import TfliteModel
from dcd_deploy.export.to_onnx import to_onnx
from dcd_deploy.export.to_tflite import to_tflite
from dcd_deploy.lowering.channels_first import CHANNELS_FIRST
from dcd_deploy.lowering.channels_last import CHANNELS_LAST
from dcd_deploy.lowering.channels_last.operators import to_channels_last
from dcd_deploy.lowering.targets import TARGETS
from dcd_deploy.models.deploy.channels_first import CHANNELS_FIRST as OLD_FIRST
from dcd_deploy.models.deploy.channels_last import CHANNELS_LAST as OLD_LAST
from dcd_deploy.models.deploy.fold import fold_dynamic
from dcd_deploy.models.deploy.targets import TARGETS as OLD_TARGETS

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


class OnChannelsLast(nn.Module):
    """A module on maps (N, H, W, C) that is given maps (N, C, H, W)."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(to_channels_last(x))


PUBLISHED = [name for name in LAYERS if not name.startswith("dycls")]
OLD = {"channels_first": OLD_FIRST, "channels_last": OLD_LAST}


@pytest.mark.parametrize(("backend", "name"), LOWERINGS)
@pytest.mark.parametrize("layer", PUBLISHED)
def test_published_layers_cost_what_they_cost(layer, backend, name):
    case, module = load_module(layer)
    size = MapSize(*case.input.shape[2:], *case.output.shape[2:])
    for activated in (False, True):
        cost = BACKENDS[backend].lowerings[name].cost(shape_of(published(module)), size, activated=activated)
        old = OLD[backend].forms[name].cost(module.geometry, size, activated=activated)
        assert astuple(cost) == astuple(old)


@pytest.mark.parametrize(
    ("new", "old"), list(zip(TARGETS, OLD_TARGETS, strict=True)), ids=lambda t: f"{t.name} {t.format}"
)
@pytest.mark.parametrize("layer", PUBLISHED)
def test_targets_choose_as_before(layer, new, old):
    case, module = load_module(layer)
    size = MapSize(*case.input.shape[2:], *case.output.shape[2:])
    for activated in (False, True):
        chosen = new.choose(shape_of(published(module)), size, activated=activated)
        kept = {form: old.spelling.forms[form] for form in old.forms if form != "half"}
        without_half = replace(old, forms=tuple(kept))
        assert chosen == without_half.choose(module.geometry, size, activated=activated)


@pytest.mark.parametrize(("backend", "name"), LOWERINGS)
@pytest.mark.parametrize("layer", LAYERS)
def test_published_layers(layer, backend, name):
    case, module = load_module(layer)
    x, y = torch.from_numpy(case.input).double(), torch.from_numpy(case.output)
    made = lowered(published(module), backend, name, sized(x, y))
    if made is None:
        assert name == "blocked"
        assert layer.startswith("dycls")
        return
    with torch.inference_mode():
        assert case.error(made(x).numpy()) <= EXACT
        assert case.error(torch.cat([made(one[None]) for one in x]).numpy()) <= EXACT


def node_types(module, case, batch):
    _, channels, height, width = case.input.shape
    traced = to_onnx(module, height, width, batch, channels=channels)
    return [node.op_type for node in simplify(traced.tidied, case.input[: batch or 2], 1.0).graph.node]


@pytest.mark.parametrize("batch", [1, None])
@pytest.mark.parametrize("name", ["branch", "kernel"])
@pytest.mark.parametrize("layer", ["dymodule_16_96", "conv_dy_128_128_3x3_s2"])
def test_node_for_node_as_before(layer, name, batch):
    case, module = load_module(layer)
    size = MapSize(*case.input.shape[2:], *case.output.shape[2:])
    new = lowered(published(module), "channels_first", name, size)
    old = OLD_FIRST.forms[name](fold_dynamic(module), size)
    assert node_types(new, case, batch) == node_types(old, case, batch)


def operator_types(module, case):
    _, channels, height, width = case.input.shape
    content = to_tflite(deployable(OnChannelsLast(module)), height, width, channels=channels)
    model = TfliteModel.from_bytes(content)
    return [model.operator_name(operator) for operator in model.graph.operators]


@pytest.mark.parametrize("name", ["branch", "kernel"])
@pytest.mark.parametrize("layer", ["dymodule_16_96", "conv_dy_128_128_3x3_s2"])
def test_operator_for_operator_as_before(layer, name):
    case, module = load_module(layer)
    size = MapSize(*case.input.shape[2:], *case.output.shape[2:])
    new = CHANNELS_LAST.lowerings[name](without_gains(published(module)), size)
    old = OLD_LAST.forms[name](fold_dynamic(module), size)
    assert operator_types(new, case) == operator_types(old, case)


def mixture(g: ConvGeometry, heads=()) -> DynamicOperator:
    terms, sizes = Random(0).terms("mixture", g)
    sizes = {KERNELS: sizes[KERNELS]} | {name: {TAPS: g.taps}[name] for name in heads}
    return DynamicOperator("mixture", g, Random(1).attention(sizes, g.C, (1, 1), True), terms)


@pytest.mark.parametrize(
    ("backend", "name", "operator", "reason"),
    [
        ("channels_first", "branch", mixture(ConvGeometry(4, 4, (3, 3)), [TAPS]), "taps are scaled"),
        ("channels_last", "branch", mixture(ConvGeometry(4, 4, (3, 3)), [TAPS]), "taps are scaled"),
        ("channels_first", "blocked", mixture(ConvGeometry(4, 4)), "mixes kernels"),
        ("channels_first", "blocked", mixture(ConvGeometry(4, 4, vector=True)), "vector"),
    ],
)
def test_what_cannot_be_computed_is_refused_in_words(backend, name, operator, reason):
    assert reason in BACKENDS[backend].lowerings[name].refusal(shape_of(operator))


@pytest.mark.parametrize(("backend", "name"), LOWERINGS)
def test_an_error_of_a_millionth_in_any_weight_shows(backend, name):
    """Each lowering is compared closely enough that no weight could be wrong unseen."""
    _, module = load_module("dymodule_16_96")
    operator, x = published(module), Random(0).tensor(1, 16, 5, 5)
    made = lowered(operator, backend, name, MapSize(5, 5, 5, 5))
    with torch.inference_mode():
        wanted = CanonicalLayer(operator)(x)
        for key, weight in made.named_parameters():
            kept = weight.clone()
            weight.add_(1e-6 * max(1.0, float(kept.abs().max())))
            assert (made(x) - wanted).abs().max() > EXACT * wanted.abs().max(), key
            weight.copy_(kept)
