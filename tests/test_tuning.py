"""Tuning: what a measurement allows to choose, what is kept of it, and the file that an export takes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import SMALL

from dcd_deploy import commands
from dcd_deploy.benchmarks.measure import MeasureConfig, Samples
from dcd_deploy.benchmarks.place import Here
from dcd_deploy.benchmarks.process import ask
from dcd_deploy.devices.local import LocalDevice
from dcd_deploy.errors import (
    BenchError,
    LoweringFileError,
    MissingDependencyError,
    OptionError,
    UnknownNameError,
)
from dcd_deploy.models.deploy.network import lower_sequence
from dcd_deploy.models.deploy.targets import LITERT, ONNXRUNTIME_ARM, ONNXRUNTIME_X86, TARGETS
from dcd_deploy.models.geometry import mobilenet_geometry
from dcd_deploy.models.sizes import MapSize
from dcd_deploy.models.spec import NetworkSpec
from dcd_deploy.progress import silent
from dcd_deploy.tuning import layer_model
from dcd_deploy.tuning.choice import QUICKER, RULE, UNDECIDED, choose, decided
from dcd_deploy.tuning.layer_cache import Measured, kept_or_measured
from dcd_deploy.tuning.layer_case import RELU, RELU6, LayerCase, cases_of
from dcd_deploy.tuning.layer_times import LayerTimes, time_forms
from dcd_deploy.tuning.lowering_file import TunedLowering, read_lowering, write_lowering
from dcd_deploy.tuning.runtimes import check_tunable, processor, runtime_of
from dcd_deploy.tuning.tune import TuneConfig, TunedShape, TuneResult, tune

CASE = LayerCase(mobilenet_geometry(8, 24, 8), MapSize(8, 8, 8, 8), RELU6)
FEW = MeasureConfig(runs=3, dropped=1, warmup_runs=1, warmup_seconds=0.0, min_runs=8, min_seconds=0.0, rounds=2)
TINY = NetworkSpec("mobilenetv2_dcd", 10, 0.1, 8)


def times(**factors: float | tuple[float, ...]) -> LayerTimes:
    """Forms that take so many milliseconds in each turn, the same in all four rounds, or as a cycle of them."""
    found = {}
    for form, factor in factors.items():
        cycle = factor if isinstance(factor, tuple) else (factor,)
        blocks = tuple((cycle[turn % len(cycle)],) for turn in range(40))
        found[form] = Samples((), (), (), blocks, tuple(turn // 10 for turn in range(40)))
    return LayerTimes(found, "1.0")


def test_another_form_is_taken_where_it_is_surely_quicker():
    choice = choose(times(static=1.0, kernel=2.0, branch=1.5, blocked=1.6), "kernel")
    assert (choice.form, choice.reason) == ("branch", QUICKER)
    assert choice.gain == pytest.approx(0.25)


def test_the_rules_form_stays_where_nothing_is_quicker():
    choice = choose(times(static=1.0, kernel=2.0, branch=2.5), "kernel")
    assert (choice.form, choice.reason, choice.gain) == ("kernel", RULE, 0.0)


def test_noise_chooses_nothing():
    """On the median the branch would be quicker, but its rounds scatter by a factor of two."""
    noisy = (1.2,) * 10 + (2.6,) * 10 + (1.3,) * 10 + (2.4,) * 10
    choice = choose(times(static=1.0, kernel=2.0, branch=noisy), "kernel")
    assert (choice.form, choice.reason) == ("kernel", UNDECIDED)


def test_chance_alone_chooses_nothing():
    """Forms that take the same time, where each opening of a model moves it by a per cent, as was measured."""
    random = np.random.default_rng(0)

    def drawn():
        return tuple(2.0 * o * t for o in random.normal(1, 0.01, 4) for t in random.normal(1, 0.02, 10))

    tried = [choose(times(static=1.0, **{form: drawn() for form in "abc"}), "a") for _ in range(20)]
    assert [choice.reason for choice in tried] == [RULE] * 20
    bare = sum(found.high < 1.0 for choice in tried for found in choice.ratios.values())
    assert bare >= 2, "without the margin some would have been taken"
    quicker = choose(times(static=1.0, a=drawn(), b=tuple(0.93 * t for t in drawn())), "a")
    assert quicker.reason == QUICKER


def test_intervals_hold_for_all_forms_of_a_shape_at_once():
    found = choose(times(static=1.0, a=2.0, b=1.9, c=1.8), "a").ratios
    assert {ratio.confidence for ratio in found.values()} == {0.975}


def test_a_noisy_measurement_is_not_kept_for_good(tmp_path):
    """What it says is to tune again, which must measure again; what could be decided is kept, turn by turn."""
    where = Measured("local", "cpu", "litert", "1", 1)
    noisy = times(static=1.0, kernel=2.0, branch=(1.2,) * 10 + (2.6,) * 10)
    clear = times(static=1.0, kernel=2.0, branch=1.5)
    answers = [noisy, clear]

    def kept():
        def serves(found):
            return decided(choose(found, "kernel"))

        return kept_or_measured(tmp_path, CASE, LITERT, where, lambda: answers.pop(0), serves)

    assert choose(kept(), "kernel").reason == UNDECIDED
    assert choose(kept(), "kernel") == choose(clear, "kernel")
    assert kept() == clear
    assert answers == []


def test_what_is_kept_says_the_same_as_what_was_measured():
    full = replace(times(static=1.0, kernel=2.0), samples={})
    random = np.random.default_rng(0)
    for form in ("static", "kernel", "branch"):
        blocks = tuple(map(tuple, random.uniform(1, 2, (40, 4))))
        full.samples[form] = Samples((1.0,), (1.0,), (1.0,) * 99, blocks, tuple(turn // 10 for turn in range(40)))
    small = full.by_turns()
    assert {len(block) for found in small.samples.values() for block in found.blocks_ms} == {1}
    ours, theirs = choose(full, "kernel"), choose(small, "kernel")
    assert ours.form == theirs.form
    assert ours.ratios["branch"].low == pytest.approx(theirs.ratios["branch"].low, rel=1e-4)


def test_layers_of_one_shape_are_one_case():
    cases = cases_of(NetworkSpec("mobilenetv2_dcd"), 224, 224)
    assert [name for names in cases.values() for name in names if name.startswith("classifier")] == []
    assert sum(map(len, cases.values())) == 32
    widening = next(case for case, names in cases.items() if "features.3.conv.0" in names)
    assert (widening.title, widening.activation) == ("24→144 on 56×56", RELU6)
    assert cases[widening] == ["features.3.conv.0", "features.4.conv.0"]
    narrowing = next(case for case, names in cases.items() if "features.3.conv.6" in names)
    assert not narrowing.activated
    resnet = cases_of(NetworkSpec("resnet18_dcd"), 224, 224)
    assert {case.activation for case in resnet} == {RELU, "none"}
    assert sum(map(len, resnet.values())) == 16


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.name} {target.format}")
def test_a_layer_among_neighbours_computes_what_it_did(target):
    """Where a form takes a ReLU6 in as a hard sigmoid, the neighbour's weights undo it."""
    for case in (CASE, replace(CASE, activation="none"), replace(CASE, activation=RELU)):
        layers = layer_model._layers(case, dynamic=True).double()
        x = torch.randn(2, 8, 8, 8, dtype=torch.float64)
        with torch.inference_mode():
            wanted = layers(x)
            for form in target.forms:
                found = lower_sequence(layers, 8, 8, 8, form, target)(x)
                found = found if target.format == "onnx" else found.permute(0, 3, 1, 2)
                assert (found - wanted).abs().max() <= 1e-9 * wanted.abs().max()


