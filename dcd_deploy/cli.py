"""The command line: parse → one call of ``commands`` → one report.

Results go to standard output (with --json one object and nothing else), progress and errors to standard error. Every
kind of error has its own exit code, listed by ``dcd_deploy.errors``; 2 is a wrong use of the command line, 130 an
interruption.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from dcd_deploy import __version__, commands
from dcd_deploy.cli_outcome import answer
from dcd_deploy.errors import INTERRUPTED, OptionError
from dcd_deploy.interruption import leave_interrupted, listen
from dcd_deploy.progress import Progress, silent

if TYPE_CHECKING:
    from dcd_deploy.benchmarks.results import BenchResult

app = typer.Typer(
    name="dcd-deploy",
    help="Networks with dynamic convolution, from a trained checkpoint to a verified model file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output, and nothing else there.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Ema = Annotated[bool, typer.Option("--ema", help="Take the averaged (EMA) copy of the weights.")]
InputSize = Annotated[str, typer.Option("--input-size", help="Side, or HEIGHTxWIDTH.")]
Samples = Annotated[
    Path | None, typer.Option("--samples", help=".npy file of normalised pictures (n, 3, H, W) to verify on.")
]
Tolerance = Annotated[
    float | None, typer.Option("--tolerance", help="Largest error, relative to the outputs' range. [default: 5e-5]")
]

EMULATED = "arm64-emulated"
Setup = Annotated[
    bool, typer.Option("--setup", help="Install on the devices what measuring needs, in an environment of its own.")
]

Save = Annotated[
    list[Path] | None,
    typer.Option("--save", help="Write the result as .json, .html, .md or .csv too; may be given several times."),
]


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint: .pth.tar, .pt, .pth or .safetensors.")],
    arch: Annotated[str | None, typer.Option(help="Architecture, where the tensors' own is not wanted.")] = None,
    width_mult: Annotated[float | None, typer.Option(help="Width of MobileNetV2, instead of the inferred one.")] = None,
    fc_squeeze: Annotated[
        int | None, typer.Option(help="Squeeze of MobileNetV2-DCD, instead of the inferred one.")
    ] = None,
    num_classes: Annotated[int | None, typer.Option(help="Number of classes, instead of the inferred one.")] = None,
    dropout: Annotated[
        float | None, typer.Option(help="Dropout the network was trained with (0: none), instead of the inferred one.")
    ] = None,
    ema: Ema = False,
    to: Annotated[str, typer.Option(help=f"Formats, separated by commas: {', '.join(commands.FORMATS)}.")] = "onnx",
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path(),
    name: Annotated[str | None, typer.Option(help="Name of the files. [default: network and input size]")] = None,
    input_size: InputSize = "224",
    batch: Annotated[str, typer.Option(help="Batch size: a number, or 'dynamic' for any.")] = "1",
    target: Annotated[
        str, typer.Option(help="What to be quick on: portable, onnxruntime-x86, onnxruntime-arm or litert.")
    ] = "portable",
    lowering: Annotated[
        str, typer.Option(help="Order of computation: auto, branch, half, kernel, blocked, or a file from 'tune'.")
    ] = "auto",
    foreign_lowering: Annotated[
        bool, typer.Option("--foreign-lowering", help="Take a lowering file that was tuned elsewhere.")
    ] = False,
    opset: Annotated[int, typer.Option(help="ONNX opset, 15 to 26.")] = 18,
    layout: Annotated[str, typer.Option(help="Input of a TFLite file: nhwc or nchw.")] = "nhwc",
    labels: Annotated[Path | None, typer.Option(help="Text file with one label per line.")] = None,
    mean: Annotated[str | None, typer.Option(help="Mean of R,G,B in 0..1. [default: 0.485,0.456,0.406]")] = None,
    std: Annotated[str | None, typer.Option(help="Deviation of R,G,B. [default: 0.229,0.224,0.225]")] = None,
    resize: Annotated[
        int | None, typer.Option(help="Short side before the centre crop. [default: input size · 256/224]")
    ] = None,
    with_baseline: Annotated[
        bool, typer.Option("--with-baseline", help="Write the static twin too, to time against.")
    ] = False,
    tolerance: Tolerance = None,
    samples: Samples = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Turn a trained checkpoint into a verified model file."""

    def run() -> Any:
        return commands.export(
            checkpoint,
            arch=arch,
            width_mult=width_mult,
            fc_squeeze=fc_squeeze,
            num_classes=num_classes,
            dropout=dropout,
            ema=ema,
            to=to,
            out=out,
            name=name,
            input_size=input_size,
            batch=batch,
            target=target,
            lowering=lowering,
            foreign_lowering=foreign_lowering,
            opset=opset,
            layout=layout,
            labels=labels,
            mean=mean,
            std=std,
            resize=resize,
            with_baseline=with_baseline,
            tolerance=tolerance,
            samples=samples,
            progress=chosen_progress(quiet),
        )

    def show(result: Any) -> None:
        from dcd_deploy.reports.exporting import show_export
        from dcd_deploy.reports.terminal import console

        show_export(console(), result, str(checkpoint))

    def plain(result: Any) -> Any:
        from dcd_deploy.reports.exporting import export_as_plain

        return export_as_plain(result)

    answer(run, show, plain=plain, as_json=as_json, quiet=quiet)


