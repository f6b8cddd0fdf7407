"""The measuring loop and its statistics; the times themselves are for scripts, not for tests."""

import time

import numpy as np
import pytest

from dcd_deploy import commands
from dcd_deploy.benchmarks.bench import bench_models
from dcd_deploy.benchmarks.environment import core_count
from dcd_deploy.benchmarks.measure import MeasureConfig, Measurement, measure_interleaved
from dcd_deploy.benchmarks.statistics import latency, ratio
from dcd_deploy.errors import MissingDependencyError, ModelFileError, OptionError

QUICK = MeasureConfig(warmup_runs=1, warmup_seconds=0, min_blocks=4, min_seconds=0)


def test_blocks_alternate_and_drop_their_first_runs():
    order = []
    runs = {name: (lambda name=name: order.append(name)) for name in ("a", "b")}
    a, b = measure_interleaved(
        runs, MeasureConfig(runs=5, dropped=2, warmup_runs=3, warmup_seconds=0, min_blocks=4, min_seconds=0)
    )
    assert "".join(order) == "aaa" + "bbb" + ("a" * 5 + "b" * 5) * 4
    assert [len(block) for block in (*a.blocks_ms, *b.blocks_ms)] == [3] * 8


def test_it_measures_for_as_long_as_asked():
    start = time.perf_counter()
    (only,) = measure_interleaved(
        {"a": lambda: time.sleep(0.001)}, MeasureConfig(warmup_seconds=0, min_blocks=1, min_seconds=0.2)
    )
    assert time.perf_counter() - start >= 0.2
    assert latency(only).median_ms >= 1.0


def measurement(scale, noise, seed, pairs=60):
    rng = np.random.default_rng(seed)
    drift = np.linspace(1, 1.5, pairs)[:, None]  # a machine that slows down by half while it measures
    times = scale * drift * np.exp(noise * rng.standard_normal((pairs, 4)))
    return Measurement("m", tuple(map(tuple, times)))


def test_equal_models_have_a_ratio_of_one_within_the_interval():
    inside = 0
    for seed in range(40):
        found = ratio(measurement(5, 0.03, seed), measurement(5, 0.03, 1000 + seed))
        inside += found.low <= 1 <= found.high
    assert inside >= 36  # 95 % of 40 is 38


def test_a_slowdown_of_five_percent_is_detected():
    found = ratio(measurement(5.25, 0.03, 1), measurement(5, 0.03, 2))
    assert found.low > 1
    assert found.median == pytest.approx(1.05, abs=0.01)
    assert (found.pairs, found.confidence) == (60, 0.95)


def test_latency_counts_every_run():
    found = latency(Measurement("m", ((1.0, 2.0), (3.0, 100.0))))
    assert (found.median_ms, found.min_ms, found.runs) == (2.5, 1.0, 4)
    assert found.p90_ms > 50


def test_a_model_beside_its_twin(digits_export):
    result = bench_models(digits_export.artifact.path, digits_export.baseline, config=QUICK)
    assert result.ratio.pairs == 4
    assert result.ratio.low <= result.ratio.median <= result.ratio.high
    assert {m.name for m in result.measurements} == set(result.latencies) == {"model", "baseline"}
    assert result.environment.packages["onnxruntime"]
    assert (result.threads, result.batch) == (1, 1)


def test_a_model_against_a_copy_of_the_same_name(digits_export, tmp_path):
    copy = tmp_path / digits_export.artifact.path.name
    copy.write_bytes(digits_export.artifact.path.read_bytes())
    assert len(bench_models(digits_export.artifact.path, copy, config=QUICK).latencies) == 2


def test_the_twin_is_made_where_there_is_none(digits_export, tmp_path, monkeypatch):
    alone = tmp_path / "alone.onnx"
    alone.write_bytes(digits_export.artifact.path.read_bytes())
    result = commands.bench(alone, min_seconds=0.1)
    assert result.ratio is not None
    assert list(tmp_path.iterdir()) == [alone], "the twin made for it is gone again"
    monkeypatch.setitem(__import__("sys").modules, "onnxsim", None)
    with pytest.raises(MissingDependencyError, match=r"dcd-deploy\[export\]"):
        commands.bench(alone)
    assert commands.bench(alone, baseline="none", min_seconds=0.1).ratio is None


def test_what_cannot_be_compared(digits_export, tmp_path, small_checkpoint):
    other = commands.export(small_checkpoint, input_size=40, out=tmp_path).artifact.path
    with pytest.raises(OptionError, match="expected models with the same input"):
        bench_models(digits_export.artifact.path, other, config=QUICK)
    with pytest.raises(OptionError, match="at least one thread"):
        bench_models(digits_export.artifact.path, threads=0)
    (tmp_path / "noise.onnx").write_bytes(b"noise")
    with pytest.raises(ModelFileError):
        bench_models(digits_export.artifact.path, tmp_path / "noise.onnx")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 3}, "expected --batch 1, which is fixed in the file, found 3"),
        ({"batch": 0}, "expected a --batch of at least one"),
        ({"min_seconds": -1}, "expected --min-seconds as a number of seconds, at least 0, found -1"),
        ({"min_seconds": float("inf")}, "--min-seconds"),
        ({"threads": 4096}, f"at most one for each of the {core_count()} cores, found 4096"),
    ],
)
def test_what_cannot_be_measured(digits_export, options, message):
    with pytest.raises(OptionError, match=message):
        commands.bench(digits_export.files[0].artifact.path, **options)


def test_a_twin_made_for_the_run_is_named_so(digits_export, tmp_path):
    alone = tmp_path / "alone.onnx"
    alone.write_bytes(digits_export.files[0].artifact.path.read_bytes())
    assert commands.bench(alone, min_seconds=0.1).baseline == "static twin (made for this run)"
