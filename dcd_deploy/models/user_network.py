"""A network that a user's own Python file makes, with the weights of a checkpoint: ``FILE.py:FACTORY``.

The file is run, as ``python FILE.py`` would run it; the checkpoint is only read (``models.checkpoint``).

The module says which weights it needs. All of them have to be there, behind one prefix, in however many parts; what
lies outside that prefix is not the module's, and is left out and said. Inside it nothing is.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from dcd_deploy.errors import NetworkError, shown
from dcd_deploy.files import existing_file
from dcd_deploy.models.checkpoint import DATA_PARALLEL, Checkpoint, renamed
from dcd_deploy.models.reparametrised import put_together
from dcd_deploy.settings_kept import settings_kept

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


SHOWN = 3


def network_from_file(network: str, arguments: str | Mapping[str, Any] | None = None) -> nn.Module:
    """Return what the factory of ``FILE.py:FACTORY`` makes; ``arguments`` are a JSON object of its keyword arguments.

    The factory is a function or class that returns a module, or the module itself.

    Raises:
        InputFileError: there is no such file.
        NetworkError: the file or its factory raises, there is no such factory, or it returns no module.
    """
    file, found, name = network.rpartition(":")
    if not found or not file.endswith(".py") or not name.isidentifier():
        raise NetworkError(
            expected="`network` FILE.py:FACTORY", found=f"'{network}'", advice="FACTORY is a function in that file"
        )
    path = existing_file(file, "a Python file that makes the network")
    factory = _named(_loaded(path), name, path)
    made = factory if isinstance(factory, nn.Module) else _called(factory, _arguments(arguments), f"{path.name}:{name}")
    if not isinstance(made, nn.Module):
        raise NetworkError(
            expected=f"'{path.name}:{name}' to return a torch.nn.Module",
            found=type(made).__name__,
            advice="return the network",
        )
    return made


def load_weights(
    module: nn.Module, state: Mapping[str, Tensor], source: str, left_out: Sequence[str] = ()
) -> nn.Module:
    """Put the tensors into the module, all of them and no others; ``left_out`` are keys of the file that are not tried.

    Raises:
        NetworkError: names or shapes differ; the message has the first of each.
    """
    if any(is_lazy(tensor) for tensor in module.state_dict().values()):
        raise NetworkError(
            expected="a network that knows its shapes",
            found=f"lazy layers in {type(module).__name__}",
            advice="run it once in its factory",
        )
    expected = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    found = {key: tuple(tensor.shape) for key, tensor in state.items()}
    missing = [key for key in expected if key not in found and not key.endswith(COUNTER)]
    unexpected = [key for key in found if key not in expected]
    both = sorted(expected.keys() & found.keys())
    wrong = [f"{k} (expected {expected[k]}, found {found[k]})" for k in both if expected[k] != found[k]]
    named = (("missing", missing), ("unexpected", unexpected), ("wrongly shaped", wrong))
    amiss = "; ".join(f"{len(keys)} {what}: {_first(keys)}" for what, keys in named if keys)
    if amiss:
        rest = f"; {len(left_out)} left out as unused: {_first(left_out)}" if left_out else ""
        raise NetworkError(
            f"the weights of '{source}' are not those of {type(module).__name__}: {amiss}{rest}; check `network_args`, "
            "`prefix` and `drop`"
        )
    with torch.no_grad():
        module.load_state_dict({k: v for k, v in state.items() if k in expected}, strict=False)
    return module


def _loaded(path: Path) -> ModuleType:
    """Run the file as a module, with its own folder on the path for what it imports."""
    spec = importlib.util.spec_from_file_location(f"dcd_deploy_network_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    sys.modules[spec.name] = module
    try:
        with settings_kept():
            spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the user's file raises; a script may end itself
        raise NetworkError(f"'{path.name}' cannot be run: {_said(error, path)}") from error
    return module


def _named(module: ModuleType, name: str, path: Path) -> Any:
    if hasattr(module, name):
        return getattr(module, name)
    own = [k for k, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__]
    known = f"it has {_first(own)}" if own else "it defines no function or class"
    raise NetworkError(expected=f"'{name}' in '{path.name}'", found="none", advice=known)


def _arguments(arguments: str | Mapping[str, Any] | None) -> dict[str, Any]:
    if arguments is None:
        return {}
    try:
        found = json.loads(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError) as error:
        raise NetworkError(
            expected="`network_args` as JSON, such as '{\"width\": 0.5}'", found=f"other text ({error})"
        ) from error
    if not isinstance(found, Mapping):
        raise NetworkError(expected="`network_args` as a JSON object of keyword arguments", found=type(found).__name__)
    return dict(found)


def _called(factory: Any, arguments: dict[str, Any], title: str) -> Any:
    if not callable(factory):
        raise NetworkError(expected=f"'{title}' to be a function, a class or a module", found=type(factory).__name__)
    try:
        inspect.signature(factory).bind(**arguments)
    except TypeError as error:
        raise NetworkError(
            f"'{title}' does not take these arguments: {error}; give them with `network_args`"
        ) from error
    except ValueError:
        pass  # a callable without a signature says by itself what it takes
    try:
        with settings_kept():
            return factory(**arguments)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the user's factory raises
        raise NetworkError(f"'{title}' raised {_said(error, Path(title.partition(':')[0]))}") from error


def _said(error: BaseException, path: Path) -> str:
    """Return what an error says and the last line of the user's file that it passed."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).name == path.name
    ]
    where = f" at line {lines[-1]}" if lines else ""
    text = (str(error).strip().splitlines() or [""])[0][:300]
    return f"{type(error).__name__}{where}: {text}" if text else f"{type(error).__name__}{where}"


def _first(keys: Sequence[str]) -> str:
    return ", ".join(keys[:SHOWN]) + (", …" if len(keys) > SHOWN else "")
