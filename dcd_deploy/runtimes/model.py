"""A model in an app: open the file, show it a picture, read the answer.

    model = open_model("mobilenetv2_dcd.onnx")
    for answer in model.predict(picture):          # (H, W, 3) uint8 RGB of any size
        print(answer.label, answer.probability)

Preprocessing, labels and shapes come from the file. Nothing here imports torch.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from dcd_deploy.artifacts import LITERT_COMPILED, METADATA_KEY, UINT8, ModelCard
from dcd_deploy.errors import ModelFileError, OptionError, UnknownNameError
from dcd_deploy.files import existing_file, suffix_of
from dcd_deploy.optional import require
from dcd_deploy.runtimes.executorch import ExecuTorchSession
from dcd_deploy.runtimes.flatbuffer import read_texts
from dcd_deploy.runtimes.litert import LiteRtSession, interpreter_module
from dcd_deploy.runtimes.litert_compiled import LiteRtCompiledSession, lacking
from dcd_deploy.runtimes.onnxruntime import OnnxRuntimeSession
from dcd_deploy.runtimes.preprocessing import Picture, preprocess, softmax
from dcd_deploy.runtimes.session import Array, Input, Session, check_count


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


@dataclass(frozen=True)
class Prediction:
    """One answer: the class's number, its label (the number where the file has no labels), and its probability."""

    index: int
    label: str
    probability: float


def _of_type(values: Input, dtype: str) -> Input:
    """Return an input as the model takes it; bytes are made of nothing else, which might be normalised already."""
    if dtype == UINT8 and values.dtype != np.uint8:
        raise OptionError(expected="raw bytes 0..255, an array of uint8, as the model takes", found=str(values.dtype))
    return np.ascontiguousarray(values, UINT8 if dtype == UINT8 else np.float32)


class Model:
    """An opened model with what its file says about itself; ``card`` is None in a file that is not one of ours."""

    def __init__(self, session: Session, card: ModelCard | None, format: str = "onnx") -> None:
        self.session = session
        self.card = card
        self.format = format

    def run(self, images: Input) -> Array:
        """Return the first output, the logits (N, classes), for images (N, 3, H, W) of any number N.

        They are normalised; or bytes, of a file that takes these.
        """
        shape = np.shape(images) if isinstance(images, np.ndarray) else type(images).__name__
        if not isinstance(images, np.ndarray) or images.ndim != 4 or len(images) == 0:
            raise OptionError(expected="images of shape (N, 3, H, W)", found=shape)
        return self.run_all(images)[0]

    def run_all(self, *inputs: Input) -> tuple[Array, ...]:
        """Return all outputs for all inputs, N samples of each, whatever the file's own batch size."""
        counts = {len(values) if isinstance(values, np.ndarray) and values.ndim else 0 for values in inputs}
        if len(counts) != 1 or 0 in counts:
            found = ", ".join(str(np.shape(v)) if isinstance(v, np.ndarray) else type(v).__name__ for v in inputs)
            raise OptionError(expected="arrays of as many samples for every input of the model", found=found or "none")
        check_count(inputs, self.session.inputs)
        inputs = tuple(map(_of_type, inputs, (each.dtype for each in self.session.inputs)))
        (count,), batch = counts, self.session.inputs[0].shape[0]
        if batch is None or batch == count:
            return self.session.run_all(inputs)
        parts = []
        for start in range(0, count, batch):
            rows = np.arange(start, start + batch).clip(max=count - 1)
            filled = self.session.run_all([values[rows] for values in inputs])
            parts.append([values[: count - start] for values in filled])
        return tuple(map(np.concatenate, zip(*parts)))

    def preprocess(self, picture: Picture) -> Input:
        """Return the input (1, 3, H, W) for an RGB picture (height, width, 3) uint8 of any size.

        Raises:
            OptionError: the model takes something else than pictures of three channels.
        """
        settings = self.described().preprocessing
        if settings is None:
            raise OptionError(
                expected="a model that takes RGB pictures",
                found=f"one that takes {self.session.inputs[0].shape} and says no preprocessing",
                advice="call run_all() with inputs that you prepared yourself",
            )
        return preprocess(picture, settings, self.session.inputs[0].dtype)

    def predict(self, picture: Picture, top: int = 5) -> list[Prediction]:
        """Return the ``top`` likeliest classes of an RGB picture (height, width, 3) uint8, the likeliest first.

        Raises:
            OptionError: the model is no classifier of pictures.
        """
        card = self.described()
        if not card.is_classifier:
            outputs = ", ".join(f"'{output.name}' {output.shape}" for output in card.outputs)
            raise OptionError(
                expected="a classifier, whose only output is (N, classes)",
                found=f"outputs {outputs}",
                advice="call run_all()",
            )
        logits = self.run(self.preprocess(picture))
        if not np.isfinite(logits).all():
            raise ModelFileError(
                "expected finite numbers from the model, found NaN or infinity: its weights or the mean and std in its "
                "description are damaged; export it again"
            )
        probabilities = softmax(logits)[0]
        best = np.argsort(-probabilities, kind="stable")[:top]
        return [Prediction(int(i), self._label(int(i)), float(probabilities[i])) for i in best]

    def _label(self, index: int) -> str:
        labels = self.described().labels
        return labels[index] if index < len(labels) else str(index)

    def described(self) -> ModelCard:
        """Return the file's description of itself.

        Raises:
            ModelFileError: it has none.
        """
        if self.card is None:
            raise ModelFileError(
                expected=f"a model exported by dcd-deploy, with a '{METADATA_KEY}' entry in its metadata",
                found="none: a foreign file, or a copy that lost it",
                advice="export it again, or call run() with an input that you normalised yourself",
            )
        return self.card


def open_model(path: str | os.PathLike[str], *, threads: int = 0, runtime: str | None = None) -> Model:
    """Open an exported model with ``threads`` threads (0: as many as there are cores), in the file's usual runtime.

    Where the runtime that the file was made for is missing here, it is opened in another, and a ``SlowRuntimeWarning``
    says so.

    Raises:
        InputFileError: there is no such file.
        UnknownNameError: no runtime here opens files of this kind, or not ``runtime``.
        ModelFileError: the file is damaged.
    """
    path = Path(path)
    known = runtimes_for(path)
    if runtime is not None and runtime not in known:
        raise UnknownNameError(f"runtime for '{suffix_of(path)}' files", runtime, known)
    return as_model(RUNTIMES[runtime or usual_runtime(path)].open(path, threads), suffix_of(path).removeprefix("."))


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
        return None if text is None else ModelCard.from_json(text).runtime
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
        raise UnknownNameError("kind of model file", path.suffix or str(path), SUFFIXES)
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


def as_model(session: Session, format: str = "onnx") -> Model:
    """Return an opened session as a model, with its description read and checked."""
    text = session.metadata.get(METADATA_KEY)
    card = None if text is None else ModelCard.from_json(text)
    if card is not None:
        _check_card(session, card)
    return Model(session, card, format)


def _check_card(session: Session, card: ModelCard) -> None:
    """Refuse a description that is not of this model."""
    found = [[tensor.shape for tensor in side] for side in (session.inputs, session.outputs)]
    described = [[tensor.shape for tensor in side] for side in (card.inputs, card.outputs)]
    if found != described:
        raise ModelFileError(
            f"the file's description speaks of shapes {_listed(described)}, but the model has {_listed(found)}; export "
            "it again"
        )


def _listed(sides: list[list[tuple[int | None, ...]]]) -> str:
    return " and ".join(", ".join(map(str, shapes)) for shapes in sides)
