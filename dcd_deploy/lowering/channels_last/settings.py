"""What an operator is called with, whether it is a module, a function, a method, or one of torch.export's.

All are known by the function's name ("max_pool2d" for ``nn.MaxPool2d`` too) and by its parameters' names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import fx, nn

from dcd_deploy.lowering.graph import op_name

Settings = dict[str, Any]

# function → the names of its parameters behind the operand, in the order of torch's functions and exported operators
PARAMETERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), ("weight", "bias", "stride", "padding", "dilation", "groups")),
    "conv_transpose2d": ("weight", "bias", "stride", "padding", "output_padding", "groups", "dilation"),
    **dict.fromkeys(("fold", "col2im"), ("output_size", "kernel_size", "dilation", "padding", "stride")),
    "linear": ("weight", "bias"),
    "batch_norm": ("running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
    "max_pool2d": ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"),
    "avg_pool2d": ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
    "adaptive_avg_pool2d": ("output_size",),
    "adaptive_max_pool2d": ("output_size", "return_indices"),
    "interpolate": ("size", "scale_factor", "mode", "align_corners", "recompute_scale_factor", "antialias"),
    "upsample_nearest2d": ("size", "scale_factor"),
    "_upsample_nearest_exact2d": ("size", "scale_factor"),
    "upsample_bilinear2d": ("size", "align_corners", "scale_factor"),
    "upsample_bicubic2d": ("size", "align_corners", "scale_factor"),
    "_upsample_bilinear2d_aa": ("size", "align_corners", "scale_factor"),
    "_upsample_bicubic2d_aa": ("size", "align_corners", "scale_factor"),
    "pixel_shuffle": ("upscale_factor",),
    "pixel_unshuffle": ("downscale_factor",),
    "pad": ("pad", "mode", "value"),
    "constant_pad_nd": ("pad", "value"),
    "prelu": ("weight",),
    "softmax": ("dim", "_stacklevel", "dtype"),
    "log_softmax": ("dim", "_stacklevel", "dtype"),
    "_softmax": ("dim", "half_to_float"),
    "_log_softmax": ("dim", "half_to_float"),
    "mean": ("dim", "keepdim"),
    "sum": ("dim", "keepdim"),
    "amax": ("dim", "keepdim"),
    "amin": ("dim", "keepdim"),
    "cat": ("dim",),
    "concat": ("dim",),
    "concatenate": ("dim",),
    "chunk": ("chunks", "dim"),
    "split": ("split_size_or_sections", "dim"),
    "split_with_sizes": ("split_sizes", "dim"),
    "slice": ("dim", "start", "end", "step"),
    "select": ("dim", "index"),
    "size": ("dim",),
    "sym_size": ("dim",),
    "transpose": ("dim0", "dim1"),
    "clamp": ("min", "max"),
    "clip": ("min", "max"),
    "clamp_min": ("min",),
    "hardtanh": ("min_val", "max_val", "inplace"),
    "add": ("other", "alpha"),
    "sub": ("other", "alpha"),
}

ALIASES = {"axis": "dim", "keepdims": "keepdim"}  # NumPy's words, which torch takes too

# module → the function that it calls; its settings are its attributes of the parameters' names
MODULES: dict[type[nn.Module], str] = {
    nn.Conv2d: "conv2d",
    nn.ConvTranspose2d: "conv_transpose2d",
    nn.Linear: "linear",
    nn.BatchNorm1d: "batch_norm",
    nn.BatchNorm2d: "batch_norm",
    nn.MaxPool2d: "max_pool2d",
    nn.AvgPool2d: "avg_pool2d",
    nn.AdaptiveAvgPool2d: "adaptive_avg_pool2d",
    nn.AdaptiveMaxPool2d: "adaptive_max_pool2d",
    nn.Upsample: "interpolate",
    nn.Fold: "fold",
    nn.PixelShuffle: "pixel_shuffle",
    nn.PixelUnshuffle: "pixel_unshuffle",
    nn.ConstantPad2d: "pad",
    nn.ZeroPad2d: "pad",
    nn.ReflectionPad2d: "pad",
    nn.ReplicationPad2d: "pad",
    nn.CircularPad2d: "pad",
    nn.PReLU: "prelu",
    nn.Softmax: "softmax",
    nn.Softmax2d: "softmax",
    nn.LogSoftmax: "log_softmax",
    nn.Flatten: "flatten",
    nn.Unflatten: "unflatten",
    nn.Identity: "identity",
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.Hardtanh: "hardtanh",
    nn.Sigmoid: "sigmoid",
    nn.Hardsigmoid: "hardsigmoid",
    nn.Hardswish: "hardswish",
    nn.SiLU: "silu",
    nn.Mish: "mish",
    nn.Tanh: "tanh",
    nn.LeakyReLU: "leaky_relu",
    nn.GELU: "gelu",
    nn.ELU: "elu",
    nn.SELU: "selu",
    nn.CELU: "celu",
    nn.Softplus: "softplus",
    nn.Softsign: "softsign",
    nn.LogSigmoid: "logsigmoid",
}

# what a module of a class has beyond its attributes
FURTHER: dict[type[nn.Module], Callable[[Any], Settings]] = {
    nn.Conv2d: lambda m: {"padding_mode": m.padding_mode},
    nn.Softmax2d: lambda m: {"dim": -3},  # noqa: ARG005
    nn.ConstantPad2d: lambda m: {"pad": m.padding, "mode": "constant", "value": m.value},
    nn.ReflectionPad2d: lambda m: {"pad": m.padding, "mode": "reflect"},
    nn.ReplicationPad2d: lambda m: {"pad": m.padding, "mode": "replicate"},
    nn.CircularPad2d: lambda m: {"pad": m.padding, "mode": "circular"},
}


def name_and_settings(node: fx.Node, module: nn.Module | None) -> tuple[str, Settings]:
    """Return what a node does, and with which settings that are given; tensors among them may be nodes."""
    if module is not None:
        kind = module_kind(module)
        if kind is None:
            return type(module).__name__, {}
        name = MODULES[kind]
        settings = {key: getattr(module, key) for key in PARAMETERS.get(name, ()) if hasattr(module, key)}
        for base, further in FURTHER.items():
            if isinstance(module, base):
                settings |= further(module)
        return name, settings
    name = op_name(node)
    given = dict(zip(PARAMETERS.get(name, ()), node.args[1:] if node.args else (), strict=False))
    named = {ALIASES.get(key, key): value for key, value in node.kwargs.items() if key != "input"}
    return name, {**given, **named}


def module_kind(module: nn.Module) -> type[nn.Module] | None:
    """Return which layer of torch a module is, if it computes as that one does."""
    for kind in type(module).__mro__:
        if kind in MODULES:
            return kind if type(module).forward is kind.forward else None
    return None
