"""Accuracies that others published, and what networks are called in print.

The numbers are quoted, not measured here, and were read second-hand: top-1 on ImageNet's validation pictures at
224×224, by the names of ``NetworkSpec.describe``. They belong to the released weights, whatever a measured file holds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DCD = "Li et al., Revisiting Dynamic Convolution via Matrix Decomposition, ICLR 2021, arXiv:2103.08756 (second-hand)"

MOBILENET = "Sandler et al., MobileNetV2, CVPR 2018, arXiv:1801.04381, as the authors' model list has it (second-hand)"


@dataclass(frozen=True)
class Published:
    """``top1`` in percent, and who says so."""

    top1: float
    source: str


TOP1 = {
    "mobilenetv2 ×0.5": Published(65.4, DCD),
    "mobilenetv2_dcd ×0.5": Published(70.2, DCD),
    "mobilenetv2 ×0.75": Published(69.8, MOBILENET),
    "mobilenetv2 ×1": Published(72.0, DCD),
    "resnet18": Published(70.4, DCD),
    "resnet18_dcd": Published(73.1, DCD),
}
RELEASED_SQUEEZE = {"mobilenetv2_dcd ×0.5": "8"}  # another squeeze is another network
NAME = re.compile(r"(mobilenetv2|resnet)(\d{2,3})?(_dcd)?(?: ×(\d{1,2}(?:\.\d{1,4})?))?(?:, fc_squeeze (\d{1,4}))?")
PRINTED = {"mobilenetv2": "MobileNetV2", "resnet": "ResNet"}


def published(network: str | None) -> Published | None:
    """Return the published accuracy of a network, or None where none is known."""
    found = NAME.fullmatch(network or "")
    if not found:
        return None
    family, depth, dynamic, width, squeeze = found.groups(default="")
    key = f"{family}{depth}{dynamic}" + (f" ×{float(width):g}" if width else "")
    return TOP1.get(key) if squeeze in ("", RELEASED_SQUEEZE.get(key)) else None


def title(network: str) -> str:
    """Return "MobileNetV2-DCD ×1.0" for "mobilenetv2_dcd ×1, fc_squeeze 16"; names of no known family as they are."""
    found = NAME.fullmatch(network)
    if not found:
        return network
    family, depth, dynamic, width, _ = found.groups(default="")
    return (
        PRINTED[family]
        + (f"-{depth}" if depth else "")
        + ("-DCD" if dynamic else "")
        + (f" ×{float(width)}" if width else "")
    )
