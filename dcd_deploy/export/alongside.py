"""How torch works beside other work: with as many threads as there are free cores, and in a process of its own.

While they wait for one another, the threads of an operator spin. Where other processes want the cores, the one that
all wait for is not running, and the others burn its time: a reference of one second took four minutes. The command line
asks OpenMP not to spin, before torch is loaded (OMP_WAIT_POLICY); a library comes too late for that, and must not
decide it for a program that trains. So the number of threads is chosen by how many cores are free, each time.

The float64 reference is computed while the graph is traced, in a process that is forked, as torch's data loader forks
its workers: it has the network already, computes with one thread, and sends its result back. Where forking is not safe,
or no second core is free, the work is done here, before.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing.connection import Connection
from typing import TypeVar

import torch

from dcd_deploy.export.free_cores import free_cores
from dcd_deploy.own_process import PASSIVE, POLICY
from dcd_deploy.progress import Progress

_depth = 0


@contextmanager
def threads_by_load() -> Iterator[None]:
    """Let torch use as many threads as there are free cores while the block runs, at least one and no more than before.

    A block within such a block, or a process whose threads do not spin, is left alone.
    """
    global _depth  # noqa: PLW0603 - as torch's own number of threads is the process's
    if _depth or os.environ.get(POLICY, "").upper() == PASSIVE:
        yield
        return
    before = torch.get_num_threads()
    _depth += 1
    try:
        if before > 1:
            torch.set_num_threads(max(1, min(before, free_cores())))
        yield
    finally:
        _depth -= 1
        torch.set_num_threads(before)


T = TypeVar("T")

TQDM, JAX = "tqdm_monitor", "jax"


@contextmanager
def alongside(stage: str, work: Callable[[], T], progress: Progress, cores: int = 2) -> Iterator[Callable[[], T]]:
    """Yield a function that waits for the result of ``work``; ``stage`` is what progress calls it.

    It takes so many free ``cores`` that it is worth another process; this one's own is one of them.
    An error of ``work`` comes before one of the block, in whatever order the two happened.
    """
    if not can_fork(cores):
        with before(stage, work, progress) as wait:
            del work  # and the networks that it holds
            yield wait
        return
    with _forked(work) as answer:

        @cache
        def wait() -> T:
            with progress(stage):
                return answer()

        try:
            yield wait
        except Exception:
            wait()
            raise


@contextmanager
def before(stage: str, work: Callable[[], T], progress: Progress) -> Iterator[Callable[[], T]]:
    """Do the same with ``work`` done here, before the block."""
    with progress(stage):
        result = work()
    del work
    yield lambda: result


@contextmanager
def by_one_thread(stage: str, work: Callable[[], T], progress: Progress) -> Iterator[Callable[[], T]]:
    """Do the same where another process of ours works already, and wants its core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with before(stage, work, progress) as wait:
            del work
            torch.set_num_threads(threads)
            yield wait
    finally:
        torch.set_num_threads(threads)


def can_fork(cores: int) -> bool:
    """Whether this process may be forked safely, and so many cores are free.

    A thread's locks stay locked in a fork, a CUDA context does not survive it, and macOS's own libraries do not either.
    The thread of tqdm, which torch.fx starts, only sleeps. JAX, which litert-torch brings in, has threads that Python
    does not count.
    """
    if JAX in sys.modules:
        return False
    threads = [thread for thread in threading.enumerate() if thread.name != TQDM]
    if sys.platform != "linux" or len(threads) > 1 or torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return False
    return free_cores() >= cores


@contextmanager
def _forked(work: Callable[[], T]) -> Iterator[Callable[[], T]]:
    """Yield what returns the result of ``work``, done in a fork of this process, which ends with the block.

    Work that fails there, or dies, is done again here, where its error is met as if it had never been elsewhere.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(work, sender), daemon=True)
    with warnings.catch_warnings():  # Python 3.12 warns of torch's own threads, which the fork does without
        warnings.simplefilter("ignore")
        process.start()
    sender.close()

    def answer() -> T:
        try:
            result: T = receiver.recv()
        except EOFError:
            result = work()
        return result

    try:
        yield answer
    finally:
        process.kill()
        process.join()
        receiver.close()


def _send(work: Callable[[], T], sender: Connection) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # its parent ends it, and says so
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)  # the threads of before the fork are not there any more
    try:
        result = work()
    except Exception:  # noqa: BLE001 - whatever it is, the parent meets it again
        sender.close()
        return
    sender.send(result)