@pytest.mark.parametrize(("target", "runtime"), [(ONNXRUNTIME_X86, "onnxruntime"), (LITERT, "litert")])
def test_forms_are_measured_beside_the_static_layer(target, runtime):
    found = time_forms(CASE, target, runtime, ask, FEW)
    assert set(found.samples) == {*target.costs(CASE.geometry, CASE.size, activated=True), "static"}
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


def test_an_interrupted_run_goes_on_where_it_ended(tmp_path, monkeypatch):
    config = TuneConfig(ONNXRUNTIME_X86, (32, 32), measure=FEW, cache=tmp_path / "cache")
    cases = dict(list(cases_of(TINY, 32, 32).items())[:3])
    monkeypatch.setattr("dcd_deploy.tuning.tune.cases_of", lambda *_: cases)  # the others would only take time
    monkeypatch.setattr("dcd_deploy.tuning.tune.decided", lambda _: True)  # so few runs leave most of it open
    with pytest.raises(BenchError):
        tune(TINY, config, first := Counted(2), silent)
    result = tune(TINY, config, second := Counted(), silent)
    assert first.asked + second.asked == len(cases)
    again = tune(TINY, config, third := Counted(), silent)
    assert (third.asked, again.lowering) == (0, result.lowering)
    assert set(result.lowering.layers) == {name for names in cases.values() for name in names}
    damaged = next((tmp_path / "cache").iterdir())
    damaged.write_text('{"samples": {"kernel": 3}}')
    tune(TINY, config, fourth := Counted(), silent)
    assert fourth.asked == 1


