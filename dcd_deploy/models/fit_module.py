"""A checkpoint's keys as a user's own module has them: behind which prefix they lie, and in how many parts.

The module says what it needs. All of it has to be there, behind one prefix; what lies outside that prefix is not the
module's, and is left out and said. Inside it nothing is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from torch import nn

from dcd_deploy.errors import shown
from dcd_deploy.models.checkpoint import DATA_PARALLEL, Checkpoint, renamed
from dcd_deploy.models.reparametrised import put_together

COUNTER = "num_batches_tracked"  # BatchNorm's own, which old checkpoints lack and evaluation does not use


def fitted_to(checkpoint: Checkpoint, module: nn.Module) -> Checkpoint:
    """Return the checkpoint with the keys of ``module``, or as it is where they are not all there."""
    wanted = {key for key in module.state_dict() if not key.endswith(COUNTER)}
    for found in (checkpoint, _plain(checkpoint), put_together(checkpoint), _plain(put_together(checkpoint))):
        prefix = _prefix(found.state_dict, wanted)
        if prefix is not None:
            return _behind(found, prefix)
    return checkpoint


def _plain(checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint without what DataParallel puts into names."""
    within = f".{DATA_PARALLEL}"
    state = renamed(checkpoint.path, checkpoint.state_dict, lambda key: f".{key}".replace(within, ".")[1:])
    return checkpoint.with_state(state)


def _prefix(keys: Iterable[str], wanted: set[str]) -> str | None:
    """Return what stands before all the keys that are wanted; None where there is no such thing, or more than one."""
    known = set(keys)
    if wanted <= known:
        return ""
    longest = max(wanted, key=len, default="")
    counts = Counter(key.removesuffix(longest) for key in known if longest and key.endswith(f".{longest}"))
    prefixes = [prefix for prefix in counts if all(prefix + key in known for key in wanted)]
    return prefixes[0] if len(prefixes) == 1 else None


def _behind(checkpoint: Checkpoint, prefix: str) -> Checkpoint:
    if not prefix:
        return checkpoint
    state = {key.removeprefix(prefix): value for key, value in checkpoint.state_dict.items() if key.startswith(prefix)}
    notes = [f"prefix '{prefix}' taken from {len(state)} keys"]
    others = [key for key in checkpoint.state_dict if not key.startswith(prefix)]
    if others:
        groups = sorted({key.partition(".")[0] for key in others})
        notes.append(
            f"left out: {len(others)} keys outside the prefix ({', '.join(shown(each) for each in groups[:5])})"
        )
    return replace(checkpoint.with_state(state, *notes), left_out=tuple(others))
