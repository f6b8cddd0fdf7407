"""A network that amplifies rounding so much that no other order of summation can be proved is told so."""

import pytest
import torch
from dynamic_layers import Decomposed, lively
from torch import nn

from dcd_deploy import deploy_form, export_module
from dcd_deploy.errors import CaptureError, VerificationError
from dcd_deploy.lowering.passes.fold_norms import FoldNorms

X = 100 * torch.randn(1, 3, 8, 8)
TOLD = r"expected a network that float64 can tell from a wrong one, found one whose outputs move by \de-\d+ of their"


class Restless(nn.Sequential):
    """It amplifies what is small: the inputs that are generated, not its example."""

    def __init__(self, gain):
        super().__init__(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), Decomposed(6, 8))
        self.gain = gain

    def forward(self, x):
        size = x.std((1, 2, 3), keepdim=True).mean((2, 3))
        return torch.sin(self.gain / size**6 * super().forward(x).mean((2, 3)))


def network(gain):
    return lively(Restless(gain))


def test_one_that_amplifies_rounding_is_told_so(tmp_path):
    with pytest.raises(VerificationError, match=TOLD):
        deploy_form(network(1e9), X)
    with pytest.raises(VerificationError, match=TOLD):
        export_module(network(1e9), X, out=tmp_path)


def test_one_that_amplifies_the_rounding_of_its_example_is_told_so(tmp_path):
    with pytest.raises(CaptureError, match=TOLD.replace("outputs move", "'output' moves").replace("their", "its")):
        export_module(network(1e9), X / 100, out=tmp_path)


class Noisy(Restless):
    def forward(self, x):
        return super().forward(x) + 1e-6 * torch.rand(())


def test_one_that_is_random_too_is_told_that(tmp_path):
    with pytest.raises(CaptureError, match="its forward is random, changes its state"):
        export_module(lively(Noisy(1e9)), X / 100, out=tmp_path)


def test_of_a_calm_one_a_wrong_form_is_a_defect(monkeypatch):
    deploy_form(network(1.0), X)
    apply = FoldNorms.apply

    def wrong(self, graph):
        result = apply(self, graph)
        with torch.no_grad():
            next(part for part in graph.module.modules() if isinstance(part, nn.Conv2d)).weight.mul_(1 + 1e-6)
        return result

    monkeypatch.setattr(FoldNorms, "apply", wrong)
    with pytest.raises(VerificationError, match="this is a defect, please report it"):
        deploy_form(network(1.0), X)
