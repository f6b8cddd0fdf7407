"""How each kind of result is shown and written as JSON: one table, by the name of its class.

By name, since the package that defines a class need not be installed, and only what is shown is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from typing import Any

from rich.console import Console

from dcd_deploy.errors import DcdDeployError
from dcd_deploy.reports import json as machine

# class of the result → function that prints it on a console, and may want the command's ``request``
SHOW = {
    "BenchResult": "bench:show_bench",
    "Bundle": "short:show_bundle",
    "CheckpointSummary": "inspect:show_checkpoint",
    "DeviceList": "devices:show_devices",
    "EmulationSetup": "counts:show_setup",
    "EvaluationResult": "evaluate:show_evaluation",
    "ExportResult": "export:show_export",
    "Forecast": "tune:show_forecast",
    "LayerCounts": "counts:show_layer_counts",
    "MobileSummary": "mobile:show_mobile",
    "Mismatch": "inspect:show_mismatch",
    "OnnxFileSummary": "inspect:show_onnx_file",
    "PteFileSummary": "inspect:show_pte_file",
    "Prediction": "short:show_predictions",
    "ProfileResult": "profile:show_profile",
    "ResultComparison": "compare:show_comparison",
    "RuntimesResult": "runtimes:show_runtimes",
    "Setting": "short:show_settings",
    "SelfCheck": "verify:show_self_check",
    "TfliteFileSummary": "inspect:show_tflite_file",
    "TuneResult": "tune:show_tuning",
    "VerificationReport": "verify:show_verification",
}
# class of the result → what is written as JSON; its own fields where it is not listed
PLAIN = {
    "ExportResult": "export:export_as_plain",
    "LayerCounts": "counts:layer_counts_as_plain",
    "ProfileResult": "profile:profile_as_plain",
}
LISTS = {"Prediction": "predictions", "Setting": "settings"}  # class of each of several → what they are in the object
CARRIED = ("report", "result", "mismatch")  # what an error brings along


def show(screen: Console, result: Any, request: Mapping[str, Any]) -> None:
    """Print a result, or what an error brings along: failed comparisons, keys that differ, what was measured.

    ``request`` holds the options of the command, and its name as ``command``.
    """
    if isinstance(result, DcdDeployError):
        for name in CARRIED:
            if (carried := getattr(result, name, None)) is not None:
                show(screen, carried, request)
        return
    function = _function(SHOW[_kind(result)])
    if "request" in signature(function).parameters:
        function(screen, result, request)
    else:
        function(screen, result)


def as_plain(result: Any) -> Any:
    """Return a result as a dict of dicts, lists, texts and numbers."""
    if isinstance(result, list):
        return {LISTS[_kind(result)]: machine.as_plain(result)}
    name = PLAIN.get(_kind(result))
    return machine.as_plain(result) if name is None else _function(name)(result)


def _kind(result: Any) -> str:
    return type(result[0] if isinstance(result, list) else result).__name__


def _function(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(import_module(f"dcd_deploy.reports.{module}"), function)
