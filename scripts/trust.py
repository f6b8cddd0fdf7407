"""Show whether the benchmark can be trusted on this machine: equal is equal, 5 % is seen, measuring costs nothing.

    python scripts/trust.py                   all three, on the bundled network (about ten minutes)
    python scripts/trust.py MODEL.onnx ...    on model files of your own
    python scripts/trust.py --times 5         five A/A runs in place of twenty

* A/A: a model against a copy of itself. Its 95 % interval should contain 1.00 in 19 of 20 runs.
* A planted slowdown: the same, but each run of the one is followed by idle turns that take 5 % of its time. The
  interval should lie above 1.00.
* Overhead: what the harness finds against a bare loop, in turns; of both the median over groups of four runs.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dcd_deploy import commands
from dcd_deploy.benchmarks.measure import MeasureConfig, Run, measure_in_turns
from dcd_deploy.benchmarks.statistics import ratio
from dcd_deploy.benchmarks.worker import input_shape
from dcd_deploy.runtimes.model import open_model

DIGITS = Path(__file__).parent.parent / "examples" / "digits" / "dcd.pth.tar"
SLOWDOWN = 0.05
LOOPS, LOOP_RUNS = 20, 40


def opener(path: Path) -> Callable[[], Run]:
    """Return what opens a model, ready to run."""

    def ready() -> Run:
        model = open_model(path, threads=1)
        images = np.random.default_rng(0).standard_normal(input_shape(model, None), np.float32)
        return model.session.prepare(images)

    return ready


def slowed(ready: Callable[[], Run], by: float) -> Callable[[], Run]:
    """Return what opens the same model, whose runs take longer by a share of their time."""

    def slow_ready() -> Run:
        run = ready()

        def slow() -> None:
            start = time.perf_counter_ns()
            run()
            end = time.perf_counter_ns()
            until = end + by * (end - start)
            while time.perf_counter_ns() < until:
                pass

        return slow

    return slow_ready


def equal_is_equal(path: Path, times: int) -> None:
    """Run the command ``bench`` on a model and its copy."""
    contained, longest = 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(path, Path(folder) / f"copy{path.suffix}"))
        for number in range(times):
            start = time.perf_counter()
            result = commands.bench(path, baseline=copy, memory=False)
            seconds = time.perf_counter() - start
            (found,) = result.trials[0].ratios.values()
            inside = found.low <= 1 <= found.high
            contained, longest = contained + inside, max(longest, seconds)
            mark = "" if inside else "  does not contain 1"
            interval = f"{found.median:.3f} ({found.low:.3f} to {found.high:.3f})"
            print(f"  A/A {number + 1:2}: {interval} in {seconds:.1f} s{mark}", flush=True)
    print(f"  {contained} of {times} intervals contain 1.00; the longest run took {longest:.1f} s")


def slowdown_is_seen(path: Path, times: int) -> None:
    """Measure a model against itself slowed down."""
    seen = 0
    for number in range(times):
        ready = opener(path)
        models = {"slowed": slowed(ready, SLOWDOWN), "plain": ready}
        samples = measure_in_turns(models, MeasureConfig())
        found = ratio(samples["slowed"], samples["plain"])
        seen += found.low > 1
        print(
            f"  planted {SLOWDOWN:.0%} {number + 1:2}: {found.median:.3f} ({found.low:.3f} to {found.high:.3f})",
            flush=True,
        )
    print(f"  seen in {seen} of {times}")


def overhead(path: Path) -> None:
    """Compare the harness's blocks with bare loops of as many runs, in turns, by the same statistic."""
    run = opener(path)()
    config = MeasureConfig(warmup_seconds=0.1, min_runs=LOOP_RUNS, min_seconds=0, rounds=1)
    harness, bare = [], []
    for _ in range(LOOPS):
        samples = measure_in_turns({"model": lambda: run}, config)["model"]
        harness.append(float(np.median([np.mean(block) for block in samples.blocks_ms])))
        singles = []
        for _ in range(LOOP_RUNS // 4):
            start = time.perf_counter_ns()
            for _ in itertools.repeat(None, 4):
                run()
            singles.append((time.perf_counter_ns() - start) / 4e6)
        bare.append(float(np.median(singles)))
    shares = np.array(harness) / np.array(bare) - 1
    empty = measure_in_turns({"nothing": lambda: int}, config)["nothing"]
    nothing = float(np.median([time for block in empty.blocks_ms for time in block]))
    print(f"  median {np.median(harness):.3f} ms in the harness, {np.median(bare):.3f} ms in a bare loop")
    low, high = np.quantile(shares, [0.25, 0.75])
    print(f"  difference {np.median(shares):+.2%}, quartiles {low:+.2%} to {high:+.2%}")
    print(f"  an empty run takes {1000 * nothing:.2f} µs: {nothing / np.median(harness):.3%} of the model's")


def main() -> None:
    """Show all three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--times", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = options.models
        if not models:
            print("exporting the bundled network ...", flush=True)
            models = [commands.export(DIGITS, out=folder, input_size=32, resize=32).artifact.path]
        for path in models:
            print(f"{path.name}: a model against its copy")
            equal_is_equal(path, options.times)
            print(f"{path.name}: a planted slowdown")
            slowdown_is_seen(path, max(1, options.times // 4))
            print(f"{path.name}: the harness itself")
            overhead(path)


if __name__ == "__main__":
    main()
