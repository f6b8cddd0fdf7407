"""The command ``export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dcd_deploy import commands
from dcd_deploy.cli.network_options import with_network_options
from dcd_deploy.cli.options import (
    AsJson,
    Quiet,
    Reference,
    Samples,
    Tolerance,
    chosen_progress,
)
from dcd_deploy.cli.outcome import answer


@with_network_options
def export(
    checkpoint: Annotated[
        Path,
        typer.Argument(readable=False, help="Checkpoint: .pth.tar, .pt, .pth, .safetensors, or an index of shards."),
    ],
    to: Annotated[str, typer.Option(help=f"Formats, separated by commas: {', '.join(commands.FORMATS)}.")] = "onnx",
    out: Annotated[Path, typer.Option(readable=False, help="Folder to write into.")] = Path(),
    name: Annotated[str | None, typer.Option(help="Name of the files. [default: network and input size]")] = None,
    batch: Annotated[str, typer.Option(help="Batch size: a number, or 'dynamic' for any.")] = "1",
    target: Annotated[
        str,
        typer.Option(
            help="What to be quick on: portable, onnxruntime-x86 (runs on x86-64 alone, with AVX-512, AVX2 or "
            "neither), onnxruntime-arm, litert or litert-compiled (docs/litert-compiled.md)."
        ),
    ] = "portable",
    for_runtime: Annotated[
        str | None,
        typer.Option(
            "--for",
            help="Runtime that the file is for; refuses what is known to go wrong there: onnxruntime, onnxruntime-web, "
            "openvino, mnn, ncnn, tract, opencv, opencv4, onnx2tf, nnapi, coreml, litert or litert-compiled.",
        ),
    ] = None,
    lowering: Annotated[
        str, typer.Option(help="Order of computation: auto, a lowering's name (see 'costs'), or a file from 'tune'.")
    ] = "auto",
    foreign_lowering: Annotated[
        bool, typer.Option("--foreign-lowering", help="Take a lowering file that was tuned elsewhere.")
    ] = False,
    opset: Annotated[int, typer.Option(help="ONNX opset, 11 to 26.")] = 18,
    layout: Annotated[str, typer.Option(help="Input of a TFLite file: nhwc or nchw.")] = "nhwc",
    labels: Annotated[Path | None, typer.Option(readable=False, help="Text file with one label per line.")] = None,
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
    reference: Reference = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    **network: Any,
) -> None:
    """Turn a trained checkpoint into a verified model file."""

    def run() -> Any:
        return commands.export(
            checkpoint,
            to=to,
            out=out,
            name=name,
            batch=batch,
            target=target,
            for_runtime=for_runtime,
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
            reference=reference,
            progress=chosen_progress(quiet),
            **network,
        )

    def show(result: Any) -> None:
        from dcd_deploy.reports.exporting import show_export
        from dcd_deploy.reports.terminal import console

        show_export(console(), result, str(checkpoint), network)

    def plain(result: Any) -> Any:
        from dcd_deploy.reports.exporting import export_as_plain

        return export_as_plain(result)

    answer(run, show, plain=plain, as_json=as_json, quiet=quiet)
