"""Results as one JSON object."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from dcd_deploy.errors import BenchError, CheckpointMismatchError, DcdDeployError, DeviceError, VerificationError
from dcd_deploy.files import utf8
from dcd_deploy.reports.terminal import spelled

PROPERTIES = ("passed", "smallest_tolerance", "warnings")  # derived values that a reader wants beside the fields


def to_json(result: Any) -> str:
    """Return a result as JSON text; not-a-number becomes null, half of a character is escaped."""
    return utf8(json.dumps(as_plain(result), indent=2, ensure_ascii=False, allow_nan=False)).decode()


def as_plain(value: Any) -> Any:
    """Return a result as dicts, lists, texts and numbers."""
    if isinstance(value, DcdDeployError):
        return {"error": _error(value)}
    if is_dataclass(value) and not isinstance(value, type):
        content = {field.name: as_plain(getattr(value, field.name)) for field in fields(value)}
        return content | {name: as_plain(getattr(value, name)) for name in PROPERTIES if hasattr(value, name)}
    if isinstance(value, dict):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(item) for item in value]
    if isinstance(value, float) and value - value != 0:
        return None
    return str(value) if isinstance(value, Path) else value


def _error(error: DcdDeployError) -> dict[str, Any]:
    content: dict[str, Any] = {
        "kind": type(error).__name__,
        "exit_code": error.exit_code,
        "message": spelled(str(error)),
        "parameters": list(error.parameters),
        "expected": error.expected,
        "found": error.found,
        "advice": error.advice,
    }
    if isinstance(error, VerificationError) and error.report is not None:
        content["report"] = as_plain(error.report)
    if isinstance(error, BenchError | DeviceError) and error.result is not None:
        content["result"] = as_plain(error.result)
    if isinstance(error, CheckpointMismatchError):
        content["mismatch"] = as_plain(error.mismatch)
    return content
