"""Outputs are called as the network calls them, whatever the exporter calls what is inside."""

import numpy as np
import pytest
import torch
from capturing import Calling

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
        assert np.allclose(found, right.numpy(), atol=1e-6)
