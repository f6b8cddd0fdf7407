"""What NNAPI, CoreML and XNNPACK take of a graph, by the tables that onnxruntime publishes for its mobile packages.

A table lists operators, each with a note of conditions. onnxruntime's own checker reads the operators and divides the
graph; of the notes it checks nothing. Here those that a graph shows are checked too: which inputs have to be constant,
which decides about kernels that a dynamic layer computes.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import onnx
import onnxruntime
from onnxruntime.tools.mobile_helpers import usability_checker
from onnxruntime.tools.onnx_model_utils import optimize_model

from dcd_deploy.errors import ExportError, ModelFileError, shown
from dcd_deploy.export.accelerators import Accelerator, breakers
from dcd_deploy.export.onnx.ort_graph import ort_graph

TABLES = Path(usability_checker.__file__).parent
ANY_RANK = 999
NNAPI, COREML, NEURAL_NETWORK, XNNPACK = "NNAPI", "CoreML MLProgram", "CoreML NeuralNetwork", "XNNPACK"
# accelerator → its table in the package, and the most axes of a tensor that it takes
PUBLISHED = {
    NNAPI: ("nnapi_supported_ops.md", ANY_RANK),
    COREML: ("coreml_supported_mlprogram_ops.md", 5),
    NEURAL_NETWORK: ("coreml_supported_neuralnetwork_ops.md", 5),
}
# Of XNNPACK the package has no table. The operators are those of onnxruntime's page on it (since 1.14), the conditions
# those of its source, at 06dd121 (core/providers/xnnpack).
XNNPACK_RULES = "onnxruntime's page on XNNPACK, 1.14 and later"
XNNPACK_TABLE = {
    "ai.onnx:AveragePool": "Only 2D Pool is supported.",
    "ai.onnx:Conv": "Only 2D Conv is supported. Weights and bias should be constant.",
    "ai.onnx:ConvTranspose": "Only 2D Conv is supported. Weights and bias should be constant.",
    "ai.onnx:Gemm": "Weights and bias should be constant.",
    "ai.onnx:MatMul": "Input B should be constant.",
    "ai.onnx:MaxPool": "Only 2D Pool is supported.",
    "ai.onnx:Resize": "Only bilinear Resize is supported.",
    "ai.onnx:Softmax": "Only the last axis is supported.",
    "com.microsoft:QLinearSoftmax": "",
}
# words of a note → the inputs that have to be constant
CONSTANT = {
    r"weights? and bias (should|must) be constant": (1, 2),
    r"bias if provided must be constant": (2,),
    r"input (b|slope|axes) (should|must) be constant": (1,),
    r"input pads and constant_value should be constant": (1, 2),
    r"input split should be constant|.splits. must be constant": (1,),
    r"starts.*(should|must) be constant": (1, 2, 3, 4),
    r".scales. or .sizes. must be constant": (2, 3),
}
TWO_AXES = r"only (1d/)?2d (conv|pool) is supported"
NO_CONDITION = r"can be added|produced by|decomposed into"
TRANSPOSED = r"if input b is not constant, transb should be 1"
FREE = "a size of it is free: export with a number as `batch`"
UNKNOWN = "the shape of an input is not known"
# What accelerators ask of a Resize: NNAPI's table says less than its source does, at 0bd42bd
# (core/providers/nnapi/nnapi_builtin/builders/impl/resize_op_builder.cc). Of CoreML
# MLProgram's the table says nothing; both of CoreML's take no other mode than linear and nearest.
LINEAR_RESIZE = {NNAPI: ("asymmetric", "half_pixel", "align_corners"), NEURAL_NETWORK: ("asymmetric",)}
ANEW_FROM_18 = ("antialias", "axes")  # attributes


class _Rules:
    """A table, and the constants of a graph: which nodes fulfil it, and what the others lack."""

    def __init__(self, name: str, table: Mapping[str, str], graph: onnx.GraphProto) -> None:
        self.name, self.table = name, table
        self.constants = {tensor.name for tensor in graph.initializer}
        self.reasons: dict[str, str] = {}

    def is_op_supported(self, node: onnx.NodeProto) -> bool:
        """Return whether a node fulfils the table, as onnxruntime's checker asks it."""
        reason = self._lack(node)
        if reason:
            self.reasons[node.output[0]] = reason
        return not reason

    def _lack(self, node: onnx.NodeProto) -> str:
        if (note := self.table.get(_kind(node))) is None:
            return "not in its table"
        if node.op_type == "Resize" and (lack := self._lack_of_resize(node)):
            return lack
        return next((lack for sentence in _sentences(note) if (lack := self._unfulfilled(sentence, node))), "")

    def _lack_of_resize(self, node: onnx.NodeProto) -> str:
        """Return what a Resize lacks that an accelerator asks for, where it is known what that is."""
        mode, places = _text(node, "mode", "nearest"), _text(node, "coordinate_transformation_mode", "half_pixel")
        if (linear := LINEAR_RESIZE.get(self.name)) is None:
            return f"mode '{mode}'" if self.name == COREML and mode not in ("linear", "nearest") else ""
        if mode == "linear":
            right = places in linear
        else:
            right = mode == "nearest" and places == "asymmetric" and _text(node, "nearest_mode", "") == "floor"
        if not right:
            return f"mode '{mode}' with coordinates '{places}'"
        if other := [name for name in (*ANEW_FROM_18, "exclude_outside") if _attribute(node, name)]:
            return f"it has '{other[0]}'"
        return "" if all(not name or name in self.constants for name in node.input[2:]) else "its sizes are computed"

    def _unfulfilled(self, sentence: str, node: onnx.NodeProto) -> str:
        said = sentence.lower()
        if re.search(TRANSPOSED, said):
            fulfilled = bool(_attribute(node, "transB")) or node.input[1] in self.constants
        elif re.search(TWO_AXES, said):
            fulfilled = len(_attribute(node, "kernel_shape") or ()) <= 2
        else:
            needed = [i for words, inputs in CONSTANT.items() if re.search(words, said) for i in inputs]
            given = [node.input[i] for i in needed if i < len(node.input)]
            fulfilled = all(not name or name in self.constants for name in given)
        return "" if fulfilled else sentence

    def unchecked(self, nodes: Iterable[onnx.NodeProto]) -> tuple[str, ...]:
        """Return the conditions, of operators that there are, of which a graph does not show whether they are met."""
        kinds = sorted({_kind(node) for node in nodes} & self.table.keys())
        return tuple(
            f"{kind.partition(':')[2]}: {one}"
            for kind in kinds
            for one in _sentences(self.table[kind])
            if not _checked(one)
        )


