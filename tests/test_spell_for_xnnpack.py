"""What XNNPACK has no operator for: the same in others, one by one in float64, and together in one partition."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from capturing import Calling
from deployed import captured, deployed
from torch import nn

from dcd_deploy import export_module
from dcd_deploy.lowering.passes.spell_for_xnnpack import SpellForXnnpack
from dcd_deploy.lowering.targets import EXECUTORCH
from dcd_deploy.runtimes import open_model


def attention(y):
    pixels = y.flatten(2)
    return torch.matmul(torch.softmax(torch.matmul(pixels, pixels.transpose(1, 2)), -1), pixels).view_as(y)


def of_any_weights(norm):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in norm.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
    return norm


class Permuted(nn.Module):
    """A norm of each pixel's channels, as timm has it: with its own weights, as a function."""

    def __init__(self, norm):
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, y):
        return F.layer_norm(y.permute(0, 2, 3, 1), (6,), self.weight, self.bias, 1e-6).permute(0, 3, 1, 2)


class Along(nn.Module):
    """A recurrent layer along the pixels of a map."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, y):
        places = y.flatten(2).mT if self.layer.batch_first else y.flatten(2).permute(2, 0, 1)
        return self.layer(places)[0].sum(0 if not self.layer.batch_first else 1)


class Biased(nn.Module):
    """A bias by place, looked up in a table, as Swin has it."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(9, 6, generator=torch.Generator().manual_seed(1)))
        self.register_buffer("index", torch.arange(12).view(3, 4) % 9)

    def forward(self, y):
        return y + self.table[self.index.view(-1)].view(3, 4, -1).permute(2, 0, 1)


SPELLED = {
    "a bias of fewer axes": lambda y: (
        y.view(-1, 2, 3, 3, 4) + torch.linspace(0, 1, 36, dtype=torch.float64).view(1, 3, 3, 4)
    ).flatten(1, 2),
    "GRU": Along(nn.GRU(6, 5, 2)),
    "LSTM": Along(nn.LSTM(6, 5, batch_first=True, bidirectional=True, proj_size=3)),
    "hardsigmoid": F.hardsigmoid,
    "Hardsigmoid": nn.Hardsigmoid(),
    "elu": F.elu,
    "elu of another slope": nn.ELU(0.5),
    "softplus": F.softplus,
    "Softplus": nn.Softplus(),
    "Softplus of another slope": nn.Softplus(beta=0.25),
    "softplus of another slope and threshold": lambda y: F.softplus(y, 2, threshold=30),
    "mish": nn.Mish(),
    "nearest": lambda y: F.interpolate(y, scale_factor=2),
    "nearest of two factors": lambda y: F.interpolate(y, size=(9, 16)),
    "nearest along one side": nn.Upsample(scale_factor=(1, 3)),
    "softmax": lambda y: y.softmax(1),
    "Softmax2d": nn.Softmax2d(),
    "mean over channels": lambda y: y.mean(1, keepdim=True),
    "mean, and no side": lambda y: y.mean(-3),
    "largest over channels": lambda y: y.amax(1, keepdim=True),
    "largest over a map": lambda y: y.amax((2, 3)),
    "AdaptiveMaxPool2d": nn.AdaptiveMaxPool2d(1),
    "expand_as": lambda y: y * y.mean((2, 3), keepdim=True).expand_as(y),
    "expand": lambda y: y.mean((2, 3), keepdim=True).expand(y.shape) + y,
    "softmax of columns and rows": lambda y: y.softmax(3) + y.softmax(-2),
    "an expanded output": lambda y: y.mean((2, 3), keepdim=True).expand_as(y),
    "expand of a product": lambda y: (y.flatten(2) @ y.flatten(2).mT).unsqueeze(3).expand(-1, 6, 6, 2),
    "repeat": lambda y: y.mean(2, keepdim=True).repeat(1, 1, 3, 1),
    "places, expanded": lambda y: y + y.mean(3).argmax(1, keepdim=True)[..., None].expand(-1, 6, 3, 1),
    "products": attention,
    "a whole number": lambda y: y * torch.tensor(2) - torch.tensor(1),
    "whole numbers": lambda y: y + torch.arange(6).view(6, 1, 1) / (1 + y.abs()),
    "channels in another order": lambda y: y[:, [2, 1, 0]] + y[:, [3, 4, -1]],
    "rows twice": lambda y: y[:, :, [0, 0, 2]],
    "what is looked up in weights": Biased(),
    "normalize": F.normalize,
    "normalize of rows": lambda y: F.normalize(input=y, dim=-1, eps=0.5),
    "GroupNorm": of_any_weights(nn.GroupNorm(2, 6)),
    "GroupNorm of one group": of_any_weights(nn.GroupNorm(1, 6, eps=1e-3)),
    "GroupNorm of a group for each channel": nn.GroupNorm(6, 6, affine=False),
    "group_norm": lambda y: F.group_norm(y, 3),
    "InstanceNorm2d": of_any_weights(nn.InstanceNorm2d(6, affine=True)),
    "LayerNorm": of_any_weights(nn.LayerNorm((6, 3, 4))),
    "LayerNorm of a row": of_any_weights(nn.LayerNorm(4)),
    "LayerNorm of a pixel": Permuted(of_any_weights(nn.LayerNorm(6))),
    "layer_norm": lambda y: F.layer_norm(y, (4,), eps=0.1),
}
LEFT = {
    "softplus that soon is its input": nn.Softplus(threshold=2),  # left as they are
    "softmax of samples": lambda y: y.softmax(0) * 0 + y,
    "nearest of no whole factor": lambda y: F.interpolate(y, size=(5, 7)),
    "places, not numbers": lambda y: y[:, torch.arange(3) + torch.tensor(1)],
    "samples": lambda y: y[[0]] + 0 * y,
    "normalize by another length": lambda y: F.normalize(y, p=1),
    "amax of rows": lambda y: y.amax(2),
    "InstanceNorm2d of running statistics": nn.InstanceNorm2d(6, track_running_stats=True),
    "GroupNorm of computed weights": lambda y: F.group_norm(y, 2, 1 + 0 * y.mean((0, 2, 3))),
    "an expanded constant": lambda y: y + torch.tensor([[[0.5]]]).expand(6, 1, 1).to(y),
}
X = 3 * torch.randn(4, 3, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def network(function):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 1), function if isinstance(function, nn.Module) else Calling(function)).eval()


