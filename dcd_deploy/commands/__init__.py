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

from dcd_deploy.commands.arguments import FORMATS, StrPath, emulated_core
from dcd_deploy.commands.checking import inspect, predict, verify
from dcd_deploy.commands.exporting import export
from dcd_deploy.commands.lowering import costs, tune
from dcd_deploy.commands.measuring import bench, compare, sweep
from dcd_deploy.commands.modules import deploy_form, export_module
from dcd_deploy.commands.profiling import PROFILE_TABLES, check_table, count_layers, profile
from dcd_deploy.commands.reaching import devices, setup_emulated

__all__ = [
    "FORMATS",
    "PROFILE_TABLES",
    "StrPath",
    "bench",
    "check_table",
    "compare",
    "costs",
    "count_layers",
    "deploy_form",
    "devices",
    "emulated_core",
    "export",
    "export_module",
    "inspect",
    "predict",
    "profile",
    "setup_emulated",
    "sweep",
    "tune",
    "verify",
]
