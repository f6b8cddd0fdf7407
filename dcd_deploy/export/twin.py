"""The static twin as a model file: the same channels with plain convolutions, to time a dynamic network against.

Its weights are He-initialised from a fixed seed. Latency does not depend on them; its answers mean nothing.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from dcd_deploy.artifacts import ModelCard
from dcd_deploy.export.build import BuildConfig, BuiltModel, build_onnx
from dcd_deploy.export.describe import describe_model, write_model
from dcd_deploy.models.registry import build
from dcd_deploy.models.spec import NetworkSpec
from dcd_deploy.progress import Progress, silent

SEED = 0


def build_twin(spec: NetworkSpec, config: BuildConfig, progress: Progress = silent) -> BuiltModel:
    """Build and verify the static twin of ``spec``, under the same settings."""

    def twin_progress(stage: str) -> AbstractContextManager[None]:
        return progress(f"static twin: {stage}")

    return build_onnx(twin_network(spec), replace(config, samples=None), twin_progress)


def twin_network(spec: NetworkSpec) -> nn.Module:
    """Return the static twin of ``spec`` in train form and float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        twin = build(spec.twin())
        for module in twin.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
    return twin.double().eval()


def write_twin(path: Path, spec: NetworkSpec, built: BuiltModel) -> None:
    """Write a twin that ``build_twin`` made."""
    write_model(path, built, describe_model(spec.twin(), built, (), ""))


def export_twin(card: ModelCard, folder: Path, progress: Progress = silent) -> Path:
    """Write the static twin of an exported model into ``folder`` and return its path."""
    spec = NetworkSpec.from_json(card.spec)
    config = BuildConfig(card.preprocessing, batch=card.input.shape[0])
    path = folder / "static.onnx"
    write_twin(path, spec, build_twin(spec, config, progress))
    return path
