"""Which exported graphs are not traced again, and that what is written in place computes the same."""

import pytest
import torch
import torch.nn.functional as F
from capturing import Calling
from torch import nn

from dcd_deploy.export.deployable import deployable
from dcd_deploy.export.onnx.trace import trace_onnx
from dcd_deploy.export.tflite.convert import decomposed_where_needed
from dcd_deploy.samples import InputSpec

X = torch.randn(2, 3, 6, 5)


def program(function):
    return torch.export.export(Calling(function), (X,), strict=False)


@pytest.mark.parametrize(
    ("function", "composites", "again"),
    [
        (lambda x: F.relu6(x) * 2, False, False),
        (lambda x: F.pad(x, (1, 1, 2, 0)).reshape(2, -1), False, False),
        (lambda x: F.pad(x, (1, 1, 2, 0), value=3.0).flatten(1), False, False),
        (lambda x: F.pad(x, (1, 1, 2, 0), mode="reflect"), False, True),
        (lambda x: F.conv2d(x, torch.ones(1, 3, 1, 1)), True, False),
        (lambda x: F.conv2d(x, torch.ones(1, 3, 1, 1)), False, True),
        (lambda x: (x * 1).add_(1), True, True),  # writes into a map
        (F.gelu, False, True),  # of the table
    ],
)
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch of itself
def test_a_graph_is_traced_again_where_it_has_to_be(function, composites, again):
    exported = program(function)
    with decomposed_where_needed(composites=composites):
        found = exported.run_decompositions({torch.ops.aten.gelu.default: lambda x, **_: x * torch.sigmoid(1.702 * x)})
    assert (found is not exported) == again
    if not again:
        assert torch.equal(found.module()(X), function(X))
    assert torch.export.ExportedProgram.run_decompositions.__name__ != "run", "as it was"


def test_activations_in_place_make_new_maps():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU6(inplace=True))
    single = deployable(network)
    assert not single[1].inplace
    assert network[1].inplace
    traced = trace_onnx(single, (InputSpec("input", (3, 6, 5)),), ("y",))
    assert [node.op_type for node in traced.tidied.graph.node] == ["Conv", "Clip"]
