"""Which form each layer gets: told by the cost model, or chosen by measuring."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from dcd_deploy.commands.arguments import MOST_THREADS, StrPath, UntoldOptions, parse_untold, require_packages
from dcd_deploy.errors import OptionError
from dcd_deploy.files import check_no_folder, check_writable
from dcd_deploy.optional import require
from dcd_deploy.progress import Progress, silent
from dcd_deploy.values import (
    Size,
    parse_count,
    parse_size,
)

if TYPE_CHECKING:
    from dcd_deploy.tuning.forecast import Forecast
    from dcd_deploy.tuning.lowering_file import TunedLowering
    from dcd_deploy.tuning.tune import TuneResult

SUFFIX = ".json"  # tells a lowering file from the name of a form


def tuned_lowering(lowering: StrPath, *, foreign: bool) -> TunedLowering | None:
    """Return what a lowering file says; None where ``lowering`` is a name."""
    path = Path(lowering)
    if path.suffix != SUFFIX:
        return None
    from dcd_deploy.benchmarks.environment import read_environment
    from dcd_deploy.tuning.lowering_file import read_lowering
    from dcd_deploy.tuning.runtimes import processor, version_of

    found = read_lowering(path)
    if not foreign:
        environment = read_environment()
        found.check_place(version_of(found.runtime, environment), processor(environment))
    return found


def tune(
    checkpoint: StrPath,
    *,
    target: str,
    out: StrPath | None = None,
    device: str = "local",
    ema: bool = False,
    input_size: Size = 224,
    threads: int = 1,
    prefix: str | None = None,
    drop: Sequence[str] = (),
    progress: Progress = silent,
    **untold: Unpack[UntoldOptions],
) -> TuneResult:
    """Choose the form of each dynamic layer by measuring on the device that will run it, and write that to ``out``.

    ``target`` is one runtime ("onnxruntime-x86", "onnxruntime-arm", "litert"). Layers of one shape are measured once,
    all forms in turns; another form than the target's rule would take is chosen only where the interval says that it
    is quicker. What is measured is kept in the user's cache, and not measured again. ``export`` takes the file as its
    ``lowering``.

    Raises:
        OptionError: the target is no single runtime, the network is not dynamic, or ``out`` does not end in .json.
        MissingDependencyError: its runtime is not on the device.
        DeviceError: the device cannot be used.
    """
    require("torch")
    from dcd_deploy.devices.names import parse_device
    from dcd_deploy.devices.opening import open_device
    from dcd_deploy.models.checkpoint import read_checkpoint
    from dcd_deploy.models.fit import fit
    from dcd_deploy.models.infer import SpecOverrides
    from dcd_deploy.tuning.lowering_file import write_lowering
    from dcd_deploy.tuning.runtimes import check_tunable
    from dcd_deploy.tuning.tune import TuneConfig
    from dcd_deploy.tuning.tune import tune as tune_network

    config = TuneConfig(check_tunable(target), parse_size(input_size), parse_count("--threads", threads, MOST_THREADS))
    require_packages(config.target.format)
    if out is not None:
        if Path(out).suffix != SUFFIX:
            raise OptionError(f"expected a lowering file to write that ends in {SUFFIX}, found '{out}'; check --out")
        check_writable(Path(out).parent)
        check_no_folder([Path(out)])
    with progress("read checkpoint"):
        loaded = read_checkpoint(checkpoint, ema=ema, prefix=prefix, drop=drop)
        spec = fit(loaded, SpecOverrides(untold=parse_untold(untold)))
    if not spec.dynamic:
        raise OptionError(f"expected a network with dynamic layers to tune, found {spec.describe()}")
    with open_device(parse_device(device), progress=progress) as place:
        result = tune_network(spec, config, place, progress)
    if out is not None:
        write_lowering(Path(out), result.lowering)
    return result


def costs(
    checkpoint: StrPath,
    *,
    target: str,
    ema: bool = False,
    input_size: Size = 224,
    prefix: str | None = None,
    drop: Sequence[str] = (),
    progress: Progress = silent,
    **untold: Unpack[UntoldOptions],
) -> Forecast:
    """Say what each form of each dynamic layer costs on a target, by its cost model: nothing is exported or measured.

    Raises:
        OptionError: the target is no single runtime, or the network is not dynamic.
    """
    require("torch")
    from dcd_deploy.models.checkpoint import read_checkpoint
    from dcd_deploy.models.fit import fit
    from dcd_deploy.models.infer import SpecOverrides
    from dcd_deploy.models.sizes import check_input_size
    from dcd_deploy.tuning.forecast import forecast
    from dcd_deploy.tuning.runtimes import check_tunable

    chosen, size = check_tunable(target), parse_size(input_size)
    check_input_size(*size)
    with progress("read checkpoint"):
        loaded = read_checkpoint(checkpoint, ema=ema, prefix=prefix, drop=drop)
        spec = fit(loaded, SpecOverrides(untold=parse_untold(untold)))
    if not spec.dynamic:
        raise OptionError(f"expected a network with dynamic layers, found {spec.describe()}")
    return forecast(spec, size, chosen)
