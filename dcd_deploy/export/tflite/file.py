"""A TFLite file as objects: names, operators and multiply-adds, metadata; from bytes and back.

The objects are those that ai-edge-litert generates from the schema.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np

from dcd_deploy import __version__
from dcd_deploy.artifacts import INPUT, METADATA_KEY, OUTPUT, ModelCard
from dcd_deploy.errors import ExportError, ModelFileError
from dcd_deploy.export.stats import GraphStats
from dcd_deploy.export.tflite.copies import copied, copy_what_is_read_later
from dcd_deploy.export.tflite.metadata import BUFFER_NAME, labels_archive, standard_metadata
from dcd_deploy.export.tflite.naming import name_tflite
from dcd_deploy.lowering.places import Place
from dcd_deploy.optional import require
from dcd_deploy.runtimes.flatbuffer import IDENTIFIER, read_texts
from dcd_deploy.runtimes.nodes import FileNode
from dcd_deploy.runtimes.tflite_structure import check_structure

ALIGNMENT = 16  # of every buffer, by the schema
CONVERTER_NOTES = frozenset({"keep_stablehlo_constant"})
ITEM_BYTES = {1: 2, 3: 1, 4: 8, 6: 1, 9: 1, 10: 8}  # of types that do not take four (float16, uint8, int64, …)
WEIGHTED = {"CONV_2D", "FULLY_CONNECTED", "DEPTHWISE_CONV_2D"}


@dataclass(frozen=True)
class TfliteModel:
    """The root object (``schema_py_generated.ModelT``) of a file with one graph."""

    root: Any

    @classmethod
    def from_bytes(cls, content: bytes) -> TfliteModel:
        """Read a file that our own converter wrote."""
        return cls(schema().ModelT.InitFromPackedBuf(content, 0))

    @property
    def graph(self) -> Any:
        """The only subgraph (``SubGraphT``)."""
        return self.root.subgraphs[0]

    def operator_name(self, operator: Any) -> str:
        """Return the name of an operator, such as CONV_2D."""
        code = self.root.operatorCodes[operator.opcodeIndex]
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        names = {value: name for name, value in vars(schema().BuiltinOperator).items() if isinstance(value, int)}
        return str(names.get(number, number))

    def to_bytes(self) -> bytes:
        """Return the file."""
        builder = flatbuffers.Builder(sum(len(b.data) for b in self.root.buffers if b.data is not None) + (1 << 20))
        buffers = self.root.buffers
        self.root.buffers = [_AlignedBuffer(buffer.data) for buffer in buffers]
        try:
            builder.Finish(self.root.Pack(builder), IDENTIFIER)
        finally:
            self.root.buffers = buffers
        return bytes(memoryview(builder.Bytes)[builder.head :])  # Output() would be one copy more


class _AlignedBuffer:
    """A buffer that packs its bytes on the alignment that the schema asks for, which the generated code forgets."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def Pack(self, builder: Any) -> int:  # noqa: N802 - the name that the generated code calls
        vector = None
        if self.data is not None and len(self.data):
            data = bytes(bytearray(self.data)) if isinstance(self.data, list) else memoryview(self.data).tobytes()
            builder.StartVector(1, len(data), ALIGNMENT)
            builder.head -= len(data)
            builder.Bytes[builder.head : builder.head + len(data)] = data
            vector = builder.EndVector()
        builder.StartObject(3)
        if vector is not None:
            builder.PrependUOffsetTRelativeSlot(0, vector, 0)
        return int(builder.EndObject())


def finish(
    content: bytes,
    places: Mapping[str, Place],
    inputs: Sequence[str] = (INPUT,),
    outputs: Sequence[str] = (OUTPUT,),
) -> bytes:
    """Return a converted model under our names: its ``inputs`` and ``outputs``, in this order, and those of layers.

    The graph and its one signature have them alike. ``places`` says of which layer the modules of the deploy form are.

    Raises:
        ExportError: the converter left an input or an output out.
    """
    model = TfliteModel.from_bytes(content)
    graph = model.graph
    graph.name = "main"
    _name_ends(model, inputs, outputs)
    copy_what_is_read_later(model, schema())
    name_tflite(graph, model.operator_name, places, {name.encode() for name in outputs})
    model.root.description = f"dcd-deploy {__version__}"
    model.root.metadata = [m for m in model.root.metadata or [] if text_of(m.name) not in CONVERTER_NOTES]
    return model.to_bytes()


