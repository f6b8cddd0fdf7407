"""From a checkpoint to verified model files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Unpack

from dcd_deploy.artifacts import FLOAT32_TOLERANCE, Preprocessing
from dcd_deploy.commands.arguments import (
    Reference,
    Samples,
    Tolerance,
    check_label_count,
    checked_name,
    parse_formats,
    parse_labels,
    parse_preprocessing,
)
from dcd_deploy.commands.calibration import calibrated, check_calibrate, precision_settings
from dcd_deploy.commands.module import entries_of, for_runtime, picture_preprocessing, with_assumed
from dcd_deploy.commands.network import USUAL_SIZE, TrainedNetwork, check_options, trained_network
from dcd_deploy.commands.network_options import NetworkOptions
from dcd_deploy.commands.options import FORM, PICTURES, Argument, Option, StrPath
from dcd_deploy.commands.tune import check_tuned, check_tuned_for, tuned_lowering
from dcd_deploy.commands.values import (
    Batch,
    Channels,
    parse_batch,
    parse_shape,
    parse_tolerance,
)
from dcd_deploy.files import existing_file
from dcd_deploy.optional import FORMATS
from dcd_deploy.progress import Progress, silent

if TYPE_CHECKING:
    from dcd_deploy.export.build_config import BuildConfig
    from dcd_deploy.export.pipeline import ExportConfig, ExportResult
    from dcd_deploy.tuning.lowering_file import TunedLowering


def export(
    checkpoint: Annotated[StrPath, Argument("Checkpoint: .pth.tar, .pt, .pth, .safetensors, or an index of shards.")],
    *,
    to: Annotated[
        str | Sequence[str], Option(f"Formats, separated by commas: {', '.join(FORMATS)} (or executorch).", beside=True)
    ] = "onnx",
    out: Annotated[StrPath, Option("Folder to write into.")] = ".",
    name: Annotated[str | None, Option("Name of the files.", default="network and input size")] = None,
    target: Annotated[
        str,
        Option(
            "What to be quick on: portable, onnxruntime-x86 (runs on x86-64 alone, with AVX-512, AVX2 or neither), "
            "onnxruntime-arm, litert, litert-compiled (docs/litert-compiled.md) or executorch.",
            beside=True,
        ),
    ] = "portable",
    for_: Annotated[
        str | None,
        Option(
            "Runtime that the file is for; refuses what is known to go wrong there: onnxruntime, onnxruntime-web, "
            "openvino, mnn, ncnn, tract, opencv, opencv4, onnx2tf, nnapi, coreml, litert or litert-compiled.",
            beside=True,
        ),
    ] = None,
    with_baseline: Annotated[bool, Option("Write the static twin too, to time against.", beside=True)] = False,
    batch: Annotated[Batch, Option("Batch size: a number, or 'dynamic' for any.", FORM, beside=True)] = 1,
    opset: Annotated[int, Option("ONNX opset, 11 to 26.", FORM, beside=True)] = 18,
    layout: Annotated[str, Option("Input of a TFLite file: nhwc or nchw.", FORM, beside=True)] = "nhwc",
    input_: Annotated[
        str,
        Option("What a picture's input takes: float32, normalised, or uint8, its raw RGB bytes.", FORM, beside=True),
    ] = "float32",
    weights: Annotated[
        str,
        Option("How large weights are stored: float32, float16 or int8; computed with in float32.", FORM, beside=True),
    ] = "float32",
    precision: Annotated[
        str, Option("What layers compute in: float32, float16, or int8 with 'calibrate'.", FORM, beside=True)
    ] = ("float32"),
    calibrate: Annotated[
        StrPath | None,
        Option("Folder of images, or .npz of images (N, C, H, W) and labels, 128 at least, for int8, float16.", FORM),
    ] = None,
    keep_float: Annotated[
        Sequence[str] | str,
        Option("Layer, or submodule, to keep in float32 (several times).", FORM, several=True),
    ] = (),
    budget: Annotated[
        float | None,
        Option("Points of top-1 that int8 may lose; layers stay in float32 until it holds.", FORM),
    ] = None,
    lowering: Annotated[
        str | Path,
        Option(
            "Order of computation: auto, a lowering's name (see 'costs'), or a file from 'tune'.", FORM, beside=True
        ),
    ] = "auto",
    foreign_lowering: Annotated[bool, Option("Take a lowering file that was tuned elsewhere.", FORM)] = False,
    labels: Annotated[
        StrPath | Sequence[str] | None, Option("Text file with one label per line.", PICTURES, beside=True)
    ] = None,
    mean: Annotated[
        Channels, Option("Mean of R,G,B in 0..1.", PICTURES, default="0.485,0.456,0.406", beside=True)
    ] = None,
    std: Annotated[
        Channels, Option("Deviation of R,G,B in 0..1.", PICTURES, default="0.229,0.224,0.225", beside=True)
    ] = None,
    resize: Annotated[
        int | None,
        Option("Short side before the centre crop.", PICTURES, default="input size · 256/224", beside=True),
    ] = None,
    tolerance: Tolerance = None,
    samples: Samples = None,
    reference: Reference = None,
    progress: Progress = silent,
    **network: Unpack[NetworkOptions],
) -> ExportResult:
    """Turn a trained checkpoint into a verified model file.

    It is ``out``/``name``.onnx, .ort or .tflite, with a JSON sidecar.
    ``network`` says which network the checkpoint holds (``commands.network.NetworkOptions``): one that is known by its
    tensors, at an ``input_size``, or that of a user's own Python file, ``network="FILE.py:FACTORY"``, at an
    ``input_shape``.
    ``to`` is "onnx", "ort", "tflite" or several ("onnx,tflite"); ``opset`` counts for the first two, ``layout`` of the
    maps that go in and out, "nhwc" or "nchw", for the last. ``input_`` "uint8" says that the first input is the raw RGB
    bytes of a picture: its normalisation goes into the first convolution. ``weights`` says how large weights are
    stored, "float32", "float16" or "int8"; they are computed with in float32 whatever it is.
    ``precision`` "int8" quantises all layers but those of ``keep_float``, with ranges from the images of ``calibrate``,
    a folder or an .npz file (``labelled_images``); ``budget`` are the points of top-1 that it may lose there.
    ``target`` names what the order of computation is chosen for (``lowering.targets``); ``lowering`` is "auto", the
    lowering of all layers, or a file that ``tune`` wrote for its own target and precision; ``foreign_lowering`` says
    that it may be from another machine or version of the runtime.
    ``for_`` is the runtime that the file is for (``export.runtime_needs``): it picks the target, and refuses
    options that would not come out right there.
    ``batch`` is a number, or "dynamic" (or None) for any; ``labels`` a file with one per line, or the labels
    themselves; ``mean`` and ``std`` are of RGB values 0..1; ``samples`` a .npy file of normalised pictures to verify
    on; ``reference`` an .npz file of what your own network answered (``dcd_deploy.record_reference``), with which every
    stage is compared too.

    Raises:
        DcdDeployError: with the exit code of its kind (see ``dcd_deploy.errors``); no file is left then.
    """
    formats = parse_formats(to)
    from dcd_deploy.export.ahead import start as start_exporter

    start_exporter(formats)
    check_options(network)
    from dcd_deploy.export.build_config import BuildConfig
    from dcd_deploy.export.pipeline import ExportConfig, check_targets

    tuned = tuned_lowering(lowering, foreign=foreign_lowering)
    if tuned is not None:
        check_tuned_for(tuned, target, precision, lowering)
    build = BuildConfig(
        **_early_preprocessing(network, mean, std, resize),
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
    )
    build = for_runtime(build, for_, formats)
    _check_early(build, formats, calibrate)
    texts, name = parse_labels(labels), name if name is None else checked_name(name)
    config = ExportConfig(Path(out), name or "", build, formats, texts, with_baseline)
    if name is not None:
        check_targets(config)
    start = time.perf_counter()
    found = trained_network(checkpoint, progress=progress, **network)
    return _exported(found, config, tuned, calibrate, progress, start=start)


def _exported(
    found: TrainedNetwork,
    config: ExportConfig,
    tuned: TunedLowering | None,
    calibrate: StrPath | None,
    progress: Progress,
    *,
    start: float,
) -> ExportResult:
    """Hold the options against the network that was found, and export it."""
    from dcd_deploy.export.describe import Source
    from dcd_deploy.export.formats import check_samples
    from dcd_deploy.export.pipeline import PROOFS, export_network

    captured, build = found.captured(progress, config.formats), config.build
    if tuned is not None:
        with progress(PROOFS):
            captured = captured.proved()
        check_tuned(tuned, found.title, captured)
        build = replace(build, lowering=tuned.layers)
    if config.labels:
        check_label_count(config.labels, found.classes)
    build = _for_network(build, found)
    check_samples(build)
    build = calibrated(build, calibrate, progress)
    config = replace(config, name=config.name or found.file_name, build=build)
    read = found.checkpoint
    source = Source(found.arch, found.spec, read.sha256, read.path.name, read.notes)
    return export_network(captured, source, config, progress, start=start)


def _check_early(build: BuildConfig, formats: Sequence[str], calibrate: StrPath | None) -> None:
    """Refuse, before any work, what would be refused after it."""
    from dcd_deploy.export.formats import check_config

    check_config(build, formats)
    check_calibrate(build.precision, calibrate)
    for given in (build.samples, build.recorded):
        if given is not None:
            existing_file(given, "a file to verify with")


def _for_network(build: BuildConfig, found: TrainedNetwork) -> BuildConfig:
    """Return the settings with what the network itself tells."""
    picture = _is_picture(found.network.examples[0].shape)
    return replace(
        build,
        preprocessing=build.preprocessing if picture else None,
        inputs=entries_of(found.network),
        alone=found.network.alone,
        assumed=(*found.assumed, *(build.assumed if picture else ())),
    )


def _early_preprocessing(network: NetworkOptions, mean: Channels, std: Channels, resize: int | None) -> dict[str, Any]:
    """Return how a picture becomes the input, and what of it is assumed; None where nobody said of a user's own."""
    if network.get("network") is None:
        found: Preprocessing | None = parse_preprocessing(network.get("input_size", USUAL_SIZE), mean, std, resize)
    else:
        shape = network.get("input_shape")
        assert shape is not None  # ``check_options`` has seen it
        found = picture_preprocessing(parse_shape(shape), mean, std, resize)
    return with_assumed(found, mean, std, resize)


def _is_picture(shape: Sequence[int]) -> bool:
    """Whether a batch of this shape is one of pictures in colour."""
    return len(shape) == 4 and shape[1] == 3
