"""What a measurement allows to choose, and how that is told."""

from dataclasses import replace

import numpy as np
import pytest
from tuning_subjects import LOWERING, widening

from dcd_deploy.benchmarks.measure import Samples
from dcd_deploy.benchmarks.process import Here
from dcd_deploy.lowering.targets import LITERT
from dcd_deploy.tuning.layer_times import LayerTimes, Measured, kept_or_measured
from dcd_deploy.tuning.tune import (
    QUICKER,
    RULE,
    UNDECIDED,
    TunedShape,
    TuneResult,
    choose,
    decided,
    unmeasured,
)

(GROUP,) = widening().groups
CASE = GROUP.case


def times(**factors: float | tuple[float, ...]) -> LayerTimes:
    """Lowerings that take so many milliseconds in each turn, the same in all four rounds, or as a cycle of them."""
    found = {}
    for form, factor in factors.items():
        cycle = factor if isinstance(factor, tuple) else (factor,)
        blocks = tuple((cycle[turn % len(cycle)],) for turn in range(40))
        found[form] = Samples((), (), (), blocks, tuple(turn // 10 for turn in range(40)))
    return LayerTimes(found, "1.0")


def test_another_lowering_is_taken_where_it_is_surely_quicker():
    choice = choose(times(static=1.0, kernel=2.0, branch=1.5, blocked=1.6), "kernel")
    assert (choice.lowering, choice.reason) == ("branch", QUICKER)
    assert choice.gain == pytest.approx(0.25)


def test_the_rules_lowering_stays_where_nothing_is_quicker():
    choice = choose(times(static=1.0, kernel=2.0, branch=2.5), "kernel")
    assert (choice.lowering, choice.reason, choice.gain) == ("kernel", RULE, 0.0)


def test_noise_chooses_nothing():
    """On the median the branch would be quicker, but its rounds scatter by a factor of two."""
    noisy = (1.2,) * 10 + (2.6,) * 10 + (1.3,) * 10 + (2.4,) * 10
    choice = choose(times(static=1.0, kernel=2.0, branch=noisy), "kernel")
    assert (choice.lowering, choice.reason) == ("kernel", UNDECIDED)


def test_chance_alone_chooses_nothing():
    """Lowerings that take the same time, where each opening of a model moves it by a per cent, as was measured."""
    random = np.random.default_rng(0)

    def drawn():
        return tuple(2.0 * o * t for o in random.normal(1, 0.01, 4) for t in random.normal(1, 0.02, 10))

    tried = [choose(times(static=1.0, **{form: drawn() for form in "abc"}), "a") for _ in range(20)]
    assert [choice.reason for choice in tried] == [RULE] * 20
    bare = sum(found.high < 1.0 for choice in tried for found in choice.ratios.values())
    assert bare >= 2, "without the margin some would have been taken"
    quicker = choose(times(static=1.0, a=drawn(), b=tuple(0.93 * t for t in drawn())), "a")
    assert quicker.reason == QUICKER


def test_intervals_hold_for_all_lowerings_of_a_shape_at_once():
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
    assert ours.lowering == theirs.lowering
    assert ours.ratios["branch"].low == pytest.approx(theirs.ratios["branch"].low, rel=1e-4)


def test_what_it_prints(capsys, monkeypatch):
    """The time of each form, why one is taken, what the noise left open, and the command that comes next."""
    from dcd_deploy.reports.terminal import console
    from dcd_deploy.reports.tune import show_tuning

    monkeypatch.setenv("COLUMNS", "200")
    quicker = choose(times(static=1.0, kernel=2.0, branch=1.5), "kernel")
    unsure = choose(times(static=1.0, kernel=2.0, branch=(1.2,) * 10 + (2.6,) * 10), "kernel")
    shapes = tuple(
        TunedShape(CASE, ("a", "b"), {"static": 1000.0, "kernel": 2000.0, "branch": 1.5}, choice)
        for choice in (quicker, unsure)
    )
    shapes += (TunedShape(CASE, ("c",), {}, unmeasured("kernel")),)
    request = {"checkpoint": "model.pth", "out": "tuned.json"}
    show_tuning(console(), TuneResult(LOWERING, shapes, 1, Here().environment()), request)
    said = capsys.readouterr().out
    assert "8→24 on 8×8" in said
    assert "0.75 (0.75–0.75)" in said
    assert "1 of 3 shapes get another lowering than the rule of litert takes" in said
    assert "too noisy to decide for 1 of them" in said
    assert "time was up before 1 of them were measured" in said
    assert "rule (not measured)" in said
    assert "export model.pth --to tflite --input-size 224x224 --lowering tuned.json" in said
    for precision, more in (("int8", "--calibrate FOLDER --lowering"), ("float16", "! this machine has no arithmetic")):
        environment = replace(Here().environment(), features=("avx2",))
        tuned = TuneResult(replace(LOWERING, precision=precision), shapes, 1, environment)
        show_tuning(console(), tuned, request)
        said = capsys.readouterr().out
        assert f"on local in {precision}, threads: 1" in said
        assert f"written as an export in {precision} writes them, with ranges of random inputs" in said
        assert f"--precision {precision}" in said
        assert more in said
