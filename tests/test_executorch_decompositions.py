"""Exported operators in those that XNNPACK has: one by one in float64, and together in one partition."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from capturing import Calling
from torch import nn

from dcd_deploy import export_module
from dcd_deploy.export.executorch.decompositions import decomposed
from dcd_deploy.native_output import without_remarks
from dcd_deploy.runtimes import open_model

GENERATOR = torch.Generator().manual_seed(0)
MASK = torch.randn(2, 5, 5, generator=GENERATOR, dtype=torch.float64)


def attention(**options):
    """Return attention with two heads over five places of a map of (N, 6, 5, 4)."""
    return lambda y: F.scaled_dot_product_attention(*(y.view(-1, 2, 3, 5, 4).unbind(2)), **options)


FOLLOWED = {
    "attention": attention(),
    "attention of another scale": attention(scale=0.1),
    "attention with a bias": attention(attn_mask=MASK),
    "select": lambda y: y[:, -1] + y.select(1, 2),
    "unbind": lambda y: torch.cat(y.unbind(2), 1),
    "mean over channels": lambda y: y.mean(1),
    "mean over rows": lambda y: y.mean(2, keepdim=True),
    "mean of each sample": lambda y: y.mean((1, 2, 3)),
    "mean over places": lambda y: y.flatten(2).mean(-1, keepdim=True),
    "layer_norm": lambda y: F.layer_norm(y, (4,), MASK[0, 0, :4], MASK[0, 1, :4]),
    "layer_norm of all": lambda y: F.layer_norm(y, (6, 5, 4), eps=0.1),
    "every second": lambda y: y[:, ::2, 1:4, 1::2],
    "every second of five": lambda y: y[:, :, 1::2],
    "every third, from the last": lambda y: y[:, 2::3],
    "sum over channels": lambda y: y.sum(1, keepdim=True),
    "sum of a map": lambda y: y.sum((2, 3)),
    "largest over channels": lambda y: y.max(1)[0],
    "largest of rows": lambda y: y.amax(-2, keepdim=True),
    "smallest of places": lambda y: y.flatten(1).min(1).values.view(1, 1) + y.amin((1, 3)),
    "normalize": lambda y: y / y.norm(2, 1, keepdim=True),
    "log_softmax": lambda y: (9 * y).log_softmax(1),
    "cells of several sizes": lambda y: F.adaptive_avg_pool2d(y, (3, 4)) + F.adaptive_avg_pool2d(y, 3).sum(3, True),
    "mean of windows with a border": lambda y: F.avg_pool2d(y, 3, 2, 1),
    "mean of windows, rounded up for nothing": lambda y: F.avg_pool2d(y, (3, 2), 2, ceil_mode=True),
    "roll": lambda y: y.roll((-1, 2), (2, 3)) + torch.roll(y, 0, 1),
    "repeat": lambda y: y.repeat(1, 3, 1, 2) + y.repeat(2, 1, 3, 1, 2)[0],
    "powers": lambda y: (
        y.pow(2) + y**3 + (y**4) ** 0.5 + (y * y) ** (1 / 3) + (y * y + 1) ** -0.5 + (y * y + 1) ** -1.5
    ),
    "variances": lambda y: y.var(1, keepdim=True) + y.var((2, 3), unbiased=False, keepdim=True) + y.std(3)[..., None],
    "logsumexp": lambda y: (9 * y).logsumexp(1) + y.logsumexp((1, 2), True),
    "flip": lambda y: y.flip(-1) + y.flip((1, 2)),
    "einsum": lambda y: (
        y * torch.einsum("bchw->bc", y)[..., None, None] + torch.einsum("bchw,bw->bhc", y, y[:, 0, 0]).mT[..., None]
    ),
    "tensordot": lambda y: torch.tensordot(y, y[0, :, :2, 0], ([1], [0])).flatten(1),
    "split": lambda y: torch.cat(torch.split(y, [1, 2, 3], 1)[::-1], 1) + torch.cat(y.split(4, 1), 1),
    "adaptive_avg_pool1d": lambda y: F.adaptive_avg_pool1d(y.flatten(2), 1),
    "pixels to channels": lambda y: F.pixel_unshuffle(y[:, :, 1:], 2) * 2,
    "channels to pixels": lambda y: F.pixel_shuffle(torch.cat([y, 2 * y], 1), 2),
    "expand to its own sizes": lambda y: y.expand(-1, 6, 5, 4) * 2,
    "squeeze beside a mean": lambda y: y.mean(1, keepdim=True).squeeze(1).unsqueeze(-1),
    "reflect": lambda y: F.pad(y, (3, 1, 0, 4), "reflect"),
    "replicate": lambda y: F.pad(y, (2, 0, 6, 1), "replicate"),
    "circular": lambda y: F.pad(y, (4, 1, 5, 2), "circular"),
}
LEFT = {
    "attention with places left out": attention(attn_mask=MASK > 0),
    "attention of what came before": attention(is_causal=True),
    "every second of an odd side": lambda y: y[:, :, ::2],
    "mean of a map": lambda y: y.mean((2, 3)),
    "mean over samples": lambda y: y.mean(0),
    "largest of samples": lambda y: y.amax(0),
    "indices": lambda y: y.max(1)[1].double(),
    "mean of windows, rounded up": lambda y: F.avg_pool2d(y, 2, 2, ceil_mode=True),
    "mean of windows, with another number": lambda y: F.avg_pool2d(y, 3, 1, 1, divisor_override=2),
    "a power of nine": lambda y: y**9,
    "variance of samples": lambda y: torch.cat([y, y]).var(0),
    "roll of all": lambda y: y.roll(3),
    "zeros": lambda y: F.pad(y, (1, 2)),
    "every one": lambda y: y[:, 1:3],
}


X = torch.randn(1, 6, 5, 4, generator=GENERATOR, dtype=torch.float64)


def before_and_after(function):
    with without_remarks():
        before = torch.export.export(Calling(function), (X,), strict=False)
        return before, decomposed(before)


@pytest.fixture(scope="module")
def followed():
    """All of them as one program, which gives what each gives."""
    return before_and_after(lambda y: tuple(function(y) for function in FOLLOWED.values()))[1]


def test_they_compute_the_same(followed):
    for name, found in zip(FOLLOWED, followed.module()(X), strict=True):
        wanted = FOLLOWED[name](X)
        assert found.shape == wanted.shape, name
        assert (found - wanted).abs().max() <= 1e-13 * wanted.abs().max(), name


def test_none_of_them_is_left(followed):
    assert decomposed(followed) is followed


def test_pixels_are_shuffled_without_the_order_in_memory():
    def lies_last(y):  # as what a dynamic layer makes
        return y.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)

    def shuffle(y):
        return F.pixel_shuffle(lies_last(torch.cat([y, 2 * y], 1)), 2), F.pixel_unshuffle(lies_last(y[:, :, 1:]), 2)

    with without_remarks():
        graph = before_and_after(shuffle)[1].run_decompositions().graph
    orders = [node.kwargs.get("memory_format") for node in graph.nodes if "clone" in str(node.target)]
    assert torch.channels_last not in orders, "ExecuTorch leaves such a copy outside XNNPACK's part"


@pytest.mark.parametrize("name", LEFT)
def test_the_rest_is_left_as_torch_has_it(name):
    before, found = before_and_after(LEFT[name])
    assert (found is before) == ("attention" not in name)
    assert torch.allclose(found.module()(X), LEFT[name](X), rtol=0, atol=1e-13, equal_nan=True)


class Focused(nn.Module):
    """A network of patches with attention, as timm writes it, behind a stem that takes every second pixel."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(12, 16, 3, padding=1, padding_mode="reflect")
        self.first = nn.Parameter(torch.randn(1, 1, 16))
        self.bias = nn.Parameter(torch.randn(1, 2, 25, 25))
        self.qkv, self.classes = nn.Linear(16, 48), nn.Linear(16, 5)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True)
        self.whole = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x):
        y = torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1)
        y = F.relu(self.stem(y))
        tokens = torch.cat([self.first.expand(len(x), -1, -1), y.flatten(2).transpose(1, 2)], 1)
        q, k, v = self.qkv(tokens).reshape(1, 25, 3, 2, 8).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v, self.bias).transpose(1, 2).reshape(1, 25, 16)
        tokens = self.layer(tokens + mixed)
        tokens = tokens + self.whole(tokens, tokens, tokens, need_weights=False)[0]
        return self.classes(tokens[:, 0]), tokens.mean(1)