def _kind(node: onnx.NodeProto) -> str:
    return f"{node.domain or 'ai.onnx'}:{node.op_type}"


def _sentences(note: str) -> list[str]:
    return [sentence for sentence in re.split(r"(?<=\.)\s+", note.strip()) if sentence]


def _checked(sentence: str) -> bool:
    return any(re.search(words, sentence.lower()) for words in (*CONSTANT, TWO_AXES, TRANSPOSED, NO_CONDITION))


def _attribute(node: onnx.NodeProto, name: str) -> Any:
    return next((onnx.helper.get_attribute_value(each) for each in node.attribute if each.name == name), None)


def _text(node: onnx.NodeProto, name: str, default: str) -> str:
    found = _attribute(node, name)
    return default if found is None else found.decode()


def _table(name: str) -> Mapping[str, str]:
    """Return the table of an accelerator, operator → note."""
    if name == XNNPACK:
        return XNNPACK_TABLE
    reader = usability_checker._SupportedOpsChecker(TABLES / PUBLISHED[name][0])  # noqa: SLF001 - there is no other
    return cast("Mapping[str, str]", reader._ops)  # noqa: SLF001


def accelerator(model: onnx.ModelProto, name: str) -> Accelerator:
    """Return what an accelerator takes of a model whose shapes are inferred."""
    table, rank = _table(name), PUBLISHED.get(name, ("", ANY_RANK))[1]
    rules = _Rules(name, table, model.graph)
    graph = _with_empty_inputs(model.graph)
    found = usability_checker.check_partitioning(graph, rules, require_fixed_input_sizes=True, max_rank=rank)
    taken = {node.output[0] for group in found.supported_groups for node in group}
    left = [node for node in model.graph.node if node.output[0] not in taken]
    shapes = _shapes(model.graph)
    return Accelerator(
        name,
        XNNPACK_RULES if name == XNNPACK else f"{PUBLISHED[name][0]} of onnxruntime {onnxruntime.__version__}",
        found.num_nodes,
        found.num_supported_nodes,
        found.num_partitions,
        breakers(
            (node.op_type, rules.reasons.get(node.output[0]) or _lack_of_shape(node, shapes, rank), node.name)
            for node in left
        ),
        rules.unchecked(node for node in model.graph.node if node.output[0] in taken),
    )


