"""The measuring loop, its statistics and its remarks on itself; the times themselves are for scripts, not for tests."""

import time

import numpy as np
import pytest

from dcd_deploy.benchmarks.environment import Environment, read_environment
from dcd_deploy.benchmarks.machine import Machine, watched
from dcd_deploy.benchmarks.measure import MeasureConfig, Samples, measure_in_turns
from dcd_deploy.benchmarks.results import Timing
from dcd_deploy.benchmarks.statistics import Ratio, latency, pair_ratios, ratio
from dcd_deploy.benchmarks.verdicts import CLOCK, DRIFT, FEW_RUNS, KINDS, LOAD, SPREAD, UNSURE, drift, verdicts

SHORT = MeasureConfig(warmup_runs=1, warmup_seconds=0, min_runs=4, min_seconds=0, rounds=1)


def test_models_take_turns_in_blocks_whose_first_runs_are_dropped():
    order = []

    def opener(name):
        def ready():
            order.append(f"({name})")
            return lambda: order.append(name)

        return ready

    config = MeasureConfig(runs=5, dropped=2, warmup_runs=3, warmup_seconds=0, min_runs=12, min_seconds=0, rounds=2)
    found = measure_in_turns({name: opener(name) for name in "ab"}, config)
    start, turns = "(a)" + "a" * 4 + "(b)" + "b" * 4, "aaaaabbbbb" + "bbbbbaaaaa"
    mirrored = str.maketrans("ab", "ba")
    assert "".join(order) == start + turns + (start + turns).translate(mirrored), "each round opens anew, mirrored"
    for samples in found.values():
        assert [len(block) for block in samples.blocks_ms] == [3] * 4
        assert samples.rounds == (0, 0, 1, 1)
        assert (len(samples.load_ms), len(samples.first_ms), len(samples.warmup_ms)) == (2, 2, 2)


def test_it_measures_for_as_long_as_asked():
    start = time.perf_counter()
    config = MeasureConfig(warmup_seconds=0, min_runs=1, min_seconds=0.2, rounds=2)
    found = measure_in_turns({"a": lambda: lambda: time.sleep(0.001)}, config)["a"]
    assert time.perf_counter() - start >= 0.2
    assert latency(found).median_ms >= 1.0


def test_start_up_is_told_apart_from_the_steady_state():
    def ready():
        time.sleep(0.02)
        calls = []
        return lambda: (calls.append(1), time.sleep(0.01 if len(calls) == 1 else 0))

    found = measure_in_turns({"a": ready}, SHORT)["a"]
    assert found.load_ms[0] >= 20
    assert found.first_ms[0] >= 10
    assert latency(found).median_ms < 5


