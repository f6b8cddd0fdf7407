"""What the families of networks are called: in files, in reports and in print; and the accuracies published for them.

The accuracies are quoted, not measured here, and were read second-hand: top-1 on ImageNet's validation pictures at
224×224. They belong to the released weights, whatever a measured file holds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

DYNAMIC_SUFFIX = "_dcd"
DCD = "Li et al., Revisiting Dynamic Convolution via Matrix Decomposition, ICLR 2021, arXiv:2103.08756 (second-hand)"
MOBILENET = "Sandler et al., MobileNetV2, CVPR 2018, arXiv:1801.04381, as the authors' model list has it (second-hand)"
# what ``FamilyNames.describe`` writes: name, depth, dynamic, width, squeeze
DESCRIBED = re.compile(r"([a-z]\w*?)(\d{2,3})?(_dcd)?(?: ×(\d{1,2}(?:\.\d{1,4})?))?(?:, fc_squeeze (\d{1,4}))?")


@dataclass(frozen=True)
class Published:
    """``top1`` in percent, and who says so."""

    top1: float
    source: str


@dataclass(frozen=True)
class FamilyNames:
    """How the networks of a family are named.

    Its architectures begin with ``name``; behind it may stand a depth, and ``_dcd`` where the convolutions are
    dynamic. ``published`` goes by the short names; a network with another squeeze than the one in ``squeezes`` is
    another network.
    """

    name: str
    printed: str
    has_width: bool = False
    published: dict[str, Published] = field(default_factory=dict)
    squeezes: dict[str, str] = field(default_factory=dict)

    def short(self, arch: str, width: float) -> str:
        """Return architecture and width, such as ``mobilenetv2_dcd ×0.5``."""
        return f"{arch} ×{width:g}" if self.has_width else arch

    def describe(self, arch: str, width: float, squeeze: int) -> str:
        """Return the short name, and the squeeze of a dynamic network whose family has one."""
        has_squeeze = self.has_width and arch.endswith(DYNAMIC_SUFFIX)
        return self.short(arch, width) + (f", fc_squeeze {squeeze}" if has_squeeze else "")

    def file_stem(self, arch: str, width: float) -> str:
        """Return the name as files have it, such as ``mobilenetv2_dcd_x0.5``."""
        return f"{arch}_x{width:g}" if self.has_width else arch


MOBILENETV2 = FamilyNames(
    "mobilenetv2",
    "MobileNetV2",
    has_width=True,
    published={
        "mobilenetv2 ×0.5": Published(65.4, DCD),
        "mobilenetv2_dcd ×0.5": Published(70.2, DCD),
        "mobilenetv2 ×0.75": Published(69.8, MOBILENET),
        "mobilenetv2 ×1": Published(72.0, DCD),
    },
    squeezes={"mobilenetv2_dcd ×0.5": "8"},
)
RESNET = FamilyNames(
    "resnet", "ResNet", published={"resnet18": Published(70.4, DCD), "resnet18_dcd": Published(73.1, DCD)}
)
FAMILIES = (MOBILENETV2, RESNET)


def names_of(arch: str) -> FamilyNames:
    """Return the names of an architecture's family; one that is not known is called what it calls itself."""
    return next((family for family in FAMILIES if arch.startswith(family.name)), FamilyNames(arch, arch))


def published(network: str | None) -> Published | None:
    """Return the published accuracy of a network, named as ``FamilyNames.describe`` does; None where none is known."""
    found = DESCRIBED.fullmatch(network or "")
    if not found:
        return None
    name, depth, dynamic, width, squeeze = found.groups(default="")
    arch = f"{name}{depth}{dynamic}"
    family = names_of(arch)
    key = arch + (f" ×{float(width):g}" if width else "")
    return family.published.get(key) if squeeze in ("", family.squeezes.get(key)) else None


def title(network: str) -> str:
    """Return "MobileNetV2-DCD ×1.0" for "mobilenetv2_dcd ×1, fc_squeeze 16"; names of no known family as they are."""
    found = DESCRIBED.fullmatch(network)
    family = names_of(network)
    if not found or family not in FAMILIES:
        return network
    name, depth, dynamic, width, _ = found.groups(default="")
    if name != family.name:
        return network
    numbered = f"-{depth}" if depth else ""
    return family.printed + numbered + ("-DCD" if dynamic else "") + (f" ×{float(width)}" if width else "")
