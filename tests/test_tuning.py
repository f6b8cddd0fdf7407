"""Tuning: what a measurement allows to choose, what is kept of it, and the file that an export takes."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from tuning_subjects import FEW, layers_of, registry_subject, widening

from dcd_deploy import commands
from dcd_deploy.benchmarks.process import Here, ask
from dcd_deploy.errors import (
    BenchError,
    MissingDependencyError,
    OptionError,
)
from dcd_deploy.lowering.deploy import lower
from dcd_deploy.lowering.targets import LITERT, ONNXRUNTIME_ARM, ONNXRUNTIME_X86, TARGETS, UNTOLD, in_int8, target_for
from dcd_deploy.models.spec import NetworkSpec
from dcd_deploy.progress import silent
from dcd_deploy.tuning.layer_model import LAYER, among_neighbours, write_layer_model
from dcd_deploy.tuning.layer_times import time_lowerings
from dcd_deploy.tuning.lowering_file import read_lowering, write_lowering
from dcd_deploy.tuning.runtimes import check_tunable, processor, runtime_of
from dcd_deploy.tuning.tune import (
    TuneConfig,
    tune,
)

(GROUP,) = widening().groups
CASE = GROUP.case
TINY = NetworkSpec("mobilenetv2_dcd", 10, 0.1, 8)
ALL_BUT_TWO = [f"layer{stage}.0.conv{i}" for stage in (2, 3, 4) for i in (1, 2)]  # of a small ResNet's convolutions


def test_layers_of_one_shape_are_one_case():
    groups = registry_subject(NetworkSpec("mobilenetv2_dcd"), 224).groups
    layers = [name for group in groups for name in group.layers]
    assert [name for name in layers if name.startswith("classifier")] == []
    assert len(layers) == len(set(layers)) == 32
    assert layers_of(groups) == tuple(layers)
    widening = next(group for group in groups if "features.3.conv.0" in group.layers)
    assert (widening.case.title, widening.case.activation, widening.case.follows_sum) == (
        "24→144 on 56×56",
        "relu6",
        True,
    )
    assert widening.layers == ("features.3.conv.0", "features.4.conv.0")
    assert (widening.operator.geometry.C, widening.operator.geometry.K) == (24, 144)
    narrowing = next(group.case for group in groups if "features.3.conv.6" in group.layers)
    assert not narrowing.activated
    assert not narrowing.follows_sum
    resnet = registry_subject(NetworkSpec("resnet18_dcd"), 224).groups
    assert {group.case.activation for group in resnet} == {"relu", "none"}
    assert {group.case.follows_sum for group in resnet} == {False}
    assert sum(len(group.layers) for group in resnet) == 16


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.name} {target.format}")
def test_a_layer_among_neighbours_computes_what_it_did(target):
    """Where a lowering takes a ReLU6 in as a hard sigmoid, the neighbour's weights undo it."""
    for activation in (nn.ReLU6, None, nn.ReLU, nn.SiLU):
        (group,) = widening(activation).groups
        captured, (x,) = among_neighbours(group)
        x = torch.cat([x, torch.randn_like(x)])
        with torch.inference_mode():
            (wanted,) = captured.graph.module(x)
            for lowering in group.case.costs(target):
                deploy = lower(captured, target, {LAYER: lowering})
                rows = [x] if deploy.batch is None else [row[None] for row in x]
                found = torch.cat([deploy.module(each) for each in rows])
                assert (found - wanted).abs().max() <= 1e-9 * wanted.abs().max()


@pytest.mark.parametrize(
    ("target", "runtime"),
    [
        (ONNXRUNTIME_X86, "onnxruntime"),
        (LITERT, "litert"),
        (in_int8(ONNXRUNTIME_ARM), "onnxruntime-plain"),
        (in_int8(LITERT), "litert"),
        (target_for("litert", "tflite", "float16"), "litert"),
    ],
    ids=lambda value: getattr(value, "precision", value),
)
def test_lowerings_are_measured_beside_the_static_layer(target, runtime):
    found = time_lowerings(GROUP, target, runtime, ask, FEW)
    assert set(found.samples) == {*CASE.costs(target), "static"}
    assert len({len(samples.blocks_ms) for samples in found.samples.values()}) == 1
    assert found.over("kernel").median > 0
    assert found.median_ms("static") > 0


