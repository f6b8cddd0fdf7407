"""The static twin as a model file: the same channels with plain convolutions, to time a dynamic network against.

Its weights are He-initialised from a fixed seed. Latency does not depend on them; its answers mean nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from dcd_deploy.artifacts import ModelCard
from dcd_deploy.export.build import BuildConfig, BuiltModel, reference_for
from dcd_deploy.export.describe import describe_model
from dcd_deploy.export.formats import build
from dcd_deploy.models.registry import build as build_network
from dcd_deploy.models.spec import NetworkSpec
from dcd_deploy.progress import Progress, silent
from dcd_deploy.runtimes.litert import is_channels_last

SEED = 0


def build_twins(
    spec: NetworkSpec, config: BuildConfig, formats: Sequence[str], progress: Progress = silent
) -> dict[str, BuiltModel]:
    """Build and verify the static twin of ``spec`` under the same settings, format by format."""

    def twin_progress(stage: str) -> AbstractContextManager[None]:
        return progress(f"static twin: {stage}")

    network, config = twin_network(spec), replace(config, samples=None, assumed=())
    checked = reference_for(network, config)
    return {format: build(format, network, config, checked, twin_progress) for format in formats}


def twin_network(spec: NetworkSpec) -> nn.Module:
    """Return the static twin of ``spec`` in train form and float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        twin = build_network(spec.twin())
        for module in twin.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
    return twin.double().eval()


def twin_content(spec: NetworkSpec, built: BuiltModel) -> bytes:
    """Return the file of a twin that ``build_twins`` made."""
    return built.content(describe_model(spec.twin(), built, (), ""))


def export_twin(card: ModelCard, path: Path, width: float | None = None, progress: Progress = silent) -> Path:
    """Write the static twin of the model that ``card`` describes, or that of another ``width``, to ``path``.

    The suffix of ``path`` is the format.
    """
    spec, config = described_build(card)
    spec = spec if width is None else replace(spec, width_mult=width)
    format = path.suffix.removeprefix(".")
    built = build_twins(spec, config, [format], progress)[format]
    path.write_bytes(twin_content(spec, built))
    return path


def described_build(card: ModelCard) -> tuple[NetworkSpec, BuildConfig]:
    """Return the network that a file says it is, and the settings it was built with.

    Raises:
        ModelFileError: the description is not of a network.
    """
    layout = "nhwc" if is_channels_last(card.input.shape) else "nchw"
    config = BuildConfig(card.preprocessing, batch=card.input.shape[0], layout=layout)
    return NetworkSpec.from_json(card.spec), config