def _with_empty_inputs(graph: onnx.GraphProto) -> onnx.GraphProto:
    """Return a graph whose inputs that are left out are no tensors of unknown size to onnxruntime's checker."""
    if not any(name == "" for node in graph.node for name in node.input):
        return graph
    copy = onnx.GraphProto()
    copy.CopyFrom(graph)
    copy.initializer.add(name="", data_type=onnx.TensorProto.FLOAT, dims=[0])
    return copy


def _shapes(graph: onnx.GraphProto) -> dict[str, list[int]]:
    """Return the shapes of values that are known, with 0 for sizes that are free."""
    values = (*graph.input, *graph.output, *graph.value_info)
    tensors = [(value.name, value.type.tensor_type) for value in values]
    known = {name: [size.dim_value for size in one.shape.dim] for name, one in tensors if one.HasField("shape")}
    return known | {tensor.name: list(tensor.dims) or [1] for tensor in graph.initializer}


def _lack_of_shape(node: onnx.NodeProto, shapes: Mapping[str, list[int]], rank: int) -> str:
    """Return why a node is not taken that is in the table, by the shapes that go into it."""
    found = [shapes.get(name) for name in node.input if name]
    if any(shape is not None and len(shape) > rank for shape in found):
        return f"more than {rank} axes"
    return FREE if any(shape is not None and 0 in shape for shape in found) else UNKNOWN


def onnx_accelerators(path: Path) -> tuple[Accelerator, ...]:
    """Return what each takes of an ONNX file, after the folding that onnxruntime does before it divides.

    Raises:
        ModelFileError: it is not an ONNX model, or is damaged.
    """
    try:
        with tempfile.TemporaryDirectory() as folder:
            optimised = Path(folder) / path.name
            optimize_model(path, optimised)
            return _accelerators(onnx.shape_inference.infer_shapes(onnx.load(optimised)))
    except Exception as error:  # protobuf, the runtime and shape inference have no common public base
        raise ModelFileError(
            expected=f"an ONNX model at '{path}'",
            but=f"it is damaged: {shown(str(error), 200)}",
            advice="export it again",
        ) from error


def ort_accelerators(path: Path) -> tuple[Accelerator, ...]:
    """Return what each takes of an .ort file.

    Raises:
        ModelFileError: it is no .ort file, or is damaged.
    """
    return _accelerators(ort_graph(path.read_bytes()))


def _accelerators(model: onnx.ModelProto) -> tuple[Accelerator, ...]:
    return tuple(accelerator(model, name) for name in (*PUBLISHED, XNNPACK))


def check_one_partition(model: onnx.ModelProto, name: str) -> None:
    """Refuse a graph that "nnapi" or "coreml" would not take in one partition.

    Raises:
        ExportError: there are operators that it lacks.
    """
    found = accelerator(onnx.shape_inference.infer_shapes(model), NNAPI if name == "nnapi" else COREML)
    if not found.whole:
        lacking = "; ".join(f"{each.operator} ({each.nodes}): {each.reason}" for each in found.breakers)
        raise ExportError(
            f"{name} would take the network in {found.partitions} partitions, {found.taken} of {found.nodes} nodes: "
            f"{lacking or 'nothing by name'}; leave `for_` out, or change the network"
        )
