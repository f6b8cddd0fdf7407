"""Whether a file computes in a runtime of ours what it says of itself.

Where it does not, the file is at fault, and no other runtime; and its times are those of another network.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from dcd_deploy.errors import DcdDeployError
from dcd_deploy.runtimes.isolated import isolated_model
from dcd_deploy.runtimes.selfcheck import SelfCheck, self_check


def wrong_here(path: Path) -> tuple[str, SelfCheck] | None:
    """Return the usual runtime of a file and what it found, where the file is wrong there.

    Nothing is told of a file that carries no answers, or cannot be run: what uses it says that.
    """
    with suppress(DcdDeployError), isolated_model(path, threads=1) as model:
        check = self_check(model)
        return None if check.passed else (model.session.runtime, check)
    return None
