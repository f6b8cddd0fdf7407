"""Networks that squeeze the batch away where it is one: their files keep it."""

import numpy as np
import pytest
import torch
from dynamic_layers import Decomposed, lively
from torch import nn

from dcd_deploy import deploy_form, export_module
from dcd_deploy.lowering.network import network_of
from dcd_deploy.lowering.squeezed_batch import NOTE
from dcd_deploy.runtimes import open_model

X = torch.randn(3, 3, 8, 8)


class Squeezing(nn.Module):
    """As public code ends: the pooled map squeezed, and perhaps what is made of it too."""

    def __init__(self, classes=5, *, end=lambda y, pooled: y):
        super().__init__()
        self.first, self.layer = nn.Conv2d(3, 8, 3, padding=1), Decomposed(8, 12)
        self.pool, self.head, self.end = nn.AdaptiveAvgPool2d(1), nn.Linear(12, classes), end

    def forward(self, x):
        pooled = self.pool(torch.relu(self.layer(self.first(x)))).squeeze()
        return self.end(self.head(pooled), pooled)


ENDS = {
    "classes": lively(Squeezing()),
    "one number": lively(Squeezing(1, end=lambda y, _: y.squeeze())),
    "features beside them": lively(Squeezing(end=lambda y, pooled: {"features": pooled, "classes": y})),
}


def wanted(network, x):
    with torch.no_grad():
        found = network(x.double())
    return [values.numpy() for values in (found.values() if isinstance(found, dict) else [found])]


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize(("format", "batch"), [("onnx", 1), ("onnx", "dynamic"), ("tflite", 1)])
def test_files_keep_the_batch(tmp_path, name, format, batch):
    network = ENDS[name]
    result = export_module(network, X[:1], to=format, batch=batch, out=tmp_path)
    assert NOTE in result.built.notes
    assert set(result.built.lowering) == {"layer"}
    model = open_model(result.artifact.path)
    for found, values in zip(model.run_all(X.numpy()), wanted(network, X), strict=True):
        assert found.shape == values.shape
        assert np.abs(found - values).max() < 5e-5 * np.ptp(values)
    assert len(model.run_all(X[:1].numpy())[0]) == 1
    assert type(network) is Squeezing, "the user's own is as it was"


def test_the_deploy_form_keeps_it_too():
    network = lively(Squeezing())
    form = deploy_form(network, X[:1]).double()
    torch.testing.assert_close(form(X[:1].double())[0], network(X[:1].double()))
    assert type(network) is Squeezing


@pytest.mark.parametrize("examples", [X[:1], X, X[:2]])
def test_what_has_a_batch_is_let_alone(examples):
    class Anchors(nn.Module):
        def forward(self, x):
            return x.mean((2, 3)), torch.ones(4, 2, dtype=x.dtype)

    network = network_of(Anchors().eval(), examples)
    assert (network.notes, type(network.module)) == ((), Anchors)


def test_a_network_for_one_input_is_let_alone():
    class OfOne(nn.Module):
        def forward(self, x):
            return x.view(3, 8, 8).mean((1, 2))

    network = network_of(OfOne().eval(), X[:1])
    assert NOTE not in network.notes
    assert [values.shape for values in network.answers] == [(3,)]
