"""Dynamic layers that get several samples for one of the network's: frames of a clip, crops, siamese halves."""

import pytest
import torch
from deployed import captured
from dynamic_layers import Decomposed, lively
from mixture_layers import MixedKernels, OmniDimensional
from torch import nn

from dcd_deploy.errors import ExportError
from dcd_deploy.lowering.deploy import lower
from dcd_deploy.lowering.targets import target_for
from dcd_deploy.tuning.layer_case import groups_of

LAYERS = {"DCD": Decomposed, "DY-Conv": MixedKernels, "ODConv": OmniDimensional}
TARGETS = {"onnx": "portable", "tflite": "litert", "pte": "executorch"}


class OfFrames(nn.Module):
    """A clip of four frames of six channels, as TSN and TSM take it: all frames at once, their answers averaged."""

    def __init__(self, layer):
        super().__init__()
        self.stem, self.layer = nn.Conv2d(6, 6, 1), layer

    def forward(self, x):
        y = self.layer(self.stem(x.view((-1, 6, *x.size()[-2:]))))
        return y.view((-1, 4, *y.size()[1:])).mean(1)


@pytest.mark.parametrize("format", TARGETS)
@pytest.mark.parametrize("name", LAYERS)
def test_they_get_an_order_of_computation_for_several(name, format):
    torch.manual_seed(0)
    network = OfFrames(lively(LAYERS[name]())).double().eval()
    target = target_for(TARGETS[format], format).for_batch(1)
    graph = captured(network, 16, 12, channels=24)
    if (name, format) == ("ODConv", "pte"):
        with pytest.raises(ExportError, match="of several samples at once.*one at a time"):
            lower(graph, target)
        return
    form = lower(graph, target)
    assert list(form.lowering) == ["layer"]
    x = torch.randn(1, 24, 16, 12).double()
    with torch.inference_mode():
        assert (form.module(x) - network(x)).abs().max() < 1e-11


@pytest.mark.parametrize("format", TARGETS)
@pytest.mark.parametrize("name", LAYERS)
def test_the_forecast_takes_the_same(name, format):
    torch.manual_seed(0)
    target = target_for(TARGETS[format], format).for_batch(1)
    graph = captured(OfFrames(lively(LAYERS[name]())).double().eval(), 16, 12, channels=24)
    (group,) = groups_of(graph)
    assert group.case.title.endswith(", several samples at once")
    if (name, format) == ("ODConv", "pte"):
        with pytest.raises(ExportError, match=r"on 16×12, .*several samples at once that serves in pte.*one sample"):
            group.case.rule(target)
        return
    assert group.case.rule(target) == lower(graph, target).lowering["layer"]
    assert len(target.rates) > 1 or group.case.extras(target).keys() == group.case.costs(target).keys()
