"""Which runtime opens a model file: those for its kind, and the one that it was made for, as far as that is here."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dcd_deploy.artifacts import LITERT_COMPILED, METADATA_KEY
from dcd_deploy.card_json import read_card
from dcd_deploy.errors import ModelFileError
from dcd_deploy.files import existing_file, suffix_of, unknown_model_file
from dcd_deploy.optional import require
from dcd_deploy.runtimes.executorch import ExecuTorchSession
from dcd_deploy.runtimes.flatbuffer import read_texts
from dcd_deploy.runtimes.litert import LiteRtSession, interpreter_module
from dcd_deploy.runtimes.litert_compiled import LiteRtCompiledSession, lacking
from dcd_deploy.runtimes.onnxruntime import OnnxRuntimeSession
from dcd_deploy.runtimes.session import Session


@dataclass(frozen=True)
class Runtime:
    """A way to run files of one kind; ``package`` is what it loads."""

    suffix: str
    open: Callable[[Path, int], Session]
    package: str


RUNTIMES = {
    "onnxruntime": Runtime(".onnx", OnnxRuntimeSession, "onnxruntime"),
    "onnxruntime-plain": Runtime(".onnx", partial(OnnxRuntimeSession, blocked=False), "onnxruntime"),
    "onnxruntime-ort": Runtime(".ort", OnnxRuntimeSession, "onnxruntime"),
    "litert": Runtime(".tflite", LiteRtSession, "litert"),
    LITERT_COMPILED: Runtime(".tflite", LiteRtCompiledSession, "litert"),
    "executorch": Runtime(".pte", ExecuTorchSession, "executorch.runtime"),
    "litert-plain": Runtime(".tflite", partial(LiteRtSession, xnnpack=False), "litert"),
}
# the usual one for each kind of file comes first
SUFFIXES = tuple(dict.fromkeys(runtime.suffix for runtime in RUNTIMES.values()))


class SlowRuntimeWarning(UserWarning):
    """A file is right in the runtime that it was opened in, but was made to be quick in another."""


def usual_runtime(path: Path) -> str:
    """Return the runtime that a file was made for, as far as it is here; else the usual one for its kind.

    Raises:
        UnknownNameError: there is none.
        InputFileError: there is no such file.
    """
    known = runtimes_for(path)
    if suffix_of(path) != RUNTIMES[LITERT_COMPILED].suffix:
        return known[0]
    wanted = _made_for(path)
    if wanted is None or (lack := _lack_of(wanted, known)) is None:
        return wanted or known[0]
    message = f"'{path.name}' is right in {known[0]}, but slower: it was made for {ascii(wanted)[1:-1]}; {lack}"
    warnings.warn(message, SlowRuntimeWarning, stacklevel=3)
    return known[0]


def _made_for(path: Path) -> str | None:
    """Return the runtime that a TFLite file names; None of a damaged one too: what opens it says what is wrong."""
    content = existing_file(path, "a TFLite model").read_bytes()
    with suppress(ModelFileError):
        text = read_texts(content, path).get(METADATA_KEY)
        return None if text is None else read_card(text).runtime
    return None


def _lack_of(runtime: str, known: Sequence[str]) -> str | None:
    """Return why a runtime that a file names cannot be had here, or None."""
    if runtime not in known:
        return f"this version of dcd-deploy knows {', '.join(known)} alone"
    return lacking() if runtime == LITERT_COMPILED else None


def runtimes_for(path: Path) -> list[str]:
    """Return the names of the runtimes that open files of this kind, the usual one first.

    Raises:
        UnknownNameError: there is none.
    """
    known = [name for name, runtime in RUNTIMES.items() if runtime.suffix == suffix_of(path)]
    if not known:
        raise unknown_model_file(path, SUFFIXES)
    return known


def load_runtime(name: str) -> None:
    """Load the package of a runtime, and nothing more.

    Raises:
        MissingDependencyError: it is not installed.
    """
    if RUNTIMES[name].package == "litert":
        interpreter_module()
    else:
        require(RUNTIMES[name].package)
