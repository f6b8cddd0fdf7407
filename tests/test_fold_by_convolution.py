"""F.fold goes to TFLite, as a transposed convolution."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from capturing import Calling
from torch import nn

from dcd_deploy import export_module
from dcd_deploy.lowering.capture import capture
from dcd_deploy.lowering.network import network_of
from dcd_deploy.lowering.passes.fold_by_convolution import FoldByConvolution
from dcd_deploy.runtimes import open_model

FOLDS = {
    "apart": ((8, 6), {"kernel_size": 2, "stride": 2}),
    "overlapping": ((8, 6), {"kernel_size": 3, "padding": 1}),
    "a rest": ((9, 8), {"kernel_size": (3, 2), "stride": (2, 3), "padding": (1, 0)}),
    "dilated": ((9, 8), {"kernel_size": 3, "dilation": 2, "padding": 2, "stride": 2}),
}


def network(size, settings, module):
    def folded(x):
        columns = F.unfold(x, **settings).tanh()
        return F.fold(columns, size, **settings)

    if not module:
        return Calling(folded)
    return nn.Sequential(nn.Unfold(**settings), nn.Tanh(), nn.Fold(size, **settings)).eval()


@pytest.mark.parametrize("name", FOLDS)
@pytest.mark.parametrize("module", [False, True])
def test_it_is_the_same(name, module):
    size, settings = FOLDS[name]
    made = network_of(network(size, settings, module), torch.randn(2, 5, *size))
    graph = capture(made).graph
    assert FoldByConvolution()(graph).changed == 1
    torch.testing.assert_close(graph.module(*made.examples)[0], made.answers[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["overlapping", "a rest"])
def test_files_are_right(name, tmp_path):
    size, settings = FOLDS[name]
    made, x = network(size, settings, module=False), torch.randn(1, 5, *size)
    result = export_module(made, x, to="tflite", out=tmp_path)
    (found,) = open_model(result.artifact.path).run_all(x.numpy())
    assert np.abs(found - made(x).numpy()).max() < 1e-5


def test_columns_without_a_batch_stay():
    graph = capture(
        network_of(Calling(lambda x: F.fold(x[0], (8, 6), 2, stride=2)[None]), torch.randn(1, 20, 12))
    ).graph
    assert FoldByConvolution()(graph).changed == 0
