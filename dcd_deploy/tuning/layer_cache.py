"""What was measured of layers before, kept in the user's cache: by shape, runtime, device and what measured it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dcd_deploy import __version__
from dcd_deploy.benchmarks.measure import Samples
from dcd_deploy.files import write_whole
from dcd_deploy.lowering.target import Target
from dcd_deploy.tuning.layer_case import LayerCase
from dcd_deploy.tuning.layer_times import LayerTimes


@dataclass(frozen=True)
class Measured:
    """Where and by what a layer is measured; another answer to any of it is another measurement."""

    device: str
    cpu: str
    runtime: str
    runtime_version: str
    threads: int


def default_folder() -> Path:
    """Return the folder that keeps measurements."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dcd-deploy" / "tune"


def kept(folder: Path, case: LayerCase, target: Target, where: Measured) -> LayerTimes | None:
    """Return the times that ``folder`` keeps of a shape; None where there are none."""
    return _read(folder / f"{_key(case, target, where)}.json")


def kept_or_measured(
    folder: Path,
    case: LayerCase,
    target: Target,
    where: Measured,
    measure: Callable[[], LayerTimes],
    serves: Callable[[LayerTimes], bool],
) -> LayerTimes:
    """Return the times that ``folder`` keeps, if they serve (noise may spoil them), else measure and keep them.

    Raises:
        OutputError: the folder cannot be written.
    """
    path = folder / f"{_key(case, target, where)}.json"
    if (found := _read(path)) is not None and serves(found):
        return found
    times = measure().by_turns()
    content = {
        "version": times.version,
        "samples": {lowering: asdict(found) for lowering, found in times.samples.items()},
    }
    write_whole(path, json.dumps(content).encode())
    return times


def _key(case: LayerCase, target: Target, where: Measured) -> str:
    lowerings = sorted(case.costs(target))
    content = [__version__, asdict(case), target.format, lowerings, asdict(where)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _read(path: Path) -> LayerTimes | None:
    """Return what a file keeps; None where there is none, or a damaged one, which is measured anew."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        samples = {str(lowering): _samples(found) for lowering, found in content["samples"].items()}
        return LayerTimes(samples, str(content["version"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _samples(content: dict[str, Any]) -> Samples:
    blocks = tuple(_floats(block) for block in content["blocks_ms"])
    rounds = tuple(int(number) for number in content["rounds"])
    if not blocks or len(blocks) != len(rounds) or not all(blocks):
        raise ValueError("no samples")
    load, first, warmup = (_floats(content[key]) for key in ("load_ms", "first_ms", "warmup_ms"))
    return Samples(load, first, warmup, blocks, rounds)


def _floats(values: list[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
