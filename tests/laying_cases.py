"""A small module for every entry of the table of operators channels last, and for ways of calling them."""

import torch
import torch.nn.functional as F
from torch import nn

aten = torch.ops.aten


class Of(nn.Module):
    """A function behind a convolution, so that what it gets lies channels last."""

    def __init__(self, function, channels=4, before=True, **parts):
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, padding=1) if before else nn.Identity()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self, self.conv(x))


def of(function, channels=4, **parts):
    return Of(function, channels, **parts)


def layer(module, channels=4):
    return Of(lambda m, x: m.layer(x), channels, layer=module)


def trained(norm):
    """Return a norm with statistics."""
    with torch.no_grad():
        for value in (norm.running_mean, norm.running_var, norm.weight, norm.bias):
            if value is not None:
                value.copy_(torch.rand_like(value) + 0.5)
    return norm


def parameter(*shape):
    torch.manual_seed(len(shape) + sum(shape))
    return nn.Parameter(torch.randn(*shape))


UNARY = {
    "relu": nn.ReLU(),
    "relu6": nn.ReLU6(),
    "hardtanh": nn.Hardtanh(-0.5, 0.75),
    "sigmoid": nn.Sigmoid(),
    "hardsigmoid": nn.Hardsigmoid(),
    "hardswish": nn.Hardswish(),
    "silu": nn.SiLU(),
    "mish": nn.Mish(),
    "tanh": nn.Tanh(),
    "leaky_relu": nn.LeakyReLU(0.1),
    "gelu": nn.GELU(),
    "elu": nn.ELU(),
    "selu": nn.SELU(),
    "celu": nn.CELU(),
    "softplus": nn.Softplus(),
    "softsign": nn.Softsign(),
    "logsigmoid": nn.LogSigmoid(),
}
# of positive numbers
FUNCTIONS = ("abs", "cos", "erf", "exp", "floor", "log", "log1p", "neg", "reciprocal", "round", "rsqrt", "sign")
FUNCTIONS += ("sin", "sqrt", "square")

