"""A benchmark's result as it could have been measured, made from random numbers."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from dcd_deploy.benchmarks.counts import CountedModel, Counts, CountSection, CountTrial, count_ratios
from dcd_deploy.benchmarks.environment import Environment
from dcd_deploy.benchmarks.measure import MeasureConfig
from dcd_deploy.benchmarks.process import LOCAL
from dcd_deploy.benchmarks.results import (
    AGAINST,
    MODEL,
    STATIC,
    BenchResult,
    Failure,
    Machine,
    Memory,
    Samples,
    Timing,
    Trial,
    Verdict,
)
from dcd_deploy.benchmarks.statistics import latency, ratio

BLOCKS, ROUNDS, RUNS = 60, 3, 4
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=alert(1)>"
FORMULA = "=cmd|' /C calc'!A0"
CONTROL = "red\x1b[31m\r\nrow\u202e"
ENVIRONMENT = Environment(
    cpu="AMD EPYC 9575F 64-Core Processor",
    features=("avx2", "avx512f", "avx512_vnni"),
    cores=2,
    system="Linux 6.12.0 x86_64",
    python="3.11.9",
    packages={"dcd-deploy": "0.1.0", "onnxruntime": "1.32.0", "ai-edge-litert": "2.3.0", "numpy": "2.4.6"},
    load=0.4,
    date="2026-11-24T14:05:00+00:00",
    governor="performance",
    clock_mhz=3300.0,
    memory_mb=16384,
    temperature_c=51.0,
)


def timing(role, name, ms, *, network=None, seed=0, drift=0.04, load=40.0, memory=60.0):
    """A model of ``ms`` milliseconds; all models of one trial share the drift of the machine, not the noise."""
    rng = np.random.default_rng(seed)
    slow = 1 + drift * np.sin(np.linspace(0, 5, BLOCKS))[:, None]
    hiccups = 1 + (rng.random((BLOCKS, RUNS)) < 0.02) * rng.exponential(0.3, (BLOCKS, RUNS))
    times = (
        ms * slow * hiccups * np.exp(0.012 * rng.standard_normal((BLOCKS, RUNS)) + 0.02 * rng.random((BLOCKS, RUNS)))
    )
    blocks = tuple(tuple(map(float, row)) for row in times)
    start = lambda mean: tuple(float(x) for x in mean * np.exp(0.05 * rng.standard_normal(ROUNDS)))  # noqa: E731
    rounds = tuple(i * ROUNDS // BLOCKS for i in range(BLOCKS))
    samples = Samples(start(load), start(1.9 * ms), start(510.0), blocks, rounds)
    return Timing(
        role,
        name,
        f"deploy/{name}",
        hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest(),
        network,
        samples,
        latency(samples),
        Memory(memory + 48.5, memory) if memory else None,
    )


def trial(runtime, version, timings, *, threads=1, cpus=(0,), verdicts=(), device=LOCAL):
    ours, *others = timings
    return Trial(
        device,
        runtime,
        version,
        threads,
        1,
        cpus,
        tuple(timings),
        {other.name: ratio(ours.samples, other.samples) for other in others},
        Machine(0.1, 0.0, 3300.0, 3290.5, 51.0, 58.5, False),
        tuple(verdicts),
    )


def realistic() -> BenchResult:
    """Two networks, two runtimes, one remark, one failure."""
    half = "mobilenetv2_dcd ×0.5, fc_squeeze 8", "mobilenetv2 ×0.5"
    deep = "resnet18_dcd", "resnet18"
    noisy = Verdict("noise", "other processes kept 0.7 of 2 cores busy: the interval is wider than it need be")
    trials = (
        trial("onnxruntime", "1.32.0", _pair("mobilenetv2_dcd_x0.5_224", ".onnx", half, (4.61, 3.34, 4.86), 1)),
        trial("LiteRT", "2.3.0", _pair("mobilenetv2_dcd_x0.5_224", ".tflite", half, (5.28, 3.72, None), 11)),
        trial(
            "onnxruntime", "1.32.0", _pair("resnet18_dcd_224", ".onnx", deep, (50.2, 44.2, None), 21), verdicts=[noisy]
        ),
        trial("LiteRT", "2.3.0", _pair("resnet18_dcd_224", ".tflite", deep, (47.9, 44.1, None), 31)),
    )
    failure = Failure(
        LOCAL,
        "deploy/resnet18_dcd_224.tflite",
        "LiteRT",
        4,
        None,
        "expected at most one thread for each of the 2 cores, found 4",
    )
    return BenchResult({LOCAL: ENVIRONMENT}, MeasureConfig(rounds=ROUNDS), trials, (failure,))


def hostile() -> BenchResult:
    """Names as an enemy would choose them, in every place that takes a text from outside."""
    names = (HOSTILE, FORMULA, CONTROL)
    timings = [
        timing(r, n, ms, network=n, seed=i)
        for i, (r, n, ms) in enumerate(zip((MODEL, STATIC, AGAINST), names, (3, 2, 2.5), strict=True))
    ]
    remark = Verdict("noise", f"a | pipe and {HOSTILE}")
    failure = Failure(CONTROL, HOSTILE, CONTROL, 1, 1, f"`code` [link](https://example.org) {HOSTILE}")
    environment = replace(ENVIRONMENT, cpu=HOSTILE, packages={HOSTILE: FORMULA}, notes=(HOSTILE,))
    found = trial(HOSTILE, "</script>", timings, verdicts=[remark], device=HOSTILE)
    models = [counted_model(r, n, 10**6) for r, n in zip((MODEL, STATIC, AGAINST), names, strict=True)]
    trials = [count_trial(CONTROL, HOSTILE, FORMULA, HOSTILE, models)]
    counts = CountSection(HOSTILE, 3, (HOSTILE, FORMULA, CONTROL), {CONTROL: HOSTILE}, tuple(trials))
    return BenchResult({HOSTILE: environment}, MeasureConfig(), (found,), (failure,), counts)


def counted() -> BenchResult:
    """The realistic result, with counts of two cores beside it, of which one has a fleet's name; a trial failed."""
    pair = [
        counted_model(MODEL, "mobilenetv2_dcd_x0.5_224.onnx", 300_774_272, "mobilenetv2_dcd ×0.5, fc_squeeze 8"),
        counted_model(STATIC, "mobilenetv2_dcd_x0.5_224-static.onnx", 240_000_000, "mobilenetv2 ×0.5"),
    ]
    slow = [counted_model(model.role, model.name, 2 * model.counts.instructions, model.network) for model in pair]
    trials = (
        count_trial("arm64-emulated:cortex-a76", "cortex-a76", "onnxruntime", "1.32.0", pair),
        count_trial("kitchen", "cortex-a53", "onnxruntime", "1.32.0", slow),
    )
    cores = {"arm64-emulated:cortex-a76": "cortex-a76", "kitchen": "cortex-a53"}
    counts = CountSection("7.2.22", 3, ("counted, not timed", "misses are of a model"), cores, trials)
    lost = Failure("kitchen", "lost.onnx", "onnxruntime", 1, None, "it ended under emulation")
    found = realistic()
    return replace(found, counts=counts, failures=(*found.failures, lost))


