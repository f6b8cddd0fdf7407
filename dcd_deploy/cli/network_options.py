"""The options that say which network a checkpoint holds, given to every command that takes one.

    @with_network_options
    def costs(checkpoint: …, target: …, **network: Any) -> None: …

The command line shows them after the command's own; the command gets those that were given.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_type_hints

import typer

from dcd_deploy.cli.options import Ema

OPTIONS: dict[str, Any] = {
    "network": Annotated[
        str | None,
        typer.Option(
            help="FILE.py:FACTORY that makes your own network; that Python file is run. Weights come from the "
            "checkpoint, which is only read."
        ),
    ],
    "network_args": Annotated[str | None, typer.Option(help="JSON object of the factory's keyword arguments.")],
    "input_shape": Annotated[str | None, typer.Option(help="C,H,W of an input of your own network, such as 1,64,96.")],
    "input_size": Annotated[
        str | None, typer.Option(help="Side, or HEIGHTxWIDTH, of a network known by its tensors. [default: 224]")
    ],
    "ema": Ema,
    "prefix": Annotated[
        str | None, typer.Option(help="Take only the checkpoint's keys behind this. [default: found by itself]")
    ],
    "drop": Annotated[
        list[str] | None,
        typer.Option(help="Leave out keys that begin so, such as aux.; may be given several times."),
    ],
    "leaf": Annotated[
        list[str] | None,
        typer.Option(
            help="Path of a submodule to keep whole, as the operators it consists of; may be given several times."
        ),
    ],
    "arch": Annotated[str | None, typer.Option(help="Architecture, where the tensors' own is not wanted.")],
    "width_mult": Annotated[float | None, typer.Option(help="Width of MobileNetV2, instead of the inferred one.")],
    "fc_squeeze": Annotated[int | None, typer.Option(help="Squeeze of MobileNetV2-DCD, instead of the inferred one.")],
    "num_classes": Annotated[int | None, typer.Option(help="Number of classes, instead of the inferred one.")],
    "dropout": Annotated[
        float | None, typer.Option(help="Dropout the network was trained with (0: none), instead of the inferred one.")
    ],
    "bn_eps": Annotated[float | None, typer.Option(help="eps of the BatchNorms, which no tensor tells. [1e-5]")],
    "gate": Annotated[
        str | None, typer.Option(help="Gate of the dynamic layers: relu6/3, relu6/6 or sigmoid. [relu6/3]")
    ],
    "residual_q": Annotated[
        bool | None,
        typer.Option("--residual-q/--no-residual-q", help="Whether the dynamic layers add q. [they do]"),
    ],
    "strides": Annotated[str | None, typer.Option(help="Strides of the stem and of each stage, such as 2,1,2,2,2.")],
    "stem_stride": Annotated[int | None, typer.Option(help="Stride of the stem. [2]")],
    "last_stride": Annotated[int | None, typer.Option(help="Stride of the last stage that halves its map. [2]")],
    "stem_pool": Annotated[
        bool | None,
        typer.Option("--stem-pool/--no-stem-pool", help="Whether a ResNet's stem pools. [if its kernel is 7]"),
    ],
}
FLAGS = {"ema": False}  # what stands where an option is not given; None for all others


def with_network_options(
    command: Callable[..., None] | None = None, *, without: Sequence[str] = ()
) -> Callable[..., Any]:
    """Give a command with ``**network`` these options, less those ``without``."""
    if command is None:
        return functools.partial(with_network_options, without=without)
    names = [name for name in OPTIONS if name not in without]
    hints = get_type_hints(command, include_extras=True)
    own = [
        parameter.replace(annotation=hints[parameter.name])
        for parameter in inspect.signature(command).parameters.values()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    kind = inspect.Parameter.KEYWORD_ONLY
    added = [inspect.Parameter(n, kind, default=FLAGS.get(n), annotation=OPTIONS[n]) for n in names]

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        network = {name: given.pop(name) for name in names}
        command(**given, **{name: value for name, value in network.items() if value is not None})

    wrapped.__signature__ = inspect.Signature([*(p.replace(kind=kind) for p in own), *added])  # type: ignore[attr-defined]  # what typer reads
    wrapped.__annotations__ = {p.name: p.annotation for p in (*own, *added)}
    return wrapped