MAPS = {
    "conv2d": layer(nn.Conv2d(4, 6, 3, padding=1)),
    "conv2d without bias": layer(nn.Conv2d(4, 6, 1, bias=False)),
    "conv2d strided": layer(nn.Conv2d(4, 6, 3, stride=2, padding=1)),
    "conv2d rectangular": layer(nn.Conv2d(4, 6, (5, 2), stride=(1, 2), padding=(2, 1))),
    "conv2d dilated": layer(nn.Conv2d(4, 6, 3, padding=2, dilation=2)),
    "conv2d padded unevenly": layer(nn.Conv2d(4, 6, (2, 4), padding="same")),
    "conv2d valid": layer(nn.Conv2d(4, 6, 3, padding="valid")),
    "conv2d depthwise": layer(nn.Conv2d(4, 4, 3, padding=1, groups=4)),
    "conv2d depthwise, strided": layer(nn.Conv2d(4, 4, 3, padding=1, stride=2, groups=4)),
    "conv2d depthwise, multiplied": layer(nn.Conv2d(4, 12, 3, padding=2, dilation=2, groups=4)),
    "conv2d grouped": layer(nn.Conv2d(4, 6, 3, padding=1, groups=2)),
    "conv2d of one channel": Of(lambda m, x: m.layer(x[:, :1]), layer=nn.Conv2d(1, 5, 3)),
    "conv2d reflecting": layer(nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect")),
    "conv2d replicating": layer(nn.Conv2d(4, 6, 5, padding=(2, 1), padding_mode="replicate")),
    "conv2d circular": layer(nn.Conv2d(4, 6, 3, padding=1, stride=2, padding_mode="circular")),
    "conv2d function": of(lambda m, x: F.conv2d(x, m.w, m.b, 2, (1, 0), 1, 2), w=parameter(6, 2, 3, 3), b=parameter(6)),
    "conv2d twice": Of(lambda m, x: m.layer(m.layer(x)), layer=nn.Conv2d(4, 4, 3, padding=1)),
    "conv_transpose2d": layer(nn.ConvTranspose2d(4, 6, 2, stride=2)),
    "conv_transpose2d padded": layer(nn.ConvTranspose2d(4, 6, 4, stride=2, padding=1)),
    "conv_transpose2d cut": layer(nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1)),
    "conv_transpose2d wider": layer(nn.ConvTranspose2d(4, 6, 3, stride=(2, 3), output_padding=(1, 2))),
    "conv_transpose2d grouped": layer(nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, groups=2, bias=False)),
    "conv_transpose2d dilated": layer(nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, dilation=2)),
    "conv_transpose2d function": of(
        lambda m, x: F.conv_transpose2d(x, m.w, m.b, 2, 1, 1), w=parameter(4, 5, 3, 3), b=parameter(5)
    ),
    "batch_norm": layer(trained(nn.BatchNorm2d(4))),
    "batch_norm of a row": Of(lambda m, x: m.norm(x.mean((2, 3))), norm=trained(nn.BatchNorm1d(4, affine=True))),
    "prelu": layer(nn.PReLU(4)),
    "prelu of one slope": layer(nn.PReLU()),
    "max_pool2d": layer(nn.MaxPool2d(3, 2)),
    "max_pool2d padded": layer(nn.MaxPool2d(3, 2, 1)),
    "max_pool2d padded before": of(lambda m, x: F.max_pool2d(x[..., :8, :6], 3, 2, 1)),
    "max_pool2d of a relu": of(lambda m, x: F.max_pool2d(x.relu()[..., :8, :6], 3, 2, 1)),
    "max_pool2d ceiled": layer(nn.MaxPool2d(2, 2, ceil_mode=True)),
    "max_pool2d padded and ceiled": layer(nn.MaxPool2d((3, 2), (2, 3), 1, ceil_mode=True)),
    "avg_pool2d": layer(nn.AvgPool2d((3, 2), 2)),
    "avg_pool2d padded": layer(nn.AvgPool2d(3, 2, 1)),
    "avg_pool2d padded, not counted": layer(nn.AvgPool2d(3, 2, 1, count_include_pad=False)),
    "avg_pool2d padded before, not counted": of(
        lambda m, x: F.avg_pool2d(x[..., :8, :6], 3, 2, 1, count_include_pad=False)
    ),
    "avg_pool2d ceiled": layer(nn.AvgPool2d(3, 2, ceil_mode=True)),
    "avg_pool2d padded and ceiled": layer(nn.AvgPool2d((3, 2), (2, 3), 1, ceil_mode=True)),
    "avg_pool2d with a divisor": layer(nn.AvgPool2d(3, 2, divisor_override=5)),
    "adaptive_avg_pool2d": layer(nn.AdaptiveAvgPool2d(1)),
    "adaptive_avg_pool2d to parts": layer(nn.AdaptiveAvgPool2d((3, 7))),
    "adaptive_avg_pool2d overlapping": layer(nn.AdaptiveAvgPool2d((2, 3))),
    "adaptive_avg_pool2d along one side": layer(nn.AdaptiveAvgPool2d((None, 1))),
    "adaptive_max_pool2d": layer(nn.AdaptiveMaxPool2d((3, 1))),
    "interpolate": of(lambda m, x: F.interpolate(x, scale_factor=2)),
    "interpolate bilinear": layer(nn.Upsample(size=(18, 10), mode="bilinear")),
    "interpolate of corners": layer(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)),
    "interpolate like another": of(lambda m, x: F.interpolate(F.max_pool2d(x, 2), x.shape[2:], mode="bilinear")),
    "interpolate nearest-exact": of(lambda m, x: F.interpolate(x, (5, 14), mode="nearest-exact")),
    "interpolate bicubic": of(lambda m, x: F.interpolate(x, (18, 10), mode="bicubic")),
    "interpolate by a factor": of(lambda m, x: F.interpolate(x, scale_factor=1.4, mode="bilinear")),
    "interpolate nearest by a factor": of(lambda m, x: F.interpolate(x, scale_factor=1.4)),
    "interpolate one side": of(lambda m, x: F.interpolate(x, (9, 4), mode="bilinear", antialias=True)),
    "interpolate area": of(lambda m, x: F.interpolate(x, (4, 3), mode="area")),
    "upsample_bilinear2d inside": of(lambda m, x: aten.upsample_bilinear2d.default(x, [18, 10], False, 2.0, 1.5)),
    "upsample_bicubic2d": of(lambda m, x: aten.upsample_bicubic2d.vec(x, [6, 14], True, None)),
    "_upsample_bilinear2d_aa": of(lambda m, x: aten._upsample_bilinear2d_aa.vec(x, [5, 11], False, None)),
    "_upsample_bicubic2d_aa": of(lambda m, x: aten._upsample_bicubic2d_aa.vec(x, None, True, [0.5, 2.0])),
    "upsample_nearest2d": of(lambda m, x: aten.upsample_nearest2d.vec(x, [18, 14], None)),
    "_upsample_nearest_exact2d": of(lambda m, x: aten._upsample_nearest_exact2d.vec(x, [18, 14], None)),
    "upsample_bilinear2d": of(lambda m, x: aten.upsample_bilinear2d.vec(x, None, False, [2.0, 3.0])),
    "pixel_shuffle": layer(nn.PixelShuffle(2), 8),
    "fold": of(lambda m, x: F.fold(x.flatten(2), x.shape[2:], 1)),
    "pixel_unshuffle": Of(lambda m, x: F.pixel_unshuffle(x[..., :8, :6], 2)),
    "pad": of(lambda m, x: F.pad(x, (1, 2, 0, 3), value=0.5)),
    "pad channels": of(lambda m, x: F.pad(x, (0, 0, 1, 0, 2, 1))),
    "pad reflecting": layer(nn.ReflectionPad2d((2, 1, 0, 3))),
    "pad replicating": layer(nn.ReplicationPad2d(2)),
    "pad layer": layer(nn.ZeroPad2d((1, 0, 2, 0))),
    "pad cutting": of(lambda m, x: F.pad(x, (-1, 0, 0, -2))),
    "constant_pad_nd": of(lambda m, x: aten.constant_pad_nd.default(x, [1, 1], 0.25)),
}

