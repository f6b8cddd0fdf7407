"""What a checkpoint holds, for ``inspect``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from dcd_deploy.models.checkpoint import read_checkpoint
from dcd_deploy.models.fit import fit
from dcd_deploy.models.sizes import check_input_size
from dcd_deploy.models.summary import NetworkSummary, summarise


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


def inspect_checkpoint(path: Path, height: int, width: int, *, ema: bool = False) -> CheckpointSummary:
    """Read a checkpoint and count its network for inputs of height × width."""
    check_input_size(height, width)
    checkpoint = read_checkpoint(path, ema=ema)
    dtypes = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in checkpoint.state_dict.values())
    return CheckpointSummary(
        path=checkpoint.path,
        sha256=checkpoint.sha256,
        size_bytes=checkpoint.path.stat().st_size,
        source=checkpoint.source,
        info=checkpoint.info,
        dtypes=dict(dtypes),
        network=summarise(fit(checkpoint, send_to_inspect=False), height, width),
    )
