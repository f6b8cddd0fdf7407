"""Targets, and the model of what each lowering costs: which one a layer gets, and that a lowering is one file."""

import sys
from dataclasses import replace

import pytest
import torch
from deployed import BACKENDS, published_shape
from lowering_cases import published
from torch.utils.flop_counter import FlopCounterMode

from dcd_deploy.dynamic.shape import MapSize, shape_of
from dcd_deploy.errors import OptionError, UnknownNameError
from dcd_deploy.lowering import channels_first, int8_cost
from dcd_deploy.lowering.lowering import Rates, lowerings_in, static_cost
from dcd_deploy.lowering.targets import (
    LITERT,
    ONNXRUNTIME_ARM,
    ONNXRUNTIME_X86,
    PLAIN,
    PORTABLE_ONNX,
    TARGETS,
    UNTOLD,
    X86,
    Target,
    in_int8,
    target_for,
)
from dcd_deploy.models.dynamic import ResNetDynamicConv
from dcd_deploy.models.geometry import LayerGeometry, basic_geometry, bottleneck_geometry, mobilenet_geometry

DUMMY = """
from dcd_deploy.lowering.channels_first.branch import ChannelsFirstBranch

class Dummy(ChannelsFirstBranch):
    name = "dummy"
    only_for = {only_for}
"""


@pytest.mark.parametrize("only_for", [None, ("onnxruntime-arm",)])
def test_a_lowering_is_one_file(tmp_path, monkeypatch, only_for):
    """What lies in the folder of a backend is found, and serves the targets that it is for."""
    (tmp_path / "dummy.py").write_text(DUMMY.format(only_for=only_for))
    monkeypatch.setattr(channels_first, "__path__", [*channels_first.__path__, str(tmp_path)])
    backend = replace(channels_first.CHANNELS_FIRST, lowerings=lowerings_in(channels_first))
    del sys.modules[f"{channels_first.__name__}.dummy"], channels_first.dummy
    assert set(backend.lowerings) == {*channels_first.CHANNELS_FIRST.lowerings, "dummy"}
    shape = published_shape(mobilenet_geometry(24, 144, 16))
    for name, rates in (("onnxruntime-x86", X86), ("onnxruntime-arm", PLAIN)):
        target = Target.serving(name, "onnx", backend, rates)
        assert ("dummy" in target.lowerings) == (only_for is None or name in only_for)
        costs = target.costs(shape, MapSize(56, 56, 56, 56), activated=True)
        assert set(costs) == set(target.lowerings)


def test_lowerings_are_for_targets_that_there_are():
    for target in TARGETS:
        for lowering in target.backend.lowerings.values():
            assert set(lowering.only_for or ()) <= {t.name for t in TARGETS if t.backend is target.backend}
        assert {"branch", "kernel"} <= set(target.lowerings)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.name} {target.format}")
def test_auto_takes_what_was_measured_to_be_fast(target):
    """One kernel for each sample where it is small against the map, and not where it is large."""
    wide_map, small_map = MapSize(56, 56, 56, 56), MapSize(7, 7, 7, 7)
    narrow, wide = published_shape(mobilenet_geometry(24, 144, 16)), published_shape(basic_geometry(512, 512, 1))
    kernels = ("kernel", "nchwc", "homogeneous", "fully_connected")
    assert target.choose(narrow, wide_map, activated=True) in kernels
    assert target.choose(wide, small_map, activated=True) not in kernels


def test_portable_is_bad_nowhere():
    """Of two machines that disagree it takes what loses least on the one where it loses most."""
    one, other = (Rates(0, *rates, 0, 0, 0) for rates in ((1, 0), (0, 1)))  # computed weights alone, passes alone
    both = replace(PORTABLE_ONNX, rates=(one, other))
    shape, size = published_shape(mobilenet_geometry(160, 960, 16)), MapSize(14, 14, 14, 14)
    costs = both.costs(shape, size, activated=True)

    def worst(lowering):
        return max(
            rates.microseconds(costs[lowering]) / min(map(rates.microseconds, costs.values())) for rates in both.rates
        )

    assert worst(both.choose(shape, size, activated=True)) == min(map(worst, costs))
    assert len({replace(both, rates=(rates,)).choose(shape, size, activated=True) for rates in both.rates}) == 2


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_what_costs_shows_in_int8_is_what_the_rule_goes_by(format):
    """On ONNX the kernel order is taken up to WORTH times the other's cost; nothing of it is microseconds."""
    target = in_int8(ONNXRUNTIME_ARM if format == "onnx" else LITERT)
    taken = set()
    for geometry, side in ((mobilenet_geometry(16, 96, 16), 112), (mobilenet_geometry(960, 160, 16), 7)):
        shape, size = published_shape(geometry), MapSize(side, side, side, side)
        extras = target.extras(shape, size, activated=True)
        assert extras.keys() == target.costs(shape, size, activated=True).keys()
        chosen = target.choose(shape, size, activated=True)
        taken.add(chosen)
        if format == "onnx":
            static = int8_cost.static(shape, size) / 1e3
            extras["kernel"] = (extras["kernel"] + static) / int8_cost.WORTH - static
        assert chosen == min(extras, key=extras.get)
    assert len(taken) == 2
    assert (target.precision, target.unit, LITERT.unit) == ("int8", "thousand instructions", "µs")


