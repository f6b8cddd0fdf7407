"""The static twin as a model file: the same channels with plain convolutions, to time a dynamic network against.

Made at the export, its kernels are those of the mean heads (``lowering.static_twin``). Made from a file alone, which
has no network to run, its weights are He-initialised from a fixed seed: latency does not depend on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from dcd_deploy.artifacts import NCHW, ModelCard, Preprocessing
from dcd_deploy.errors import ModelFileError
from dcd_deploy.export.build_config import DEFAULT_OPSET, BuildConfig, for_registry, picture_network
from dcd_deploy.export.built_model import BuiltModel
from dcd_deploy.export.describe import Source, describe_model
from dcd_deploy.export.formats import build_formats
from dcd_deploy.export.input_type import taking_input
from dcd_deploy.export.truth import TrainReference
from dcd_deploy.files import write_whole
from dcd_deploy.lowering.capture import Captured, capture
from dcd_deploy.lowering.passes.substitute import AUTO
from dcd_deploy.lowering.static_twin import mean_heads, static_twin
from dcd_deploy.lowering.targets import PORTABLE
from dcd_deploy.models.registry import build as build_network
from dcd_deploy.models.spec import NetworkSpec
from dcd_deploy.progress import Progress, silent

SEED = 0


def build_twins(
    captured: Captured, config: BuildConfig, formats: Sequence[str], progress: Progress = silent
) -> dict[str, BuiltModel]:
    """Build and verify a captured static network under the settings of the network that it is the twin of."""

    def twin_progress(stage: str) -> AbstractContextManager[None]:
        return progress(f"static twin: {stage}")

    config = replace(config, samples=None, recorded=None, assumed=(), lowering=AUTO, judged=False)
    return build_formats(captured, config, formats, twin_progress)


def mean_twin(captured: Captured, reference: TrainReference) -> Captured:
    """Return the static twin whose kernels are those of the mean heads over the inputs of a reference."""
    batches = [
        tuple(torch.from_numpy(values[i : i + 1]).double() for values in reference.inputs)
        for i in range(len(reference.images))
    ]
    return static_twin(captured, mean_heads(captured, batches))


def twin_network(spec: NetworkSpec) -> nn.Module:
    """Return the static twin of ``spec`` in train form and float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        twin = build_network(spec.twin())
        for module in twin.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
    return twin.double().eval()


def twin_content(source: Source, built: BuiltModel) -> bytes:
    """Return the file of a twin that ``build_twins`` made of the network that is ``source``."""
    return built.content(describe_model(source.twin(), built))


def export_twin(card: ModelCard, path: Path, width: float | None = None, progress: Progress = silent) -> Path:
    """Write the static twin of the model that ``card`` describes, or that of another ``width``, to ``path``.

    The suffix of ``path`` is the format. Another width has its own channels, whatever the model's are.
    """
    spec, config = described_build(card)
    spec = spec if width is None else replace(spec, width_mult=width, channels=())
    return write_twin(spec, config, path, progress)


def write_twin(spec: NetworkSpec, config: BuildConfig, path: Path, progress: Progress = silent) -> Path:
    """Write the static twin of ``spec``, of random weights, to ``path``, whose suffix is the format."""
    format = path.suffix.removeprefix(".")
    captured = taking_input(capture(picture_network(twin_network(spec), config)), config)
    built = build_twins(captured, config, [format], progress)[format]
    write_whole(path, twin_content(Source.of(spec), built))
    return path


def described_build(card: ModelCard) -> tuple[NetworkSpec, BuildConfig]:
    """Return the network that a file says it is, and the settings it was built with.

    Raises:
        ModelFileError: the description is not of a network.
    """
    if card.spec is None:
        raise ModelFileError(
            expected="a file of a network that is known by its settings",
            found=f"one of the module {card.arch}",
            advice="its static twin cannot be made from the file",
        )
    spec, sides = NetworkSpec.from_json(card.spec), card.input.torch_shape[2:]
    if len(sides) != 2 or None in sides:
        raise ModelFileError(
            expected=f"a picture of a fixed size as the input of {card.arch}",
            found=card.input.shape,
            advice="export it again",
        )
    preprocessing = card.preprocessing or Preprocessing.for_size(*(side or 1 for side in sides))
    config = BuildConfig(
        preprocessing,
        batch=card.input.shape[0],
        layout=card.input.layout or NCHW,
        target=card.target or PORTABLE,
        opset=card.opset or DEFAULT_OPSET,
        weights=card.weights.format,
        precision=card.precision.format,
        input_type=card.input_type,
    )
    return spec, for_registry(spec, config)
