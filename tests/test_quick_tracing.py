"""What torch's tracing is spared changes nothing of what it makes."""

import copy

import pytest
import torch
from torch import nn
from torch.export import export as export_program
from torch.fx.traceback import NodeSource
from torch.onnx._internal.exporter import _fx_passes, _registration

from dcd_deploy.export.deployable import without_stack_traces
from dcd_deploy.export.onnx import quick_translation
from dcd_deploy.export.onnx.quick_translation import translated_quickly

X = torch.randn(1, 3, 8, 8)


class Mixed(nn.Module):
    """Adds integers to real numbers, which ONNX has to be told to cast."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.arange(8)


def traced(network: nn.Module) -> bytes:
    program = torch.onnx.export(network, (X,), dynamo=True, optimize=False, opset_version=18, verbose=False)
    graph = program.model_proto.graph
    for node in graph.node:
        del node.metadata_props[:]
    return graph.SerializeToString(deterministic=True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("network", [nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU6(), nn.Flatten()), Mixed()])
def test_the_graph_is_the_one_that_torch_makes(network):
    own = traced(network)
    with translated_quickly(), without_stack_traces():
        assert traced(network) == own


def test_the_table_is_torchs_own_and_is_made_once():
    quick_translation._functions.cache_clear()  # libraries that were loaded since may have brought operators
    own = _registration.ONNXRegistry.from_torchlib(18)
    with translated_quickly():
        quick = _registration.ONNXRegistry().from_torchlib(opset_version=18)
        assert _registration.ONNXRegistry.from_torchlib(opset_version=18) is quick
    assert quick.functions.keys() == own.functions.keys()
    for name, functions in own.functions.items():
        assert [one.onnx_function for one in quick.functions[name]] == [one.onnx_function for one in functions]


def test_torch_is_left_as_it_was():
    before = vars(_registration.ONNXRegistry)["from_torchlib"], _fx_passes.insert_type_promotion_nodes
    with pytest.raises(ValueError, match="stop"), translated_quickly(), without_stack_traces():
        raise ValueError("stop")
    assert (vars(_registration.ONNXRegistry)["from_torchlib"], _fx_passes.insert_type_promotion_nodes) == before
    assert not torch.fx.config.do_not_emit_stack_traces
    assert copies_what_was_noted()


def copies_what_was_noted() -> bool:
    noted = NodeSource(None)
    return copy.deepcopy(noted) is not noted


@pytest.mark.filterwarnings("ignore")
def test_what_passes_note_of_a_node_is_kept_without_copies():
    own = export_program(nn.Conv2d(3, 4, 3), (X,), strict=False).run_decompositions()
    with without_stack_traces():
        assert not copies_what_was_noted()
        quick = export_program(nn.Conv2d(3, 4, 3), (X,), strict=False).run_decompositions()
        with without_stack_traces():
            pass
    noted = passes(own)
    assert any(noted)
    assert passes(quick) == noted


def passes(program: torch.export.ExportedProgram) -> list[list[str]]:
    def names(noted: list[NodeSource]) -> list[str]:
        return [name for one in noted for name in (one.pass_name, *names(one.from_node))]

    return [names(node.meta.get("from_node", [])) for node in program.graph.nodes]


@pytest.mark.parametrize(("network", "one"), [(nn.Conv2d(3, 4, 3), True), (Mixed(), False)])
def test_types_are_promoted_where_a_graph_has_several(network, one):
    graph = export_program(network, (X,), strict=False).graph_module
    assert quick_translation._of_one_type(graph) is one


def test_no_node_says_where_it_was_made():
    with without_stack_traces():
        program = export_program(nn.Conv2d(3, 4, 3), (X,), strict=False)
    assert not any(node.stack_trace for node in program.graph.nodes)
