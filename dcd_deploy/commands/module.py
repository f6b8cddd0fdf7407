"""A module that is already in the hands of the caller: to verified files, or to a module for other exporters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcd_deploy.artifacts import FLOAT32_TOLERANCE, Preprocessing
from dcd_deploy.commands.arguments import checked_name, parse_formats, parse_labels, parse_preprocessing
from dcd_deploy.commands.calibration import calibrated, check_calibrate, precision_settings
from dcd_deploy.commands.options import StrPath
from dcd_deploy.commands.tune import check_tuned, check_tuned_for, tuned_lowering
from dcd_deploy.commands.undisturbed import undisturbed
from dcd_deploy.commands.values import Batch, Channels, parse_batch, parse_tolerance
from dcd_deploy.errors import OptionError
from dcd_deploy.optional import require
from dcd_deploy.progress import Progress, silent

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dcd_deploy.export.build_config import BuildConfig
    from dcd_deploy.export.pipeline import ExportResult
    from dcd_deploy.lowering.network import Network
    from dcd_deploy.samples import InputSpec


@undisturbed()
def export_module(
    module: nn.Module,
    example: Tensor | Sequence[Tensor],
    *,
    to: str | Sequence[str] = "onnx",
    out: StrPath = ".",
    name: str = "model",
    batch: Batch = 1,
    target: str = "portable",
    for_: str | None = None,
    lowering: StrPath = "auto",
    foreign_lowering: bool = False,
    opset: int = 18,
    layout: str = "nhwc",
    input_: str = "float32",
    weights: str = "float32",
    precision: str = "float32",
    calibrate: StrPath | None = None,
    keep_float: Sequence[str] | str = (),
    budget: float | None = None,
    labels: StrPath | Sequence[str] | None = None,
    mean: Channels = None,
    std: Channels = None,
    resize: int | None = None,
    with_baseline: bool = False,
    tolerance: float | None = None,
    samples: StrPath | None = None,
    reference: StrPath | None = None,
    leaf: Sequence[str] = (),
    progress: Progress = silent,
) -> ExportResult:
    """Turn any module with dynamic layers into verified files ``out``/``name``.onnx or .tflite, as ``export`` does.

    ``example`` is a tensor (1, C, H, W), or a tuple of tensors, one for each argument of ``forward``; files take inputs
    of its size. The eval form of the module is exported, in float32, and the module itself is left as it is. Outputs
    may be a tensor, or a tuple, list or dict of tensors; they are called after the dict's keys, else "output", or
    "output_0" and on. ``mean``, ``std`` and ``resize`` say how a picture becomes the input, if it is one of three
    channels. Submodules at the paths of ``leaf`` are kept whole. The other words are those of ``export``.
    ``result.built.lowering`` has a row for each dynamic layer that was recognised, ``result.built.notes`` says which
    were not, and why.

    Raises:
        CaptureError: the module does not run on the example, or its forward cannot be followed.
        DcdDeployError: with the exit code of its kind (see ``dcd_deploy.errors``); no file is left then.
    """
    formats = parse_formats(to)
    from dcd_deploy.export.alongside import threads_by_load
    from dcd_deploy.export.build_config import BuildConfig
    from dcd_deploy.export.describe import Source
    from dcd_deploy.export.formats import check_config
    from dcd_deploy.export.pipeline import ExportConfig, capture_network, check_targets, export_network
    from dcd_deploy.lowering.network import network_of

    tuned = tuned_lowering(lowering, foreign=foreign_lowering)
    if tuned is not None:
        check_tuned_for(tuned, target, precision, lowering)
    with threads_by_load():
        network = network_of(module, example)
    build = BuildConfig(
        **with_assumed(picture_preprocessing(network.examples[0].shape[1:], mean, std, resize), mean, std, resize),
        inputs=entries_of(network),
        batch=parse_batch(batch),
        lowering="auto" if tuned else str(lowering),
        target=tuned.target if tuned else target,
        opset=opset,
        layout=layout,
        input_type=input_,
        **precision_settings(precision, weights, keep_float, budget),
        tolerance=FLOAT32_TOLERANCE if tolerance is None else parse_tolerance(tolerance),
        samples=None if samples is None else Path(samples),
        recorded=None if reference is None else Path(reference),
        alone=network.alone,
    )
    build = for_runtime(build, for_, formats)
    check_config(build, formats)
    check_calibrate(precision, calibrate)
    build = calibrated(build, calibrate, progress)
    config = ExportConfig(Path(out), checked_name(name), build, formats, parse_labels(labels), with_baseline)
    check_targets(config)
    captured = capture_network(network, leaf, progress, formats)
    if tuned is not None:
        captured = captured.proved()
        check_tuned(tuned, type(module).__name__, captured)
        config = replace(config, build=replace(build, lowering=tuned.layers))
    return export_network(captured, Source(type(module).__name__), config, progress)


@undisturbed()
def deploy_form(
    module: nn.Module,
    example: Tensor | Sequence[Tensor],
    target: str = "portable",
    *,
    lowering: str = "auto",
    leaf: Sequence[str] = (),
) -> nn.Module:
    """Return the deploy form of a module for somebody else's exporter: ordinary operators of torch, channels first.

    It takes what the module takes, at the size of ``example``, and gives its output, or a tuple of several, in
    float32; it was proved equal to the module in float64. No norm and no dropout is left in it that could be folded,
    and dynamic layers are spelled in the order of computation that ``target`` runs best.

    Raises:
        CaptureError: the module does not run on the example, or its forward cannot be followed.
        VerificationError: the deploy form computes something else than the module.
    """
    require("torch")
    from dcd_deploy.export.deployable import deployable, proved_deploy
    from dcd_deploy.lowering.network import network_of

    return deployable(proved_deploy(network_of(module, example), target, lowering, leaf).module)


def entries_of(network: Network) -> tuple[InputSpec, ...]:
    """Return the inputs of a network: their names, shapes of a sample, and the size of the example's numbers."""
    from dcd_deploy.samples import InputSpec

    return tuple(
        InputSpec(name, tuple(int(side) for side in one.shape[1:]), float(one.double().std(correction=0)) or 1.0)
        for name, one in zip(network.inputs, network.examples, strict=True)
    )