def _name_ends(model: TfliteModel, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Name and order what goes in and out; in the converter's signature inputs are numbered and outputs named."""
    graph, (signature,) = model.graph, model.root.signatureDefs
    places = {text_of(entry.name): int(entry.tensorIndex) for entry in signature.outputs}
    if len(graph.inputs) != len(inputs) or places.keys() != set(outputs):
        raise ExportError(
            expected=f"a converted model with inputs {tuple(inputs)} and outputs {tuple(outputs)}",
            found=f"{len(graph.inputs)} inputs and {sorted(places)}",
            advice="an input that nothing reads cannot stay",
        )
    order = {int(entry.tensorIndex): i for i, entry in enumerate(signature.inputs)}
    entries = sorted(
        map(int, graph.inputs), key=lambda tensor: _argument(text_of(signature.inputs[order[tensor]].name))
    )
    graph.inputs, graph.outputs = entries, _apart(model, [places[name] for name in outputs])
    for tensor, name in (*zip(entries, inputs, strict=True), *zip(graph.outputs, outputs, strict=True)):
        graph.tensors[tensor].name = name.encode()
    signature.inputs = [_tensor_map(name, tensor) for name, tensor in zip(inputs, entries, strict=True)]
    signature.outputs = [_tensor_map(name, tensor) for name, tensor in zip(outputs, graph.outputs, strict=True)]


def _apart(model: TfliteModel, outputs: Sequence[int]) -> list[int]:
    """Return outputs of which none is another: a tensor has one name, and the converter makes one of two alike."""
    found: list[int] = []
    for tensor in outputs:
        if tensor in found:
            copy, number = copied(model, schema(), tensor)
            model.graph.operators.append(copy)
            found.append(number)
        else:
            found.append(tensor)
    return found


def _argument(name: str) -> int:
    """Return the number of an argument, which the converter calls args_0 and so on."""
    return int(name.rpartition("_")[2])


def _tensor_map(name: str, tensor: int) -> Any:
    entry = schema().TensorMapT()
    entry.name, entry.tensorIndex = name.encode(), tensor
    return entry


def with_card(content: bytes, card: ModelCard) -> bytes:
    """Return the file with its description inside, ours and the standard one, and the labels appended."""
    model = TfliteModel.from_bytes(content)
    entries = {METADATA_KEY: card.to_json().encode(), BUFFER_NAME: standard_metadata(card)}
    for name, data in entries.items():
        model.root.buffers.append(_AlignedBuffer(np.frombuffer(data, np.uint8)))
        entry = schema().MetadataT()
        entry.name, entry.buffer = name, len(model.root.buffers) - 1
        model.root.metadata.append(entry)
    return model.to_bytes() + labels_archive(card.labels)


def tflite_stats(content: bytes) -> GraphStats:
    """Count the operators, bytes and multiply-adds (for one sample) of a TFLite model."""
    model = TfliteModel.from_bytes(content)
    operators = Counter(model.operator_name(operator) for operator in model.graph.operators)
    ordered = dict(sorted(operators.items(), key=lambda item: (-item[1], item[0])))
    macs = sum(_macs(model, operator) for operator in model.graph.operators)
    batch = int(model.graph.tensors[model.graph.inputs[0]].shape[0])
    return GraphStats(len(model.graph.operators), ordered, len(content), macs // batch)


def read_tflite_nodes(path: Path) -> tuple[FileNode, ...]:
    """Return the operators of a TFLite file.

    Raises:
        ModelFileError: it is not a TFLite model with one graph, or is damaged.
    """
    content = path.read_bytes()
    read_texts(content, path)
    check_structure(content, path)
    try:
        return tflite_nodes(content)
    except (ValueError, TypeError, IndexError, AttributeError, struct.error) as error:  # generated code checks nothing
        raise ModelFileError(
            expected=f"a TFLite model with one graph at '{path}'", found=f"another ({error})"
        ) from error


def tflite_nodes(content: bytes) -> tuple[FileNode, ...]:
    """Return the operators in their order, each named as its first output."""
    model = TfliteModel.from_bytes(content)
    nodes: list[FileNode] = []
    for operator in model.graph.operators:
        read, written = ([int(t) for t in side if t >= 0] for side in (operator.inputs, operator.outputs))
        name = model.operator_name(operator)
        node = FileNode(
            _tensor_name(model, written[0]),
            name,
            tuple(_tensor_name(model, t) for t in read),
            tuple(_tensor_name(model, t) for t in written),
            _macs(model, operator),
            sum(_tensor_bytes(model, t) for t in read),
            sum(_tensor_bytes(model, t) for t in written),
            activated=bool(getattr(operator.builtinOptions, "fusedActivationFunction", 0)),
        )
        nodes.append(node)
    return tuple(nodes)


def _tensor_name(model: TfliteModel, tensor: int) -> str:
    return text_of(model.graph.tensors[tensor].name or b"")


def _tensor_bytes(model: TfliteModel, tensor: int) -> int:
    found = model.graph.tensors[tensor]
    return math.prod(map(int, found.shape if found.shape is not None else ())) * ITEM_BYTES.get(found.type, 4)


def _macs(model: TfliteModel, operator: Any) -> int:
    name, tensors = model.operator_name(operator), model.graph.tensors
    if name == "BATCH_MATMUL":
        left, output = tensors[operator.inputs[0]].shape, tensors[operator.outputs[0]].shape
        shared = left[-2] if operator.builtinOptions.adjX else left[-1]
        return math.prod(map(int, output)) * int(shared)
    if name not in WEIGHTED:
        return 0
    weight, output = tensors[operator.inputs[1]].shape, tensors[operator.outputs[0]].shape
    each = math.prod(map(int, weight[1:3])) if name == "DEPTHWISE_CONV_2D" else math.prod(map(int, weight[1:]))
    return math.prod(map(int, output)) * each


def schema() -> Any:
    """Return the module of the schema's objects."""
    return require("ai_edge_litert.schema_py_generated")


def text_of(text: bytes | str) -> str:
    """Return a name of a model, which reads back as bytes."""
    return text.decode(errors="replace") if isinstance(text, bytes) else text