def test_export_takes_what_tune_wrote(tmp_path, small_checkpoint, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("dcd_deploy.tuning.tune.decided", lambda _: True)  # so few runs leave most of it open
    tune(SMALL, TuneConfig(ONNXRUNTIME_X86, (32, 32), measure=FEW), LocalDevice(), silent)  # kept in the cache
    file = tmp_path / "tuned.json"
    result = commands.tune(small_checkpoint, target="onnxruntime-x86", out=file, input_size=32)
    assert read_lowering(file) == result.lowering
    forms = dict.fromkeys(result.lowering.layers, "branch")
    write_lowering(file, replace(result.lowering, layers=forms))
    exported = commands.export(small_checkpoint, lowering=file, input_size=32, out=tmp_path / "out")
    assert {name: exported.artifact.card.lowering[name] for name in forms} == forms
    assert exported.built.config.target == "onnxruntime-x86"
    with pytest.raises(OptionError, match=r"--target onnxruntime-x86, for which .* was tuned, found litert"):
        commands.export(small_checkpoint, lowering=file, target="litert", input_size=32, out=tmp_path / "out")
    with pytest.raises(OptionError, match=r"ends in \.json, found '.*tuned\.txt'"):
        commands.tune(small_checkpoint, target="litert", out=tmp_path / "tuned.txt", input_size=32)


def test_processors_of_one_name_differ_in_their_features():
    here = replace(Here().environment(), cpu="AMD EPYC")
    assert processor(replace(here, features=("avx2",))) != processor(replace(here, features=("avx2", "avx512f")))


NETWORK = NetworkSpec("mobilenetv2_dcd")
LOWERING = TunedLowering(
    "litert",
    "tflite",
    NETWORK.describe(),
    (224, 224),
    "litert",
    "2.3.0",
    "local",
    "cpu",
    1,
    {name: "branch" for names in cases_of(NETWORK, 224, 224).values() for name in names},
)


def test_a_lowering_of_another_network_runtime_or_machine_is_refused():
    LOWERING.check_network(NETWORK, (224, 224))
    LOWERING.check_network(replace(NETWORK, num_classes=10), (224, 224))  # the classifier is not tuned
    for other, size in (
        (replace(NETWORK, width_mult=0.5), (224, 224)),
        (replace(NETWORK, fc_squeeze=8), (224, 224)),
        (NETWORK, (192, 224)),
        (NETWORK.twin(), (224, 224)),
    ):
        with pytest.raises(LoweringFileError, match="expected a lowering for mobilenetv2.* found one for"):
            LOWERING.check_network(other, size)
    for layers, wrong in (
        ({}, "'features.10.conv.0' missing"),
        (LOWERING.layers | {"features.99": "branch"}, "'features.99' too"),
    ):
        with pytest.raises(LoweringFileError, match=f"each of the 32 dynamic layers.*{wrong}.*tune"):
            replace(LOWERING, layers=layers).check_network(NETWORK, (224, 224))
    LOWERING.check_place("2.3.0", "cpu")
    LOWERING.check_place(None, "cpu")
    with pytest.raises(LoweringFileError, match=r"tuned for litert 2\.4\.0, found one for 2\.3\.0"):
        LOWERING.check_place("2.4.0", "cpu")
    with pytest.raises(LoweringFileError, match="--foreign-lowering"):
        LOWERING.check_place("2.3.0", "another cpu")
    replace(LOWERING, device="ssh://pi@board").check_place("2.4.0", "another cpu")  # it is meant for the board


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "dcd-deploy bench"},
        {"schema": 2},
        {"layers": {"features.2": 3}},
        {"layers": ["features.2"]},
        {"schema": "x" * 10_000},
        {"input": [224]},
        {"input": [float("inf"), 224]},
        {"input": [float("nan"), 224]},
        {"threads": float("inf")},
        {"threads": "many"},
        {"cpu": "a\x1b[31mred"},
        {"network": "x" * 10_000},
        {"layers": {"x" * 10_000: "branch"}},
        {"runtime": "onnxruntime"},
        {"runtime": "tvm"},
        {"target": "portable"},
    ],
    ids=lambda change: f"{next(iter(change))} {next(iter(change.values()))!r:.20}",
)
def test_damaged_lowering_files(tmp_path, change):
    file = tmp_path / "tuned.json"
    write_lowering(file, LOWERING)
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(LoweringFileError, match="tune again") as raised:
        read_lowering(file)
    assert len(str(raised.value)) < 500


