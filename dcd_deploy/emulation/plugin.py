"""The counting plugin: compiled on the spot, told which caches to model, and what it wrote read."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from dcd_deploy.benchmarks.counts import Counts
from dcd_deploy.emulation.cores import Core
from dcd_deploy.emulation.programs import check_counts, check_programs, qemu_version, run_program
from dcd_deploy.errors import DeviceAnswerError
from dcd_deploy.made_once import cache_folder, key_of, made_once

SOURCES = ("armcount.c", "a64.h", "cache.h", "qemu.h")
FLAGS = ("-O2", "-shared", "-fPIC", "-fvisibility=hidden")
MARK = 125  # the number of the system call sched_get_priority_max, which inside.py makes before each run
TICK = 113  # clock_gettime, which a runtime's profiler makes before and after each node
RUN, NODE = "run", "tick"
NUMBER = re.compile(r"[0-9]{1,18}")
COLUMNS = tuple(field.name for field in fields(Counts))


def compiled_plugin() -> Path:
    """Return the plugin's library, compiled if it is not there.

    Raises:
        DeviceLackError: QEMU is of a version that it does not fit, or there is no compiler.
    """
    check_counts(qemu_version())
    folder = Path(__file__).parent
    texts = [(folder / name).read_bytes() for name in SOURCES]
    target = cache_folder() / f"armcount-{key_of(texts, FLAGS)}.so"

    def compile_it(path: Path) -> None:
        check_programs(["gcc"])
        run_program(["gcc", *FLAGS, "-o", str(path), str(folder / SOURCES[0])], "gcc")

    return made_once(target, compile_it)


def arguments(core: Core, out: Path, *, ticks: bool = False) -> list[str]:
    """Return what QEMU is told of the plugin."""
    found = [str(compiled_plugin()), f"out={out}", f"mark={MARK}"]
    found += [
        f"l1={core.l1.kib * 1024}",
        f"l1ways={core.l1.ways}",
        f"l2={core.l2.kib * 1024}",
        f"l2ways={core.l2.ways}",
    ]
    return [*found, f"tick={TICK}"] if ticks else found


def read_counts(text: str) -> list[tuple[str, Counts]]:
    """Return the lines that the plugin wrote: the kind of each, RUN or NODE, and its counts.

    Raises:
        DeviceAnswerError: it is no such text, or the program had more than one thread.
    """
    header, *lines = text.splitlines() or [""]
    if header.split() != ["line", *COLUMNS, "threads"]:
        raise DeviceAnswerError(expected="the counting plugin's columns", found=f"'{header[:80]}'")
    return [_line(line) for line in lines]


def _line(line: str) -> tuple[str, Counts]:
    kind, *numbers = line.split()
    if kind not in (RUN, NODE) or len(numbers) != len(COLUMNS) + 1 or not all(map(NUMBER.fullmatch, numbers)):
        raise DeviceAnswerError(expected="a line of counts", found=f"'{line[:80]}'")
    values = [int(number) for number in numbers]
    if values.pop() != 1:
        raise DeviceAnswerError(expected="a runtime with one thread", found="more, whose counts would mix")
    return kind, Counts(*values)
