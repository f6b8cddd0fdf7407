"""Names of nodes: layer, part and operator, which follow from the places of a deploy form."""

import onnx
import pytest
from deployed import deployed

from dcd_deploy.export.onnx.naming import name_onnx
from dcd_deploy.lowering.places import Place, find_place
from dcd_deploy.lowering.targets import LITERT, ONNXRUNTIME_X86
from dcd_deploy.models.registry import build
from dcd_deploy.models.spec import NetworkSpec
from dcd_deploy.runtimes.nodes import FileNode, part_of


def test_names_of_nodes_change_nothing_else(digits_export):
    model = onnx.load(digits_export.artifact.path)
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["input", "logits"]
    outputs = [output for node in model.graph.node for output in node.output]
    assert len(set(outputs)) == len(outputs)
    assert all(node.output[0] in (node.name, "logits") for node in model.graph.node)
    again = name_onnx(model, {}, {})
    assert again == model, "what has no place keeps its name"


def test_what_a_tool_made_takes_the_place_of_its_reader():
    text = """
        <ir_version: 8, opset_import: ["" : 18]>
        net (float[1, 4] input) => (float[1, 4] logits) {
            a = Relu (input)
            b = Neg (a)
            c, d = Split <axis = 1, num_outputs = 2> (b)
            e = Concat <axis = 1> (d, c)
            logits = Neg (e)
        }"""
    model = onnx.parser.parse_model(text)
    named = name_onnx(
        model, {"b": "net.1", "e": "net.2"}, {"net.1": Place("one", "static"), "net.2": Place("two", "x")}
    )
    assert [node.name for node in named.graph.node] == [
        "one/static/relu", "one/static/neg", "two/x/split", "two/x/concat", "two/x/neg",
    ]  # fmt: skip
    assert list(named.graph.node[3].input) == ["two/x/split.1", "two/x/split"]
    assert named.graph.node[-1].output[0] == "logits"
    onnx.checker.check_model(named, full_check=True)


def test_a_branch_reads_what_is_named_around_it():
    text = """
        <ir_version: 8, opset_import: ["" : 18]>
        net (float[1, 4] input, bool c) => (float[1, 4] logits) {
            a = Relu (input)
            logits = If (c) <then_branch = t () => (float[1, 4] p) { p = Neg (a) },
                             else_branch = e () => (float[1, 4] q) { q = Abs (a) }>
        }"""
    named = name_onnx(onnx.parser.parse_model(text), {"a": "net.1"}, {"net.1": Place("one", "static")})
    branches = [attribute.g.node[0] for attribute in named.graph.node[1].attribute]
    assert [list(node.input) for node in branches] == [["one/static/relu"]] * 2
    onnx.checker.check_model(named, full_check=True)


@pytest.mark.parametrize("arch", ["mobilenetv2_dcd", "resnet10_dcd"])
@pytest.mark.parametrize("target", [ONNXRUNTIME_X86, LITERT], ids=lambda target: target.name)
def test_every_module_of_a_deploy_form_has_a_place(arch, target):
    network = build(NetworkSpec(arch, 10, *((0.1, 8, 0.1) if arch.startswith("mobile") else ()))).eval()
    layers = dict(network.named_modules())
    deploy = deployed(network, 32, 32, target=target)
    for path, module in deploy.module.named_modules():
        if not any(module.children()) and path:
            place = find_place(path, deploy.places)
            assert place is not None, path
            assert place.layer in layers or place.layer == "input", path
    assert find_place("", deploy.places) is None


def test_parts_follow_from_the_place_not_from_the_operator():
    assert part_of("applied", "Conv") == part_of("static", "CONV_2D") == part_of("activation", "Clip") == "static"
    assert part_of("project", "CONV_2D") == part_of("dynamic", "Conv") == part_of("attention.phi", "Gemm") == "dynamic"
    assert part_of("static", "TRANSPOSE") == part_of("dynamic", "Transpose") == part_of("static", "Reshape") == "layout"
    assert part_of("attention", "Reshape") == "dynamic"
    assert FileNode("Conv_12", "Conv", (), (), 0).part == "unknown"
