"""The deploy form of a trained network: exact in float64, with nothing of it left untested; and what may be asked."""

from dataclasses import replace

import pytest
import torch
from deployed import LOWERINGS, captured, deployed, lowered, sized
from hypothesis import given, settings
from hypothesis import strategies as st
from lowering_cases import published
from torch import nn

from dcd_deploy.dynamic.operator import PHI, SCALE, LowRank, RowScaled
from dcd_deploy.dynamic.shape import MapSize
from dcd_deploy.errors import OptionError, UnknownNameError
from dcd_deploy.lowering.deploy import lower, plan
from dcd_deploy.lowering.graph import copied
from dcd_deploy.lowering.passes.fold_norms import FoldNorms
from dcd_deploy.lowering.targets import ONNXRUNTIME_X86, target_for
from dcd_deploy.models.dynamic import ResNetDynamicConv
from dcd_deploy.models.geometry import LayerGeometry
from dcd_deploy.models.random_weights import calibrated_network
from dcd_deploy.models.spec import NetworkSpec


def randomised(module: nn.Module) -> nn.Module:
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor, low, high in (
                (part.weight, 0.2, 2),
                (part.bias, -1, 1),
                (part.running_mean, -1, 1),
                (part.running_var, 0.2, 2),
            ):
                nn.init.uniform_(tensor, low, high)
    return module.double().eval()


def folded(layer: nn.Module, norm: nn.Module, x: torch.Tensor):
    """The operator that capturing a layer and folding its norm gives."""
    graph = copied(captured(nn.Sequential(layer, norm), *x.shape[2:], x.shape[1]).graph)
    FoldNorms()(graph)
    (dynamic,) = graph.layers().values()
    assert not any(isinstance(graph.submodule(node), nn.BatchNorm2d) for node in graph.nodes)
    return dynamic.operator


layers = st.builds(
    lambda c, k, latent, s, pool, kernel, stride: LayerGeometry(
        c, k, latent, s, pool, kernel, stride if kernel == 3 else 1, kernel // 2
    ),
    *(st.integers(1, 12) for _ in range(4)),
    pool=st.sampled_from([1, 2]),
    kernel=st.sampled_from([1, 3]),
    stride=st.sampled_from([1, 2]),
)


@settings(max_examples=60, deadline=None)
@given(geometry=layers, height=st.integers(1, 9), width=st.integers(1, 9), n=st.integers(1, 3), seed=st.integers(0, 99))
def test_every_lowering_equals_the_train_form(geometry, height, width, n, seed):
    torch.manual_seed(seed)
    layer, norm = randomised(ResNetDynamicConv(geometry)), randomised(nn.BatchNorm2d(geometry.K))
    x = 3 * torch.randn(n, geometry.C, height, width, dtype=torch.float64)
    with torch.inference_mode():
        wanted = norm(layer(x))
    operator = folded(layer, norm, x)
    with torch.inference_mode():
        for name in LOWERINGS:
            found = lowered(operator, name, sized(x, wanted))(x)
            assert found.shape == wanted.shape
            assert (found - wanted).abs().max() <= 1e-9 * max(1.0, wanted.abs().max())


def off(operator, fault: str, by: float):
    """The operator with one of its quantities multiplied."""
    attention = operator.attention
    stages, heads = list(attention.stages), dict(attention.heads)
    row_scaled, low_rank = operator.term(RowScaled), operator.term(LowRank)
    times = lambda part, name: replace(part, **{name: getattr(part, name) * by})  # noqa: E731
    if fault in ("squeeze", "gate"):
        place = ("squeeze", "gate").index(fault)
        stages[place] = times(stages[place], "weight")
    elif fault in ("phi", "phi_bias", "scale"):
        name = SCALE if fault == "scale" else PHI
        heads[name] = times(heads[name], "bias" if fault == "phi_bias" else "weight")
    elif fault == "static":
        row_scaled = times(row_scaled, "weight")
    elif fault == "bias":
        return times(operator, "bias")
    else:
        low_rank = times(low_rank, fault)
    attention = replace(attention, stages=tuple(stages), heads=heads)
    return replace(operator, attention=attention, terms=(row_scaled, low_rank))


QUANTITIES = ("phi", "phi_bias", "scale", "static", "query", "query_shift", "project", "bias", "mixed_shift")


@pytest.mark.parametrize("fault", [*QUANTITIES, "squeeze", "gate"])
@pytest.mark.parametrize("name", LOWERINGS)
def test_a_fold_that_is_off_by_a_millionth_shows(fault, name):
    """Every quantity of the operator matters to every lowering, and an error in it is seen in float64."""
    torch.manual_seed(0)
    layer, norm = randomised(ResNetDynamicConv(LayerGeometry(6, 8, 4, 5, 2))), randomised(nn.BatchNorm2d(8))
    x = torch.randn(2, 6, 5, 5, dtype=torch.float64)
    operator, size = published(layer, norm), MapSize(5, 5, 5, 5)
    with torch.inference_mode():
        wanted = norm(layer(x))
        spread = wanted.max() - wanted.min()
        assert (lowered(operator, name, size)(x) - wanted).abs().max() <= 1e-9 * spread
        assert (lowered(off(operator, fault, 1 + 1e-6), name, size)(x) - wanted).abs().max() > 1e-9 * spread


