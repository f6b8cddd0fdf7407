"""Where a run with ``--out`` keeps each trial, of times or of counts, and how it finds those that are there.

OUT/trials/    a result of one trial each
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from dcd_deploy.benchmarks.bench import Case
from dcd_deploy.benchmarks.results import BenchResult, read_result
from dcd_deploy.errors import InputFileError, ResultFileError
from dcd_deploy.files import sha256

TRIALS = "trials"


def trial_path(out: Path, label: str, each: Case) -> Path:
    """Return where a device's trial is kept: a name for people, and a hash, since two names may look the same in it."""
    setting = (label, *(c.name for c in each.entries), each.runtime, each.threads, each.batch)
    digest = hashlib.sha256(repr(setting).encode("utf-8", "surrogateescape")).hexdigest()[:8]
    shown = re.sub(r"[^A-Za-z0-9._-]+", "_", f"{label}-{each.entries[0].name}-{each.runtime}")
    return out / TRIALS / f"{shown.strip('._')[:100]}-t{each.threads}-{digest}.json"


def kept_result(path: Path) -> BenchResult | None:
    """Return the result in a file, None where there is none, or no whole one of this version."""
    if not path.exists():
        return None
    try:
        return read_result(path)
    except (ResultFileError, InputFileError):
        return None


def files_of(each: Case) -> list[tuple[str, str, str]]:
    """Return role, name and hash of each model of a trial, as its files are now."""
    return [(c.role, c.name, sha256(c.path)) for c in each.entries]
