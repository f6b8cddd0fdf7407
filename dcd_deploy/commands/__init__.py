"""The commands as Python functions, under the same words as on the command line.

    from dcd_deploy import commands

    result = commands.export("model_best.pth.tar", out="deploy", with_baseline=True)
    commands.verify(result.artifact.path, checkpoint="model_best.pth.tar")
    commands.bench(result.artifact.path)

They take what the command line takes, as texts or as Python has it: ``batch="dynamic"``, ``input_size="192x256"`` or
(192, 256), ``mean="0.5,0.5,0.5"`` or [0.5, 0.5, 0.5].

Each imports what it needs when it is called: ``predict``, ``bench`` and ``verify`` without a checkpoint need numpy
and the runtime alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dcd_deploy.commands.arguments import emulated_core
from dcd_deploy.commands.bench import bench
from dcd_deploy.commands.bundle import bundle
from dcd_deploy.commands.compare import compare, report
from dcd_deploy.commands.devices import devices, setup_emulated
from dcd_deploy.commands.evaluate import evaluate
from dcd_deploy.commands.export import export
from dcd_deploy.commands.inspect import inspect
from dcd_deploy.commands.module import deploy_form, export_module
from dcd_deploy.commands.options import StrPath
from dcd_deploy.commands.predict import predict
from dcd_deploy.commands.profile import count_layers, profile
from dcd_deploy.commands.runtimes import runtimes
from dcd_deploy.commands.sweep import sweep
from dcd_deploy.commands.tune import costs, tune
from dcd_deploy.commands.verify import verify

COMMANDS: tuple[Callable[..., Any], ...] = (
    export,
    tune,
    costs,
    verify,
    evaluate,
    inspect,
    bench,
    runtimes,
    devices,
    sweep,
    compare,
    report,
    setup_emulated,
    profile,
    predict,
    bundle,
)  # as --help lists them

__all__ = [
    "COMMANDS",
    "StrPath",
    "bench",
    "bundle",
    "compare",
    "costs",
    "count_layers",
    "deploy_form",
    "devices",
    "emulated_core",
    "evaluate",
    "export",
    "export_module",
    "inspect",
    "predict",
    "profile",
    "report",
    "runtimes",
    "setup_emulated",
    "sweep",
    "tune",
    "verify",
]