@app.command()
def tune(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of the network to tune.")],
    target: Annotated[str, typer.Option(help="Runtime: onnxruntime-x86, onnxruntime-arm or litert.")],
    out: Annotated[Path | None, typer.Option(help="Lowering file to write, for 'export --lowering'.")] = None,
    device: Annotated[str, typer.Option(help="Where to measure: local, ssh://[user@]host, …")] = "local",
    ema: Ema = False,
    input_size: InputSize = "224",
    threads: Annotated[int, typer.Option(help="Threads of the runtime.")] = 1,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Choose the order of computation of each layer by measuring on a device."""

    def run() -> Any:
        return commands.tune(
            checkpoint,
            target=target,
            out=out,
            device=device,
            ema=ema,
            input_size=input_size,
            threads=threads,
            progress=chosen_progress(quiet),
        )

    def show(result: Any) -> None:
        from dcd_deploy.reports.terminal import console
        from dcd_deploy.reports.tuning import show_tuning

        show_tuning(console(), result, str(checkpoint), None if out is None else str(out))

    answer(run, show, as_json=as_json, quiet=quiet)


@app.command()
def costs(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of the network.")],
    target: Annotated[str, typer.Option(help="Runtime: onnxruntime-x86, onnxruntime-arm or litert.")],
    ema: Ema = False,
    input_size: InputSize = "224",
    as_json: AsJson = False,
) -> None:
    """Say what each form of each layer costs on a target, before anything is exported."""

    def run() -> Any:
        return commands.costs(checkpoint, target=target, ema=ema, input_size=input_size)

    def show(result: Any) -> None:
        from dcd_deploy.reports.forecasting import show_forecast
        from dcd_deploy.reports.terminal import console

        show_forecast(console(), result)

    answer(run, show, as_json=as_json)


@app.command()
def verify(
    artifact: Annotated[Path, typer.Argument(help="Model file that dcd-deploy exported.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Check against this checkpoint in float64; without it, the file checks itself.")
    ] = None,
    ema: Ema = False,
    tolerance: Tolerance = None,
    samples: Samples = None,
    device: Annotated[
        str | None, typer.Option(help="Run it on an emulated ARM core: arm64-emulated[:CORE]. [default: here]")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Check that a model file computes what was trained."""

    def run() -> Any:
        return commands.verify(
            artifact,
            checkpoint=checkpoint,
            ema=ema,
            tolerance=tolerance,
            samples=samples,
            device=device,
            progress=chosen_progress(quiet),
        )

    def show(result: Any) -> None:
        from dcd_deploy.reports.terminal import console
        from dcd_deploy.reports.verification import show_check

        show_check(console(), result)

    answer(run, show, as_json=as_json, quiet=quiet)


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="Checkpoint or model file.")],
    ema: Ema = False,
    input_size: InputSize = "224",
    as_json: AsJson = False,
) -> None:
    """Say what a checkpoint or a model file holds."""

    def run() -> Any:
        return commands.inspect(file, ema=ema, input_size=input_size)

    def show(result: Any) -> None:
        from dcd_deploy.reports.inspecting import show_inspection
        from dcd_deploy.reports.terminal import console

        show_inspection(console(), result)

    answer(run, show, as_json=as_json, keys_shown=None)


