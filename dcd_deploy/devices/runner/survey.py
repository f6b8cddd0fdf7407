"""What this device is."""

from __future__ import annotations

import platform
from dataclasses import asdict
from typing import Any

from dcd_deploy.benchmarks.cores import core_kinds
from dcd_deploy.benchmarks.environment import read_environment
from dcd_deploy.devices.runner.cache import Cache


def survey(cache: Cache) -> dict[str, Any]:
    """Return the environment, the cores by kind, the space for files in MB, and the C library, as JSON has it."""
    return {
        "environment": asdict(read_environment()),
        "cores": [asdict(kind) for kind in core_kinds()],
        "free_mb": cache.free() // 10**6,
        "library": " ".join(platform.libc_ver()).strip(),
    }
