"""Layers on maps, and dense layers, as they are channels last: each a module of TFLite's own operators."""

from __future__ import annotations

from typing import Any

from torch import fx, nn

from dcd_deploy.dynamic.folds import affine
from dcd_deploy.lowering.channels_last.layers import (
    Affine,
    ConvTranspose,
    Pad,
    PixelShuffle,
    PixelUnshuffle,
    PRelu,
    Resize,
)
from dcd_deploy.lowering.channels_last.layout import Layout
from dcd_deploy.lowering.channels_last.parts import Conv, dense
from dcd_deploy.lowering.channels_last.pooling import AveragePool, MaxPool, Separable, Windows, averaging, interpolating
from dcd_deploy.lowering.channels_last.side_by_side import convolving
from dcd_deploy.lowering.channels_last.site import Laid, Site
from dcd_deploy.lowering.layers import conv_of

NOT_A_MAP = "its operand is no map (N, C, H, W)"
COMPUTED = "its weights are computed"
# the modes of torch's exported operators, and those that TFLite has
MODES = {
    "upsample_nearest2d": "nearest",
    "_upsample_nearest_exact2d": "nearest-exact",
    "upsample_bilinear2d": "bilinear",
    "upsample_bicubic2d": "bicubic",
    "_upsample_bilinear2d_aa": "bilinear",
    "_upsample_bicubic2d_aa": "bicubic",
}
RESIZED = ("nearest", "nearest-exact", "bilinear")


def _map(site: Site) -> bool:
    return site.rank(site.operand) == 4


def conv2d(site: Site) -> Laid | str:
    """Return a convolution; one module serves for all calls of a layer."""
    if not _map(site):
        return NOT_A_MAP
    conv = site.module if isinstance(site.module, nn.Conv2d) else _conv_of(site)
    if conv is None:
        return COMPUTED
    return site.put(convolving(conv, Conv, axis=-1), Layout.LAST, site.take(site.operand, Layout.LAST), shared="conv")


def _conv_of(site: Site) -> nn.Conv2d | None:
    weight = site.constant("weight")
    if weight is None or site.computed("bias"):
        return None
    padding = site.settings.get("padding", 0)
    return conv_of(
        weight,
        site.constant("bias"),
        site.numbers("stride", 1) or 1,
        padding if isinstance(padding, str) else site.numbers("padding", 0) or 0,
        site.settings.get("groups", 1),
        site.numbers("dilation", 1) or 1,
    )


def conv_transpose2d(site: Site) -> Laid | str:
    """Return a transposed convolution."""
    size = site.shape_of(site.operand)
    if size is None or len(size) != 4:
        return NOT_A_MAP
    conv = site.module if isinstance(site.module, nn.ConvTranspose2d) else _transposed_of(site)
    if conv is None:
        return COMPUTED
    if len(site.node.args) > 1 and site.module is not None:
        return "its output's size is an argument"
    made = ConvTranspose(conv, (site.shape[2], site.shape[3]), (size[2], size[3]))
    return site.put(made, Layout.LAST, site.take(site.operand, Layout.LAST))


def _transposed_of(site: Site) -> nn.ConvTranspose2d | None:
    weight, bias = site.constant("weight"), site.constant("bias")
    if weight is None or site.computed("bias"):
        return None
    groups = site.settings.get("groups", 1)
    outputs, kernel = weight.shape[1] * groups, (weight.shape[2], weight.shape[3])
    stride, padding = site.numbers("stride", 1) or 1, site.numbers("padding", 0) or 0
    dilation = site.numbers("dilation", 1) or 1
    made = nn.ConvTranspose2d(
        weight.shape[0], outputs, kernel, stride, padding, groups=groups, dilation=dilation, bias=bias is not None
    ).to(weight)
    made.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        made.bias = nn.Parameter(bias, requires_grad=False)
    return made


def linear(site: Site) -> Laid | str | None:
    """Return a dense layer on a row as a 1×1 convolution; on anything else it stays as it is."""
    if site.lies(site.operand) is not Layout.ROW:
        return None
    weight = site.constant("weight")
    if weight is None or site.computed("bias"):
        return COMPUTED
    row = site.take(site.operand, Layout.ROW)
    return site.put(dense(weight, site.constant("bias")), Layout.ROW, row, shared="dense")


def batch_norm(site: Site) -> Laid | str | None:
    """Return a norm of constants as a product and a sum."""
    norm, layout = site.module, site.lies(site.operand)
    if norm is None:
        return "it is no layer"
    if norm.training or norm.running_mean is None:
        return "it depends on the data"
    if site.rank(site.operand) == 4:
        layout = Layout.LAST
    if layout is Layout.PLAIN:
        return None
    return site.put(Affine(*affine(norm)), layout, site.take(site.operand, layout), shared="norm")


def prelu(site: Site) -> Laid | str | None:
    """Return a rectifier with a slope for each channel."""
    layout, slope = site.lies(site.operand), site.constant("weight")
    if layout is Layout.PLAIN:
        return None
    if slope is None:
        return COMPUTED
    return site.put(PRelu(slope, site.shape[1]), layout, site.take(site.operand, layout))


def _windows(site: Site) -> Windows | None:
    kernel, padding = site.numbers("kernel_size"), site.numbers("padding", 0)
    if kernel is None or padding is None:
        return None
    stride = site.numbers("stride", kernel)
    return None if stride is None else Windows(kernel, stride, padding, bool(site.settings.get("ceil_mode", False)))