@app.command()
def bench(
    models: Annotated[list[Path], typer.Argument(help="Model files, or checkpoints, which are exported first.")],
    baseline: Annotated[
        str, typer.Option(help="Model file to time against; 'static' for the static twin; 'none'.")
    ] = "static",
    against: Annotated[
        list[str] | None,
        typer.Option(help="More to time against: 'released' (unfolded), 'static:WIDTH', model files."),
    ] = None,
    runtime: Annotated[
        str, typer.Option(help="Runtimes, separated by commas: onnxruntime, onnxruntime-plain, litert, litert-plain.")
    ] = "",
    threads: Annotated[str, typer.Option(help="Threads of the runtime, such as 1 or 1,2.")] = "1",
    batch: Annotated[str | None, typer.Option(help="Batch sizes, such as 1,4. [default: the file's own]")] = None,
    cpus: Annotated[str | None, typer.Option(help="Cores to keep to, such as 0 or 0,1.")] = None,
    min_runs: Annotated[int, typer.Option(help="Count at least so many runs of each model.")] = 200,
    min_seconds: Annotated[float, typer.Option(help="Measure at least this long.")] = 10.0,
    rounds: Annotated[int, typer.Option(help="Open the models so many times.")] = 5,
    time_limit: Annotated[float, typer.Option(help="Give up on a trial after so many seconds.")] = 600.0,
    memory: Annotated[bool, typer.Option(help="Measure peak memory too, in runs of their own.")] = True,
    input_size: InputSize = "224",
    device: Annotated[
        list[str] | None,
        typer.Option(
            help="Where to measure: local, ssh://[user@]host[:port], adb[:serial]; may be given several times. "
            "arm64-emulated[:CORE] counts instructions and bytes; no times."
        ),
    ] = None,
    fleet: Annotated[Path | None, typer.Option(help="File that names devices (devices.toml).")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder that keeps each trial at once; a run goes on where it ended.")
    ] = None,
    setup: Setup = False,
    python: Annotated[str | None, typer.Option(help="Python to use on the devices. [default: what is found]")] = None,
    runner: Annotated[
        list[Path] | None,
        typer.Option(help="Program made for the phone: benchmark_model, onnxruntime_perf_test; may be both."),
    ] = None,
    portable: Annotated[
        bool, typer.Option("--portable", help="Experimental: take Python and onnxruntime along to the phone.")
    ] = False,
    save: Save = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Time models beside their static twins, in turns, here or on devices."""
    if any(name.strip().startswith(EMULATED) for name in device or ()):

        def counted() -> Any:
            times_only = (save, fleet, out, setup, cpus, python, runner, portable)
            if any(times_only) or threads != "1":
                raise OptionError(
                    "expected no --save, --fleet, --out, --setup, --cpus, --threads but 1, or what is for devices, "
                    "with arm64-emulated: one thread is counted, and the counts are printed, or written by --json"
                )
            return commands.count(
                *models,
                device=tuple(device or ()),
                baseline=baseline,
                against=tuple(against or ()),
                runtime=runtime,
                batch=batch,
                input_size=input_size,
                time_limit=time_limit,
                progress=chosen_progress(quiet),
            )

        answer_counts(counted, as_json=as_json, quiet=quiet)
        return

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

    _answer_bench(run, [*(save or ()), *_kept_in(out)], as_json=as_json, quiet=quiet)


def _kept_in(out: Path | None) -> list[Path]:
    """Return what a run leaves in its folder besides the trials: all results, and the page where it can be made."""
    if out is None:
        return []
    from importlib.util import find_spec

    return [out / "result.json", *([out / "result.html"] if find_spec("plotly") else [])]


@app.command()
def devices(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Devices: local, ssh://[user@]host[:port], adb[:serial], arm64-emulated[:core]. [default: all]"
        ),
    ] = None,
    fleet: Annotated[Path | None, typer.Option(help="File that names devices (devices.toml).")] = None,
    setup: Setup = False,
    clean: Annotated[bool, typer.Option("--clean", help="Remove all that this program ever left there.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Say what devices are: cores, clocks, memory, system, runtimes, temperature."""

    def run() -> Any:
        return commands.devices(*(names or ()), fleet=fleet, setup=setup, clean=clean, progress=chosen_progress(quiet))

    def show(result: Any) -> None:
        from dcd_deploy.reports.devices import show_devices
        from dcd_deploy.reports.terminal import console

        show_devices(console(), result)

    answer(run, show, as_json=as_json, quiet=quiet)


@app.command()
def sweep(
    out: Annotated[Path, typer.Option(help="Folder that keeps models and results; a sweep goes on where it ended.")],
    networks: Annotated[
        str, typer.Option(help="Networks, separated by commas, such as mobilenetv2_dcd_x0.5. [default: all]")
    ] = "",
    runtime: Annotated[str, typer.Option(help="Runtimes, separated by commas.")] = "onnxruntime,litert",
    threads: Annotated[str, typer.Option(help="Threads of the runtime, such as 1 or 1,2.")] = "1",
    min_runs: Annotated[int, typer.Option(help="Count at least so many runs of each model.")] = 200,
    min_seconds: Annotated[float, typer.Option(help="Measure at least this long.")] = 10.0,
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

    _answer_bench(run, save, as_json=as_json, quiet=quiet)


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(help="Result that 'bench --save FILE.json' wrote.")],
    after: Annotated[Path, typer.Argument(help="Another one.")],
    different_environments: Annotated[
        bool, typer.Option("--different-environments", help="Compare across machines, versions or settings.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare two results of one machine."""

    def run() -> Any:
        return commands.compare(before, after, different_environments=different_environments)

    def show(result: Any) -> None:
        from dcd_deploy.reports.comparing import show_comparison
        from dcd_deploy.reports.terminal import console

        show_comparison(console(), result)

    answer(run, show, as_json=as_json)


@app.command()
def report(
    result: Annotated[Path, typer.Argument(help="Result that 'bench --save FILE.json' or 'sweep' wrote.")],
    profile: Annotated[
        list[Path] | None, typer.Option(help="What 'profile --json' printed, for the page; may be several.")
    ] = None,
    save: Save = None,
    as_json: AsJson = False,
) -> None:
    """Show a result that was saved, or write it as a page, Markdown or CSV."""

    def run() -> Any:
        from dcd_deploy.benchmarks.results_file import read_result

        return read_result(result)

    _answer_bench(run, save, profile, as_json=as_json, quiet=False)


def answer_counts(run: Callable[[], Any], *, as_json: bool, quiet: bool) -> None:
    """Count, and show the counts."""

    def show(result: Any) -> None:
        from dcd_deploy.reports.counting import show_counts
        from dcd_deploy.reports.terminal import console

        show_counts(console(), result)

    def plain(result: Any) -> Any:
        from dcd_deploy.reports.counting import counts_as_plain

        return counts_as_plain(result)

    answer(run, show, plain=plain, as_json=as_json, quiet=quiet)


@app.command()
def setup_emulated(
    install: Annotated[
        bool, typer.Option("--install", help="Install Debian's packages that are missing, as root.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make, once, what the devices arm64-emulated:CORE need."""

    def run() -> Any:
        return commands.setup_emulated(install=install, progress=chosen_progress(quiet))

    def show(result: Any) -> None:
        from dcd_deploy.reports.counting import show_setup
        from dcd_deploy.reports.terminal import console

        show_setup(console(), result)

    answer(run, show, as_json=as_json, quiet=quiet)


def _answer_bench(
    run: Callable[[], Any],
    save: list[Path] | None,
    profiles: list[Path] | None = None,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure, save the result in all wanted forms, and show it; also where some trials failed."""

    def run_and_save() -> Any:
        from dcd_deploy.benchmarks.profile_file import read_profile
        from dcd_deploy.errors import BenchError, DeviceError
        from dcd_deploy.reports.saving import check_save, save_result

        check_save(save or ())
        shown = [read_profile(path) for path in profiles or ()]
        try:
            result = run()
        except (BenchError, DeviceError) as error:
            if error.result is not None:
                save_result(cast("BenchResult", error.result), save or (), shown)
            raise
        save_result(result, save or (), shown)
        return result

    def show(result: Any) -> None:
        from dcd_deploy.reports.benching import show_bench
        from dcd_deploy.reports.terminal import console

        show_bench(console(), result)

    answer(run_and_save, show, as_json=as_json, quiet=quiet)


@app.command()
def profile(
    model: Annotated[Path, typer.Argument(help="Model file.")],
    threads: Annotated[int, typer.Option(help="Threads of the runtime.")] = 1,
    runs: Annotated[int, typer.Option(help="Runs to take the median of.")] = 30,
    by: Annotated[str, typer.Option(help="Table to print: layer, operator or type.")] = "layer",
    csv: Annotated[Path | None, typer.Option(help="File to write a row for each node into.")] = None,
    device: Annotated[
        str | None, typer.Option(help="arm64-emulated[:CORE]: instructions and traffic by layer instead of times.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Say where the time goes: by layer, and static part against dynamic."""
    if device is not None:
        _answer_layer_counts(model, device, as_json=as_json, quiet=quiet)
        return

    def run() -> Any:
        commands.check_table(by)
        return commands.profile(model, threads=threads, runs=runs, csv=csv, progress=chosen_progress(quiet))

    def show(result: Any) -> None:
        from dcd_deploy.reports.profiling import show_profile
        from dcd_deploy.reports.terminal import console

        show_profile(console(), result, by)

    def plain(result: Any) -> Any:
        from dcd_deploy.reports.profiling import profile_as_plain

        return profile_as_plain(result)

    answer(run, show, plain=plain, as_json=as_json, quiet=quiet)


def _answer_layer_counts(model: Path, device: str, *, as_json: bool, quiet: bool) -> None:
    """Count by layer, and show it."""

    def run() -> Any:
        return commands.count_layers(model, device=device, progress=chosen_progress(quiet))

    def show(result: Any) -> None:
        from dcd_deploy.reports.counting import show_layer_counts
        from dcd_deploy.reports.terminal import console

        show_layer_counts(console(), result)

    def plain(result: Any) -> Any:
        from dcd_deploy.reports.counting import layer_counts_as_plain

        return layer_counts_as_plain(result)

    answer(run, show, plain=plain, as_json=as_json, quiet=quiet)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="Model file.")],
    image: Annotated[Path, typer.Argument(help="Picture file.")],
    top: Annotated[int, typer.Option(help="How many classes to print.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Print the likeliest classes of a picture."""

    def run() -> Any:
        return commands.predict(model, image, top=top)

    def show(result: Any) -> None:
        from dcd_deploy.reports.predicting import show_predictions
        from dcd_deploy.reports.terminal import console

        show_predictions(console(), result)

    answer(run, show, as_json=as_json)


def chosen_progress(quiet: bool) -> Progress:
    """Return the progress shown on standard error, or none."""
    if quiet:
        return silent
    from dcd_deploy.reports.live import live_progress

    return live_progress


@app.callback(invoke_without_command=True)
def version(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    """Networks with dynamic convolution, from a trained checkpoint to a verified model file."""
    if show_version:
        typer.echo(f"dcd-deploy {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line. A request to terminate ends it like Ctrl-C, so that nothing is left half-written."""
    # Before torch is loaded: its threads otherwise spin while they wait, and where another process wants the cores
    # everything takes many times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    listen()
    try:
        app()
    except KeyboardInterrupt:
        leave_interrupted()
    except SystemExit as end:  # typer makes 130 of an interruption, wherever it came, and says nothing
        if end.code == INTERRUPTED:
            leave_interrupted()
        raise


if __name__ == "__main__":
    main()
