"""A module with the weights of a checkpoint: a known network's, or one that a user's own Python file makes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dcd_deploy.models.checkpoint import Checkpoint, read_checkpoint
from dcd_deploy.models.fit import check_values, fit, load_network
from dcd_deploy.models.infer import SpecOverrides
from dcd_deploy.models.sizes import check_input_size
from dcd_deploy.models.spec import NetworkSpec
from dcd_deploy.models.user_network import load_weights, network_from_file

SEED = 0


@dataclass(frozen=True)
class TrainedModule:
    """``module`` is in float64 and eval mode; ``example`` (1, C, H, W) is random; ``spec`` is a known network's."""

    module: nn.Module
    example: Tensor
    title: str
    checkpoint: Checkpoint
    spec: NetworkSpec | None


def known_network(
    path: str | os.PathLike[str], size: tuple[int, int], *, ema: bool = False, overrides: SpecOverrides | None = None
) -> TrainedModule:
    """Return the known network that a checkpoint's tensors are, for inputs of ``size`` (height, width).

    Raises:
        OptionError: it cannot take inputs of that size.
        DcdDeployError: the checkpoint cannot be read, or its tensors are those of no known network.
    """
    check_input_size(*size)
    checkpoint = read_checkpoint(path, ema=ema)
    spec = fit(checkpoint, overrides)
    module = load_network(checkpoint, spec)
    return TrainedModule(module, random_example((_channels(module), *size)), spec.describe(), checkpoint, spec)


def users_network(
    path: str | os.PathLike[str],
    network: str,
    arguments: str | Mapping[str, Any] | None,
    shape: tuple[int, ...],
    *,
    ema: bool = False,
) -> TrainedModule:
    """Return what the factory of ``FILE.py:FACTORY`` makes, with a checkpoint's weights; the file is run.

    Raises:
        NetworkError: the file makes no module, or the weights are not those of that module.
        DcdDeployError: the checkpoint cannot be read, or a weight is no number.
    """
    checkpoint = read_checkpoint(path, ema=ema)
    check_values(checkpoint)
    module = network_from_file(network, arguments).double().eval()
    load_weights(module, checkpoint.state_dict, str(checkpoint.path))
    return TrainedModule(module, random_example(shape), type(module).__name__, checkpoint, None)


def random_example(shape: tuple[int, ...]) -> Tensor:
    """Return one normalised sample (1, C, H, W) of that shape (C, H, W), the same at every call."""
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(SEED), dtype=torch.float64)


def _channels(module: nn.Module) -> int:
    return next(part.in_channels for part in module.modules() if isinstance(part, nn.Conv2d))
