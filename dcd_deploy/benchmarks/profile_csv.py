"""A profile as a table in a file: a row for each node, in the order in which they ran."""

from __future__ import annotations

import csv
from dataclasses import asdict, fields
from pathlib import Path

from dcd_deploy.benchmarks.profile import ProfiledNode, ProfileResult
from dcd_deploy.files import staging


def write_csv(result: ProfileResult, path: Path) -> None:
    """Write the nodes of a profile, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    with staging(path.parent) as folder, (folder / path.name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(ProfiledNode)])
        writer.writeheader()
        writer.writerows(asdict(node) for node in result.nodes)
