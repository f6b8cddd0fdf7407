"""What XNNPACK and the GPU delegate take of a TFLite file: the one is asked itself, the other judged by its rules."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from dcd_deploy.errors import ModelFileError
from dcd_deploy.export.accelerators import Accelerator, breakers, partitions
from dcd_deploy.export.tflite.file import TfliteModel, text_of
from dcd_deploy.export.tflite.gpu_delegate import RULES, Operand, Operation, lack_of
from dcd_deploy.runtimes.litert import LiteRtSession
from dcd_deploy.runtimes.nodes import delegation
from dcd_deploy.runtimes.tflite_structure import check_structure


def tflite_accelerators(path: Path) -> tuple[Accelerator, ...]:
    """Return what each takes.

    Raises:
        ModelFileError: it is not a TFLite model, or is damaged.
        MissingDependencyError: no interpreter is installed.
    """
    session = LiteRtSession(path, threads=1)
    content = path.read_bytes()
    check_structure(content, path)
    try:
        model = TfliteModel.from_bytes(content)
        return (_xnnpack(session, model), _gpu(model))
    except (ValueError, TypeError, IndexError, AttributeError, struct.error) as error:  # generated code checks nothing
        raise ModelFileError(
            expected=f"a TFLite model with one graph at '{path}'", found=f"another ({error})"
        ) from error


def _xnnpack(session: LiteRtSession, model: TfliteModel) -> Accelerator:
    found = delegation(session)
    operators = model.graph.operators
    left = [(each.operator, each.reason, _name(model, operators[each.index])) for each in found.left_out]
    rules = f"the delegate itself, in {session.runtime} {session.version}"
    return Accelerator("XNNPACK", rules, len(operators), found.taken, found.partitions, breakers(left))


def _gpu(model: TfliteModel) -> Accelerator:
    operators = model.graph.operators
    lacks = [lack_of(_operation(model, operator)) for operator in operators]
    left = [
        (model.operator_name(operator), lack, _name(model, operator))
        for operator, lack in zip(operators, lacks, strict=True)
        if lack
    ]
    sides = [[[str(t) for t in side] for side in (operator.inputs, operator.outputs)] for operator in operators]
    runs = partitions([not lack for lack in lacks], [each[0] for each in sides], [each[1] for each in sides])
    return Accelerator("TFLite GPU delegate", RULES, len(operators), lacks.count(""), runs, breakers(left))


def _operation(model: TfliteModel, operator: Any) -> Operation:
    inputs, outputs = (
        tuple(_operand(model, int(t)) for t in side if t >= 0) for side in (operator.inputs, operator.outputs)
    )
    options = {name: int(value) for name, value in vars(operator.builtinOptions or object).items() if _whole(value)}
    return Operation(model.operator_name(operator), inputs, outputs, options)


def _whole(value: object) -> bool:
    return isinstance(value, int | bool)


def _operand(model: TfliteModel, tensor: int) -> Operand:
    found = model.graph.tensors[tensor]
    shape = tuple(map(int, found.shape)) if found.shape is not None else ()
    data = model.root.buffers[found.buffer].data
    return Operand(shape, found.type, data is not None and len(data) > 0)


def _name(model: TfliteModel, operator: Any) -> str:
    return text_of(model.graph.tensors[operator.outputs[0]].name or b"")
