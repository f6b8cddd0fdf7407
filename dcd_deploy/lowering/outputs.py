"""A network's outputs as a flat dict of tensors, whatever its forward puts them in."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from dcd_deploy.errors import CaptureError

OUTPUT = "output"


def flat(result: object, alone: str = OUTPUT) -> dict[str, Tensor]:
    """Return the tensors of an output under their names: the keys of dicts, else ``alone``, or "output_0" and on.

    Raises:
        CaptureError: there is something else than tensors in it, or two of them get one name.
    """
    if isinstance(result, tuple | list) and len(result) == 1:
        (result,) = result
    leaves = [(alone, result)] if isinstance(result, Tensor) else _leaves(result, ())
    found = dict(leaves)
    if len(found) < len(leaves):
        names = [name for name, _ in leaves]
        twice = next(name for name in names if names.count(name) > 1)
        raise CaptureError(
            expected="outputs with names of their own", found=f"two called '{twice}'", advice="rename one"
        )
    if not found:
        raise CaptureError(expected="a network that returns tensors", found="one that returns none")
    for name, value in found.items():
        if not value.is_floating_point():
            raise CaptureError(
                expected=f"output '{name}' of the network as a tensor of floating point",
                found=value.dtype,
                advice="return what it was computed from",
            )
    return found


def _leaves(value: object, path: tuple[str, ...]) -> list[tuple[str, Tensor]]:
    """Return (name, tensor) for each tensor in nested tuples, lists and dicts; None is passed over."""
    if isinstance(value, Tensor):
        named = path if path and not path[0].isdigit() else (OUTPUT, *path)
        return [("_".join(named), value)]
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [leaf for key, one in value.items() for leaf in _leaves(one, (*path, _name(key)))]
    if isinstance(value, tuple | list):
        return [leaf for i, one in enumerate(value) for leaf in _leaves(one, (*path, str(i)))]
    where = f" at '{'_'.join(path)}'" if path else ""
    raise CaptureError(
        expected="tensors as the network's outputs (or tuples, lists and dicts of them)",
        found=f"{type(value).__name__}{where}",
        advice="wrap the network in a module that returns tensors",
    )


def _name(key: object) -> str:
    """Return a name for what stands at a key of a dict: ("disp", 0) is "disp_0"."""
    if isinstance(key, tuple) and key:
        return "_".join(map(_name, key))
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    if not isinstance(key, str) or not key:
        raise CaptureError(
            expected="outputs with names",
            found=f"the key {key!r}",
            advice="use texts, whole numbers, or tuples of them, as the dict's keys",
        )
    return key
