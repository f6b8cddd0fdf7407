"""Which kinds of dynamic layers a checkpoint holds, by the names and shapes of its tensors: for a refusal to say."""

from __future__ import annotations

from collections import Counter

from dcd_deploy.models.infer import Shapes

PHI = ".fc_phi.weight"
BANK = 5  # dimensions of a bank of kernels (m, K, C, k, k)
OMNI = ("spatial_fc", "filter_fc", "channel_fc", "kernel_fc")  # ODConv's four attentions
ROUTING = "routing_fn.weight"  # CondConv's, as timm has it, beside the layers that it serves
FLAT = ("conv_pw.weight", "conv_dw.weight", "conv_pwl.weight", "conv_exp.weight")


def dynamic_layers(shapes: Shapes) -> dict[str, int]:
    """Return how many dynamic layers of each kind there are."""
    counts: Counter[str] = Counter()
    for key, shape in shapes.items():
        if f".{key}".endswith(PHI):
            counts["DCD"] += 1
        elif key.endswith("weight") and len(shape) == BANK:
            counts[_kind_of_bank(key.removesuffix("weight"), shapes)] += 1
        elif (
            key.endswith(FLAT)
            and len(shape) == 2
            and f"{key.rpartition('.')[0].rpartition('.')[0]}.{ROUTING}" in shapes
        ):
            counts["CondConv"] += 1
    counts.pop("", None)
    return dict(counts)


def _kind_of_bank(module: str, shapes: Shapes) -> str:
    """Return the kind of a layer with a bank of kernels by what else it holds; "" for a 3-D convolution."""
    inside = [key.removeprefix(module) for key in shapes if key.startswith(module) and key != f"{module}weight"]
    if any(part in key for key in inside for part in OMNI):
        return "ODConv"
    if any("routing" in key or "_routing" in key for key in inside):
        return "CondConv"
    squeezes = [key for key in inside if key.endswith("weight")]
    if len(squeezes) >= 2:
        return "DY-Conv"
    return "CondConv" if squeezes else ""


def described(shapes: Shapes) -> str:
    """Return "34 DCD layers and 2 DY-Conv layers", or "no dynamic layer of a kind known here"."""
    found = [f"{number} {kind} layer{'s' * (number != 1)}" for kind, number in dynamic_layers(shapes).items()]
    return " and ".join(found) or "no dynamic layer of a kind known here"
