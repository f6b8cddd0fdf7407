"""What a converter refuses is named by operator and place, and the advice is what helps."""

import pytest
import torch
from capturing import Calling
from foreign_networks import conv3
from torch import nn

import dcd_deploy
from dcd_deploy.errors import ExportError, ModelFileError
from dcd_deploy.export.deployable import deployable
from dcd_deploy.export.executorch.convert import check_one_partition
from dcd_deploy.export.refusal import LOWERING, ORDINARY, advice, culprit, module_path, named_in, refused
from dcd_deploy.export.tflite import build

EXAMPLE = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Head(nn.Module):
    """A convolution, and behind it a function in a submodule of its own."""

    def __init__(self, function, conv=None):
        super().__init__()
        self.conv = conv or nn.Conv2d(3, 8, 3)
        self.head = nn.Sequential(nn.ReLU(), Calling(function))

    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3)))


def no_such_kernel(x):
    return torch.special.bessel_j0(x)


def added_elsewhere(x):
    return torch.zeros_like(x).scatter_add(1, torch.arange(x.shape[1] - 1, -1, -1).expand_as(x), x)


@pytest.mark.parametrize(
    ("to", "function", "words"),
    [
        ("onnx", no_such_kernel, r"ONNX exporter refused the network for bessel_j0 in 'head\.1': No ONNX function"),
        ("tflite", no_such_kernel, r"refused the network for special_bessel_j0 in 'head\.1': Lowering not found"),
        ("tflite", lambda x: x.topk(3).values, r"made STABLEHLO_SORT of what .* behind 'conv', which TFLite's"),
        ("tflite", added_elsewhere, r"made STABLEHLO_SCATTER of what .* behind 'conv', .* not take in this form"),
    ],
)
def test_an_ordinary_operator(tmp_path, to, function, words):
    with pytest.raises(ExportError, match=words) as refusal:
        dcd_deploy.export_module(Head(function).eval(), EXAMPLE, to=to, out=tmp_path)
    message = str(refusal.value)
    assert ORDINARY in message
    assert ("`to` onnx" in message) == (to == "tflite")
    assert "lowering`" not in message
    assert "\n" not in message
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def traced():
    """A deploy form with a dynamic layer, and what torch.export makes of it."""
    torch.manual_seed(0)
    form = deployable(dcd_deploy.deploy_form(Head(torch.tanh, conv3(3, 8)).eval(), EXAMPLE))
    return form, [n for n in torch.export.export(form, (EXAMPLE,)).graph.nodes if n.op == "call_function"]


def test_an_operator_of_a_dynamic_layer(traced):
    form, nodes = traced
    found = {str(culprit(form, node)): culprit(form, node) for node in nodes}
    assert advice(form, found["tanh in 'head.1'"]) == ORDINARY
    dynamic = [one for one in found.values() if one.dynamic]
    assert {one.where for one in dynamic} == {"in 'conv'"}
    assert advice(form, dynamic[0]) == LOWERING
    assert advice(form, None) == f"{LOWERING}, or {ORDINARY}"
    assert advice(nn.Identity(), None) == ORDINARY
    assert all(module_path(node) for node in nodes)


def test_what_a_message_alone_names(traced):
    """litert's converter ends far from the node: its words have the module's name in them."""
    form, _ = traced
    tanh = [node for node in form.graph.nodes if node.op == "call_module"][-1]
    said = f"""error: loc("a.NamedNetwork/b.Call_{tanh.target};"("tanh_1")): failed to legalize operation 'tfl.tanh'"""
    assert str(named_in(form, said)) == "tfl.tanh in 'head.1'"
    assert not named_in(form, f"Call_{tanh.target}_and_more;")
    refusal = str(refused("litert-torch", form, ValueError(), said))
    assert "for tfl.tanh in 'head.1'" in refusal
    assert refusal.endswith(ORDINARY)


def test_what_xnnpack_leaves_is_named(traced):
    class Edge:
        @staticmethod
        def exported_program():
            return Edge

    form, nodes = traced
    Edge.graph = torch.fx.Graph()
    for node in nodes:
        if "tanh" in str(node.target):
            Edge.graph.node_copy(node, lambda _: Edge.graph.placeholder("x"))
    with pytest.raises(ExportError, match=r"1 × tanh\.default outside \(the first in 'head\.1'\).*in other operators"):
        check_one_partition(Edge, form)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Didn't find op for builtin opcode 'STABLEHLO_SORT' version '1'.", "STABLEHLO_SORT .* does not have; "),
        ("Node number 9 (STABLEHLO_CASE) failed to prepare.", "STABLEHLO_CASE .* does not take in this form; "),
        ("x.cc It is no map.Node number 9 (PAD) failed to prepare.", r"PAD .* in this form \(x.cc It is no map.\); "),
        ("Node number 9 (DIV) failed to invoke.", "DIV .* does not take in this form; "),
        ("Something else.", "does not take what litert-torch made of the network: Something else.; "),
    ],
)
def test_what_the_interpreter_says_it_lacks(monkeypatch, said, words):
    monkeypatch.setattr(build, "_behind", lambda *_: "")

    with pytest.raises(ExportError, match=words), build._taken(b""):
        raise ModelFileError(f"the model cannot run on this input: ai-edge-litert says: {said}")


def test_bytes_that_are_no_model_are_no_fault_of_the_network():
    with pytest.raises(ModelFileError, match="expected a TFLite model"), build._taken(b"none"):
        build.STAGES[build.XNNPACK](b"none")


class Unpooling(nn.Module):
    """SegNet's."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        y, positions = nn.functional.max_pool2d(self.first(x), 2, return_indices=True)
        return nn.functional.max_unpool2d(self.second(y), positions, 2)


def test_what_the_interpreter_cannot_prepare_is_named(tmp_path):
    with pytest.raises(ExportError, match=r"made BROADCAST_TO of what the network computes behind 'second', .*; write"):
        dcd_deploy.export_module(Unpooling().eval(), torch.randn(1, 3, 16, 16), to="tflite", out=tmp_path)
    assert not list(tmp_path.iterdir())
