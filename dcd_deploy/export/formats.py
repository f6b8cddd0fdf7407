"""The formats that a checkpoint can be exported to; each brings in its own packages, when it is asked for."""

from __future__ import annotations

from torch import nn

from dcd_deploy.export.build import BuildConfig, BuiltModel, CheckedReference
from dcd_deploy.progress import Progress


def build(
    format: str,
    network: nn.Module,
    config: BuildConfig,
    checked: CheckedReference,
    progress: Progress,
) -> BuiltModel:
    """Build and verify ``network`` in one format, "onnx" or "tflite".

    Raises:
        DcdDeployError: of the stage that refused it.
    """
    if format == "onnx":
        from dcd_deploy.export.build_onnx import build_onnx

        return build_onnx(network, config, checked, progress)
    from dcd_deploy.export.build_tflite import build_tflite

    return build_tflite(network, config, checked, progress)
