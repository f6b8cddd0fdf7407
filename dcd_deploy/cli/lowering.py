"""The commands about which form each layer gets: ``tune`` and ``costs``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dcd_deploy import commands
from dcd_deploy.cli.options import (
    AsJson,
    BnEps,
    Drop,
    Ema,
    Gate,
    InputSize,
    LastStride,
    Prefix,
    Quiet,
    ResidualQ,
    StemPool,
    StemStride,
    Strides,
    Target,
    Threads,
    chosen_progress,
)
from dcd_deploy.cli.outcome import answer


def tune(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of the network to tune.")],
    target: Target,
    out: Annotated[Path | None, typer.Option(help="Lowering file to write, for 'export --lowering'.")] = None,
    device: Annotated[str, typer.Option(help="Where to measure: local, ssh://[user@]host, …")] = "local",
    ema: Ema = False,
    input_size: InputSize = "224",
    threads: Threads = 1,
    prefix: Prefix = None,
    drop: Drop = None,
    bn_eps: BnEps = None,
    gate: Gate = None,
    residual_q: ResidualQ = None,
    strides: Strides = None,
    stem_stride: StemStride = None,
    last_stride: LastStride = None,
    stem_pool: StemPool = None,
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
            prefix=prefix,
            drop=drop or (),
            bn_eps=bn_eps,
            gate=gate,
            residual_q=residual_q,
            strides=strides,
            stem_stride=stem_stride,
            last_stride=last_stride,
            stem_pool=stem_pool,
            progress=chosen_progress(quiet),
        )

    def show(result: Any) -> None:
        from dcd_deploy.reports.terminal import console
        from dcd_deploy.reports.tuning import show_tuning

        show_tuning(console(), result, str(checkpoint), None if out is None else str(out))

    answer(run, show, as_json=as_json, quiet=quiet)


def costs(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of the network.")],
    target: Target,
    ema: Ema = False,
    input_size: InputSize = "224",
    prefix: Prefix = None,
    drop: Drop = None,
    bn_eps: BnEps = None,
    gate: Gate = None,
    residual_q: ResidualQ = None,
    strides: Strides = None,
    stem_stride: StemStride = None,
    last_stride: LastStride = None,
    stem_pool: StemPool = None,
    as_json: AsJson = False,
) -> None:
    """Say what each form of each layer costs on a target, before anything is exported."""

    def run() -> Any:
        return commands.costs(
            checkpoint,
            target=target,
            ema=ema,
            input_size=input_size,
            prefix=prefix,
            drop=drop or (),
            bn_eps=bn_eps,
            gate=gate,
            residual_q=residual_q,
            strides=strides,
            stem_stride=stem_stride,
            last_stride=last_stride,
            stem_pool=stem_pool,
        )

    def show(result: Any) -> None:
        from dcd_deploy.reports.forecasting import show_forecast
        from dcd_deploy.reports.terminal import console

        show_forecast(console(), result)

    answer(run, show, as_json=as_json)
