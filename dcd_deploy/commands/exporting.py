"""From a checkpoint to verified model files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from dcd_deploy.artifacts import FLOAT32_TOLERANCE, Preprocessing
from dcd_deploy.commands.arguments import (
    StrPath,
    check_label_count,
    checked_name,
    parse_formats,
    parse_labels,
    parse_preprocessing,
)
from dcd_deploy.commands.lowering import check_tuned, tuned_lowering
from dcd_deploy.commands.modules import entries_of
from dcd_deploy.commands.networks import USUAL_SIZE, NetworkOptions, check_options, trained_network
from dcd_deploy.errors import OptionError
from dcd_deploy.files import existing_file
from dcd_deploy.progress import Progress, silent
from dcd_deploy.values import (
    Batch,
    Channels,
    parse_batch,
    parse_shape,
    parse_tolerance,
)

if TYPE_CHECKING:
    from dcd_deploy.export.pipeline import ExportResult


def export(
    checkpoint: StrPath,
    *,
    to: str | Sequence[str] = "onnx",
    out: StrPath = ".",
    name: str | None = None,
    batch: Batch = 1,
    target: str = "portable",
    for_runtime: str | None = None,
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
    **network: Unpack[NetworkOptions],
) -> ExportResult:
    """Turn a trained checkpoint into verified model files ``out``/``name``.onnx or .tflite, each with a JSON sidecar.

    ``network`` says which network the checkpoint holds (``commands.networks.NetworkOptions``): one that is known by its
    tensors, at an ``input_size``, or that of a user's own Python file, ``network="FILE.py:FACTORY"``, at an
    ``input_shape``.
    ``to`` is "onnx", "tflite" or both ("onnx,tflite"); ``opset`` counts for the first, ``layout`` of the maps that go
    in and out, "nhwc" or "nchw", for the second.
    ``target`` names what the order of computation is chosen for (``lowering.targets``); ``lowering`` is "auto", the
    lowering of all layers, or a file that ``tune`` wrote for its own target; ``foreign_lowering`` says that it may be
    from another machine or version of the runtime.
    ``for_runtime`` is the runtime that the file is for (``export.runtime_needs``): it picks the target, and refuses
    options that would not come out right there.
    ``batch`` is a number, or "dynamic" (or None) for any; ``labels`` a file with one per line, or the labels
    themselves; ``mean`` and ``std`` are of RGB values 0..1; ``samples`` a .npy file of normalised pictures to verify
    on; ``reference`` an .npz file of what your own network answered (``dcd_deploy.record_reference``), with which every
    stage is compared too.

    Raises:
        DcdDeployError: with the exit code of its kind (see ``dcd_deploy.errors``); no file is left then.
    """
    formats = parse_formats(to)
    from dcd_deploy.export.build import BuildConfig
    from dcd_deploy.export.describe import Subject
    from dcd_deploy.export.formats import check_config, check_samples
    from dcd_deploy.export.pipeline import ExportConfig, check_targets, export_network
    from dcd_deploy.export.runtime_needs import needs_of
    from dcd_deploy.lowering.targets import PORTABLE

    check_options(network)
    tuned = tuned_lowering(lowering, foreign=foreign_lowering)
    if tuned is not None and target not in (PORTABLE, tuned.target):
        raise OptionError(
            f"expected --target {tuned.target}, for which '{lowering}' was tuned, found {target}; leave --target out"
        )
    build = BuildConfig(
        preprocessing=_early_preprocessing(network, mean, std, resize),
        batch=parse_batch(batch),
        lowering="auto" if tuned else str(lowering),
        target=tuned.target if tuned else target,
        opset=opset,
        layout=layout,
        tolerance=FLOAT32_TOLERANCE if tolerance is None else parse_tolerance(tolerance),
        samples=None if samples is None else Path(samples),
        recorded=None if reference is None else Path(reference),
    )
    if for_runtime is not None:
        needs = needs_of(for_runtime)
        chosen = needs.check(for_runtime, formats, build.target, build.batch, build.opset)
        build = replace(build, target=chosen, runtime=for_runtime)
    check_config(build, formats)
    for given in (build.samples, build.recorded):
        if given is not None:
            existing_file(given, "a file to verify with")
    texts, name = parse_labels(labels), name if name is None else checked_name(name)
    config = ExportConfig(Path(out), name or "", build, formats, texts, with_baseline)
    if name is not None:
        check_targets(config)
    start = time.perf_counter()
    found = trained_network(checkpoint, progress=progress, **network)
    captured = found.captured(progress)
    if tuned is not None:
        check_tuned(tuned, found.title, captured)
        build = replace(build, lowering=tuned.layers)
    if texts:
        check_label_count(texts, found.classes)
    build = replace(
        build,
        preprocessing=build.preprocessing if _is_picture(found.network.examples[0].shape) else None,
        inputs=entries_of(found.network),
        alone=found.network.alone,
        assumed=found.assumed,
    )
    check_samples(build)
    config = replace(config, name=name or found.file_name, build=build)
    subject = Subject(
        found.arch, found.spec, found.checkpoint.sha256, found.checkpoint.path.name, found.checkpoint.notes
    )
    return export_network(captured, subject, config, progress, start=start)


def _early_preprocessing(
    network: NetworkOptions, mean: Channels, std: Channels, resize: int | None
) -> Preprocessing | None:
    """Return how a picture becomes the input, as far as the options tell; None where nobody said of a user's own."""
    if network.get("network") is None:
        return parse_preprocessing(network.get("input_size", USUAL_SIZE), mean, std, resize)
    if mean is None and std is None and resize is None:
        return None
    shape = network.get("input_shape")
    assert shape is not None
    sides = parse_shape(shape)
    if not _is_picture((1, *sides)):
        raise OptionError(
            f"expected --mean, --std and --resize with a picture of three channels, found --input-shape {shape}; leave "
            "them out"
        )
    return parse_preprocessing((sides[1], sides[2]), mean, std, resize)


def _is_picture(shape: Sequence[int]) -> bool:
    """Whether a batch of this shape is one of pictures in colour."""
    return len(shape) == 4 and shape[1] == 3
