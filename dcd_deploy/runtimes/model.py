"""A model in an app: open the file, show it a picture, read the answer.

    model = open_model("mobilenetv2_dcd.onnx")
    for answer in model.predict(picture):          # (H, W, 3) uint8 RGB of any size
        print(answer.label, answer.probability)

Preprocessing, labels and shapes come from the file. Nothing here imports torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcd_deploy.artifacts import METADATA_KEY, ModelCard
from dcd_deploy.errors import ModelFileError, OptionError, UnknownNameError
from dcd_deploy.optional import require
from dcd_deploy.runtimes.litert import LiteRtSession, interpreter_module
from dcd_deploy.runtimes.onnxruntime import OnnxRuntimeSession
from dcd_deploy.runtimes.preprocessing import Picture, preprocess, softmax
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
    "litert": Runtime(".tflite", LiteRtSession, "litert"),
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


class Model:
    """An opened model with what its file says about itself; ``card`` is None in a file that is not one of ours."""

    def __init__(self, session: Session, card: ModelCard | None, format: str = "onnx") -> None:
        self.session = session
        self.card = card
        self.format = format

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits (N, classes) of normalised images (N, 3, H, W), whatever the file's own batch size."""
        shape = np.shape(images) if isinstance(images, np.ndarray) else type(images).__name__
        if not isinstance(images, np.ndarray) or images.ndim != 4 or len(images) == 0:
            raise OptionError(f"expected images of shape (N, 3, H, W), found {shape}")
        images = np.ascontiguousarray(images, np.float32)
        batch = self.session.inputs[0].shape[0]
        if batch is None or batch == len(images):
            return self.session.run(images)
        rows = []
        for start in range(0, len(images), batch):
            part = images[start : start + batch]
            filled = part[np.arange(batch).clip(max=len(part) - 1)]
            rows.append(self.session.run(filled)[: len(part)])
        return np.concatenate(rows)

    def preprocess(self, picture: Picture) -> NDArray[np.float32]:
        """Return the input (1, 3, H, W) for an RGB picture (height, width, 3) uint8 of any size."""
        return preprocess(picture, self.described().preprocessing)

    def predict(self, picture: Picture, top: int = 5) -> list[Prediction]:
        """Return the ``top`` likeliest classes of an RGB picture (height, width, 3) uint8, the likeliest first."""
        probabilities = softmax(self.run(self.preprocess(picture)))[0]
        labels = self.described().labels
        best = np.argsort(-probabilities, kind="stable")[:top]
        return [Prediction(int(i), labels[i] if i < len(labels) else str(i), float(probabilities[i])) for i in best]

    def described(self) -> ModelCard:
        """Return the file's description of itself.

        Raises:
            ModelFileError: it has none.
        """
        if self.card is None:
            raise ModelFileError(
                f"expected a model exported by dcd-deploy, with a '{METADATA_KEY}' entry in its metadata, found none; "
                "export it again, or call run() with an input that you normalised yourself"
            )
        return self.card


def open_model(path: str | os.PathLike[str], *, threads: int = 0, runtime: str | None = None) -> Model:
    """Open an exported model with ``threads`` threads (0: as many as there are cores), in the file's usual runtime.

    Raises:
        InputFileError: there is no such file.
        UnknownNameError: no runtime here opens files of this kind, or not ``runtime``.
        ModelFileError: the file is damaged.
    """
    path = Path(path)
    known = runtimes_for(path)
    if runtime is not None and runtime not in known:
        raise UnknownNameError(f"runtime for '{path.suffix}' files", runtime, known)
    return as_model(RUNTIMES[runtime or known[0]].open(path, threads), path.suffix.removeprefix("."))


def runtimes_for(path: Path) -> list[str]:
    """Return the names of the runtimes that open files of this kind, the usual one first.

    Raises:
        UnknownNameError: there is none.
    """
    known = [name for name, runtime in RUNTIMES.items() if runtime.suffix == path.suffix]
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
    found = (session.inputs[0].shape, session.outputs[0].shape)
    described = (card.input.shape, card.output.shape)
    if found != described:
        raise ModelFileError(
            f"the file's description speaks of shapes {described}, but the model has {found}; export it again"
        )
