"""Networks whose weights lie channels last in memory, as many are trained: files have torch's usual order."""

import numpy as np
import pytest
import torch
from dynamic_layers import Decomposed, lively
from torch import nn

from dcd_deploy import export_module
from dcd_deploy.export.deployable import deployable
from dcd_deploy.runtimes import open_model


class Placed(nn.Module):
    """A dynamic layer between convolutions, and a bias of four axes that was turned."""

    def __init__(self):
        super().__init__()
        self.first, self.layer, self.last = nn.Conv2d(3, 6, 3, 2, 1), lively(Decomposed()), nn.LazyConv2d(4, 3)
        self.register_buffer("bias", torch.randn(1, 8, 6, 6).permute(0, 3, 1, 2))

    def forward(self, x):
        y = self.first(x)
        return self.last(self.layer(y + self.bias))


def network():
    torch.manual_seed(0)
    x = torch.randn(1, 3, 16, 12)
    net = Placed().float().eval()
    with torch.inference_mode():
        net(x)
    return net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)


def test_all_weights_have_the_usual_order():
    net, _ = network()
    assert not all(each.is_contiguous() for each in net.state_dict().values())
    assert all(each.is_contiguous() for each in deployable(net).state_dict().values())


@pytest.mark.parametrize("to", ["onnx", "tflite", pytest.param("executorch", marks=pytest.mark.long)])
def test_they_are_exported(to, tmp_path):
    net, x = network()
    made = export_module(net, x, to=to, out=tmp_path)
    with torch.inference_mode():
        wanted = net(x).numpy()
    assert np.abs(open_model(made.artifact.path).run(x.contiguous().numpy()) - wanted).max() <= 1e-5 * np.ptp(wanted)