def max_pool2d(site: Site) -> Laid | str:
    """Return the pooling by the largest value."""
    if not _map(site):
        return NOT_A_MAP
    windows = _windows(site)
    if windows is None:
        return "its sizes are computed"
    if site.numbers("dilation", 1) != (1, 1):
        return "its windows are dilated"
    if site.settings.get("return_indices"):
        return "it gives positions too"
    made = MaxPool(windows, positive=site.operand in site.laid.positive)
    return site.put(made, Layout.LAST, site.take(site.operand, Layout.LAST))


def avg_pool2d(site: Site) -> Laid | str:
    """Return the pooling by the average."""
    if not _map(site):
        return NOT_A_MAP
    windows = _windows(site)
    if windows is None:
        return "its sizes are computed"
    inside = not site.settings.get("count_include_pad", True)
    made = AveragePool(windows, inside=inside, divisor=site.settings.get("divisor_override"))
    return site.put(made, Layout.LAST, site.take(site.operand, Layout.LAST))


def adaptive_avg_pool2d(site: Site) -> Laid | str:
    """Return the averages of so many parts of a map, which may overlap."""
    size = site.shape_of(site.operand)
    if size is None or len(size) != 4:
        return NOT_A_MAP
    x, sides = site.take(site.operand, Layout.LAST), list(zip(size[2:], site.shape[2:], strict=True))
    if all(s == o for s, o in sides):
        return site.same(x, Layout.LAST)
    if all(s % o == 0 for s, o in sides):
        kernel = (size[2] // site.shape[2], size[3] // site.shape[3])
        return site.put(AveragePool(Windows(kernel, kernel)), Layout.LAST, x)
    return site.put(Separable(*(averaging(s, o) for s, o in sides)), Layout.LAST, x)


def adaptive_max_pool2d(site: Site) -> Laid | str:
    """Return the largest values of so many parts of a map, which are of one size."""
    size = site.shape_of(site.operand)
    if size is None or len(size) != 4:
        return NOT_A_MAP
    if site.settings.get("return_indices"):
        return "it gives positions too"
    if any(s % o for s, o in zip(size[2:], site.shape[2:], strict=True)):
        return "its parts overlap"
    kernel = (size[2] // site.shape[2], size[3] // site.shape[3])
    return site.put(MaxPool(Windows(kernel, kernel)), Layout.LAST, site.take(site.operand, Layout.LAST))


def interpolate(site: Site) -> Laid | str:
    """Return a resized map: by TFLite's own operator where it has the mode, else by a matrix for each axis."""
    size = site.shape_of(site.operand)
    if size is None or len(size) != 4:
        return NOT_A_MAP
    if getattr(site.node.target, "_overloadname", "vec") != "vec":
        return "it is called as torch does inside"
    mode = MODES.get(site.name, site.settings.get("mode", "nearest"))
    aligned = bool(site.settings.get("align_corners"))
    smoothed = bool(site.settings.get("antialias")) or site.name.endswith("_aa")
    x, outputs = site.take(site.operand, Layout.LAST), (site.shape[2], site.shape[3])
    factors = _factors(site, size)
    if mode in RESIZED and not smoothed and (aligned or factors is None):
        return site.put(Resize(outputs, mode, align_corners=aligned), Layout.LAST, x)
    settings: dict[str, Any] = {"mode": mode, "align_corners": aligned or None, "antialias": smoothed}
    sides = zip(size[2:], outputs, factors or (None, None), strict=True)
    return site.put(Separable(*(interpolating(*side, **settings) for side in sides)), Layout.LAST, x)


def _factors(site: Site, size: tuple[int, ...]) -> tuple[float, ...] | None:
    """Return the factors that torch is given, where it takes them as they are and they are not those of the sizes."""
    factor: Any = site.settings.get("scale_factor")
    if factor is None or site.settings.get("recompute_scale_factor"):
        return None
    factors = (factor, factor) if isinstance(factor, int | float) else tuple(factor)
    exact = all(s * f == o for s, f, o in zip(size[2:], factors, site.shape[2:], strict=True))
    return None if exact else factors


def pixel_shuffle(site: Site) -> Laid | str:
    """Return a map whose channels became pixels."""
    if not _map(site):
        return NOT_A_MAP
    made = PixelShuffle(int(site.settings["upscale_factor"]))
    return site.put(made, Layout.LAST, site.take(site.operand, Layout.LAST))


def pixel_unshuffle(site: Site) -> Laid | str:
    """Return a map whose pixels became channels."""
    if not _map(site):
        return NOT_A_MAP
    made = PixelUnshuffle(int(site.settings["downscale_factor"]))
    return site.put(made, Layout.LAST, site.take(site.operand, Layout.LAST))


def pad(site: Site) -> Laid | str | None:
    """Return a padded map."""
    if not _map(site):
        return None if site.lies(site.operand) is Layout.PLAIN else NOT_A_MAP
    given, value = site.settings.get("pad"), site.settings.get("value")
    around: list[int] = [given] * 4 if isinstance(given, int) else list(given or ())
    if not all(isinstance(a, int) for a in around) or isinstance(value, fx.Node):
        return "its sizes are computed"
    if len(around) > 6:
        return "it pads the batch"
    left, right, top, bottom, before, behind = [*around, *[0] * (6 - len(around))]
    mode = site.settings.get("mode", "constant")
    if mode != "constant" and (before or behind or min(around) < 0):
        return f"'{mode}' of channels, or less than none"
    made = Pad((top, bottom, left, right), (before, behind), float(value or 0.0), mode)
    return site.put(made, Layout.LAST, site.take(site.operand, Layout.LAST))
