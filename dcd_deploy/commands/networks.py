"""The network that a command is about: a checkpoint's own, or that of a user's Python file with its weights."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dcd_deploy.artifacts import OUTPUT
from dcd_deploy.commands.arguments import StrPath
from dcd_deploy.errors import OptionError
from dcd_deploy.optional import require
from dcd_deploy.progress import Progress, silent
from dcd_deploy.values import Shape, Size, parse_shape, parse_size

if TYPE_CHECKING:
    from dcd_deploy.lowering.network import Network
    from dcd_deploy.models.checkpoint import Checkpoint
    from dcd_deploy.models.infer import SpecOverrides
    from dcd_deploy.models.spec import NetworkSpec
    from dcd_deploy.models.trained import TrainedModule

USUAL_SIZE: Size = 224


@dataclass(frozen=True)
class TrainedNetwork:
    """A network in float64 with the weights of a checkpoint, and an example of its input.

    ``title`` is ``spec.describe()`` of a known network, and of the user's own, which has no ``spec``, its class's name.
    """

    network: Network
    title: str
    checkpoint: Checkpoint
    spec: NetworkSpec | None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input; 1 where it has none."""
        height, width = (*self.network.examples[0].shape[2:], 1, 1)[:2]
        return int(height), int(width)


def trained_network(
    checkpoint: StrPath,
    *,
    network: str | None = None,
    network_args: str | Mapping[str, Any] | None = None,
    input_shape: Shape | None = None,
    input_size: Size = USUAL_SIZE,
    ema: bool = False,
    overrides: SpecOverrides | None = None,
    progress: Progress = silent,
) -> TrainedNetwork:
    """Return the network of a checkpoint, or that which ``network``, "FILE.py:FACTORY", makes, with its weights.

    The user's file is run; what it prints goes to standard error. The checkpoint is never run, and must hold the
    weights of that network and no others. ``input_shape``, (C, H, W) or "C,H,W", belongs to ``network``;
    ``input_size`` and ``overrides`` to a network that is known by its tensors.

    Raises:
        OptionError: an option is given that belongs to the other kind, or ``input_shape`` is missing.
        NetworkError: the file makes no network, or the weights are not those of its network.
        CaptureError: the network does not run on inputs of that shape.
        DcdDeployError: the checkpoint cannot be read, or is of no known network.
    """
    require("torch")
    from dcd_deploy.export.threads import threads_by_load
    from dcd_deploy.lowering.network import network_of

    with progress("read checkpoint"), redirect_stdout(sys.stderr):
        if network is None:
            found = _known(checkpoint, network_args, input_shape, input_size, ema=ema, overrides=overrides)
        else:
            found = _users(checkpoint, network, network_args, input_shape, input_size, ema=ema, overrides=overrides)
        with threads_by_load():
            ready = network_of(found.module, found.example)
    if found.spec is not None:
        ready = replace(ready, outputs=(OUTPUT,))
    return TrainedNetwork(ready, found.title, found.checkpoint, found.spec)


def _known(
    checkpoint: StrPath,
    network_args: str | Mapping[str, Any] | None,
    input_shape: Shape | None,
    input_size: Size,
    *,
    ema: bool,
    overrides: SpecOverrides | None,
) -> TrainedModule:
    for option, value in (("--network-args", network_args), ("--input-shape", input_shape)):
        if value is not None:
            raise OptionError(f"expected {option} together with --network FILE.py:FACTORY, found it alone")
    from dcd_deploy.models.trained import known_network

    return known_network(checkpoint, parse_size(input_size), ema=ema, overrides=overrides)


def _users(
    checkpoint: StrPath,
    network: str,
    network_args: str | Mapping[str, Any] | None,
    input_shape: Shape | None,
    input_size: Size,
    *,
    ema: bool,
    overrides: SpecOverrides | None,
) -> TrainedModule:
    from dcd_deploy.models.infer import SpecOverrides
    from dcd_deploy.models.trained import users_network

    if input_shape is None:
        raise OptionError("expected --input-shape C,H,W together with --network, such as 3,224,224; found none")
    if parse_size(input_size) != parse_size(USUAL_SIZE):
        raise OptionError(f"expected --input-shape alone with --network, found --input-size {input_size} too")
    if overrides is not None and overrides != SpecOverrides():
        raise OptionError("expected no settings of known networks (--arch, …) with --network; use --network-args")
    return users_network(checkpoint, network, network_args, parse_shape(input_shape), ema=ema)
