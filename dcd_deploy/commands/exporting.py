"""From a checkpoint to verified model files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dcd_deploy.artifacts import FLOAT32_TOLERANCE
from dcd_deploy.commands.arguments import (
    StrPath,
    check_label_count,
    checked_name,
    parse_formats,
    parse_labels,
    parse_preprocessing,
)
from dcd_deploy.commands.lowering import tuned_lowering
from dcd_deploy.errors import OptionError
from dcd_deploy.progress import Progress, silent
from dcd_deploy.values import (
    Batch,
    Channels,
    Size,
    parse_batch,
    parse_tolerance,
)

if TYPE_CHECKING:
    from dcd_deploy.export.pipeline import ExportResult


def export(
    checkpoint: StrPath,
    *,
    arch: str | None = None,
    width_mult: float | None = None,
    fc_squeeze: int | None = None,
    num_classes: int | None = None,
    dropout: float | None = None,
    ema: bool = False,
    to: str | Sequence[str] = "onnx",
    out: StrPath = ".",
    name: str | None = None,
    input_size: Size = 224,
    batch: Batch = 1,
    target: str = "portable",
    lowering: str | StrPath = "auto",
    foreign_lowering: bool = False,
    opset: int = 18,
    layout: str = "nhwc",
    labels: StrPath | Sequence[str] | None = None,
    mean: Channels = None,
    std: Channels = None,
    resize: int | None = None,
    with_baseline: bool = False,
    tolerance: float | None = None,
    samples: StrPath | None = None,
    reference: StrPath | None = None,
    progress: Progress = silent,
) -> ExportResult:
    """Turn a trained checkpoint into verified model files ``out``/``name``.onnx or .tflite, each with a JSON sidecar.

    ``to`` is "onnx", "tflite" or both ("onnx,tflite"); ``opset`` counts for the first, ``layout`` of the input, "nhwc"
    or "nchw", for the second.
    ``target`` names what the order of computation is chosen for (``models.deploy.targets``); ``lowering`` is "auto",
    the form of all layers, or a file that ``tune`` wrote for its own target; ``foreign_lowering`` says that it may be
    from another machine or version of the runtime.
    ``input_size`` is a side or (height, width); ``batch`` a number, or "dynamic" (or None) for any; ``labels`` a file
    with one per line, or the labels themselves; ``mean`` and ``std`` are of RGB values 0..1; ``samples`` a .npy file of
    normalised pictures to verify on; ``reference`` an .npz file of what your own network answered
    (``dcd_deploy.record_reference``), with which every stage is compared too. The architecture and its settings follow
    from the tensors where they are not given.

    Raises:
        DcdDeployError: with the exit code of its kind (see ``dcd_deploy.errors``); no file is left then.
    """
    formats = parse_formats(to)
    from dcd_deploy.export.build import BuildConfig
    from dcd_deploy.export.formats import check_config
    from dcd_deploy.export.pipeline import ExportConfig, export_checkpoint
    from dcd_deploy.models.checkpoint import read_checkpoint
    from dcd_deploy.models.deploy.targets import PORTABLE
    from dcd_deploy.models.fit import fit
    from dcd_deploy.models.infer import SpecOverrides

    preprocessing = parse_preprocessing(input_size, mean, std, resize)
    tuned = tuned_lowering(lowering, foreign=foreign_lowering)
    if tuned is not None and target not in (PORTABLE, tuned.target):
        raise OptionError(
            f"expected --target {tuned.target}, for which '{lowering}' was tuned, found {target}; leave --target out"
        )
    build = BuildConfig(
        preprocessing=preprocessing,
        batch=parse_batch(batch),
        lowering="auto" if tuned else str(lowering),
        target=tuned.target if tuned else target,
        opset=opset,
        layout=layout,
        tolerance=FLOAT32_TOLERANCE if tolerance is None else parse_tolerance(tolerance),
        samples=None if samples is None else Path(samples),
        recorded=None if reference is None else Path(reference),
    )
    check_config(build, formats)
    overrides = SpecOverrides(arch, width_mult, fc_squeeze, num_classes, dropout)
    texts, name = parse_labels(labels), name if name is None else checked_name(name)
    with progress("read checkpoint"):
        loaded = read_checkpoint(checkpoint, ema=ema)
        spec = fit(loaded, overrides)
    if tuned is not None:
        tuned.check_network(spec.describe(), ((3, preprocessing.height, preprocessing.width),))
        build = replace(build, lowering=tuned.layers)
    if texts:
        check_label_count(texts, spec.num_classes)
    name = name or spec.file_name(preprocessing.height, preprocessing.width)
    config = ExportConfig(Path(out), name, build, formats, texts, with_baseline)
    return export_checkpoint(loaded, spec, config, progress)
