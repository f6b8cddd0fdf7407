"""dcd_deploy: networks with dynamic convolution, from a trained checkpoint to a verified file for phones and boards.

The rooms, each importing only from those above it, are listed in docs/design.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dcd_deploy.commands.module import deploy_form, export_module
    from dcd_deploy.export.recording import record_reference

__all__ = ["__version__", "deploy_form", "export_module", "record_reference"]
__version__ = "0.1.0"
OFFERED = {
    "deploy_form": "dcd_deploy.commands.module",
    "export_module": "dcd_deploy.commands.module",
    "record_reference": "dcd_deploy.export.recording",
}


def __getattr__(name: str) -> object:
    """Load what needs torch when it is asked for."""
    if name in OFFERED:
        return getattr(import_module(OFFERED[name]), name)
    raise AttributeError(f"module 'dcd_deploy' has no attribute '{name}'")
