"""Outputs are called as the network calls them, whatever the exporter calls what is inside."""

import numpy as np
import pytest
import torch
from capturing import Calling
from torch import nn

from dcd_deploy import export_module
from dcd_deploy.runtimes import open_model

X = torch.randn(1, 3, 6, 5)


@pytest.mark.parametrize("name", ["softmax", "mean", "add", "input.inner"])
def test_an_output_may_be_called_as_an_operator_is(tmp_path, name):
    network = Calling(
        lambda x: {name: torch.softmax(x + 1, 1).mean((2, 3)) + x.sum((1, 2, 3))[:, None], "z": x.relu() + 1, "x": x}
    )
    made = export_module(network, X, out=tmp_path, name="net", batch="dynamic")
    model = open_model(made.artifact.path)
    assert [each.name for each in model.card.outputs] == [name, "z", "x"]
    for found, right in zip(model.run_all(X.numpy()), network(X).values(), strict=True):
        assert np.allclose(found, right.detach().numpy(), atol=1e-6)


class NamedWeights(nn.Module):
    """A weight is called as the input is, as StyleGAN's constant one, and another as the output."""

    def __init__(self):
        super().__init__()
        self.input, self.output = nn.Parameter(torch.randn(1, 3, 6, 5)), nn.Parameter(torch.randn(1, 3, 1, 1))

    def forward(self, x):
        return (x + self.input) * self.output


@pytest.mark.parametrize("batch", [1, "dynamic"])
def test_a_weight_may_be_called_as_an_input_is(tmp_path, batch):
    network = NamedWeights().eval()
    model = open_model(export_module(network, X, out=tmp_path, batch=batch).artifact.path)
    assert np.allclose(model.run_all(X.numpy())[0], network(X).detach().numpy(), atol=1e-6)


def test_keys_that_are_no_texts_are_put_together(tmp_path):
    """As Monodepth2 gives its maps."""
    network = nn.Sequential(nn.Conv2d(3, 4, 1), Calling(lambda y: {("disp", 0): y, ("disp", 1): -y, 2: y.mean((2, 3))}))
    card = export_module(network.eval(), torch.randn(1, 3, 6, 6), out=tmp_path).artifact.card
    assert [tensor.name for tensor in card.outputs] == ["disp_0", "disp_1", "output_2"]


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_one_tensor_under_two_names(tmp_path, format):
    """As YOLOv10 gives its maps."""
    network = nn.Sequential(nn.Conv2d(3, 4, 1), Calling(lambda y: (y * 2, {"many": y, "one": y})))
    x = torch.randn(1, 3, 6, 6)
    model = open_model(export_module(network.eval(), x, to=format, out=tmp_path).artifact.path)
    first, many, one = model.run_all(x.numpy())
    assert [tensor.name for tensor in model.card.outputs] == ["output_0", "output_1_many", "output_1_one"]
    assert np.array_equal(many, one)
    assert np.allclose(first, 2 * one)


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_outputs_that_are_computed_alike(tmp_path, format):
    """A converter makes one tensor of what is computed alike, which has one name."""
    network = nn.Sequential(nn.Conv2d(3, 4, 1), Calling(lambda y: (y * 2, y + 1, y * 2, y * 2)))
    x = torch.randn(1, 3, 6, 6)
    model = open_model(export_module(network.eval(), x, to=format, out=tmp_path).artifact.path)
    assert [tensor.name for tensor in model.card.outputs] == [f"output_{i}" for i in range(4)]
    for found, right in zip(model.run_all(x.numpy()), network(x), strict=True):
        assert np.allclose(found, right.detach().numpy(), atol=1e-6)
