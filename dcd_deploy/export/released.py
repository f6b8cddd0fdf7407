"""The released form as a model file: the train form as torch's exporters leave it, without our folds.

It is what one would get without this program, to time against. Its weights are random; latency does not depend on them.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from torch import nn

from dcd_deploy.artifacts import ModelCard
from dcd_deploy.errors import OptionError
from dcd_deploy.export.build_config import BuildConfig
from dcd_deploy.export.deployable import deployable
from dcd_deploy.export.onnx.ort import to_ort
from dcd_deploy.export.onnx.simplify import simplify
from dcd_deploy.export.onnx.trace import trace_onnx
from dcd_deploy.export.tflite.convert import convert_tflite
from dcd_deploy.export.twin import described_build
from dcd_deploy.models.random_weights import calibrated_network
from dcd_deploy.progress import Progress, silent


def export_released(card: ModelCard, path: Path, progress: Progress = silent) -> Path:
    """Write the released form of the network that ``card`` describes; the suffix of ``path`` is the format.

    Raises:
        ExportError: the converter refuses it, as litert-torch does with the dynamic networks.
        OptionError: the network is not dynamic, or its batch is free, which the released form does not bear.
    """
    spec, config = described_build(card)
    if not spec.dynamic or config.batch is None:
        raise OptionError("expected a dynamic network with a fixed batch, of which alone there is a released form")
    with progress("released form: random weights"):
        network = calibrated_network(spec, min(config.entries[0].shape[1:]))
    with progress("released form: export"):
        path.write_bytes(_content(network, config, path.suffix))
    return path


def _content(network: nn.Module, config: BuildConfig, suffix: str) -> bytes:
    entries, batch = config.entries, config.batch or 1
    if suffix == ".tflite":
        return convert_tflite(deployable(network), entries, (config.alone,), batch, config.layout)
    model: onnx.ModelProto = simplify(trace_onnx(deployable(network), entries, (config.alone,), batch).tidied)
    if suffix == ".ort":
        return to_ort(model.SerializeToString(), config.target)
    return bytes(model.SerializeToString())
