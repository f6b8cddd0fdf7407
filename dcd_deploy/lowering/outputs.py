"""What a network gives, whatever holds it: tensors under names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from dcd_deploy.errors import CaptureError

OUTPUT = "output"


def flat(result: object) -> dict[str, Tensor]:
    """Return the tensors of an output under their names: the keys of dicts, else "output", or "output_0" and on.

    Raises:
        CaptureError: there is something else than tensors in it.
    """
    if isinstance(result, Tensor):
        return {OUTPUT: result}
    found = dict(_leaves(result, ()))
    if not found:
        raise CaptureError("expected tensors as the network's outputs, found none")
    return found


def _leaves(value: object, path: tuple[str, ...]) -> list[tuple[str, Tensor]]:
    """Return (name, tensor) for each tensor in nested tuples, lists and dicts; None is passed over."""
    if isinstance(value, Tensor):
        named = path if path and not path[0].isdigit() else (OUTPUT, *path)
        return [("_".join(named), value)]
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [leaf for key, one in value.items() for leaf in _leaves(one, (*path, str(key)))]
    if isinstance(value, tuple | list):
        return [leaf for i, one in enumerate(value) for leaf in _leaves(one, (*path, str(i)))]
    where = f" at '{'_'.join(path)}'" if path else ""
    raise CaptureError(
        f"expected tensors as the network's outputs (or tuples, lists and dicts of them), found "
        f"{type(value).__name__}{where}; wrap the network in a module that returns tensors"
    )
