"""Work in a process of its own, beside this one's: the float64 reference is computed while the graph is traced.

The process is forked, as torch's data loader forks its workers: it has the network already, computes with one thread,
and sends its result back. Where forking is not safe, or no second core is free, the work is done here, before.
"""

from __future__ import annotations

import multiprocessing
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

from dcd_deploy.export.threads import free_cores
from dcd_deploy.progress import Progress

T = TypeVar("T")

TQDM = "tqdm_monitor"


@contextmanager
def alongside(stage: str, work: Callable[[], T], progress: Progress) -> Iterator[Callable[[], T]]:
    """Yield a function that waits for the result of ``work``; ``stage`` is what progress calls it.

    An error of ``work`` comes before one of the block, in whatever order the two happened.
    """
    if not can_fork():
        with progress(stage):
            result = work()
        del work  # and the networks that it holds
        yield lambda: result
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


def can_fork() -> bool:
    """Whether this process may be forked safely, and a core is free for a second one.

    A thread's locks stay locked in a fork, a CUDA context does not survive it, and macOS's own libraries do not either.
    The thread of tqdm, which torch.fx starts, only sleeps.
    """
    threads = [thread for thread in threading.enumerate() if thread.name != TQDM]
    if sys.platform != "linux" or len(threads) > 1 or torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return False
    return free_cores() > 1


@contextmanager
def _forked(work: Callable[[], T]) -> Iterator[Callable[[], T]]:
    """Yield what returns the result of ``work``, done in a fork of this process, which ends with the block.

    Work that fails there, or dies, is done again here, where its error is met as if it had never been elsewhere.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(work, sender), daemon=True)
    with warnings.catch_warnings():  # Python 3.12 warns of torch's own threads, which the fork does without
        warnings.simplefilter("ignore", DeprecationWarning)
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
