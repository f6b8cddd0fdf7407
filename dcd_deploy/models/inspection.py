"""What a checkpoint holds, for ``inspect``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from dcd_deploy.models.checkpoint import Checkpoint
from dcd_deploy.models.fit import fit_checkpoint
from dcd_deploy.models.infer import SpecOverrides
from dcd_deploy.models.sizes import NetworkSummary, summarise


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
    checkpoint: Checkpoint, height: int, width: int, overrides: SpecOverrides | None = None
) -> CheckpointSummary:
    """Say which network a checkpoint holds, and count it for inputs of height × width."""
    found = fit_checkpoint(checkpoint, overrides, send_to_inspect=False)
    return described(found.checkpoint, summarise(found.spec, height, width), found.assumed)


def described(checkpoint: Checkpoint, network: NetworkSummary, assumed: tuple[str, ...] = ()) -> CheckpointSummary:
    """Return the description of a checkpoint whose network has been counted."""
    dtypes = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in checkpoint.state_dict.values())
    return CheckpointSummary(
        path=checkpoint.path,
        sha256=checkpoint.sha256,
        size_bytes=checkpoint.size_bytes,
        source=checkpoint.source,
        info=checkpoint.info,
        dtypes=dict(dtypes),
        network=network,
        notes=checkpoint.notes,
        assumed=assumed,
    )