def counted_alone() -> BenchResult:
    """Counts without times."""
    found = counted()
    return replace(found, environments={}, trials=(), failures=found.failures[-1:])


def counted_model(role, name, instructions, network=None):
    """A model whose other counts follow from its instructions; of bytes there are no dot and matrix products."""
    n = instructions
    counts = Counts(n, n // 3, 0, 0, 3 * n, n, n // 50, n // 100, n // 200)
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    return CountedModel(role, name, f"deploy/{name}", digest, network, counts, counts.traffic_bytes, 1e-5)


def count_trial(device, core, runtime, version, models):
    ratios = {other.name: count_ratios(models[0].counts, other.counts) for other in models[1:]}
    return CountTrial(device, core, runtime, version, 1, tuple(models), ratios)


def _pair(stem, suffix, networks, ms, seed):
    load = 9 * ms[1] if suffix == ".onnx" else 2 * ms[1]
    memory = 4 * ms[1] + 12
    made = [
        timing(MODEL, f"{stem}{suffix}", ms[0], network=networks[0], seed=seed, load=1.6 * load, memory=1.3 * memory),
        timing(STATIC, f"{stem}-static{suffix}", ms[1], network=networks[1], seed=seed + 1, load=load, memory=memory),
    ]
    if ms[2]:
        other = f"last-release/{stem}{suffix}"
        made.append(
            timing(AGAINST, other, ms[2], network=networks[0], seed=seed + 2, load=1.7 * load, memory=1.3 * memory)
        )
    return made
