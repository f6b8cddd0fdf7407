"""From a deploy form to an ExecuTorch program, as its exporter has it: what ``build`` then checks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dcd_deploy.export.alongside import threads_by_load
from dcd_deploy.export.build_config import BuildConfig
from dcd_deploy.export.executorch.convert import lower_executorch
from dcd_deploy.lowering.deploy import DeployNetwork


def make(deploy: DeployNetwork, config: BuildConfig) -> Iterator[Any]:
    """Yield the program of a deploy form in float32 before it is written.

    Raises:
        ExportError: the exporter refused the network.
    """
    with threads_by_load():
        program = lower_executorch(deploy.module, config.entries, config.batch or 1)
    yield program
