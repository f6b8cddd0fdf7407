"""Sizes that a network computes with: numbers where the batch does not matter, and left alone where it does."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from capturing import Calling
from deployed import captured
from torch import nn

from dcd_deploy import export_module
from dcd_deploy.lowering.passes.sizes_as_numbers import SizesAsNumbers
from dcd_deploy.runtimes import open_model

X = torch.randn(1, 3, 12, 10, generator=torch.Generator().manual_seed(0))


def coordinates(y):
    """Coordinate attention, as it is mostly written."""
    _, _, h, w = y.size()
    rows, columns = F.adaptive_avg_pool2d(y, (h, 1)), F.adaptive_avg_pool2d(y, (1, w)).permute(0, 1, 3, 2)
    rows, columns = torch.split(torch.cat([rows, columns], 2), [h, w], 2)
    return y * rows.sigmoid() * columns.permute(0, 1, 3, 2).sigmoid()


NETWORKS = {
    "coordinate attention": coordinates,
    "half a size": lambda y: F.adaptive_avg_pool2d(y, (y.shape[2] // 2, y.shape[3] // 2)),
    "a window of all": lambda y: F.avg_pool2d(y, y.size()[2:]).flatten(1),
    "a ratio of sizes": lambda y: F.interpolate(F.max_pool2d(y, 2), scale_factor=y.shape[2] / (y.size(2) // 2)),
    "the batch too": lambda y: y.view(y.size(0), y.size(1) // 2, -1).mean(2),
}


def network(function):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 1), Calling(function)).eval()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("format", ["onnx", pytest.param("tflite", marks=pytest.mark.exhaustive)])
def test_they_are_exported(tmp_path, format, name):
    net = network(NETWORKS[name])
    free = {"batch": "dynamic"} if format == "onnx" else {}
    model = open_model(export_module(net, X, to=format, out=tmp_path, **free).artifact.path)
    x = torch.cat([X, X + 1]) if free else X
    right = net(x).detach().numpy()
    assert np.abs(model.run(x.numpy()) - right).max() <= 1e-5 * np.abs(right).max()


def test_the_batch_and_what_tensors_hold_stay():
    """A number that a tensor holds may be the same for two inputs, and another for a third."""

    def function(y):
        mean = y.mean().item()
        return y.reshape(y.shape[0] * y.shape[1], y.shape[2], -1) * mean * (mean + y.dim())

    graph = captured(network(function), 12, 10).graph
    assert SizesAsNumbers()(graph).changed > 0
    code = graph.module.code
    assert "item()" in code
    assert "getitem" in code or "[0]" in code, "the batch is no number"
    assert "12" in code
    with torch.inference_mode():
        for x in (X.double(), torch.cat([X, 2 * X]).double()):
            assert torch.allclose(graph.module(x)[0], network(function).double()(x))
