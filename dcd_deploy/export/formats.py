"""The formats that a checkpoint can be exported to; each brings in its own packages, when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from dcd_deploy.artifacts import FLOAT16, FLOAT32, INT8, LAYOUTS, PRECISIONS, WEIGHTS
from dcd_deploy.errors import OptionError, UnknownNameError
from dcd_deploy.export.ahead import FORMATS, UnfinishedError, exporter
from dcd_deploy.export.alongside import alongside, by_one_thread
from dcd_deploy.export.build_config import BuildConfig, graph_of, samples_for
from dcd_deploy.export.built_model import BuiltModel
from dcd_deploy.export.checked_reference import checked_deploy, lowered
from dcd_deploy.export.deployable import deployable
from dcd_deploy.export.input_type import check_input_type
from dcd_deploy.lowering.capture import Captured
from dcd_deploy.lowering.deploy import DeployNetwork, check_choice
from dcd_deploy.lowering.targets import target_for
from dcd_deploy.models.sizes import check_input_size
from dcd_deploy.progress import Progress, silent

RUN_IN_INT8 = ("onnxruntime", "onnxruntime-web", "litert", "litert-compiled")
QUANTISED = ("onnx", "tflite")  # formats of files that compute in int8
MAKERS = {  # by the graph that a format holds
    "onnx": "dcd_deploy.export.onnx.make",
    "tflite": "dcd_deploy.export.tflite.make",
    "pte": "dcd_deploy.export.executorch.make",
}
# What exporters import inside, at their first call.
INSIDE: dict[str, tuple[str, ...]] = {
    "onnx": ("onnxscript.function_libs.torch_lib.ops", "torch.export._trace"),
    "tflite": ("litert_torch", "torch.export._trace"),
    "pte": (),
}


def check_config(config: BuildConfig, formats: Sequence[str]) -> None:
    """Refuse, before any work, settings that a stage would refuse after it.

    Raises:
        OptionError, UnknownNameError: a setting is not one that these formats have.
    """
    if config.preprocessing is not None:
        check_input_size(config.preprocessing.height, config.preprocessing.width)
    for format in formats:
        target = target_for(config.target, graph_of(format), config.precision)
        check_choice(config.lowering, target.for_batch(config.batch))
    if config.layout not in LAYOUTS:
        raise UnknownNameError("layout", config.layout, LAYOUTS)
    if config.weights not in WEIGHTS:
        raise UnknownNameError("weights", config.weights, WEIGHTS)
    if "ort" in formats and config.weights != FLOAT32:
        raise OptionError(
            expected="`weights` float32 with `to` ort, whose weights are no longer unpacked when it is opened",
            found=config.weights,
            advice="choose `to` onnx",
        )
    _check_precision(config, formats)
    check_input_type(config)
    if "onnx" in map(graph_of, formats):
        from dcd_deploy.export.onnx.opsets import check_opset

        check_opset(config.opset)
    if "tflite" in formats:
        from dcd_deploy.export.tflite.build import check_tflite_options

        check_tflite_options(config)
    if "pte" in formats:
        from dcd_deploy.export.executorch.build import check_pte_options

        check_pte_options(config)


def _check_precision(config: BuildConfig, formats: Sequence[str]) -> None:
    if config.precision not in PRECISIONS:
        raise UnknownNameError("precision", config.precision, PRECISIONS)
    kept = config.keep_float and config.precision == FLOAT32
    if kept or (config.budget is not None and config.precision != INT8):
        raise OptionError(expected="`precision` int8 with `keep_float` or `budget`", found=config.precision)
    if config.budget is not None and not 0 <= config.budget < 100:
        raise OptionError(expected="a `budget` of 0 to 100 points", found=config.budget)
    if config.precision != FLOAT32:
        _check_computed(config, formats)


def _check_computed(config: BuildConfig, formats: Sequence[str]) -> None:
    """Refuse what goes with no precision but float32."""
    for format in formats:
        if format not in QUANTISED:
            raise OptionError(
                expected=f"`to` {' or '.join(QUANTISED)} with `precision` {config.precision}",
                found=format,
                advice="leave it out",
            )
    if config.weights != (FLOAT16 if config.precision == FLOAT16 else FLOAT32):
        raise OptionError(
            expected=f"`precision` {config.precision} without `weights`, which it stores small anyway",
            found=config.weights,
            advice="leave out `weights`",
        )
    if config.runtime not in (None, *RUN_IN_INT8):
        raise OptionError(
            expected=f"`for_` {' or '.join(RUN_IN_INT8)} with `precision` {config.precision}", found=config.runtime
        )
    if config.batch != 1:
        raise OptionError(expected=f"`batch` 1 with `precision` {config.precision}", found=config.batch or "dynamic")


def check_samples(config: BuildConfig) -> None:
    """Refuse, before any work, verification inputs that are none.

    Raises:
        InputFileError: the samples are missing, or are no such pictures.
    """
    if config.samples is not None:
        samples_for(config)


@dataclass(frozen=True)
class Begun:
    """The deploy form for each format, and what gives what another process makes of it, if one does."""

    deploys: dict[str, DeployNetwork]
    sent: dict[str, Callable[[], Iterator[Any]]]

    @property
    def beside(self) -> Callable[..., AbstractContextManager[Callable[[], Any]]]:
        """How other work is done meanwhile."""
        return by_one_thread if self.sent else alongside


def begin_formats(
    captured: Captured, config: BuildConfig, formats: Sequence[str], progress: Progress = silent
) -> Begun:
    """Lower a captured network for each format, and let another process make of it what it can, if there is one."""
    with progress("lower"):
        deploys = lowered(captured, config, formats)
        return Begun(deploys, _sent(deploys, replace(config, calibration=None)))


def build_formats(
    captured: Captured,
    config: BuildConfig,
    formats: Sequence[str],
    progress: Progress = silent,
    begun: Begun | None = None,
) -> dict[str, BuiltModel]:
    """Build and verify a captured network in each format; what runs in float64 may do so beside the rest.

    Raises:
        DcdDeployError: of the stage that refused it.
    """
    assert captured.outstanding is None, "nothing is built of what is not proved"
    begun = begun or begin_formats(captured, config, formats, progress)
    deploys, sent = begun.deploys, begun.sent
    facts = {format: (deploy.lowering, deploy.notes) for format, deploy in deploys.items()}
    settings = replace(config, calibration=None)  # many images, which nothing that is made hangs on

    def made(format: str) -> Iterator[Any]:
        came = 0
        if format in sent:
            with suppress(UnfinishedError):
                for each in sent[format]():
                    came += 1
                    yield each
                return
        yield from [*make(format, single(deploys.pop(format), config), settings)][came:]

    stage = "reference and deploy form in float64"
    with begun.beside(stage, partial(checked_deploy, captured, config, dict(deploys)), progress) as wait:
        return {
            format: _builder(format)(
                partial(made, format), *facts[format], config, lambda format=format: wait()[format], progress
            )
            for format in formats
        }


def _sent(deploys: Mapping[str, DeployNetwork], config: BuildConfig) -> dict[str, Callable[[], Iterator[Any]]]:
    """Let another process make what is made of deploy forms, and return what gives it, of each that can be sent."""
    if (other := exporter()) is None:
        return {}
    started = {
        format: other.started(make, format, single(deploy, config), config)
        for format, deploy in deploys.items()
        if format in FORMATS
    }
    return {format: results for format, results in started.items() if results is not None}


def single(deploy: DeployNetwork, config: BuildConfig) -> DeployNetwork:
    """Return a deploy form in float32, as it is made into files."""
    return replace(deploy, module=deployable(deploy.module, config.weights))


def make(format: str, deploy: DeployNetwork, config: BuildConfig) -> Iterator[Any]:
    """Yield what the exporter of a format makes of a deploy form in float32, unchecked (``onnx/make.py``, …).

    Raises:
        ExportError: the exporter refused it.
    """
    yield from importlib.import_module(MAKERS[graph_of(format)]).make(deploy, config)


def load_makers(formats: Sequence[str]) -> None:
    """Import what exports to these formats."""
    for graph in dict.fromkeys(map(graph_of, formats)):
        for name in (MAKERS[graph], *INSIDE[graph]):
            importlib.import_module(name)


def load_builders(formats: Sequence[str]) -> None:
    """Import what builds these formats, unless it starts threads, after which this process cannot be forked."""
    if "onnx" in map(graph_of, formats):
        _builder("onnx")
        with suppress(ImportError):
            load_makers(["onnx"])


def _builder(format: str) -> Callable[..., BuiltModel]:
    if format == "ort":
        from dcd_deploy.export.onnx.ort import build_ort

        return build_ort
    if format == "onnx":
        from dcd_deploy.export.onnx.build import build_onnx

        return build_onnx
    if format == "pte":
        from dcd_deploy.export.executorch.build import build_pte

        return build_pte
    from dcd_deploy.export.tflite.build import build_tflite

    return build_tflite