ELEMENTWISE = {
    **{name: layer(module) for name, module in UNARY.items()},
    **{name: of(lambda m, x, n=name: getattr(torch, n)(x.abs() + 0.1)) for name in FUNCTIONS},
    "clamp": of(lambda m, x: x.clamp(-0.25, 0.5)),
    "clip": of(lambda m, x: torch.clip(x, min=-0.25)),
    "clamp_min": of(lambda m, x: x.clamp_min(0.1)),
    "clamp_max": of(lambda m, x: x.clamp_max(0.1)),
    "add": of(lambda m, x: x + x.sigmoid()),
    "add scaled": of(lambda m, x: torch.add(x, x.relu(), alpha=0.5)),
    "sub scaled, from a number": of(lambda m, x: torch.sub(1.0, x, alpha=2)),
    "sub scaled, by names": of(lambda m, x: torch.sub(input=x, other=x.relu(), alpha=2)),
    "sub scaled": of(lambda m, x: torch.sub(x, x.relu(), alpha=2)),
    "add scaled, plain": of(lambda m, x: torch.add(x.flatten(1), x.flatten(1).relu(), alpha=2)),
    "add scaled to a parameter": of(lambda m, x: torch.add(m.s, x, alpha=2), s=parameter(4, 1, 1)),
    "add in place": of(lambda m, x: F.relu(x, inplace=True).add_(1.0)),
    "mul": of(lambda m, x: x * m.s, s=parameter(1, 4, 1, 1)),
    "mul by three axes": of(lambda m, x: m.s * x, s=parameter(4, 1, 1)),
    "mul along the width": of(lambda m, x: m.s * x, s=parameter(7)),
    "mul by a number of its own": of(lambda m, x: m.s * x, s=parameter(1)),
    "mul by an input": Of(lambda m, x: m.layer(x * 0.5 + x), before=False, layer=nn.Conv2d(3, 4, 1)),
    "mul rows": of(lambda m, x: x.mean((2, 3)) * m.s, s=parameter(1, 4)),
    "sub": of(lambda m, x: 1 - x),
    "rsub": of(lambda m, x: torch.rsub(x, 2.0)),
    "div": of(lambda m, x: x / (x.abs() + 1)),
    "pow": of(lambda m, x: x**2),
    "maximum": of(lambda m, x: torch.maximum(x, x.tanh())),
    "minimum": of(lambda m, x: torch.minimum(x, -x)),
    "where": of(lambda m, x: torch.where(x > 0, x, 0.5 * x)),
    "gt": of(lambda m, x: x * (x > 0.1)),
    "ge": of(lambda m, x: x * (x >= 0.1)),
    "lt": of(lambda m, x: x * (x < 0.1)),
    "le": of(lambda m, x: x * (x <= 0.1)),
    "eq": of(lambda m, x: x * (x.floor() == 0.0)),
    "ne": of(lambda m, x: x * (x.floor() != 0.0)),
    "identity": layer(nn.Identity()),
    "contiguous": of(lambda m, x: x.contiguous()),
    "clone": of(lambda m, x: x.clone()),
    "detach": of(lambda m, x: x.detach()),
    "alias": of(lambda m, x: aten.alias.default(x)),
    "type_as": of(lambda m, x: x.type_as(x * 2)),
}