class Recurrent(nn.Module):
    """A reader of lines, with recurrent layers along the columns of a map."""

    def __init__(self):
        super().__init__()
        self.stem, self.first = nn.Conv2d(3, 8, 3, 2, 1), nn.LSTM(8, 6, batch_first=True, bidirectional=True)
        self.second, self.classes = nn.GRU(12, 6, 2), nn.Linear(6, 5)

    def forward(self, x):
        columns, _ = self.first(F.relu(self.stem(x)).mean(2).transpose(1, 2))
        places, _ = self.second(columns.transpose(0, 1))
        return (self.classes(places.transpose(0, 1)),)


class Windowed(nn.Module):
    """Attention in windows with a bias looked up by position, of five axes as MaxViT has it, and of four as Swin."""

    def __init__(self):
        super().__init__()
        self.stem, self.qkv = nn.Conv2d(3, 8, 1), nn.Linear(8, 24)
        self.table = nn.Parameter(torch.randn(9, 2))
        self.register_buffer("index", torch.arange(16 * 16).view(16, 16) % 9)

    def forward(self, x):
        y = self.stem(x).reshape(-1, 8, 2, 4, 3, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 6, 16, 8)
        q, k, v = (each.reshape(-1, 6, 16, 2, 4).permute(0, 1, 3, 2, 4) for each in self.qkv(y).chunk(3, -1))
        bias = self.table[self.index.view(-1)].view(16, 16, -1).permute(2, 0, 1).contiguous().unsqueeze(0)
        five = torch.einsum("bghid,bghjd->bghij", q, k)
        four = (q @ k.transpose(-2, -1)).view(-1, 2, 16, 16)
        mixed = torch.einsum("bghij,bghjd->bghid", (five + bias).softmax(-1), v)
        return mixed, (four + bias).softmax(-1).view(-1, 6, 2, 16, 16)


class Followed(nn.Module):
    """All of them in one network, but those with numbers of their own."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(6, 6, 1)
        self.functions = [
            each for name, each in FOLLOWED.items() if name not in ("attention with a bias", "layer_norm")
        ]

    def forward(self, x):
        y = self.first(x)
        return tuple(function(y) for function in self.functions)


@pytest.mark.exhaustive  # some of them are in test_spell_for_xnnpack, which is run more often
@pytest.mark.parametrize(
    ("network", "sides"),
    [(Focused, (3, 8, 12)), (Recurrent, (3, 8, 12)), (Windowed, (3, 8, 12)), (Followed, (6, 5, 4))],
)
def test_all_of_it_is_one_partition(network, sides, tmp_path):
    torch.manual_seed(0)
    net, x = network().eval(), torch.randn(1, *sides)
    made = export_module(net, x, to="executorch", out=tmp_path)
    with torch.inference_mode():
        wanted = net(x)
    for found, right in zip(open_model(made.artifact.path).run_all(x.numpy()), wanted, strict=True):
        assert np.abs(found - right.numpy()).max() <= 1e-5 * right.abs().max()
