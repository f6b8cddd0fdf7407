"""What is evaluated: model files, and the network that they were made from, each opened in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dcd_deploy.artifacts import METADATA_KEY, UINT8, ModelCard
from dcd_deploy.errors import ModelFileError, OptionError
from dcd_deploy.evaluation.tally import Logits
from dcd_deploy.files import existing_file, parse_json, read_json, sha256
from dcd_deploy.labelled_images import InputForm
from dcd_deploy.labelled_images.calibration_manifest import KEY, CalibrationManifest
from dcd_deploy.labelled_images.form import Images
from dcd_deploy.runtimes.isolated import isolated_model
from dcd_deploy.runtimes.model import Model, open_model
from dcd_deploy.runtimes.sidecar import LARGEST_SIDECAR, sidecar_of

Run = Callable[[Images], Logits]


@dataclass(frozen=True)
class Subject:
    """A model that answers: ``open(*arguments)``, in another process, returns what runs it on one image (1, C, H, W).

    ``facts`` say which it is, for the counts: another file, another runtime, another identity.
    """

    name: str
    open: Callable[..., Run]
    arguments: tuple[Any, ...]
    form: InputForm
    facts: dict[str, str | int]
    calibration: frozenset[str] = field(default=frozenset(), repr=False)


@dataclass(frozen=True)
class Described:
    """A model file as a subject, with its number of classes; ``card`` is None in a file that is not one of ours."""

    subject: Subject
    classes: int
    card: ModelCard | None


def described(path: Path) -> Described:
    """Open a model file in a process of its own, and return what it says of itself.

    Raises:
        OptionError: it is no classifier with one input.
        ModelFileError: it is damaged.
    """
    path = existing_file(path, "a model file")
    with isolated_model(path, threads=1) as model:
        session, card = model.session, model.card
        outputs = session.outputs
        if len(session.inputs) != 1 or len(outputs) != 1 or len(outputs[0].shape) != 2 or outputs[0].shape[1] is None:
            shapes = [[each.shape for each in side] for side in (session.inputs, outputs)]
            raise OptionError(
                expected=f"a classifier, with one input and one output (N, classes), in '{path.name}'",
                found=f"inputs {shapes[0]} and outputs {shapes[1]}",
            )
        first = session.inputs[0]
        facts: dict[str, str | int] = {
            "name": path.name,
            "sha256": sha256(path),
            "bytes": path.stat().st_size,
            "batch": first.shape[0] or 1,
            "runtime": session.runtime,
            "version": session.version,
        }
        form = InputForm(first.torch_shape[1:], first.dtype) if card is None else InputForm.of_card(card)
        subject = Subject(path.name, _open_file, (path,), form, facts, _calibration(path, model))
        return Described(subject, outputs[0].shape[1], card)


def _calibration(path: Path, model: Model) -> frozenset[str]:
    """Return the hashes of the images that a file was calibrated on, as it or its sidecar says.

    Raises:
        ModelFileError: what they say is damaged.
    """
    sidecar = sidecar_of(path)
    try:
        said = parse_json(model.session.metadata.get(METADATA_KEY, "{}"))
        if KEY not in said and sidecar.is_file():
            said = read_json(sidecar, LARGEST_SIDECAR)
        if not isinstance(said, dict) or said.get(KEY) is None:
            return frozenset()
        return frozenset(CalibrationManifest.from_plain(said[KEY]).sha256)
    except (ValueError, TypeError) as error:
        raise ModelFileError(
            expected=f"in '{path.name}', or its sidecar, the images that it was calibrated on, if any",
            but=f"what it says is damaged: {error}",
            advice="export it again",
        ) from error


def _open_file(path: Path) -> Run:
    return open_model(path, threads=1).run


_running: list[Run] = []  # in the other process


def open_subject(opened: Callable[..., Run], arguments: tuple[Any, ...], form: InputForm) -> None:
    """Open a model in this process and run it once, so that no image pays for the first run."""
    _running.append(opened(*arguments))
    shape = tuple(size or 1 for size in form.shape)
    _running[-1](np.zeros((1, *shape), np.uint8 if form.dtype == UINT8 else np.float32))


def answers(inputs: Images) -> tuple[Logits, int]:
    """Return the logits (N, classes) of inputs (N, C, H, W), and the nanoseconds of the runs.

    Each image is run by itself: its answer is the same whatever comes with it.
    """
    run, found, taken = _running[-1], [], 0
    for row in inputs:
        start = time.perf_counter_ns()
        found.append(run(row[None]))
        taken += time.perf_counter_ns() - start
    return np.concatenate(found), taken