AXES = {
    "linear": Of(lambda m, x: m.fc(x.mean((2, 3))), fc=nn.Linear(4, 5)),
    "linear without bias": Of(lambda m, x: m.fc(m.fc(x.mean((2, 3)))), fc=nn.Linear(4, 4, bias=False)),
    "linear on the width": Of(lambda m, x: m.fc(x), fc=nn.Linear(7, 5)),
    "linear function": Of(lambda m, x: F.linear(x.mean((2, 3)), m.w, m.b), w=parameter(5, 4), b=parameter(5)),
    "linear of pixels": Of(lambda m, x: m.fc(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), fc=nn.Linear(4, 5)),
    "softmax": of(lambda m, x: x.softmax(1)),
    "softmax by names": of(lambda m, x: torch.softmax(input=F.relu(input=x), dim=1)),
    "softmax of channels": layer(nn.Softmax2d()),
    "softmax along the width": of(lambda m, x: F.softmax(x, -1)),
    "softmax of a row": of(lambda m, x: x.mean((2, 3)).softmax(dim=-1)),
    "log_softmax": layer(nn.LogSoftmax(1)),
    "_softmax": of(lambda m, x: aten._softmax.default(x, 1, False)),
    "_log_softmax": of(lambda m, x: aten._log_softmax.default(x, -3, False)),
    "mean": of(lambda m, x: x.mean((-2, -1), keepdim=True)),
    "mean to a row": of(lambda m, x: torch.mean(x, dim=[2, 3])),
    "mean in two steps": Of(lambda m, x: m.fc(x.mean(3).mean(2)), fc=nn.Linear(4, 5)),
    "mean of channels": of(lambda m, x: x.mean(1, keepdim=True)),
    "mean of all": of(lambda m, x: x * x.mean()),
    "mean of samples": of(lambda m, x: x.mean((1, 2, 3))),
    "mean of channels alone": of(lambda m, x: x.mean(dim=1) + x.amax(1)),
    "mean of everything": of(lambda m, x: x / x.abs().mean()),
    "mean of rows": of(lambda m, x: x.mean(2)),
    "sum": of(lambda m, x: x.sum(1, keepdim=True)),
    "sum of pixels": of(lambda m, x: x.sum((2, 3))),
    "amax": of(lambda m, x: x.amax(1, keepdim=True)),
    "amin": of(lambda m, x: x.amin((2, 3))),
    "max with positions": of(lambda m, x: torch.max(x, 1, keepdim=True)[0]),
    "cat": of(lambda m, x: torch.cat([x, x.relu(), m.other(x)], 1), other=nn.Conv2d(4, 2, 1)),
    "cat along NumPy's axis": of(lambda m, x: torch.cat([x, x.relu()], axis=1).sum(axis=1, keepdims=True)),
    "cat of rows": of(lambda m, x: torch.cat((x, x.tanh()), dim=-2)),
    "cat of vectors": of(lambda m, x: torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)),
    "concat": of(lambda m, x: torch.concat([x, x.tanh()], 1)),
    "concatenate": of(lambda m, x: torch.concatenate([x, x.tanh()], 1)),
    "chunk": of(lambda m, x: x.chunk(2, 1)[0] * x.chunk(2, dim=1)[1].sigmoid()),
    "split": of(lambda m, x: torch.cat(torch.split(x, [1, 3], 1)[::1], 1)),
    "split by number": of(lambda m, x: x.split(2, 1)[1] - x.split(2, 1)[0]),
    "split_with_sizes": of(lambda m, x: aten.split_with_sizes.default(x, [1, 3], 1)[1]),
    "getitem": of(lambda m, x: x[:, 1:3]),
    "getitem in another order": of(lambda m, x: x[:, [2, 1, 0, 3]]),
    "getitem by a buffer": of(lambda m, x: x[:, m.order, 1:], order=nn.Buffer(torch.tensor([3, 0, 2, 1]))),
    "getitem every second": of(lambda m, x: torch.cat([x[:, :, 0:8:2, ::2], x[:, :, 1::2, ::2]], 1)),
    "slice": of(lambda m, x: aten.slice.Tensor(aten.slice.Tensor(x, 1, 1, 3), 3, 0, 9223372036854775807, 2)),
    "select": of(lambda m, x: aten.select.int(x, 1, 2)),
    "select of a row": of(lambda m, x: aten.select.int(x, 2, -1)),
    "getitem of the last axes": of(lambda m, x: x[..., 1:8:2, :5]),
    "getitem of the last": of(lambda m, x: x[..., -1]),
    "getitem of a row": of(lambda m, x: x[:, :, 3]),
    "getitem of one": of(lambda m, x: x[:, 0] + x[:, 1]),
    "getitem to a map": of(lambda m, x: x * x.mean((2, 3)).sigmoid()[:, :, None, None]),
    "flatten": Of(lambda m, x: m.fc(F.adaptive_avg_pool2d(x, 1).flatten(1)), fc=nn.Linear(4, 5)),
    "flatten of pixels": Of(lambda m, x: m.fc(torch.flatten(x, 1)), fc=nn.Linear(4 * 63, 5)),
    "flatten layer": Of(lambda m, x: m.fc(m.flat(F.adaptive_avg_pool2d(x, 1))), flat=nn.Flatten(), fc=nn.Linear(4, 5)),
    "view": Of(lambda m, x: m.fc(F.adaptive_avg_pool2d(x, 1).view(x.size(0), -1)), fc=nn.Linear(4, 5)),
    "view to a map": Of(
        lambda m, x: x * m.fc(x.mean((2, 3))).sigmoid().view(x.size(0), x.size(1), 1, 1), fc=nn.Linear(4, 4)
    ),
    "reshape": of(lambda m, x: x.reshape(x.shape[0], 2, 2, x.shape[2], x.shape[3]).transpose(1, 2).reshape(x.shape)),
    "_unsafe_view": of(lambda m, x: aten._unsafe_view.default(x, [-1, 4, 63])),
    "squeeze": of(lambda m, x: x.mean((2, 3), keepdim=True).squeeze(-1).squeeze(-1)),
    "unsqueeze": of(lambda m, x: x * x.mean((2, 3)).unsqueeze(-1).unsqueeze(-1)),
    "unflatten": of(lambda m, x: x.unflatten(1, (2, 2)).sum(2)),
    "permute": of(lambda m, x: F.layer_norm(x.permute(0, 2, 3, 1), (4,)).permute(0, 3, 1, 2) + x),
    "permute otherwise": of(lambda m, x: torch.permute(x, (0, 3, 1, 2))),
    "transpose": of(lambda m, x: x.flatten(2).transpose(1, 2)),
    "matmul": of(lambda m, x: (x.flatten(2) @ x.flatten(2).transpose(1, 2)).softmax(-1)),
    "size": of(lambda m, x: x.reshape(x.size(0), x.size(1), x.size(2) * x.size(-1))),
    "sym_size": of(lambda m, x: x.reshape(aten.sym_size.int(x, 0), aten.sym_size.int(x, 1), 63)),
    "getattr": of(lambda m, x: x.reshape(x.shape[0], x.shape[1], x.shape[2] * x.shape[3])),
    "getattr of a row": of(lambda m, x: x.mean((2, 3)).reshape(x.mean((2, 3)).shape[1], -1)),
    "expand": of(lambda m, x: x * x.mean((2, 3), keepdim=True).expand(-1, -1, 9, 7)),
    "expand alone": of(lambda m, x: x.mean((2, 3), keepdim=True).expand(-1, -1, 9, 7).relu()),
    "expand of a product": of(lambda m, x: (x.flatten(2) @ x.flatten(2).mT)[..., None].expand(-1, -1, -1, 4).relu()),
    "expand and turn": of(lambda m, x: x.mean(3, keepdim=True).expand(-1, -1, -1, 9).mT.relu()),
    "expand of three axes": of(lambda m, x: x.mean(3)[..., :1].expand(-1, -1, 4).mT.softmax(1)),
    "repeat": of(lambda m, x: x.mean((2, 3)).view(-1, 1, 4).repeat(1, 4, 1).mT.reshape(-1, 4, 2, 2)),
    "expand_as": of(lambda m, x: x * x.mean((2, 3), keepdim=True).sigmoid().expand_as(x)),
    "group_norm": layer(nn.GroupNorm(2, 4)),
    "layer_norm": layer(nn.LayerNorm((4, 9, 7))),
    "instance_norm": layer(nn.InstanceNorm2d(4, affine=True)),
    "max_pool2d dilated": layer(nn.MaxPool2d(2, 1, dilation=2)),
}

CASES = {**MAPS, **ELEMENTWISE, **AXES}
SIZE = (2, 3, 9, 7)


def example(batch=2):
    torch.manual_seed(1)
    return torch.randn(batch, *SIZE[1:])
