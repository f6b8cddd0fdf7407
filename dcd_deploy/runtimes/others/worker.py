"""One runtime in a process of its own: opens files, runs them, and times them in turns.

    python -I worker.py REQUEST     a JSON file, as ``process`` writes it

It stands alone, since the environment of a runtime has numpy beside it and nothing of ours, but for a file that holds
the measuring loop, where one is named. What it is at is written to ``stage`` before it begins, so that a crash can be
told, and the version to ``version``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[[Mapping[str, Any]], Any]
BLOCK = 6  # runs of one file before the other's turn


def main() -> None:
    """Answer the request; ``answer.json`` is there only if all went well."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    out = Path(sys.argv[1]).parent
    if request["cpus"] is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, request["cpus"])  # before the runtime starts its threads
    stage(out, "importing the package")
    runtime = module_of(Path(__file__).with_name(f"{request['runtime']}.py"))
    version = str(runtime.version())
    (out / "version").write_text(version, encoding="utf-8")
    answer: dict[str, Any] = {"models": [], "idle_mb": peak_mb()}
    with np.load(out / "inputs.npz") as file:
        arrays = [file[f"arr_{place}"] for place in range(len(file.files))]
    runs, opening = [], []
    for index, model in enumerate(request["models"]):
        path, outputs = model["path"], model["outputs"]
        samples = [
            {name: values[row : row + 1] for name, values in zip(model["inputs"], arrays)}
            for row in range(request["samples"])
        ]
        entries = {name: list(value.shape) for name, value in samples[0].items()}
        stage(out, f"opening {Path(path).name}")
        start = time.perf_counter()
        run = runtime.opened(path, entries, outputs, request["threads"])
        seconds = time.perf_counter() - start
        stage(out, f"running {Path(path).name}")
        results = [run(sample) for sample in samples]
        if (found := min(map(len, results))) < len(outputs):
            raise RuntimeError(f"it gave {found} of {len(outputs)} outputs")
        whole = {str(i): np.concatenate(rows) for i, rows in enumerate(zip(*results, strict=True))}
        np.savez(out / f"{index}.npz", **whole)  # type: ignore[arg-type]  # numpy's stub has no mapping of arrays
        left_out = runtime.left_out(path) if hasattr(runtime, "left_out") else None
        answer["models"].append({"open_s": seconds, "left_out": left_out})
        runs.append(partial(run, samples[0]))
        opening.append(partial(opened, runtime, path, entries, outputs, request["threads"], samples[0]))
    answer["peak_mb"] = peak_mb()
    stage(out, "timing")
    for model, (cpu, wall) in zip(answer["models"], timed(runs, request["blocks"])):
        model.update(cpu_ms=cpu, wall_ms=wall)
    if request["loop"] is not None:
        runs.clear()  # each round opens the files anew
        answer["samples"] = measured(opening, **request["loop"])
    (out / "answer.json").write_text(json.dumps(answer), encoding="utf-8")


def opened(runtime: Any, path: str, entries: Any, outputs: Any, threads: int, values: Any) -> Callable[[], object]:
    """Open a file; return what runs it once."""
    run: Run = runtime.opened(path, entries, outputs, threads)
    return partial(run, values)


def measured(opening: Sequence[Callable[[], Any]], file: str, config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the samples of each file, measured in turns by the loop that another file holds."""
    loop = module_of(Path(file))
    samples = loop.measure_in_turns(dict(enumerate(opening)), loop.MeasureConfig(**config))
    return [asdict(samples[index]) for index in range(len(opening))]


def peak_mb() -> float | None:
    """Return the peak resident memory of this process, in megabytes of 10⁶ bytes, or None where nothing tells."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:")), None)


def timed(runs: Sequence[Callable[[], object]], blocks: int) -> list[tuple[list[float], list[float]]]:
    """Return processor and wall milliseconds for one run, of each block of each file, in turns."""
    times: list[tuple[list[float], list[float]]] = [([], []) for _ in runs]
    for _ in range(blocks):
        for (cpu, wall), run in zip(times, runs):
            run()  # the other's data are still in the cache
            start = time.process_time(), time.perf_counter()
            for _ in range(BLOCK):
                run()
            cpu.append((time.process_time() - start[0]) / BLOCK * 1e3)
            wall.append((time.perf_counter() - start[1]) / BLOCK * 1e3)
    return times


def module_of(file: Path) -> Any:
    """Return the module that a file holds, under a name that is no package's own."""
    spec = importlib.util.spec_from_file_location(f"file_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ImportError(file.name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def stage(out: Path, text: str) -> None:
    """Say what is about to be done."""
    (out / "stage").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
