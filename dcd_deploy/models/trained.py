"""A module with the weights of a checkpoint: a known network's, or one that a user's own Python file makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dcd_deploy.models.checkpoint import Checkpoint
from dcd_deploy.models.fit import check_values, fit_checkpoint, load_network
from dcd_deploy.models.infer import SpecOverrides
from dcd_deploy.models.sizes import check_input_size
from dcd_deploy.models.spec import NetworkSpec
from dcd_deploy.models.user_network import fitted_to, load_weights, network_from_file

SEED = 0


@dataclass(frozen=True)
class TrainedModule:
    """``module`` is in float64 and eval mode; ``example`` (1, C, H, W) is random; ``spec`` is a known network's.

    ``assumed`` says what no tensor tells of a known network, and which option sets it.
    """

    module: nn.Module
    example: Tensor
    title: str
    checkpoint: Checkpoint
    spec: NetworkSpec | None
    assumed: tuple[str, ...] = ()


def known_network(
    checkpoint: Checkpoint,
    size: tuple[int, int],
    overrides: SpecOverrides | None = None,
    made_as: NetworkSpec | None = None,
) -> TrainedModule:
    """Return the known network that a checkpoint's tensors are, for inputs of ``size`` (height, width).

    Raises:
        OptionError: it cannot take inputs of that size.
        DcdDeployError: its tensors are those of no known network.
    """
    check_input_size(*size)
    found = fit_checkpoint(checkpoint, overrides, made_as=made_as)
    module = load_network(found.checkpoint, found.spec)
    example = random_example((found.spec.in_channels, *size))
    return TrainedModule(module, example, found.spec.describe(), found.checkpoint, found.spec, found.assumed)


def users_network(
    checkpoint: Checkpoint, network: str, arguments: str | Mapping[str, Any] | None, shape: tuple[int, ...]
) -> TrainedModule:
    """Return what the factory of ``FILE.py:FACTORY`` makes, with a checkpoint's weights; the file is run.

    Raises:
        NetworkError: the file makes no module, or the weights are not those of that module.
        DcdDeployError: a weight is no number.
    """
    module = network_from_file(network, arguments)
    module.double()
    module.eval()  # its own ``train`` may return nothing
    named = fitted_to(checkpoint, module)
    check_values(named)
    load_weights(module, named.state_dict, str(named.path), named.left_out)
    return TrainedModule(module, random_example(shape), type(module).__name__, named, None)


def random_example(shape: tuple[int, ...]) -> Tensor:
    """Return one normalised sample (1, C, H, W) of that shape (C, H, W), the same at every call."""
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(SEED), dtype=torch.float64)
