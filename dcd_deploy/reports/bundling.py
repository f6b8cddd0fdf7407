"""How a bundle for an app reads."""

from __future__ import annotations

from rich.console import Console

from dcd_deploy.bundle.folder import Bundle
from dcd_deploy.reports import terminal as numbers
from dcd_deploy.reports.terminal import line


def show_bundle(screen: Console, bundle: Bundle) -> None:
    """Print where it is, what is in it and how to start it."""
    line(screen, f"{bundle.folder}: {len(bundle.files)} files for {bundle.platform}, {numbers.size(bundle.size_bytes)}")
    line(screen, f"next: cd {bundle.folder} && {bundle.start}")