class Counted(Here):
    """This machine, which counts what it is asked for, and fails from some request on."""

    def __init__(self, most: int = 1000) -> None:
        self.asked, self.most = 0, most

    def ask(self, request, time_limit):
        if self.asked == self.most:
            raise BenchError("the runtime crashed")
        self.asked += 1
        return super().ask(request, time_limit)


def written_once():
    """Return what writes the model of a layer; one that it wrote before it has kept."""
    kept = {}

    def write(group, lowering, target, path):
        key = (group.case, lowering, target.name)
        if key not in kept:
            write_layer_model(group, lowering, target, path)
            kept[key] = path.read_bytes()
        path.write_bytes(kept[key])

    return write


def test_an_interrupted_run_goes_on_where_it_ended(tmp_path, monkeypatch):
    config = TuneConfig(ONNXRUNTIME_X86, measure=FEW, cache=tmp_path / "cache")
    tiny = registry_subject(TINY, 32, most=2)  # the other groups would only take time
    monkeypatch.setattr("dcd_deploy.tuning.tune.decided", lambda _: True)  # so few runs leave most of it open
    monkeypatch.setattr("dcd_deploy.tuning.layer_times.write_layer_model", written_once())
    with pytest.raises(BenchError):
        tune(tiny, config, first := Counted(1), silent)
    result = tune(tiny, config, second := Counted(), silent)
    assert (first.asked, second.asked) == (1, 1)
    again = tune(tiny, config, third := Counted(), silent)
    assert (third.asked, again.lowering) == (0, result.lowering)
    assert set(result.lowering.layers) == set(layers_of(tiny.groups))
    assert result.lowering.inputs == ((3, 32, 32),)
    damaged = next((tmp_path / "cache").iterdir())
    damaged.write_text('{"samples": {"kernel": 3}}')
    tune(tiny, config, fourth := Counted(), silent)
    assert fourth.asked == 1


def test_what_there_was_no_time_for_keeps_the_rules_lowering_and_what_was_measured_counts(tmp_path, monkeypatch):
    config = TuneConfig(ONNXRUNTIME_X86, measure=FEW, cache=tmp_path / "cache")
    tiny = registry_subject(TINY, 32, most=2)
    monkeypatch.setattr("dcd_deploy.tuning.layer_times.write_layer_model", written_once())
    none = tune(tiny, replace(config, max_seconds=0.0), asked := Counted(), silent)
    rules = [group.case.rule(config.target) for group in tiny.groups]
    assert (asked.asked, none.unmeasured) == (0, 2)
    assert [shape.choice.lowering for shape in none.shapes] == rules
    assert set(none.lowering.layers) == set(layers_of(tiny.groups)), "the file is whole"
    with pytest.raises(BenchError):
        tune(tiny, config, Counted(1), silent)  # the first is measured
    some = tune(tiny, replace(config, max_seconds=0.0), asked := Counted(), silent)
    assert (asked.asked, some.unmeasured, bool(some.shapes[0].median_us)) == (0, 1, True)


@pytest.mark.parametrize("minutes", [-1, float("nan"), float("inf"), "3"])
def test_minutes_that_are_none(minutes, small_checkpoint):
    with pytest.raises(OptionError) as refusal:
        commands.tune(small_checkpoint, target="onnxruntime-x86", max_minutes=minutes)
    assert refusal.value.parameters == ("max_minutes",)


