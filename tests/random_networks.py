"""Random small networks: layers in a row, residuals, skip connections, squeeze-excitation, two outputs, odd sizes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import nn

ACTIVATIONS = [nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.GELU, nn.LeakyReLU, nn.Sigmoid, nn.Identity]
BLOCKS = ("conv", "depthwise", "grouped", "strided", "residual", "skip", "excite", "pool", "average", "up", "shuffle")
BLOCKS += ("norm", "group norm", "pad", "split", "transposed", "channels last", "attend", "interleave")
HEADS = ("row", "map", "flat", "both")


@dataclass(frozen=True)
class Plan:
    """What a network consists of; ``numbers`` decide what is left open."""

    channels: int
    height: int
    width: int
    blocks: tuple[str, ...]
    numbers: tuple[int, ...]
    head: str
    seed: int

    def example(self):
        torch.manual_seed(self.seed)
        return torch.randn(2, self.channels, self.height, self.width, dtype=torch.float64)


def plans():
    """Return a strategy for plans."""
    blocks = st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=5).map(tuple)
    numbers = st.lists(st.integers(0, 11), min_size=5, max_size=5).map(tuple)
    sizes = st.integers(8, 17)
    heads, seeds = st.sampled_from(HEADS), st.integers(0, 99)
    return st.builds(Plan, st.sampled_from([1, 3, 4]), sizes, sizes, blocks, numbers, heads, seeds)


class Block(nn.Module):
    """One block on ``channels`` channels; it keeps their number."""

    def __init__(self, kind, channels, number):
        super().__init__()
        self.kind, self.number = kind, number
        self.activation = ACTIVATIONS[number % len(ACTIVATIONS)]()
        kernel, dilation = (1, 3, 5)[number % 3], 1 + number % 2
        around = dilation * (kernel // 2)
        self.conv = nn.Conv2d(channels, channels, kernel, padding=around, dilation=dilation)
        self.depthwise = nn.Conv2d(channels, 2 * channels, 3, padding=1, groups=channels)
        self.grouped = nn.Conv2d(channels, channels, 3, 1 + number % 2, 1, groups=2)
        self.strided = nn.Conv2d(channels, channels, (3, 2), (2, 1 + number % 3), (1, number % 2))
        self.narrow = nn.Conv2d(2 * channels, channels, 1)
        self.wide = nn.Conv2d(channels, 4 * channels, 1)
        self.up = nn.ConvTranspose2d(channels, channels, 2 + number % 3, 2, padding=number % 2)
        self.squeeze, self.expand = nn.Linear(channels, 3), nn.Linear(3, channels)
        self.norm, self.group_norm = nn.BatchNorm2d(channels), nn.GroupNorm(2, channels)
        nn.init.normal_(self.norm.running_mean)
        self.layer_norm = nn.LayerNorm(channels)
        self.pool = nn.MaxPool2d(3, 2, number % 2, ceil_mode=number > 5)
        self.average = nn.AvgPool2d(3, 2, number % 2, ceil_mode=number > 5, count_include_pad=number % 4 < 2)

    def forward(self, x):
        return self.activation(getattr(self, f"do_{self.kind.replace(' ', '_')}")(x))

    def do_conv(self, x):
        return self.conv(x)

    def do_depthwise(self, x):
        return self.narrow(self.depthwise(x))

    def do_grouped(self, x):
        return self.grouped(x)

    def do_strided(self, x):
        return self.strided(x)

    def do_residual(self, x):
        return F.relu6(self.conv(x)) + x

    def do_skip(self, x):
        return self.narrow(torch.cat([self.conv(x), x], 1))

    def do_excite(self, x):
        gate = self.expand(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1).flatten(1))))
        return x * torch.sigmoid(gate).view(x.size(0), x.size(1), 1, 1)

    def do_pool(self, x):
        return self.pool(F.pad(x, (1, 1, 1, 1)) if self.number > 3 else F.interpolate(x, (7, 9)))

    def do_average(self, x):
        return self.average(F.pad(x, (1, 1, 1, 1), value=0.5))

    def do_up(self, x):
        small = F.avg_pool2d(x, 2, ceil_mode=True)
        return x - F.interpolate(small, x.shape[2:], mode=("nearest", "bilinear", "bicubic")[self.number % 3])

    def do_shuffle(self, x):
        return F.pixel_shuffle(self.wide(x), 2)

    def do_norm(self, x):
        return self.norm(x.clamp(-1, 1))

    def do_group_norm(self, x):
        return self.group_norm(x)

    def do_pad(self, x):
        return F.pad(x, (1, 0, 2, 1), mode=("constant", "reflect", "replicate")[self.number % 3])

    def do_split(self, x):
        first, second = x.chunk(2, 1)
        return torch.cat([second.sigmoid() * first, first], dim=-3)

    def do_transposed(self, x):
        return self.up(x)

    def do_channels_last(self, x):
        return x + self.layer_norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def do_attend(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        weights = (tokens @ tokens.transpose(1, 2)).softmax(-1)
        return (weights @ tokens).transpose(1, 2).reshape(x.shape)

    def do_interleave(self, x):
        n, c, h, w = x.size(0), x.size(1), x.size(2), x.size(3)
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class RandomNetwork(nn.Module):
    """The network of a plan."""

    def __init__(self, plan):
        super().__init__()
        torch.manual_seed(plan.seed)
        self.head = plan.head
        channels = 4
        self.stem = nn.Conv2d(plan.channels, channels, 3, padding=1)
        kinds = [kind for i, kind in enumerate(plan.blocks) if kind != "shuffle" or "shuffle" not in plan.blocks[:i]]
        self.blocks = nn.Sequential(*(Block(k, channels, n) for k, n in zip(kinds, plan.numbers, strict=False)))
        self.small = nn.AdaptiveAvgPool2d((2, 3))
        self.classes, self.pixels = nn.Linear(channels, 5), nn.Linear(6 * channels, 3)
        self.double().eval()

    def forward(self, x):
        y = self.blocks(self.stem(x))
        row = self.classes(y.mean((2, 3)))
        if self.head == "row":
            return row
        if self.head == "map":
            return y
        flat = self.pixels(self.small(y).flatten(1))
        return flat if self.head == "flat" else (row.softmax(1), y, flat)
