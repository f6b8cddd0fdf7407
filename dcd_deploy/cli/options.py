"""Options that several commands share, and the progress that --quiet silences."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dcd_deploy.progress import Progress, silent

AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output, and nothing else there.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Ema = Annotated[bool, typer.Option("--ema", help="Take the averaged (EMA) copy of the weights.")]
InputSize = Annotated[str, typer.Option("--input-size", help="Side, or HEIGHTxWIDTH.")]
Samples = Annotated[
    Path | None,
    typer.Option("--samples", readable=False, help=".npy file of normalised pictures (n, 3, H, W) to verify on."),
]
Reference = Annotated[
    Path | None,
    typer.Option(
        "--reference", readable=False, help=".npz file of what your own network answered (dcd_deploy.record_reference)."
    ),
]
Tolerance = Annotated[
    float | None, typer.Option("--tolerance", help="Largest error, relative to the outputs' range. [default: 5e-5]")
]
Target = Annotated[
    str, typer.Option("--target", help="Runtime: onnxruntime-x86, onnxruntime-arm, litert or litert-compiled.")
]
Threads = Annotated[int, typer.Option("--threads", help="Threads of the runtime.")]
ThreadCounts = Annotated[str, typer.Option("--threads", help="Threads of the runtime, such as 1 or 1,2.")]
MinRuns = Annotated[int, typer.Option("--min-runs", help="Count at least so many runs of each model.")]
MinSeconds = Annotated[float, typer.Option("--min-seconds", help="Measure at least this long.")]
Fleet = Annotated[Path | None, typer.Option("--fleet", readable=False, help="File that names devices (devices.toml).")]
Setup = Annotated[
    bool, typer.Option("--setup", help="Install on the devices what measuring needs, in an environment of its own.")
]
Save = Annotated[
    list[Path] | None,
    typer.Option(
        "--save", readable=False, help="Write the result as .json, .html, .md or .csv too; may be given several times."
    ),
]


def chosen_progress(quiet: bool) -> Progress:
    """Return the progress shown on standard error, or none."""
    if quiet:
        return silent
    from dcd_deploy.reports.live import live_progress

    return live_progress
