"""What forward makes of numbers alone, and resizing without aliases: alike by torch.fx and by torch.export."""

import pytest
import torch
import torch.nn.functional as F
from capturing import ByExport, captured_of, off_when_exported

from dcd_deploy.lowering.graph import op_name

X = torch.randn(1, 3, 16, 16)


def turned(y):
    """PointNet's: a square matrix beside the identity."""
    eye = torch.eye(4).view(1, 16).repeat(y.shape[0], 1).to(y)
    return torch.bmm((y.mean((2, 3)).repeat(1, 4) + eye).view(-1, 4, 4), y.flatten(2))


def positions(y):
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 16), torch.arange(16) / 16, indexing="ij")
    return y + torch.stack([rows, columns, rows * columns, rows.flip(0)])[None].to(y)


MADE = {
    "identity": turned,
    "one of a number": lambda y: y @ torch.eye(16).to(y),
    "positions": positions,
    "smooth": lambda y: F.interpolate(y, size=(9, 7), mode="bilinear", antialias=True),
    "smooth and cubic": lambda y: F.interpolate(y, size=(24, 9), mode="bicubic", antialias=True),
}


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize(("to", "batch"), [("onnx", "dynamic"), ("tflite", 1)])
def test_where_torch_export_captured(name, to, batch, tmp_path):
    network = ByExport(MADE[name]).eval()
    assert off_when_exported(network, X, tmp_path, to=to, batch=batch, layout="nchw") < 1e-5


def names_of(function):
    return [op_name(node) for node in captured_of(ByExport(function).eval(), X).graph.nodes]


def test_what_hangs_on_no_input_is_a_weight():
    assert "eye" not in names_of(lambda y: y @ torch.eye(16).to(y))
    assert not {"linspace", "arange", "meshgrid", "stack"} & set(names_of(positions))


def test_what_one_number_fills_or_the_batch_sizes_stays():
    assert "ones" in names_of(lambda y: y.repeat(1, 8, 1, 1) * torch.ones(32, 16, 16).to(y))
    assert "ones" not in names_of(lambda y: y * torch.ones(4, 16, 16).to(y))
    assert "arange" in names_of(lambda y: y + torch.arange(y.shape[0]).to(y).view(-1, 1, 1, 1) * 0)


class Scaled(ByExport):
    def __init__(self):
        super().__init__(torch.relu)
        self.register_buffer("scale", torch.ones(1))

    def forward(self, x):
        return super().forward(x) * self.scale.exp()


def test_a_weight_alone_is_left_alone():
    assert "exp" in [op_name(node) for node in captured_of(Scaled().eval(), X).graph.nodes]