def test_half_precision_keeps_the_order_of_float32():
    half = target_for("litert", "tflite", "float16")
    assert half == replace(LITERT, precision="float16")
    assert target_for("litert", "tflite") == LITERT


def test_a_target_is_of_one_format():
    with pytest.raises(OptionError, match="`target` litert with `to` tflite, found `to` onnx"):
        target_for("litert", "onnx")
    with pytest.raises(UnknownNameError, match="did you mean 'litert'"):
        target_for("litrt", "tflite")


def test_multiply_adds_of_the_lowerings():
    """By hand, for C = 16, K = 96, L = 8, S = 4, pooled to 2×2, on 10×10 pixels."""
    shape = published_shape(LayerGeometry(16, 96, 8, 4, 2))
    costs = ONNXRUNTIME_X86.costs(shape, MapSize(10, 10, 10, 10), activated=True)
    attention = 64 * 4 + 4 * 4 + 4 * (64 + 96)
    static, query, phi, project = 96 * 16 * 100, 8 * 16 * 100, 64 * 100, 96 * 8 * 100
    assert costs["branch"].macs == attention + static + query + phi + project
    assert costs["blocked"].macs == costs["branch"].macs
    assert costs["kernel"].macs == attention + 4 * 96 + 16 * 64 + 96 * 8 * 16 + static


def computed(name, inputs, outputs, latent=8):
    """The multiply-adds that a lowering of a published layer does on 10×10 pixels, and those that the model counts."""
    backend, _, lowering = name.partition(" ")
    kind, size = BACKENDS[backend].lowerings[lowering], MapSize(10, 10, 10, 10)
    operator = published(ResNetDynamicConv(LayerGeometry(inputs, outputs, latent, 4, 2)).double().eval())
    made = kind(operator, size)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        made(torch.ones(1, inputs, 10, 10, dtype=torch.float64))
    return counter.get_total_flops() // 2, kind.cost(shape_of(operator), size, activated=True).macs


@pytest.mark.parametrize("name", ["channels_first kernel", "channels_first nchwc", "xnnpack kernel"])
def test_p_phi_q_is_made_from_its_smaller_side(name, monkeypatch):
    """P (Φ Q) for a layer that widens."""
    done, told = computed(name, 16, 96)
    assert done == told
    for module in ("assemble.kernel", "xnnpack.kernel"):
        monkeypatch.setattr(f"dcd_deploy.lowering.{module}.query_first", lambda operator: False)
    assert computed(name, 16, 96)[0] >= done + (96 - 16) * 8**2


@pytest.mark.parametrize("name", ["channels_first kernel", "channels_first nchwc"])
def test_p_phi_q_of_a_layer_that_narrows(name):
    """(P Φ) Q; XNNPACK's has a latent channel more there, of ones."""
    done, told = computed(name, 96, 16)
    assert done == told


def moved(cost):
    return cost.map_floats + cost.layout_floats + cost.weight_floats


def test_no_lowering_counts_less_than_its_static_layer():
    """But for multiply-adds that the kernel order moves from constant to computed weights."""
    for geometry in (
        mobilenet_geometry(24, 144, 16),
        basic_geometry(64, 128, 2),
        bottleneck_geometry(256, 64, 1, 1),
    ):
        shape, size = published_shape(geometry), MapSize(28, 28, 28 // geometry.stride, 28 // geometry.stride)
        static = static_cost(shape, size)
        for target in TARGETS:
            for cost in target.costs(shape, size, activated=True).values():
                assert cost.macs > static.macs
                assert moved(cost) > moved(static)
                assert cost.nodes > static.nodes


def test_of_lowerings_that_the_rates_cannot_tell_apart_the_one_of_fewer_operators():
    """As in ResNet-50 on x86; a price that is clearly lower is taken, whatever its operators."""
    shape, size = published_shape(bottleneck_geometry(512, 128, 1, 1)), MapSize(28, 28, 28, 28)
    costs = ONNXRUNTIME_X86.costs(shape, size, activated=True)
    price = {name: X86.microseconds(cost) - X86.microseconds(static_cost(shape, size)) for name, cost in costs.items()}
    cheapest = min(price, key=price.get)
    chosen = ONNXRUNTIME_X86.choose(shape, size, activated=True)
    assert costs[chosen].nodes < costs[cheapest].nodes
    assert price[chosen] <= (1 + UNTOLD) * price[cheapest]

    clear = replace(ONNXRUNTIME_X86, rates=(replace(X86, layout_float=2 * X86.layout_float),))
    assert clear.choose(shape, size, activated=True) == cheapest
