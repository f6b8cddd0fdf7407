"""Poolings whose positions nobody reads, as torch.export and users write them, are poolings of one tensor."""

import pytest
import torch
import torch.nn.functional as F
from capturing import ByExport, Calling, captured_of, off_when_exported
from laying import laid_out
from torch import nn

from dcd_deploy import export_module
from dcd_deploy.lowering.graph import op_name

X = torch.randn(1, 3, 16, 16)


def written_into(y):
    y[:, 0] = y[:, 1] * 2
    return F.adaptive_max_pool2d(y, 4)


POOLINGS = {
    "to one": lambda y: y * F.adaptive_max_pool2d(y, 1),
    "to cells of one size": lambda y: F.adaptive_max_pool2d(y, 4),
    "to cells of several sizes": lambda y: F.adaptive_max_pool2d(y, 3),
    "by windows": lambda y: F.max_pool2d(y, 3, 2, 1, return_indices=True)[0],
    "of a part that was written into": written_into,
}


@pytest.mark.parametrize("name", POOLINGS)
@pytest.mark.parametrize(("to", "batch"), [("onnx", "dynamic"), ("tflite", 1)])
def test_a_pooling_where_torch_export_captured(name, to, batch, tmp_path):
    network = ByExport(POOLINGS[name]).eval()
    assert off_when_exported(network, X, tmp_path, to=to, batch=batch, layout="nchw") < 1e-5


@pytest.mark.long
@pytest.mark.parametrize("name", [pytest.param("to one", marks=pytest.mark.exhaustive), "to cells of several sizes"])
def test_to_executorch(name, tmp_path):
    assert export_module(ByExport(POOLINGS[name]).eval(), X, to="executorch", out=tmp_path).built.report.passed


def test_rows_to_onnx(tmp_path):
    network = ByExport(lambda y: F.adaptive_max_pool1d(y.flatten(2), 8)).eval()
    assert export_module(network, X, out=tmp_path).built.report.passed


def names_of(function, pool=None):
    module = nn.Sequential(nn.Conv2d(3, 4, 1), pool or nn.Identity(), Calling(function)).eval()
    graph = captured_of(module, X).graph
    return {str(node.target) if node.op == "call_module" else op_name(node) for node in graph.nodes}


def test_by_torch_fx_too():
    def unpacked(y):
        values, _ = F.max_pool2d(y, 2, return_indices=True)
        return values

    assert "max_pool2d_with_indices" not in names_of(unpacked)
    assert "getitem" not in names_of(unpacked)
    assert "getitem" not in names_of(lambda y: y[0], nn.MaxPool2d(2, return_indices=True))


def test_where_positions_are_read_or_a_tensor_is_indexed_nothing_changes():
    assert "max_pool2d_with_indices" in names_of(lambda y: torch.cat(F.max_pool2d(y, 2, return_indices=True)))
    assert "getitem" in names_of(lambda y: y[0] * y[1], nn.MaxPool2d(2, return_indices=True))
    assert "getitem" in names_of(lambda y: F.adaptive_max_pool2d(y, 2)[0][None])


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.pool = nn.MaxPool2d(2, return_indices=True)

    def forward(self, x):
        values, (others, positions) = self.pool(x)[0], self.pool(2 * x)
        return values + others * positions


def test_a_module_that_is_called_twice_keeps_its_positions():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), Twice()).eval()
    assert "getitem" in {op_name(node) for node in captured_of(network, X).graph.nodes}


def test_a_node_of_several_tensors_is_left_in_words():
    def both(x):
        values, positions = torch.ops.aten.adaptive_max_pool2d(x, [4, 4])
        return values * positions

    _, costs = laid_out(nn.Sequential(nn.Conv2d(3, 4, 1), Calling(both)), X.double())
    assert any("it gives several tensors" in cost for cost in costs)