def test_unknown_names_in_a_lowering_file(tmp_path):
    file = tmp_path / "tuned.json"
    for wrong in (replace(LOWERING, target="litrt"), replace(LOWERING, layers={"features.2": "blocked"})):
        write_lowering(file, wrong)
        with pytest.raises(UnknownNameError, match="did you mean"):
            read_lowering(file)
    file.write_text("[" * 100_000)
    with pytest.raises(LoweringFileError):
        read_lowering(file)
    file.write_text(" " * 2_000_000)
    with pytest.raises(LoweringFileError, match="at most"):
        read_lowering(file)


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

    config = TuneConfig(LITERT, (32, 32), measure=FEW, cache=tmp_path)
    with pytest.raises(MissingDependencyError, match="ai-edge-litert or tflite-runtime on 'local'"):
        tune(TINY, config, Bare(), silent)


def test_a_static_network_has_nothing_to_tune(tmp_path):
    with pytest.raises(OptionError, match="dynamic layers"):
        commands.tune("examples/digits/static.pth.tar", target="litert", input_size=32)


def test_what_it_prints(capsys, monkeypatch):
    """The time of each form, why one is taken, what the noise left open, and the command that comes next."""
    from dcd_deploy.reports.terminal import console
    from dcd_deploy.reports.tuning import show_tuning

    monkeypatch.setenv("COLUMNS", "200")
    quicker = choose(times(static=1.0, kernel=2.0, branch=1.5), "kernel")
    unsure = choose(times(static=1.0, kernel=2.0, branch=(1.2,) * 10 + (2.6,) * 10), "kernel")
    shapes = tuple(
        TunedShape(CASE, ("a", "b"), {"static": 1000.0, "kernel": 2000.0, "branch": 1.5}, choice)
        for choice in (quicker, unsure)
    )
    show_tuning(console(), TuneResult(LOWERING, shapes, 1, Here().environment()), "model.pth", "tuned.json")
    said = capsys.readouterr().out
    assert "8→24 on 8×8" in said
    assert "0.75 (0.75–0.75)" in said
    assert "1 of 2 shapes get another form than the rule of litert takes" in said
    assert "too noisy to decide for 1 of them" in said
    assert "export model.pth --to tflite --input-size 224x224 --lowering tuned.json" in said


def test_what_forms_cost_is_told_before_an_export(small_checkpoint):
    told = commands.costs(small_checkpoint, target="onnxruntime-x86", input_size=64)
    assert sum(len(shape.layers) for shape in told.shapes) == 8
    for shape in told.shapes:
        assert {form.form for form in shape.forms} == set(ONNXRUNTIME_X86.forms) - {"nchwc"}  # these layers are 3×3
        assert min(shape.forms, key=lambda form: form.extra_us).form == shape.taken
    taken = [form.extra_us * len(s.layers) for s in told.shapes for form in s.forms if form.form == s.taken]
    assert told.extra_us == pytest.approx(sum(taken))
    with pytest.raises(OptionError, match="one runtime"):
        commands.costs(small_checkpoint, target="portable")
    with pytest.raises(OptionError, match="dynamic layers"):
        commands.costs("examples/digits/static.pth.tar", target="litert", input_size=32)
