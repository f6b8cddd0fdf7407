"""What a checkpoint holds, for ``inspect``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dcd_deploy.models.checkpoint import read_checkpoint
from dcd_deploy.models.fit import fit_checkpoint
from dcd_deploy.models.infer import SpecOverrides
from dcd_deploy.models.sizes import check_input_size
from dcd_deploy.models.summary import NetworkSummary, summarise
from dcd_deploy.models.untold import Untold


@dataclass(frozen=True)
class CheckpointSummary:
    """The file, the network that its tensors are, and what that network costs."""

    path: Path
    sha256: str
    size_bytes: int
    source: str
    info: dict[str, str | int | float]
    dtypes: dict[str, int]
    network: NetworkSummary
    notes: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()


def inspect_checkpoint(
    path: Path,
    height: int,
    width: int,
    *,
    ema: bool = False,
    prefix: str | None = None,
    drop: Sequence[str] = (),
    untold: Untold | None = None,
) -> CheckpointSummary:
    """Read a checkpoint and count its network for inputs of height × width."""
    check_input_size(height, width)
    read = read_checkpoint(path, ema=ema, prefix=prefix, drop=drop)
    found = fit_checkpoint(read, SpecOverrides(untold=untold or Untold()), send_to_inspect=False)
    checkpoint = found.checkpoint
    dtypes = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in checkpoint.state_dict.values())
    return CheckpointSummary(
        path=checkpoint.path,
        sha256=checkpoint.sha256,
        size_bytes=checkpoint.size_bytes,
        source=checkpoint.source,
        info=checkpoint.info,
        dtypes=dict(dtypes),
        network=summarise(found.spec, height, width),
        notes=checkpoint.notes,
        assumed=found.assumed,
    )
