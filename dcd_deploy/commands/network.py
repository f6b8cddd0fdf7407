"""The network that a command is about: a checkpoint's own, or that of a user's Python file with its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Unpack, cast

from dcd_deploy.artifacts import FEATURES, OUTPUT, ModelCard
from dcd_deploy.commands.network_options import UNTOLD, NetworkOptions, WeightOptions
from dcd_deploy.commands.options import StrPath
from dcd_deploy.commands.values import Size, parse_shape, parse_size, parse_strides, size_text
from dcd_deploy.errors import OptionError
from dcd_deploy.optional import require
from dcd_deploy.progress import Progress, silent

if TYPE_CHECKING:
    from dcd_deploy.lowering.capture import Captured
    from dcd_deploy.lowering.network import Network
    from dcd_deploy.models.checkpoint import Checkpoint
    from dcd_deploy.models.infer import SpecOverrides
    from dcd_deploy.models.spec import NetworkSpec
    from dcd_deploy.models.trained import TrainedModule

USUAL_SIZE: Size = 224
RECOGNISED = ("arch", "width_mult", "fc_squeeze", "num_classes", "dropout")  # settings of a known network


@dataclass(frozen=True)
class TrainedNetwork:
    """A network in float64 with the weights of a checkpoint, and an example of its input.

    ``title`` is ``spec.describe()`` of a known network, and of the user's own, which has no ``spec``, its class's name.
    ``assumed`` says what no tensor tells of a known network, and which option sets it. ``leaf`` are the paths of
    submodules to keep whole.
    """

    network: Network
    title: str
    checkpoint: Checkpoint
    spec: NetworkSpec | None
    assumed: tuple[str, ...] = ()
    leaf: tuple[str, ...] = ()

    def captured(self, progress: Progress = silent, formats: Sequence[str] = ()) -> Captured:
        """Return its graph, with the dynamic layers that were found; ``formats`` are those it is to be built in.

        Raises:
            CaptureError: its forward cannot be followed, or has no submodule at one of ``leaf``.
        """
        from dcd_deploy.export.pipeline import capture_network

        return capture_network(self.network, self.leaf, progress, formats)

    @property
    def arch(self) -> str:
        """The architecture, or the class of the user's own module."""
        return self.title if self.spec is None else self.spec.arch

    @property
    def file_name(self) -> str:
        """The usual name of its files."""
        if self.spec is not None:
            return self.spec.file_name(*self.size)
        sides = "x".join(str(side) for side in self.network.examples[0].shape[2:])
        return f"{self.title.lower()}_{sides}" if sides else self.title.lower()

    @property
    def classes(self) -> int:
        """How many values its first output has for each sample."""
        return int(self.network.answers[0].shape[1])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input; 1 where it has none."""
        height, width = (*self.network.examples[0].shape[2:], 1, 1)[:2]
        return int(height), int(width)


def trained_network(
    checkpoint: StrPath,
    *,
    made_as: NetworkSpec | None = None,
    progress: Progress = silent,
    **options: Unpack[NetworkOptions],
) -> TrainedNetwork:
    """Return the network of a checkpoint, or that which ``network``, "FILE.py:FACTORY", makes, with its weights.

    The user's file is run. The checkpoint is never run, and must hold the weights of that network and no others. What
    no tensor tells of a known network is as in ``made_as``, that of a file that was exported, where no option says
    otherwise.

    Raises:
        OptionError: an option is given that belongs to the other kind, or ``input_shape`` is missing.
        NetworkError: the file makes no network, or the weights are not those of its network.
        CaptureError: the network does not run on inputs of that shape.
        DcdDeployError: the checkpoint cannot be read, or is of no known network.
    """
    require("torch")
    from dcd_deploy.export.alongside import threads_by_load
    from dcd_deploy.lowering.network import network_of
    from dcd_deploy.models.spec import NO_HEAD

    make = _known if options.get("network") is None else _users
    leaf = options.get("leaf", ())
    with progress("read checkpoint"), threads_by_load():
        found = make(checkpoint, options, made_as)
        alone = "output"
        if found.spec is not None:
            alone = FEATURES if found.spec.head_kind == NO_HEAD else OUTPUT
        ready = network_of(found.module, found.example, alone)
    kept = (leaf,) if isinstance(leaf, str) else tuple(leaf)
    return TrainedNetwork(ready, found.title, found.checkpoint, found.spec, found.assumed, kept)


def check_options(options: NetworkOptions) -> None:
    """Refuse, before any work, settings that belong to another kind of network, or that no network has.

    Raises:
        OptionError, UnknownNameError: as ``trained_network``.
    """
    overrides = overrides_of(options)
    size = parse_size(options.get("input_size", USUAL_SIZE))
    if options.get("network") is None:
        from dcd_deploy.models.sizes import check_input_size

        for option in ("network_args", "input_shape"):
            if options.get(option) is not None:
                raise OptionError(expected=f"`{option}` together with `network` FILE.py:FACTORY", found="it alone")
        check_input_size(*size)
        return
    from dcd_deploy.models.infer import SpecOverrides

    if (shape := options.get("input_shape")) is None:
        raise OptionError(expected="`input_shape` C,H,W together with `network`, such as 3,224,224", found="none")
    parse_shape(shape)
    if options.get("input_size") is not None:
        raise OptionError(
            expected="`input_shape` alone with `network`", found=f"`input_size` {size_text(options['input_size'])} too"
        )
    if overrides != SpecOverrides():
        raise OptionError(
            expected="no settings of known networks (`arch`, `gate`, …) with `network`",
            found="some",
            advice="use `network_args`",
        )


def overrides_of(options: WeightOptions) -> SpecOverrides:
    """Return what the options say of a known network; an unknown one is a TypeError, as with any function."""
    from dcd_deploy.models.infer import SpecOverrides
    from dcd_deploy.models.untold import Untold

    untold: dict[str, Any] = {key: value for key, value in options.items() if key in UNTOLD}
    if untold.get("strides") is not None:
        untold["strides"] = parse_strides(untold["strides"])
    return SpecOverrides(**{key: options.get(key) for key in RECOGNISED}, untold=Untold(**untold))  # type: ignore[arg-type]  # typed above


def _known(checkpoint: StrPath, options: NetworkOptions, made_as: NetworkSpec | None) -> TrainedModule:
    from dcd_deploy.models.trained import known_network

    check_options(options)
    size = parse_size(options.get("input_size", USUAL_SIZE))
    found = known_network(read_weights(checkpoint, options), size, overrides_of(options), made_as)
    return replace(found, assumed=(*found.assumed, *untold_size(options)))


def untold_size(options: NetworkOptions) -> tuple[str, ...]:
    """Return the input size of a known network in words, where no option says it."""
    from dcd_deploy.models.untold import assumed_size

    return () if "input_size" in options else (assumed_size(*parse_size(USUAL_SIZE)),)


def _users(checkpoint: StrPath, options: NetworkOptions, made_as: NetworkSpec | None) -> TrainedModule:
    from dcd_deploy.models.trained import users_network

    del made_as
    check_options(options)
    network, shape = options["network"], options["input_shape"]
    assert network is not None
    assert shape is not None
    return users_network(read_weights(checkpoint, options), network, options.get("network_args"), parse_shape(shape))


def read_weights(checkpoint: StrPath, options: NetworkOptions) -> Checkpoint:
    """Return the weights of a checkpoint as the options find them in it."""
    from dcd_deploy.models.checkpoint import read_checkpoint

    return read_checkpoint(
        checkpoint, ema=options.get("ema", False), prefix=options.get("prefix"), drop=options.get("drop", ())
    )


def made_as(card: ModelCard) -> NetworkSpec | None:
    """Return the network of the registry that a file says it is; None of a user's own."""
    from dcd_deploy.models.spec import NetworkSpec

    return None if card.spec is None else NetworkSpec.from_json(card.spec)


def as_in_file(card: ModelCard, network: WeightOptions) -> NetworkOptions:
    """Return the options, with the size of the file's input where they do not say it.

    Raises:
        OptionError: the file is of a user's own module, and no option says which makes it.
    """
    sides = [size for size in card.input.torch_shape[1:] if size is not None]
    made = cast("NetworkOptions", dict(network))
    if network.get("network") is not None:
        made.setdefault("input_shape", tuple(sides))
        return made
    if card.spec is None:
        raise OptionError(
            expected=f"`network` FILE.py:FACTORY with a file of your own module {card.arch}",
            found="none",
            advice="it makes the network that the checkpoint's weights are for",
        )
    made.setdefault("input_size", (sides[1], sides[2]))
    return made