@pytest.mark.parametrize("name", [*SPELLED, *LEFT])
def test_it_computes_the_same(name):
    net = network({**SPELLED, **LEFT}[name])
    form = deployed(net, 3, 4, target=EXECUTORCH).module
    assert (SpellForXnnpack()(captured(net, 3, 4).graph).changed > 0) == (name in SPELLED)
    with torch.inference_mode():
        wanted = net.double()(X)
        for samples in (1, 4):
            found = form(X[:samples])
            assert found.shape == wanted[:samples].shape
            assert (found - wanted[:samples]).abs().max() <= 1e-12 * wanted.abs().max()


def test_what_is_made_of_sizes_is_a_weight():
    net = network(lambda y: y + torch.arange(0, 2 * y.shape[3], 2) * 0.5)
    form = deployed(net, 3, 4, target=EXECUTORCH).module
    assert not any("arange" in str(node.target) for part in form.modules() for node in nodes_of(part))
    with torch.inference_mode():
        assert torch.equal(form(X[:1]), net.double()(X[:1]))


def nodes_of(part):
    return part.graph.nodes if isinstance(part, torch.fx.GraphModule) else ()


class Everything(nn.Module):
    """A segmenter with the gates and heads that people give theirs, and whole numbers beside tensors."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(10, 4, 1)
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.norms = nn.ModuleList(map(of_any_weights, (nn.GroupNorm(2, 8), nn.LayerNorm(8), nn.GroupNorm(1, 8))))

    def forward(self, x):
        y = F.elu(self.stem(2 * x - 1))
        gate = F.hardsigmoid(self.excite(F.mish(self.squeeze(F.adaptive_avg_pool2d(y, 1)))))
        grouped, each, whole = self.norms
        y = whole(each(grouped(y * gate.expand_as(y)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
        y = F.relu6(y[:, [7, 0, 1, 2, 6, 5, 3, 4]] + torch.tensor(3)) / 6
        y = F.normalize(y) + torch.arange(8).view(8, 1, 1)
        y = torch.cat([y, y.mean(1, keepdim=True), y.amax(1, keepdim=True)], 1)
        y = torch.add(y, F.softplus(attention(y)), alpha=0.5)
        classes = F.interpolate(self.head(y), scale_factor=2).softmax(1)
        return classes, 1 / (y.amax((2, 3)) + 2)


@pytest.mark.long
def test_all_of_it_is_one_partition(tmp_path):
    torch.manual_seed(0)
    net, x = Everything().eval(), torch.randn(1, 3, 12, 16)
    made = export_module(net, x, to="executorch", out=tmp_path)
    with torch.inference_mode():
        wanted = net(x)
    for found, right in zip(open_model(made.artifact.path).run_all(x.numpy()), wanted, strict=True):
        assert np.abs(found - right.numpy()).max() <= 1e-5 * right.abs().max()
