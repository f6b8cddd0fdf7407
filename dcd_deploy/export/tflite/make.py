"""From a deploy form to a TFLite model with its names: what ``build`` then stores and checks."""

from __future__ import annotations

from collections.abc import Iterator

from dcd_deploy.export.alongside import threads_by_load
from dcd_deploy.export.build_config import BuildConfig
from dcd_deploy.export.stats import GraphStats
from dcd_deploy.export.tflite.convert import convert_tflite
from dcd_deploy.export.tflite.file import finish, tflite_stats
from dcd_deploy.lowering.deploy import DeployNetwork


def make(deploy: DeployNetwork, config: BuildConfig) -> Iterator[tuple[bytes, GraphStats]]:
    """Yield a deploy form in float32 as TFLite, and the counts of the graph as it came from the converter.

    Raises:
        ExportError: the converter refused the network.
    """
    with threads_by_load():
        content = convert_tflite(deploy.module, config.entries, deploy.outputs, config.batch or 1, config.layout)
    entries = [each.name for each in config.entries]
    yield finish(content, deploy.places, entries, deploy.outputs), tflite_stats(content)