@pytest.mark.parametrize("name", LOWERINGS)
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("n", [1, 2])
def test_in_each_lowering_an_error_of_a_millionth_in_any_weight_shows(name, kernel, n):
    """Alone or in a batch, which some compute by other weights; between the two none goes untested."""
    torch.manual_seed(0)
    geometry = LayerGeometry(6, 8, 4, 5, 2, kernel, 1, kernel // 2)
    layer, norm = randomised(ResNetDynamicConv(geometry)), randomised(nn.BatchNorm2d(8))
    x = torch.randn(n, 6, 5, 5, dtype=torch.float64)
    made = lowered(published(layer, norm), name, MapSize(5, 5, 5, 5))
    with torch.inference_mode():
        wanted = norm(layer(x))
        assert (made(x) - wanted).abs().max() <= 1e-9 * wanted.abs().max()
        unused = []
        for key, weight in made.named_parameters():
            kept = weight.clone()
            weight.add_(1e-6 * max(1.0, float(kept.abs().max())))
            if (made(x) - wanted).abs().max() <= 1e-9 * wanted.abs().max():
                unused.append(key)
            weight.copy_(kept)
    assert unused == UNUSED.get((name, kernel, n), [])


# Of a 3×3 kernel one sample has the taps of Q within a whole kernel, a batch Q by itself.
UNUSED = {("channels_first kernel", 3, n): [("query", "kernel.query")[n - 1]] for n in (1, 2)}
# A 3×3 layer of lowering nchwc is one of lowering kernel.
UNUSED |= {("channels_first nchwc", 3, n): [f"plain.{UNUSED['channels_first kernel', 3, n][0]}"] for n in (1, 2)}


def test_static_fold():
    conv, norm = nn.Conv2d(4, 6, 3, 2, 1, groups=2, bias=False).double(), randomised(nn.BatchNorm2d(6))
    x = torch.randn(2, 4, 9, 9, dtype=torch.float64)
    deploy = plan(ONNXRUNTIME_X86)
    graph = copied(captured(nn.Sequential(conv, norm), 9, 9, 4).graph)
    for one in deploy.passes:
        one(graph)
    assert sum(isinstance(part, nn.Conv2d) for part in graph.module.modules()) == 1
    assert not any(isinstance(part, nn.BatchNorm2d) for part in graph.module.modules())
    with torch.inference_mode():
        assert torch.allclose(graph.module(x)[0], norm(conv(x)), rtol=0, atol=1e-12)


def test_unknown_lowering(small_network):
    with pytest.raises(UnknownNameError, match="unknown lowering 'kernal': did you mean 'kernel'"):
        deployed(small_network, 32, 32, "kernal")


def test_a_lowering_for_each_layer(small_network):
    rows = deployed(small_network, 32, 32, "branch").lowering
    names = [name for name in rows if not name.startswith("classifier")]
    mixed = {name: ("blocked", "kernel", "branch")[i % 3] for i, name in enumerate(names)}
    deploy = deployed(small_network, 32, 32, mixed)
    assert {name: deploy.lowering[name] for name in names} == mixed
    assert set(deploy.lowering) == set(rows)
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.inference_mode():
        wanted = small_network(x)
        assert (deploy.module(x) - wanted).abs().max() <= 1e-9 * (wanted.max() - wanted.min())
    with pytest.raises(OptionError, match=f"a lowering for layer '{names[0]}'"):
        deployed(small_network, 32, 32, dict.fromkeys(names[1:], "branch"))
    with pytest.raises(OptionError, match=r"found 'features\.99' too"):
        deployed(small_network, 32, 32, mixed | {"features.99": "branch"})
    with pytest.raises(UnknownNameError, match="did you mean 'branch'"):
        deployed(small_network, 32, 32, mixed | {names[0]: "brunch"})


def test_layers_that_stay_in_float32_are_lowered_by_its_rule():
    spec = NetworkSpec("mobilenetv2_dcd", num_classes=10, width_mult=0.25)
    network, int8 = captured(calibrated_network(spec, 64), 64, 64), target_for("litert-compiled", "tflite", "int8")
    float32, rows = (lower(network, target).lowering for target in (target_for("litert-compiled", "tflite"), int8))
    differ = [name for name in rows if rows[name] != float32[name]]
    block = differ[0].rpartition(".conv")[0]
    found = lower(network, int8, keep_float=[block]).lowering
    assert found == {name: (float32 if name.startswith(f"{block}.") else rows)[name] for name in rows}
    assert found != rows == lower(network, int8, keep_float=[block[:-1]]).lowering  # a part of a name is no submodule
    onnx = target_for("onnxruntime-x86", "onnx", "int8")  # beside maps in blocks no layer in int8 can stand
    assert lower(network, onnx, keep_float=["features"]).lowering == lower(network, onnx).lowering
