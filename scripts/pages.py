"""The pages whose tables scripts make: what stands between the comments ``NAME: begin`` and ``NAME: end`` is theirs."""

from __future__ import annotations

import argparse
from pathlib import Path

from dcd_deploy.benchmarks.results import BenchResult
from dcd_deploy.reports.wording import environment_line

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PERFORMANCE = DOCS / "performance.md"
QUICK_START = DOCS / "quick-start.md"
RESULTS = DOCS / "results.md"


def options_of(description: str | None) -> argparse.ArgumentParser:
    """Return what takes --out, the folder that keeps what is measured, and --write."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--write", action="store_true")
    return parser


def write_part(page: Path, name: str, text: str) -> None:
    """Put ``text`` between the comments of ``name``; the rest of the page stays."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    page.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}", encoding="utf-8")


def measured_on(result: BenchResult) -> str:
    """Return the line that says where and when a result of one machine was measured."""
    return environment_line(next(iter(result.environments.values())))