def samples(scale=5.0, noise=0.01, seed=0, pairs=60, drifting=0.5, rounds=5):
    """A model on a machine that slows down by half while it measures."""
    rng = np.random.default_rng(seed)
    slower = np.linspace(1, 1 + drifting, pairs)[:, None]
    times = scale * slower * np.exp(noise * rng.standard_normal((pairs, 4)))
    blocks = tuple(tuple(map(float, row)) for row in times)
    return Samples((1.0,), (2.0,), (3.0,), blocks, tuple(i * rounds // pairs for i in range(pairs)))


@pytest.mark.exhaustive
def test_equal_models_have_a_ratio_of_one_within_the_interval():
    inside = 0
    for seed in range(40):
        found = ratio(samples(noise=0.03, seed=seed), samples(noise=0.03, seed=1000 + seed))
        inside += found.low <= 1 <= found.high
    assert inside >= 38


def test_what_differs_from_opening_to_opening_is_in_the_interval():
    """Two per cent by where the memory lies, the same for all turns of a round."""
    inside = 0
    for seed in range(20):
        luck = np.random.default_rng(seed).normal(1, 0.02, 5)
        plain = samples(seed=seed)
        lucky = Samples(
            (1.0,), (2.0,), (3.0,),
            tuple(tuple(t * luck[r] for t in block) for block, r in zip(plain.blocks_ms, plain.rounds, strict=True)),
            plain.rounds,
        )  # fmt: skip
        found = ratio(lucky, samples(seed=500 + seed))
        inside += found.low <= 1 <= found.high
    assert inside >= 17


def test_a_slowdown_of_five_percent_is_detected():
    found = ratio(samples(5.25, 0.03, 1), samples(5, 0.03, 2))
    assert found.low > 1
    assert found.median == pytest.approx(1.05, abs=0.01)
    assert (found.pairs, found.confidence) == (60, 0.95)


def test_latency_counts_every_run():
    found = latency(Samples((), (), (), ((1.0, 2.0), (3.0, 100.0)), (0, 0)))
    assert (found.median_ms, found.min_ms, found.runs, found.mad_ms) == (2.5, 1.0, 4, 1.0)
    assert 50 < found.p90_ms < found.p99_ms < 100
    assert found.spread == pytest.approx(1.4826 / 2.5)


def test_pairs_are_of_one_turn():
    ours, theirs = (Samples((), (), (), blocks, (0, 0)) for blocks in (((2.0,), (9.0,)), ((1.0,), (3.0,))))
    assert pair_ratios(ours, theirs).tolist() == [2.0, 3.0]


def timing(found):
    return Timing("model", "m", "m.onnx", "0" * 64, None, found, latency(found), None)


def environment(**values) -> Environment:
    return Environment("cpu", (), 2, "Linux", "3.11", {}, 0.0, "2026", **values)


CALM = {"drifting": 0.0, "noise": 0.005}


def kinds(found=None, ratios=None, machine=None, **values):
    found = timing(found or samples(**CALM))
    return {v.kind for v in verdicts([found], ratios or {}, machine or Machine(), environment(**values))}


def test_a_calm_measurement_has_no_verdict():
    calm = Machine(0.0, 0.0, 2000.0, 2001.0)
    assert kinds(ratios={"b": Ratio(1.5, 1.49, 1.51, 0.95, 60)}, machine=calm, governor="performance") == set()


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (DRIFT, {"found": samples(drifting=0.2, noise=0.001)}),
        (SPREAD, {"found": samples(drifting=0.0, noise=0.04)}),
        (FEW_RUNS, {"found": samples(pairs=10, **CALM)}),
        (UNSURE, {"ratios": {"b": Ratio(1.5, 1.4, 1.6, 0.95, 60)}}),
        (CLOCK, {"governor": "powersave"}),
        (CLOCK, {"machine": Machine(None, None, 2000.0, 1500.0)}),
        (LOAD, {"machine": Machine(0.8, 0.0, None, None)}),
        (LOAD, {"machine": Machine(0.0, 0.3, None, None)}),
    ],
)
def test_verdicts(kind, arguments):
    assert kind in kinds(**arguments)
    assert kind in KINDS


def test_a_loaded_machine_speaks_against_ratios_too():
    machine = Machine(0.8, 0.3, 2000.0, 2000.0)
    found = [v.text for v in verdicts([timing(samples(**CALM))], {}, machine, environment(governor="performance"))]
    assert found == [
        "other processes kept 0.8 cores busy meanwhile; use neither times nor ratios",
        "the host took 0.3 cores away meanwhile; use neither times nor ratios",
    ]


def test_drift_is_of_the_last_third_over_the_first():
    assert drift([1, 1, 5, 5, 2, 2]) == 1.0
    assert drift([3.0]) == 0.0


def test_the_environment_and_the_machine_can_be_read():
    found = read_environment()
    assert found.cores >= 1
    assert found.packages["onnxruntime"]
    with watched() as machine:
        sum(range(100_000))
    (read,) = machine
    assert read.others_busy_cores is None or read.others_busy_cores >= 0
