"""One runtime in a process of its own: opens files, runs them, and times them in turns.

    python -I worker.py REQUEST     a JSON file, as ``process`` writes it

It stands alone, since the environment of a runtime has numpy beside it and nothing of ours. What it is at is written
to ``stage`` before it begins, so that a crash can be told, and the version to ``version``.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[[Mapping[str, Any]], Any]
BLOCK = 6  # runs of one file before the other's turn


def main() -> None:
    """Answer the request; ``answer.json`` is there only if all went well."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    out = Path(sys.argv[1]).parent
    stage(out, "importing the package")
    runtime = module_of(request["runtime"])
    version = str(runtime.version())
    (out / "version").write_text(version, encoding="utf-8")
    answer: dict[str, Any] = {"models": []}
    with np.load(out / "inputs.npz") as file:
        samples = [{name: file[name][row : row + 1] for name in file.files} for row in range(request["samples"])]
    entries = {name: list(value.shape) for name, value in samples[0].items()}
    runs = []
    for index, path in enumerate(request["models"]):
        stage(out, f"opening {Path(path).name}")
        start = time.perf_counter()
        run = runtime.opened(path, entries, request["outputs"], request["threads"])
        seconds = time.perf_counter() - start
        stage(out, f"running {Path(path).name}")
        results = [run(sample) for sample in samples]
        whole = {str(i): np.concatenate(rows) for i, rows in enumerate(zip(*results, strict=True))}
        np.savez(out / f"{index}.npz", **whole)  # type: ignore[arg-type]  # numpy's stub has no mapping of arrays
        left_out = runtime.left_out(path) if hasattr(runtime, "left_out") else None
        answer["models"].append({"open_s": seconds, "left_out": left_out})
        runs.append(run)
    stage(out, "timing")
    for model, (cpu, wall) in zip(answer["models"], timed(runs, samples[0], request["blocks"])):
        model.update(cpu_ms=cpu, wall_ms=wall)
    (out / "answer.json").write_text(json.dumps(answer), encoding="utf-8")


def timed(
    runs: Sequence[Callable[[Mapping[str, Any]], object]], values: Mapping[str, Any], blocks: int
) -> list[tuple[list[float], list[float]]]:
    """Return processor and wall milliseconds for one run, of each block of each file, in turns."""
    times: list[tuple[list[float], list[float]]] = [([], []) for _ in runs]
    for _ in range(blocks):
        for (cpu, wall), run in zip(times, runs):
            run(values)  # the other's data are still in the cache
            start = time.process_time(), time.perf_counter()
            for _ in range(BLOCK):
                run(values)
            cpu.append((time.process_time() - start[0]) / BLOCK * 1e3)
            wall.append((time.perf_counter() - start[1]) / BLOCK * 1e3)
    return times


def module_of(name: str) -> Any:
    """Return the module of a runtime, under a name that is not the package's own."""
    spec = importlib.util.spec_from_file_location(f"runtime_{name}", Path(__file__).with_name(f"{name}.py"))
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stage(out: Path, text: str) -> None:
    """Say what is about to be done."""
    (out / "stage").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
