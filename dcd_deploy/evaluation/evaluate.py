"""Count a shard of the images with as many workers as there are cores, and keep the counts as they grow."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from queue import SimpleQueue

from dcd_deploy.errors import ResultFileError
from dcd_deploy.evaluation.counts_file import Part, read_part, write_part
from dcd_deploy.evaluation.subjects import Subject
from dcd_deploy.evaluation.worker import Counted, Worker
from dcd_deploy.labelled_images import LabelledImages
from dcd_deploy.progress import Progress

KEEP_SECONDS = 1.0  # how often the counts are written
STEPS = 10  # of the progress


@dataclass(frozen=True)
class Work:
    """What is to be counted, by whom; ``out`` keeps the counts."""

    images: LabelledImages
    subjects: tuple[Subject, ...]
    part: Part
    jobs: int
    out: Path | None = None


def continued(out: Path | None, new: Part) -> Part:
    """Return the part that ``out`` keeps, or the new one where there is none.

    Raises:
        ResultFileError: it keeps counts of something else.
    """
    if out is None or not out.exists():
        return new
    kept = read_part(out)
    found = kept.plan.differences(new.plan)
    found += ["another shard"] if kept.shard != new.shard else []
    found += ["images that have changed since"] if not found and kept.newest_ns != new.newest_ns else []
    if found:
        raise ResultFileError(
            expected=f"counts of this evaluation in '{out}'",
            found=", ".join(found),
            advice="choose another `out`, or move that file away",
        )
    return kept


def count(work: Work, progress: Progress) -> Part:
    """Return the part with all its chunks counted; what was counted is kept also where it ends early.

    Raises:
        DcdDeployError: a model crashed or answers nonsense.
    """
    part = kept = work.part
    try:
        with _workers(work) as (pool, idle), _Shown(part, progress) as shown:
            for number, counted in _counted(work, pool, idle):
                part = part.with_chunk(number, counted)
                shown.update(part)
                if work.out is not None and time.monotonic() - shown.kept > KEEP_SECONDS:
                    write_part(work.out, kept := part)
                    shown.kept = time.monotonic()
    finally:
        if work.out is not None and part is not kept:
            write_part(work.out, part)
    return part


@contextmanager
def _workers(work: Work) -> Iterator[tuple[ThreadPoolExecutor, SimpleQueue[Worker]]]:
    """Yield the workers, no more than there are chunks, and a thread for each; with the block their processes end."""
    idle: SimpleQueue[Worker] = SimpleQueue()
    number = min(work.jobs, max(1, len(work.part.remaining)))
    with ThreadPoolExecutor(number) as pool, ExitStack() as stack:
        for _ in range(number):
            made = Worker(work.subjects, reference=work.part.plan.reference)
            stack.callback(made.close)
            idle.put(made)
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        yield pool, idle


def _counted(work: Work, pool: ThreadPoolExecutor, idle: SimpleQueue[Worker]) -> Iterator[tuple[int, Counted]]:
    """Yield the number and the counts of each chunk that remains, as they come."""

    def one(number: int) -> tuple[int, Counted]:
        worker = idle.get()
        try:
            return number, worker.count(work.images.part(work.part.chunk(number)))
        finally:
            idle.put(worker)

    running: set[Future[tuple[int, Counted]]] = set()
    waiting = iter(work.part.remaining)
    while True:
        for number in islice(waiting, work.jobs + 1 - len(running)):  # one ahead of what the workers are at
            running.add(pool.submit(one, number))
        if not running:
            return
        ended, running = wait(running, return_when=FIRST_COMPLETED)
        for future in ended:
            yield future.result()


class _Shown:
    """The progress: a stage for every tenth of the images."""

    def __init__(self, part: Part, progress: Progress) -> None:
        self._total, self._progress = len(part.indices), progress
        self._first, self._step = len(part.done), -1
        self._start = self.kept = time.monotonic()
        self._stage = ExitStack()
        self._part = part

    def __enter__(self) -> _Shown:
        self.update(self._part)
        return self

    def __exit__(self, *error: object) -> bool | None:
        return self._stage.__exit__(*error)  # type: ignore[arg-type]  # as it came

    def update(self, part: Part) -> None:
        """Begin another stage where one is due."""
        done = len(part.done)
        if done == self._first + 1:  # until now the models were opened too
            self._start = time.monotonic()
        step = STEPS * done // max(1, part.chunks)
        if step == self._step or done == part.chunks:
            return
        self._step = step
        self._stage.close()
        seen = sum(len(part.chunk(each)) for each in part.done)
        self._stage.enter_context(self._progress(f"image {seen + 1} of {self._total}{self._left(part)}"))

    def _left(self, part: Part) -> str:
        """Return in words how long the rest takes; nothing where that is not known yet."""
        counted = len(part.done) - self._first - 1
        if counted < 1:
            return ""
        seconds = (time.monotonic() - self._start) / counted * (part.chunks - len(part.done))
        return f", about {seconds:.0f} s left" if seconds < 60 else f", about {seconds / 60:.0f} min left"
