"""Which lowering each layer gets: told by the cost model, or chosen by measuring."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Unpack

from dcd_deploy.artifacts import FLOAT32
from dcd_deploy.commands.arguments import MOST_THREADS, LayerPrecision, Target, Threads
from dcd_deploy.commands.network import TrainedNetwork, check_options, trained_network
from dcd_deploy.commands.network_options import NetworkOptions
from dcd_deploy.commands.options import Argument, Option, StrPath
from dcd_deploy.commands.values import parse_amount, parse_count
from dcd_deploy.errors import OptionError
from dcd_deploy.files import check_no_folder, check_writable, suffix_of
from dcd_deploy.optional import require, require_packages
from dcd_deploy.progress import Progress, silent

if TYPE_CHECKING:
    from dcd_deploy.lowering.capture import Captured
    from dcd_deploy.tuning.forecast import CapturedNetwork, Forecast
    from dcd_deploy.tuning.lowering_file import TunedLowering
    from dcd_deploy.tuning.tune import TuneResult

SUFFIX = ".json"  # tells a lowering file from the name of a lowering


def tuned_lowering(lowering: StrPath, *, foreign: bool) -> TunedLowering | None:
    """Return what a lowering file says; None where ``lowering`` is a name."""
    path = Path(lowering)
    if suffix_of(path) != SUFFIX:
        return None
    from dcd_deploy.benchmarks.environment import read_environment
    from dcd_deploy.tuning.lowering_file import read_lowering
    from dcd_deploy.tuning.runtimes import processor, version_of

    found = read_lowering(path)
    if not foreign:
        environment = read_environment()
        found.check_place(version_of(found.runtime, environment), processor(environment))
    return found


def check_tuned(tuned: TunedLowering, title: str, captured: Captured) -> None:
    """Raise LoweringFileError unless a lowering file is of this network, and has all its dynamic convolutions."""
    from dcd_deploy.tuning.layer_case import groups_of

    tuned.check_network(title, [tuple(int(side) for side in one.shape[1:]) for one in captured.network.examples])
    tuned.check_layers(path for group in groups_of(captured) for path in group.layers)


def check_tuned_for(tuned: TunedLowering, target: str, precision: str, lowering: StrPath) -> None:
    """Refuse a target or a precision for which the lowerings of a file were not measured."""
    from dcd_deploy.lowering.targets import PORTABLE

    tuned.check_precision(precision)
    if target not in (PORTABLE, tuned.target):
        raise OptionError(
            expected=f"`target` {tuned.target}, for which '{lowering}' was tuned",
            found=target,
            advice="leave `target` out",
        )


def tune(
    checkpoint: Annotated[StrPath, Argument("Checkpoint of the network to tune.")],
    *,
    target: Target,
    out: Annotated[StrPath | None, Option("Lowering file to write, for 'export `lowering`'.")] = None,
    device: Annotated[str, Option("Where to measure: local, ssh://[user@]host, …")] = "local",
    precision: LayerPrecision = FLOAT32,
    threads: Threads = 1,
    max_minutes: Annotated[
        float | None,
        Option("Begin no measurement after so many minutes; a later run goes on.", default="until all is measured"),
    ] = None,
    progress: Progress = silent,
    **network: Unpack[NetworkOptions],
) -> TuneResult:
    """Choose the order of computation of each layer by measuring on a device.

    The lowering of each dynamic layer is written to ``out``. ``target`` is one runtime ("onnxruntime-x86",
    "onnxruntime-arm", "litert", "litert-compiled"). Layers of one shape are measured once, all lowerings interleaved;
    another one than the target's rule would take is chosen only where the interval says that it is quicker. What is
    measured is kept in the user's cache, and not measured again. After ``max_minutes`` no other shape is begun, and
    what was not measured keeps the rule's lowering. ``precision`` is that of the files to be: layers are measured as an
    export of it writes them, their ranges from random inputs, since what is timed does not depend on values. ``export``
    takes the file as its ``lowering``, in the same precision. ``network`` says
    which network the checkpoint holds (``commands.network``).

    Raises:
        OptionError: the target is no single runtime or has no such precision, the network is not dynamic, or ``out``
            does not end in .json.
        UnknownNameError: there is no such precision.
        MissingDependencyError: its runtime is not on the device.
        NetworkError: the user's file makes no network, or the weights are not those of it.
        CaptureError: the network does not run on inputs of that shape, or its forward cannot be followed.
        DeviceError: the device cannot be used.
    """
    require("torch")
    from dcd_deploy.devices.names import parse_device
    from dcd_deploy.devices.opening import open_device
    from dcd_deploy.tuning.lowering_file import write_lowering
    from dcd_deploy.tuning.runtimes import check_tunable
    from dcd_deploy.tuning.tune import TuneConfig
    from dcd_deploy.tuning.tune import tune as tune_network

    check_options(network)
    minutes = math.inf if max_minutes is None else parse_amount("max_minutes", max_minutes, "minutes")
    number = parse_count("threads", threads, MOST_THREADS)
    config = TuneConfig(check_tunable(target, precision), number, max_seconds=60 * minutes)
    require_packages(config.target.format)
    if out is not None:
        if suffix_of(out) != SUFFIX:
            raise OptionError(
                expected=f"a lowering file to write that ends in {SUFFIX}", found=f"'{out}'", advice="check `out`"
            )
        check_writable(Path(out).parent)
        check_no_folder([Path(out)])
    found = trained_network(checkpoint, progress=progress, **network)
    subject = _subject(found, progress)
    with open_device(parse_device(device), progress=progress) as place:
        result = tune_network(subject, config, place, progress)
    if out is not None:
        write_lowering(Path(out), result.lowering)
    return result


def costs(
    checkpoint: Annotated[StrPath, Argument("Checkpoint of the network.")],
    *,
    target: Target,
    precision: LayerPrecision = FLOAT32,
    progress: Progress = silent,
    **network: Unpack[NetworkOptions],
) -> Forecast:
    """Say what each lowering of each layer costs on a target, before anything is exported.

    It is told by the cost model by which ``export`` chooses for that target and ``precision``; nothing is measured. In
    "int8" it counts instructions, no times. ``network`` says which network the checkpoint holds (``commands.network``).

    Raises:
        OptionError: the target is no single runtime, or has no such precision, or the network is not dynamic.
        UnknownNameError: there is no such precision.
        NetworkError: the user's file makes no network, or the weights are not those of it.
        CaptureError: the network does not run on inputs of that shape, or its forward cannot be followed.
    """
    require("torch")
    from dcd_deploy.tuning.forecast import forecast
    from dcd_deploy.tuning.runtimes import check_tunable

    chosen = check_tunable(target, precision)
    found = trained_network(checkpoint, progress=progress, **network)
    return forecast(_subject(found, progress), chosen)


def _subject(found: TrainedNetwork, progress: Progress) -> CapturedNetwork:
    """Return the network with its dynamic layers.

    Raises:
        OptionError: it has none.
    """
    from dcd_deploy.tuning.forecast import subject_of

    subject = subject_of(found.captured(progress), found.title)
    subject.check_dynamic()
    return subject
