"""The commands that time models: ``bench`` and ``sweep``; on emulated cores ``bench`` counts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dcd_deploy import commands
from dcd_deploy.cli.options import (
    AsJson,
    Fleet,
    InputSize,
    MinRuns,
    MinSeconds,
    Quiet,
    Save,
    Setup,
    ThreadCounts,
    chosen_progress,
)
from dcd_deploy.cli.saving import answer_bench


def bench(
    models: Annotated[
        list[Path], typer.Argument(readable=False, help="Model files, or checkpoints, which are exported first.")
    ],
    baseline: Annotated[
        str, typer.Option(help="Model file to time against; 'static' for the static twin; 'none'.")
    ] = "static",
    against: Annotated[
        list[str] | None,
        typer.Option(help="More to time against: 'released' (unfolded), 'static:WIDTH', model files."),
    ] = None,
    runtime: Annotated[
        str,
        typer.Option(
            help="Runtimes, separated by commas: onnxruntime, onnxruntime-plain, litert, litert-compiled, litert-plain."
        ),
    ] = "",
    threads: ThreadCounts = "1",
    batch: Annotated[str | None, typer.Option(help="Batch sizes, such as 1,4. [default: the file's own]")] = None,
    cpus: Annotated[str | None, typer.Option(help="Cores to keep to, such as 0 or 0,1.")] = None,
    min_runs: MinRuns = 200,
    min_seconds: MinSeconds = 10.0,
    rounds: Annotated[int, typer.Option(help="Open the models so many times.")] = 5,
    time_limit: Annotated[float, typer.Option(help="Give up on a trial after so many seconds.")] = 600.0,
    memory: Annotated[bool, typer.Option(help="Measure peak memory too, in runs of their own.")] = True,
    input_size: InputSize = "224",
    device: Annotated[
        list[str] | None,
        typer.Option(
            help="Where to measure: local, ssh://[user@]host[:port], adb[:serial]; may be given several times. "
            "On arm64-emulated[:CORE] instructions and bytes are counted; no times."
        ),
    ] = None,
    fleet: Fleet = None,
    out: Annotated[
        Path | None,
        typer.Option(readable=False, help="Folder that keeps each trial at once; a run goes on where it ended."),
    ] = None,
    setup: Setup = False,
    python: Annotated[str | None, typer.Option(help="Python to use on the devices. [default: what is found]")] = None,
    runner: Annotated[
        list[Path] | None,
        typer.Option(
            readable=False, help="Program made for the phone: benchmark_model, onnxruntime_perf_test; may be both."
        ),
    ] = None,
    portable: Annotated[
        bool, typer.Option("--portable", help="Experimental: take Python and onnxruntime along to the phone.")
    ] = False,
    save: Save = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Time models beside their static twins, in turns, here or on devices."""

    def run() -> Any:
        return commands.bench(
            *models,
            baseline=baseline,
            against=tuple(against or ()),
            runtime=runtime,
            threads=threads,
            batch=batch,
            cpus=cpus,
            min_runs=min_runs,
            min_seconds=min_seconds,
            rounds=rounds,
            time_limit=time_limit,
            memory=memory,
            input_size=input_size,
            device=tuple(device or ()),
            fleet=fleet,
            out=out,
            setup=setup,
            python=python,
            runner=tuple(runner or ()),
            portable=portable,
            progress=chosen_progress(quiet),
        )

    answer_bench(run, [*(save or ()), *_kept_in(out)], as_json=as_json, quiet=quiet)


def _kept_in(out: Path | None) -> list[Path]:
    """Return what a run leaves in its folder besides the trials: all results, and the page where it can be made."""
    if out is None:
        return []
    from importlib.util import find_spec

    return [out / "result.json", *([out / "result.html"] if find_spec("plotly") else [])]


def sweep(
    out: Annotated[
        Path, typer.Option(readable=False, help="Folder that keeps models and results; a sweep goes on where it ended.")
    ],
    networks: Annotated[
        str, typer.Option(help="Networks, separated by commas, such as mobilenetv2_dcd_x0.5. [default: all]")
    ] = "",
    runtime: Annotated[str, typer.Option(help="Runtimes, separated by commas.")] = "onnxruntime,litert",
    threads: ThreadCounts = "1",
    min_runs: MinRuns = 200,
    min_seconds: MinSeconds = 10.0,
    input_size: InputSize = "224",
    save: Save = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Time all published networks beside their static twins, and against each other."""

    def run() -> Any:
        return commands.sweep(
            out,
            networks=networks,
            runtime=runtime,
            threads=threads,
            min_runs=min_runs,
            min_seconds=min_seconds,
            input_size=input_size,
            progress=chosen_progress(quiet),
        )

    answer_bench(run, save, as_json=as_json, quiet=quiet)
