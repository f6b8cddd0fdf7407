"""A lowered layer as a model file in its target's precision, written as an export of that precision writes it.

    int8      the export's own quantiser, weights in the target's bits; ranges from the one input that is given
    float16   the export's own half precision

Nothing is judged: what is timed does not depend on values.
"""

from __future__ import annotations

from torch import Tensor

from dcd_deploy.artifacts import FLOAT16, FLOAT32, INT8
from dcd_deploy.export.deployable import deployable
from dcd_deploy.lowering.deploy import DeployNetwork
from dcd_deploy.lowering.targets import Target
from dcd_deploy.samples import Inputs, InputSpec


def layer_file(deploy: DeployNetwork, target: Target, examples: tuple[Tensor, ...]) -> bytes:
    """Return the file of a deploy form that takes such ``examples``, at batch 1.

    Raises:
        ExportError: the converter refused it.
    """
    specs = [InputSpec(name, tuple(one.shape[1:])) for name, one in zip(deploy.inputs, examples, strict=True)]
    return MAKERS[target.format](deploy, specs, tuple(one.float().numpy() for one in examples), target)


def _onnx(deploy: DeployNetwork, specs: list[InputSpec], inputs: Inputs, target: Target) -> bytes:
    from dcd_deploy.export.onnx.half import half_nodes, halved
    from dcd_deploy.export.onnx.in_blocks import in_blocks
    from dcd_deploy.export.onnx.naming import name_onnx, onnx_scopes
    from dcd_deploy.export.onnx.quantised.build import calibrated, rewritten
    from dcd_deploy.export.onnx.quantised.roles import sites
    from dcd_deploy.export.onnx.simplify import simplify
    from dcd_deploy.export.onnx.trace import trace_onnx

    traced = trace_onnx(deployable(deploy.module, _weights(target)), specs, deploy.outputs).tidied
    model = name_onnx(simplify(traced), onnx_scopes(traced), deploy.places)
    model = in_blocks(model) or model
    if target.precision == INT8:
        found = sites(model.graph)
        model = rewritten(model, found, calibrated(model, found, inputs), target.weight_bits)
    elif target.precision == FLOAT16:
        model = halved(model, half_nodes(model))
    return bytes(model.SerializeToString())


def _tflite(deploy: DeployNetwork, specs: list[InputSpec], inputs: Inputs, target: Target) -> bytes:
    from dcd_deploy.export.tflite.convert import convert_tflite
    from dcd_deploy.export.tflite.file import finish
    from dcd_deploy.export.tflite.half import asking_for_half, suiting_half
    from dcd_deploy.export.tflite.quantised.build import prepared, rewritten
    from dcd_deploy.export.tflite.quantised.ranges import channels_last, measured
    from dcd_deploy.export.tflite.quantised.roles import in_int8
    from dcd_deploy.export.tflite.store import store_tflite

    weights = _weights(target)
    converted = convert_tflite(deployable(deploy.module, weights), specs, deploy.outputs)
    model = finish(converted, deploy.places, [each.name for each in specs], deploy.outputs)
    if target.precision == INT8:
        float32 = prepared(model)
        return rewritten(float32, in_int8(float32), measured(float32, tuple(map(channels_last, inputs))))
    if target.precision == FLOAT16:
        return asking_for_half(store_tflite(suiting_half(model), weights))
    return model


def _pte(deploy: DeployNetwork, specs: list[InputSpec], inputs: Inputs, target: Target) -> bytes:
    from dcd_deploy.export.executorch.convert import emit_executorch, lower_executorch

    del inputs, target
    return emit_executorch(lower_executorch(deployable(deploy.module), specs))


def _weights(target: Target) -> str:
    """Return how an export in that precision stores weights before it quantises."""
    return FLOAT16 if target.precision == FLOAT16 else FLOAT32


MAKERS = {"onnx": _onnx, "tflite": _tflite, "pte": _pte}
