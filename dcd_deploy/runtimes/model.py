"""A model in an app: open the file, show it a picture, read the answer.

    model = open_model("mobilenetv2_dcd.onnx")
    for answer in model.predict("photo.jpg"):      # or bytes, an image of Pillow, an array (H, W, 3) uint8
        print(answer.label, answer.probability)

Preprocessing, labels and shapes come from the file. Nothing here imports torch.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcd_deploy.artifacts import METADATA_KEY, UINT8, ModelCard
from dcd_deploy.card_json import read_card
from dcd_deploy.errors import ModelFileError, OptionError, UnknownNameError
from dcd_deploy.files import suffix_of
from dcd_deploy.runtimes.choice import RUNTIMES, runtimes_for, usual_runtime
from dcd_deploy.runtimes.described import as_described
from dcd_deploy.runtimes.onnxruntime import OnnxRuntimeSession
from dcd_deploy.runtimes.pictures import Image, as_picture
from dcd_deploy.runtimes.preprocessing import preprocess, softmax
from dcd_deploy.runtimes.saturation import warn_of_saturation
from dcd_deploy.runtimes.session import Array, Input, Session, check_count


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


def _as_array(*inputs: object) -> str:
    """Say how inputs become arrays, where they are tensors of a library that has them."""
    tensors = any(hasattr(each, "numpy") for each in inputs)
    return "give numpy's arrays: a tensor's .numpy()" if tensors else ""


class Model:
    """An opened model with what its file says about itself; ``card`` is None in a file that is not one of ours.

    Several threads may share one: onnxruntime runs them side by side, of the other runtimes one waits for the other.
    """

    def __init__(self, session: Session, card: ModelCard | None, format: str = "onnx") -> None:
        self.session = session
        self.card = card
        self.format = format
        self._one_by_one: AbstractContextManager[object] = (
            nullcontext() if isinstance(session, OnnxRuntimeSession) else threading.Lock()
        )

    def run(self, images: Input) -> Array:
        """Return the first output, the logits (N, classes), for images (N, 3, H, W) of any number N.

        They are normalised; or bytes, of a file that takes these.
        """
        shape = np.shape(images) if isinstance(images, np.ndarray) else type(images).__name__
        if not isinstance(images, np.ndarray) or images.ndim != 4 or len(images) == 0:
            raise OptionError(expected="images of shape (N, 3, H, W)", found=shape, advice=_as_array(images))
        return self.run_all(images)[0]

    def run_all(self, *inputs: Input) -> tuple[Array, ...]:
        """Return all outputs for all inputs, N samples of each, whatever the file's own batch size."""
        counts = {len(values) if isinstance(values, np.ndarray) and values.ndim else 0 for values in inputs}
        if len(counts) != 1 or 0 in counts:
            found = ", ".join(str(np.shape(v)) if isinstance(v, np.ndarray) else type(v).__name__ for v in inputs)
            raise OptionError(
                expected="arrays of as many samples for every input of the model",
                found=found or "none",
                advice=_as_array(*inputs),
            )
        check_count(inputs, self.session.inputs)
        inputs = tuple(map(_of_type, inputs, (each.dtype for each in self.session.inputs)))
        (count,), batch = counts, self.session.inputs[0].shape[0]
        if batch is None or batch == count:
            return self._run_once(inputs)
        parts = []
        for start in range(0, count, batch):
            rows = np.arange(start, start + batch).clip(max=count - 1)
            filled = self._run_once([values[rows] for values in inputs])
            parts.append([values[: count - start] for values in filled])
        return tuple(map(np.concatenate, zip(*parts)))

    def _run_once(self, inputs: Sequence[Input]) -> tuple[Array, ...]:
        with self._one_by_one:
            return self.session.run_all(inputs)

    def run_named(self, inputs: Mapping[str, Input]) -> dict[str, Array]:
        """Return all outputs by their names, such as a segmenter's "mask", for all inputs by theirs.

        Raises:
            OptionError: an input is missing, or is none of the model's.
        """
        names = [each.name for each in self.session.inputs]
        if set(inputs) != set(names):
            raise OptionError(expected=f"inputs {', '.join(names)}", found=", ".join(map(str, inputs)) or "none")
        outputs = self.run_all(*(inputs[name] for name in names))
        return {each.name: values for each, values in zip(self.session.outputs, outputs)}

    def preprocess(self, image: Image) -> Input:
        """Return the input (1, 3, H, W) for an RGB picture of any size, as ``predict`` takes it.

        Raises:
            OptionError: the model takes something else than pictures of three channels.
        """
        settings = self.described().preprocessing
        if settings is None:
            raise OptionError(
                expected="a model that takes RGB pictures",
                found=f"one that takes {self.session.inputs[0].shape} and says no preprocessing",
                advice="in Python, run_named() takes inputs that you prepared yourself",
            )
        return preprocess(as_picture(image), settings, self.session.inputs[0].dtype)

    def predict(self, image: Image, top: int = 5) -> list[Prediction]:
        """Return the ``top`` likeliest classes of an RGB picture, the likeliest first.

        ``image`` is the path of a picture file, its content as bytes, an image of Pillow, or an array (height, width,
        3) uint8; of any size.

        Raises:
            OptionError: the model is no classifier of pictures, or this is no picture.
            InputFileError: the file is no picture.
        """
        return self.predict_batch([image], top)[0]

    def predict_batch(self, images: Sequence[Image], top: int = 5) -> list[list[Prediction]]:
        """Return for each of the pictures what ``predict`` does; together, whatever the file's own batch size is.

        Raises:
            as ``predict``.
        """
        self._check_classifier()
        if not images:
            raise OptionError(expected="pictures", found="none")
        logits = self.run(np.concatenate([self.preprocess(image) for image in images]))
        if not np.isfinite(logits).all():
            raise ModelFileError(
                "expected finite numbers from the model, found NaN or infinity: its weights or the mean and std in its "
                "description are damaged; export it again"
            )
        return [self._likeliest(probabilities, top) for probabilities in softmax(logits)]

    def _check_classifier(self) -> None:
        card = self.described()
        if not card.is_classifier:
            outputs = ", ".join(f"'{output.name}' {output.shape}" for output in card.outputs)
            raise OptionError(
                expected="a classifier, whose only output is (N, classes)",
                found=f"outputs {outputs}",
                advice="in Python, run_named() returns them",
            )

    def _likeliest(self, probabilities: NDArray[np.float64], top: int) -> list[Prediction]:
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
                advice="export it again; in Python, run() takes an input that you normalised yourself",
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


def as_model(session: Session, format: str = "onnx") -> Model:
    """Return an opened session as a model, with its description read and checked."""
    text = session.metadata.get(METADATA_KEY)
    card = None if text is None else read_card(text)
    if card is not None:
        session, card = as_described(session, card)
        if format in ("onnx", "ort"):
            warn_of_saturation(card)
    return Model(session, card, format)
