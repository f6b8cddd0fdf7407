"""Damaged and hostile inputs by the thousand: each must end in a result or in one plain line.

    python scripts/fuzz.py                                10,000 inputs of all kinds, an hour on one core
    python scripts/fuzz.py --inputs 300 --seed 7          a short run
    python scripts/fuzz.py --kinds tflite --only 51       one input again

Input number i of a kind is the same on every machine (``fuzz_inputs``). A worker, which is used for many inputs, does
with each what the commands do, within two gigabytes and a minute. It dies, exceeds them, or meets an exception that is
not one of ours: that is a finding, and the input is kept. Where a runtime crashed the worker, the real command, which
opens models in a process of their own, must tell of it.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fuzz_inputs
import fuzz_seeds

SECONDS, MEGABYTES = 60.0, 2048
INPUTS_OF_A_WORKER = 400
TOLD_EVERY = 500
NATIVE = {"onnx", "tflite", "ort", "pte"}
MODEL_FILE_ERROR = 12
WORKER = Path(__file__).with_name("fuzz_worker.py")


@dataclass
class Counts:
    """What came out: by kind how often each exit code, and what should not have been."""

    codes: dict[str, Counter[str]] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    most_mb: float = 0.0

    def add(self, kind: str, outcome: str) -> None:
        """Count one input."""
        self.codes.setdefault(kind, Counter())[outcome] += 1


class Worker:
    """A process that takes input after input."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), str(MEGABYTES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            env=environment,
        )
        self.answers: queue.Queue[str] = queue.Queue()
        self.done = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def ask(self, kind: str, path: Path) -> dict[str, Any]:
        """Return what became of an input."""
        assert self.process.stdin is not None
        self.done += 1
        with suppress(OSError):
            self.process.stdin.write(json.dumps([kind, str(path)]) + "\n")
            self.process.stdin.flush()
        try:
            text = self.answers.get(timeout=SECONDS)
        except queue.Empty:
            return {"outcome": "hang"}
        return json.loads(text) if text else {"outcome": f"crash {self.process.wait()}"}

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self._reader.join()
        with suppress(OSError):  # what it did not take any more
            self.process.communicate()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put("")


def fuzz(seeds: Path, kinds: Sequence[str], numbers: Sequence[int], seed: int, kept: Path) -> Counts:
    """Try the inputs of these numbers, of the kinds in turn."""
    counts, worker = Counts(), Worker()
    for kind in kinds:
        if (said := worker.ask(kind, seeds / fuzz_seeds.KINDS[kind]))["outcome"] != "read":
            sys.exit(f"expected the sound {kind} to be read, found {said}")
    with tempfile.TemporaryDirectory(prefix="dcd-deploy-fuzz-") as name:
        for number in numbers:
            kind = kinds[number % len(kinds)]
            path = fuzz_inputs.write_input(seeds, kind, seed, number, Path(name))
            start = time.monotonic()
            said = worker.ask(kind, path)
            counts.slowest_s = max(counts.slowest_s, time.monotonic() - start)
            counts.most_mb = max(counts.most_mb, said.get("peak_mb", 0.0))
            outcome = said["outcome"]
            ended = outcome.startswith(("crash", "hang"))
            if ended and kind in NATIVE:
                outcome, said = told(path, outcome)
            counts.add(kind, outcome if not said.get("finding") else "finding")
            if said.get("finding") or (ended and kind not in NATIVE):
                counts.findings.append(keep(kept, path, number, f"{outcome}: {said.get('finding', '')}"))
            if ended or worker.done >= INPUTS_OF_A_WORKER:
                worker.close()
                worker = Worker()
            path.unlink(missing_ok=True)
            if number % TOLD_EVERY == TOLD_EVERY - 1:
                print(f"{number + 1}: {len(counts.findings)} findings", file=sys.stderr)
    worker.close()
    return counts


def told(path: Path, outcome: str) -> tuple[str, dict[str, Any]]:
    """Return how the real command ends of a file that ended the worker, and what is wrong with that."""
    command = [sys.executable, "-m", "dcd_deploy", "inspect", str(path)]
    verify = [sys.executable, "-m", "dcd_deploy", "verify", str(path)]
    for each in (command, verify):
        try:
            done = subprocess.run(each, capture_output=True, timeout=2 * SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return outcome, {"finding": f"{each[3]} hangs"}
        said = done.stderr.decode("utf-8", "replace")
        lines = [line for line in said.splitlines() if line.startswith("dcd-deploy: error:")]
        if done.returncode == MODEL_FILE_ERROR and len(lines) == 1:
            return f"{outcome.split(maxsplit=1)[0]}, told", {}
        if done.returncode not in (0, MODEL_FILE_ERROR):
            return outcome, {"finding": f"{each[3]} ends with {done.returncode}: {said[-300:]}"}
    return f"{outcome.split(maxsplit=1)[0]}, not met by the commands", {}


def keep(kept: Path, path: Path, number: int, what: str) -> str:
    """Keep an input for whoever mends it."""
    kept.mkdir(parents=True, exist_ok=True)
    place = kept / f"{number}_{path.name}"
    place.write_bytes(path.read_bytes())
    return f"{place}: {what}"


def table(counts: Counts) -> str:
    """Return the counts as Markdown."""
    lines = [
        "| kind | inputs | read | refused | a runtime's crash or hang, told | findings |",
        "|---|---|---|---|---|---|",
    ]
    for kind, codes in sorted(counts.codes.items()):
        read, findings = codes["read"], codes["finding"]
        told_of = sum(n for code, n in codes.items() if "," in code)
        total = sum(codes.values())
        lines.append(f"| {kind} | {total} | {read} | {total - read - told_of - findings} | {told_of} | {findings} |")
    return "\n".join(lines)


def main() -> None:
    """Fuzz, print the counts, and exit with 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--only", type=int, help="number of the only input")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(fuzz_seeds.KINDS))
    parser.add_argument(
        "--seeds", type=Path, default=Path("build/fuzz/seeds"), help="files to damage; made where missing"
    )
    parser.add_argument("--kept", type=Path, default=Path("build/fuzz/findings"))
    given = parser.parse_args()
    fuzz_seeds.make_seeds(given.seeds, given.kinds.split(","))
    numbers = [given.only] if given.only is not None else range(given.first, given.first + given.inputs)
    start = time.monotonic()
    counts = fuzz(given.seeds, given.kinds.split(","), numbers, given.seed, given.kept)
    print(table(counts))
    print(
        f"\n{len(numbers)} inputs, seed {given.seed}, {time.monotonic() - start:.0f} s; the slowest took "
        f"{counts.slowest_s:.1f} s; the worker's peak was {counts.most_mb:.0f} MB"
    )
    for kind, codes in sorted(counts.codes.items()):
        print(f"{kind}: {dict(codes.most_common())}")
    print("\n".join(counts.findings))
    sys.exit(bool(counts.findings))


if __name__ == "__main__":
    main()
