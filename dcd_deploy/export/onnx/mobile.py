"""Whether NNAPI or CoreML takes a graph whole, by the tables that onnxruntime publishes for its mobile packages."""

from __future__ import annotations

import onnx
from onnxruntime.tools.mobile_helpers import usability_checker

from dcd_deploy.errors import ExportError

PROGRAM = "coreml_supported_mlprogram_ops.md"  # the newer of CoreML's two formats; the older lacks ReduceMean


def check_one_partition(model: onnx.ModelProto, name: str) -> None:
    """Refuse a graph that "nnapi" or "coreml" would not take in one partition.

    Raises:
        ExportError: there are operators that it lacks.
    """
    inferred = onnx.shape_inference.infer_shapes(model)
    if name == "nnapi":
        found = usability_checker.check_nnapi_partitions(inferred, require_fixed_input_sizes=True)
    else:
        found = usability_checker.check_coreml_partitions(
            inferred, require_fixed_input_sizes=True, config_filename=PROGRAM
        )
    if found.num_partitions != 1 or found.num_supported_nodes != found.num_nodes:
        lacking = ", ".join(sorted(found.unsupported_ops)) or "nothing by name"
        raise ExportError(
            f"{name} would take the network in {found.num_partitions} partitions, {found.num_supported_nodes} of "
            f"{found.num_nodes} nodes: it lacks {lacking}; leave `for_` out, or change the network"
        )