def test_export_takes_what_tune_wrote(tmp_path, small_checkpoint, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("dcd_deploy.tuning.tune.decided", lambda _: True)  # so few runs leave most of it open
    network = {"input_size": 32, "leaf": ALL_BUT_TWO}  # the other layers would only take time
    monkeypatch.setattr("dcd_deploy.tuning.tune.TuneConfig.measure", FEW)
    file = tmp_path / "tuned.json"
    result = commands.tune(small_checkpoint, target="onnxruntime-x86", out=file, **network)
    assert len(result.lowering.layers) == 2
    assert read_lowering(file) == result.lowering
    forms = dict.fromkeys(result.lowering.layers, "branch")
    assert set(forms.values()) != set(result.lowering.layers.values()), "the rule would have said the same"
    write_lowering(file, replace(result.lowering, layers=forms))
    exported = commands.export(small_checkpoint, lowering=file, out=tmp_path / "out", **network)
    assert {name: exported.artifact.card.lowering[name] for name in forms} == forms
    assert exported.built.config.target == "onnxruntime-x86"
    with pytest.raises(OptionError, match=r"`target` onnxruntime-x86, for which .* was tuned, found litert"):
        commands.export(small_checkpoint, lowering=file, target="litert", input_size=32, out=tmp_path / "out")
    with pytest.raises(OptionError, match=r"ends in \.json, found '.*tuned\.txt'"):
        commands.tune(small_checkpoint, target="litert", out=tmp_path / "tuned.txt", input_size=32)


def test_processors_of_one_name_differ_in_their_features():
    here = replace(Here().environment(), cpu="AMD EPYC")
    assert processor(replace(here, features=("avx2",))) != processor(replace(here, features=("avx2", "avx512f")))


def test_only_single_runtimes_can_be_tuned_for():
    with pytest.raises(OptionError, match="one runtime to measure on"):
        check_tunable("portable")
    here = Here().environment()
    assert runtime_of(LITERT, here) == "litert"
    assert runtime_of(ONNXRUNTIME_ARM, replace(here, system="Linux 6 x86_64")) == "onnxruntime-plain"
    assert runtime_of(ONNXRUNTIME_ARM, replace(here, system="Linux 6 aarch64")) == "onnxruntime"


def test_a_target_whose_runtime_is_not_there(tmp_path):
    class Bare(Here):
        def environment(self):
            return replace(super().environment(), packages={"numpy": "2.0"})

    config = TuneConfig(LITERT, measure=FEW, cache=tmp_path)
    with pytest.raises(MissingDependencyError, match="ai-edge-litert or tflite-runtime on 'local'"):
        tune(widening(), config, Bare(), silent)


def test_a_static_network_has_nothing_to_tune(tmp_path):
    with pytest.raises(OptionError, match="dynamic layers"):
        commands.tune("examples/digits/static.pth.tar", target="litert", input_size=32)


def test_inspect_costs_and_export_count_the_same_multiply_adds(tmp_path, digits_checkpoint):
    """As trained in all three, and as exported in the export and in what inspect says of its file."""
    seen = commands.inspect(digits_checkpoint, input_size=32).network.macs
    told = commands.costs(digits_checkpoint, target="onnxruntime-arm", input_size=32).macs_as_trained
    made = commands.export(digits_checkpoint, input_size=32, out=tmp_path)
    assert seen == told == made.artifact.facts["macs"]["released_form"]
    assert commands.inspect(made.artifact.path).graph.macs == made.built.finished.macs


def test_what_lowerings_cost_is_told_before_an_export(small_checkpoint):
    told = commands.costs(small_checkpoint, target="onnxruntime-x86", input_size=64)
    assert sum(len(shape.layers) for shape in told.shapes) == 8
    for shape in told.shapes:
        assert {one.lowering for one in shape.lowerings} == {"blocked", "branch", "kernel"}  # these layers are 3×3
        extras = {one.lowering: one.extra for one in shape.lowerings}
        best = min(extras.values())
        assert extras[shape.taken] <= best + UNTOLD * abs(best)  # of what the rates cannot tell apart, fewer operators
    taken = [one.extra * len(s.layers) for s in told.shapes for one in s.lowerings if one.lowering == s.taken]
    assert told.extra == pytest.approx(sum(taken))
    with pytest.raises(OptionError, match="one runtime"):
        commands.costs(small_checkpoint, target="portable")
    with pytest.raises(OptionError, match="dynamic layers"):
        commands.costs("examples/digits/static.pth.tar", target="litert", input_size=32)
