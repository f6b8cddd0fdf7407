"""Measure the price of dynamic convolution on each runtime, on one and two threads, into docs/performance.md.

    python scripts/price.py --out FOLDER           about a quarter of an hour; goes on where it ended
    python scripts/price.py --out FOLDER --write   and write the table

Each file beside its static twin in one process, interleaved, both reloaded in each of five rounds; at batch 1 in
float32. The lower bound is the twin's time and the multiply-adds and weights that the dynamic network has more, at the
twin's own pace and the pace at which memory is read just now.
"""

from __future__ import annotations

from collections.abc import Iterator

from lower_bound import floor, streaming_pace
from pages import PERFORMANCE, options_of, write_part
from speed import SIDE, SOME, Lab, captured_of, span_of, speed_caption

from dcd_deploy.benchmarks.sweep import NETWORKS
from dcd_deploy.lowering.targets import target_for
from dcd_deploy.reports.terminal import live_progress

RUNTIMES = {
    "onnxruntime": ("onnxruntime-x86", "onnx"),
    "onnxruntime-plain": ("onnxruntime-arm", "onnx"),
    "litert": ("litert", "tflite"),
    "litert-compiled": ("litert-compiled", "tflite"),
    "executorch": ("executorch", "pte"),
}  # runtime → its own target, and the format
THREADS = (1, 2)


def rows(lab: Lab) -> Iterator[str]:
    """Yield the table."""
    yield "| network | runtime | threads | static ms | DCD ms | ratio (95 %) | lower bound |"
    yield "|---|---|--:|--:|--:|--:|--:|"
    for network in SOME:
        captured = captured_of(NETWORKS[network])
        for runtime, (name, format) in RUNTIMES.items():
            for threads in THREADS:
                with live_progress(f"{network} on {runtime}, {threads} threads"):
                    model, static = lab.model(network, name, format), lab.static(network, format)
                    trial = lab.trial(model, runtime, static, [], threads)
                own, twin = trial.timings
                pace = streaming_pace(model.stat().st_size)
                least = floor(captured, target_for(name, format), twin.latency.median_ms, pace).ratio
                times = f"{twin.latency.median_ms:.2f} | {own.latency.median_ms:.2f}"
                bound = f"{least:.2f}" if threads == 1 else "–"
                yield f"| {network} | {runtime} | {threads} | {times} | {span_of(trial, twin.name)} | {bound} |"


def main() -> None:
    """Measure, and print or write."""
    options = options_of(__doc__).parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    lab = Lab(options.out)
    table = list(rows(lab))
    caption = f"{SIDE}×{SIDE}, {speed_caption(lab)}. `python scripts/price.py` makes this table."
    text = "\n".join([*table, "", caption])
    print(text)
    if options.write:
        write_part(PERFORMANCE, "price", text)


if __name__ == "__main__":
    main()