def for_runtime(build: BuildConfig, runtime: str | None, formats: Sequence[str]) -> BuildConfig:
    """Return the settings with the target that a runtime needs.

    Raises:
        UnknownNameError, OptionError: there is no such runtime, or a setting is known to go wrong there.
    """
    if runtime is None:
        return build
    from dcd_deploy.export.runtime_needs import needs_of

    needs = needs_of(runtime)
    chosen = needs.check(runtime, formats, build.target, build.batch, build.opset, build.input_type)
    return replace(build, target=chosen, runtime=runtime)


def picture_preprocessing(
    shape: Sequence[int], mean: Channels, std: Channels, resize: int | None
) -> Preprocessing | None:
    """Return how a picture becomes an input of this shape without the batch; None where nobody said.

    Raises:
        OptionError: somebody did, and it is no picture of three channels.
    """
    if mean is None and std is None and resize is None:
        return None
    if len(shape) != 3 or shape[0] != 3:
        raise OptionError(
            expected="`mean`, `std` and `resize` with a picture of three channels",
            found=f"an input {tuple(shape)}",
            advice="leave them out, and `input_` uint8 with them",
        )
    return parse_preprocessing((int(shape[1]), int(shape[2])), mean, std, resize)


def with_assumed(found: Preprocessing | None, mean: Channels, std: Channels, resize: int | None) -> dict[str, Any]:
    """Return, for a ``BuildConfig``, how a picture becomes the input, and in words what of it nobody said."""
    from dcd_deploy.models.untold import assumed_of_pictures

    given = {"mean": mean, "std": std, "resize": resize}
    said = [name for name, value in given.items() if value is not None]
    return {"preprocessing": found, "assumed": () if found is None else assumed_of_pictures(found.resize, said)}
