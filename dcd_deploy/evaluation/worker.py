"""A worker: a process that reads images, and one for each model, which take their turns; so a worker fills one core.

Runtimes clash in one process, and an image or a model that crashes its process must not take the others along.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np

from dcd_deploy.errors import InputFileError, ModelFileError, VerificationError
from dcd_deploy.evaluation.subjects import Subject, answers, open_subject
from dcd_deploy.evaluation.tally import Logits, Tally, count_answers
from dcd_deploy.labelled_images import ImageArray, InputForm, LabelledImages
from dcd_deploy.labelled_images.form import Images
from dcd_deploy.runtimes.isolated import Isolated

Read = tuple[list[int], list[Images], list[str], tuple[tuple[str, str], ...]]

READER = "images"  # what errors call its process
TIME_LIMIT = 600.0  # seconds, for a chunk of images


@dataclass(frozen=True)
class Counted:
    """What one chunk of images came to: a tally for each subject, in their order.

    ``hashes`` is the sum of the images' SHA-256 as numbers; ``unreadable`` are names and reasons.
    """

    tallies: tuple[Tally, ...]
    hashes: int
    unreadable: tuple[tuple[str, str], ...]


class Worker:
    """Counts chunks of images, with processes of its own; ``reference`` says that the first subject is the network."""

    def __init__(self, subjects: Sequence[Subject], *, reference: bool) -> None:
        self._subjects, self._reference = subjects, reference
        self._forms = tuple(dict.fromkeys(subject.form for subject in subjects))
        self._stack = ExitStack()
        self._processes: list[Isolated] = []  # the reader's, and one for each subject
        self._lock, self._closed = Lock(), False

    def close(self) -> None:
        """End the processes, whatever they do; none is started any more."""
        with self._lock:
            self._closed = True
            self._stack.close()

    def count(self, images: LabelledImages) -> Counted:
        """Return what a chunk of images comes to."""
        if not self._processes:
            self._open()
        reader, *models = self._processes
        kept, arrays, hashes, unreadable = _read_in(reader, images, self._forms)
        if not kept:
            return Counted(tuple(Tally() for _ in self._subjects), 0, unreadable)
        inputs = dict(zip(self._forms, arrays, strict=True))
        chosen, tallies, reference = images.part(kept), [], None
        for subject, process in zip(self._subjects, models, strict=True):
            logits, taken = process.call(answers, inputs[subject.form])
            check_logits(subject.name, logits, reference, chosen.names)
            known = sum(each in subject.calibration for each in hashes)
            tallies.append(count_answers(logits, chosen.labels or (), reference, calibration=known, nanoseconds=taken))
            if self._reference and reference is None:
                reference = logits
        return Counted(tuple(tallies), sum(int(each, 16) for each in hashes), unreadable)

    def _open(self) -> None:
        """Start the processes and open the models in them."""
        for name in (READER, *(subject.name for subject in self._subjects)):
            with self._lock:
                if self._closed:
                    raise CancelledError
                self._processes.append(self._stack.enter_context(Isolated(Path(name), TIME_LIMIT)))
        for subject, process in zip(self._subjects, self._processes[1:], strict=True):
            process.call(open_subject, subject.open, subject.arguments, subject.form)


def _read_in(process: Isolated, images: LabelledImages, forms: Sequence[InputForm]) -> Read:
    """Return what ``read`` returns there; what is read already needs no other process."""
    if isinstance(images, ImageArray):
        return read(images, forms)
    try:
        found: Read = process.call(read, images, forms)
    except ModelFileError as error:
        raise InputFileError(
            expected=f"images that can be read, from '{images.names[0]}' to '{images.names[-1]}'",
            but=f"the process that reads them {error.found.partition(' runtime ')[2] or 'ended'}",
            advice="one of them is damaged or too large: take it away",
        ) from error
    return found


def check_logits(name: str, logits: Logits, reference: Logits | None, images: Sequence[str]) -> None:
    """Refuse what is no answer.

    Raises:
        ModelFileError: a model answers with NaN or infinity.
        VerificationError: it has other classes than the network.
    """
    finite = np.isfinite(logits).all(axis=1)
    if not finite.all():
        raise ModelFileError(
            expected=f"finite logits from '{name}'",
            found=f"NaN or infinity for '{images[int(finite.argmin())]}'",
            advice="check it with `dcd-deploy verify`",
        )
    if reference is not None and reference.shape != logits.shape:
        raise VerificationError(
            expected=f"'{name}' with the {reference.shape[1]} classes of the network", found=logits.shape[1]
        )


def read(images: LabelledImages, forms: Sequence[InputForm]) -> Read:
    """Return which images can be read, them as inputs (N, C, H, W) of every form, their hashes, and which cannot."""
    kept, rows, hashes, unreadable = [], [], [], []
    for i, name in enumerate(images.names):
        try:
            row = [images.tensor(i, form) for form in forms]
            hashes.append(images.sha256(i))
        except InputFileError as error:
            unreadable.append((name, error.found or str(error)))
        else:
            rows.append(row)
            kept.append(i)
    return kept, [np.concatenate(column) for column in zip(*rows, strict=True)], hashes, tuple(unreadable)
