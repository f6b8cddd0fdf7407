"""``inspect --mobile``: what the accelerators of phones take of the bundled network; a planted operator shows."""

import json

import onnx
import pytest
from command_line import refused, run_here
from pte_network import SMALL

from dcd_deploy.errors import ModelFileError, UnknownNameError
from dcd_deploy.export.accelerators import partitions, summarise_mobile
from dcd_deploy.export.onnx.mobile import COREML, NEURAL_NETWORK, NNAPI, XNNPACK
from dcd_deploy.export.onnx.ort import to_ort
from dcd_deploy.export.tflite.file import TfliteModel, schema, tflite_nodes
from dcd_deploy.export.tflite.gpu_delegate import FLOAT32, Operand, Operation, lack_of
from dcd_deploy.runtimes.litert import LiteRtSession
from dcd_deploy.runtimes.nodes import delegation

GPU = "TFLite GPU delegate"


def taken(path):
    """As the command does it, without the process of its own."""
    return {each.name: each for each in summarise_mobile(path).accelerators}


@pytest.fixture(scope="module")
def of_onnx(onnx_file):
    return taken(onnx_file)


def test_the_portable_file(of_onnx):
    """Its computed kernels are what the tables' notes refuse, which onnxruntime's own checker does not read."""
    assert list(of_onnx) == [NNAPI, COREML, NEURAL_NETWORK, XNNPACK]
    for name, operators in ((NNAPI, {"Conv"}), (COREML, {"Conv"}), (NEURAL_NETWORK, {"Conv", "MatMul"})):
        found = of_onnx[name]
        left = {each.operator: each for each in found.breakers}
        assert operators <= set(left)
        assert "constant" in left["Conv"].reason
        assert all(layer.startswith("features.") for layer in left["Conv"].layers)
        assert found.partitions > 1
        assert found.taken + sum(each.nodes for each in found.breakers) == found.nodes
    assert {each.operator for each in of_onnx[XNNPACK].breakers} >= {"Add", "Mul", "Clip"}


def test_a_planted_operator_is_one_partition_more_and_named(onnx_pair, tmp_path):
    model = onnx.load(onnx_pair[1])
    clip = [node for node in model.graph.node if node.op_type == "Clip"][3]
    clip.op_type = "Selu"
    del clip.input[1:]
    onnx.save(model, tmp_path / "planted.onnx")
    untouched, planted = taken(onnx_pair[1]), taken(tmp_path / "planted.onnx")
    assert all(untouched[name].whole for name in (NNAPI, COREML))
    for name in (NNAPI, COREML, NEURAL_NETWORK):
        found = planted[name]
        assert found.partitions == untouched[name].partitions + 1
        (selu,) = [each for each in found.breakers if each.operator == "Selu"]
        assert (selu.nodes, selu.reason, len(selu.layers)) == (1, "not in its table", 1)
        assert clip.name.startswith(selu.layers[0])


def test_free_sizes_are_said(onnx_pair, tmp_path):
    model = onnx.load(onnx_pair[1])
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    onnx.save(model, tmp_path / "free.onnx")
    found = taken(tmp_path / "free.onnx")[NNAPI]
    assert found.taken < found.nodes
    assert any("`batch`" in each.reason for each in found.breakers)


def test_an_ort_file(onnx_pair, tmp_path):
    (tmp_path / "twin.ort").write_bytes(to_ort(onnx_pair[1].read_bytes(), "portable"))
    found = taken(tmp_path / "twin.ort")
    assert list(found) == [NNAPI, COREML, NEURAL_NETWORK, XNNPACK]
    assert found[COREML].whole
    assert "FusedConv" in {each.operator for each in found[NNAPI].breakers}, "which onnxruntime fused for processors"


def test_a_tflite_file(digits_tflite):
    found = taken(digits_tflite.artifact.path)
    assert list(found) == ["XNNPACK", GPU]
    assert all(each.whole for each in found.values())


@pytest.mark.long
def test_partitions_are_counted_as_tflite_counts_them(digits_compiled):
    """Without its flag XNNPACK leaves operators of this file, and says itself how it divides the rest."""
    path = digits_compiled.artifact.path
    nodes, asked = tflite_nodes(path.read_bytes()), delegation(LiteRtSession(path, threads=1))
    left = {each.index for each in asked.left_out}
    assert len(left) > 5
    kept = [i not in left for i in range(len(nodes))]
    assert partitions(kept, [n.inputs for n in nodes], [n.outputs for n in nodes]) == asked.partitions
    found = taken(path)
    assert found["XNNPACK"].partitions == asked.partitions
    assert found["XNNPACK"].breakers[0].operator == "FULLY_CONNECTED"


