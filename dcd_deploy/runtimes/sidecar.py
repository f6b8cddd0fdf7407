"""Whether a model file is the one that was exported, as far as the description beside it knows (its sidecar).

A file that another tool rewrote is used as it is; it is no longer what was verified, which is said.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

from dcd_deploy.files import read_json, sha256

LARGEST_SIDECAR = 1 << 28
DIGEST = re.compile(r"[0-9a-f]{64}")


class OtherFileWarning(UserWarning):
    """A model file is not the one that its sidecar speaks of, or the sidecar is damaged."""


def sidecar_of(path: Path) -> Path:
    """Return where the sidecar of a model file is, if there is one."""
    return path.with_name(f"{path.name}.json")


def remarks_on_sidecar(path: Path) -> tuple[str, ...]:
    """Return what there is to say of a model file and its sidecar: nothing where they fit, or there is none."""
    sidecar = sidecar_of(path)
    try:
        said = _said(sidecar) if sidecar.is_file() else None
    except (OSError, ValueError) as error:  # of a decoder, too
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        remark = (
            f"'{sidecar.name}' beside '{path.name}' is damaged ({reason}), so that nothing tells whether the file is "
            "the one that was exported; export it again, or remove what is beside it"
        )
        return (remark,)
    if said is None or said == (found := sha256(path)):
        return ()
    remark = (
        f"'{path.name}' is not the file that was exported: '{sidecar.name}' expects sha256 {said[:16]}…, found "
        f"{found[:16]}…; export it again, or remove what is beside it if another tool changed it as you meant"
    )
    return (remark,)


def warn_of_sidecar(path: Path) -> None:
    """Warn where a model file is not the one that its sidecar speaks of."""
    for remark in remarks_on_sidecar(path):
        warnings.warn(remark, OtherFileWarning, stacklevel=3)


def _said(sidecar: Path) -> str | None:
    """Return the hash in a sidecar; None of an object without one, which is another program's.

    Raises:
        OSError, ValueError: it cannot be read, or is no sidecar.
    """
    content = read_json(sidecar, LARGEST_SIDECAR)
    if not isinstance(content, dict):
        raise ValueError(f"expected a JSON object, found {'null' if content is None else type(content).__name__}")
    if (digest := content.get("sha256")) is None and "sha256" not in content:
        return None
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise ValueError("expected 64 hexadecimal digits as its 'sha256', found something else")
    return digest