def test_a_planted_operator_in_a_tflite_file(digits_tflite, tmp_path):
    model = TfliteModel.from_bytes(digits_tflite.artifact.path.read_bytes())
    operator = next(each for each in model.graph.operators if model.operator_name(each) == "MUL")
    layer = model.graph.tensors[operator.outputs[0]].name.decode().partition("/")[0]
    code = schema().OperatorCodeT()
    model.root.operatorCodes.append(code)
    operator.opcodeIndex = len(model.root.operatorCodes) - 1
    operator.builtinOptions, operator.builtinOptionsType = None, 0
    code.builtinCode = code.deprecatedBuiltinCode = schema().BuiltinOperator.FLOOR_MOD
    (tmp_path / "planted.tflite").write_bytes(model.to_bytes())
    found = taken(tmp_path / "planted.tflite")
    assert found["XNNPACK"].partitions == 2
    (left,) = found["XNNPACK"].breakers
    assert (left.operator, left.nodes, left.layers) == ("FLOOR_MOD", 1, (layer,))
    assert found[GPU].whole, "which the GPU delegate takes"


def operation(name, *shapes, constant=(), options=None):
    operands = tuple(Operand(shape, FLOAT32, i in constant) for i, shape in enumerate(shapes))
    return Operation(name, operands, (Operand(shapes[0], FLOAT32, constant=False),), options or {})


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (operation("SELU", (1, 4, 4, 8)), "not among its operators"),
        (operation("MUL", (1, 4, 4, 8), (4, 7)), "cannot broadcast"),
        (operation("FULLY_CONNECTED", (1, 8), (4, 8), (4,)), "two computed inputs at most, found 3"),
        (operation("FULLY_CONNECTED", (1, 8), (4, 8), constant=(0,)), "no constant input"),
        (operation("DEPTHWISE_CONV_2D", (4, 8), (1, 3, 3, 8), constant=(1,)), "four axes"),
        (operation("SLICE", (4, 8), (2,), (2,), constant=(1, 2)), "found 2"),
        (operation("STRIDED_SLICE", (1, 4, 8), (3,), options={"newAxisMask": 1}), "newAxisMask"),
        (operation("MEAN", (1, 4, 4, 8), (2,), constant=(1,)), "axes of int32"),
        (operation("SQRT", (1, 8), constant=(0,)), "one computed input"),
        (operation("SUB", (1, 8), (1, 8), (1, 8)), "one or two"),
        (operation("MUL", (1, 4, 4, 8), (8,), constant=(1,)), ""),
        (operation("CONV_2D", (1, 4, 4, 8), (4, 1, 1, 8)), ""),
    ],
)
def test_rules_of_the_gpu_delegate(case, words):
    assert words in lack_of(case)
    assert bool(words) == bool(lack_of(case))


def test_a_planted_operator_divides_the_network_for_the_gpu():
    chain = [(f"t{i}",) for i in range(6)]
    assert partitions([True] * 5, chain[:5], chain[1:]) == 1
    assert partitions([True, True, False, True, True], chain[:5], chain[1:]) == 2
    assert partitions([False] * 5, chain[:5], chain[1:]) == 0
    with pytest.raises(ValueError, match="wait for each other"):
        partitions([True, True], [("b",), ("a",)], [("a",), ("b",)])


def test_a_pte_file_is_of_xnnpack_by_construction():
    summary = summarise_mobile(SMALL)
    (found,) = summary.accelerators
    assert (found.name, found.whole) == ("XNNPACK", True)
    assert "divided when it is exported" in summary.note


def test_table_and_json(onnx_file, digits_tflite, of_onnx):
    done = run_here("inspect", onnx_file, "--mobile")
    assert done.returncode == 0
    for words in (NNAPI, COREML, NEURAL_NETWORK, XNNPACK, "partitions", "what divides it", "by rules, not on a device"):
        assert words in done.stdout
    found = json.loads(run_here("inspect", digits_tflite.artifact.path, "--mobile", "--json").stdout)
    assert [each["partitions"] for each in found["accelerators"]] == [1, 1]
    assert of_onnx[NNAPI].rules.startswith("nnapi_supported_ops.md of onnxruntime 1.")


@pytest.mark.parametrize("suffix", ["onnx", "ort", "tflite", "pte"])
def test_damaged_files(tmp_path, suffix):
    path = tmp_path / f"bad.{suffix}"
    path.write_bytes(b"\x20\0\0\0" + {"ort": b"ORTM", "tflite": b"TFL3", "pte": b"ET12"}.get(suffix, b"") + bytes(40))
    with pytest.raises(ModelFileError):
        summarise_mobile(path)


def test_a_checkpoint_is_no_model_file(digits_checkpoint):
    with pytest.raises(UnknownNameError, match=r"kind of model file '\.pth\.tar': this is a checkpoint"):
        summarise_mobile(digits_checkpoint)
    refused(run_here("inspect", "none.onnx", "--mobile"), 3, "none.onnx")
