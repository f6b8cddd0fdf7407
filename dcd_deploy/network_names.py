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
# what ``FamilyNames.describe`` writes: name, depth, dynamic, width, squeeze; behind it the settings of a file
DESCRIBED = re.compile(r"([a-z]\w*?)(\d{2,3})?(_dcd)?(?: ×(\d{1,2}(?:\.\d{1,4})?))?(?:, fc_squeeze (\d{1,4}))?")
SETTINGS = re.compile(r"(, (?:(?:float16|int8) weights|in int8))?(, for [a-z0-9-]{1,40})?\Z")


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


def with_settings(network: str, weights: str, target: str | None, precision: str = "float32") -> str:
    """Return the name of a file's network with how it was made: "resnet18_dcd, int8 weights, for onnxruntime-x86".

    What is usual is left out: weights and computing in float32, and a portable target or none.
    """
    stored = "" if weights == "float32" else f", {weights} weights"
    stored = stored if precision == "float32" else f", in {precision}"
    return f"{network}{stored}" + (f", for {target}" if target not in (None, "portable") else "")


def labelled(name: str, network: str | None) -> str:
    """Return what reports call a file, with what is unusual of how it was made: "mine.onnx (int8 weights)"."""
    settings = _parts(network or "")[1].removeprefix(", ")
    return f"{name} ({settings})" if settings else name


def both_labelled(name: str, before: str | None, after: str | None) -> str:
    """Return the label of a file that was measured twice, and may have been made anew in between."""
    first, then = labelled(name, before), labelled(name, after)
    return first if first == then else f"{first} → {then}"


def _parts(network: str) -> tuple[str, str]:
    """Return the name, and the settings with the comma before them."""
    found = SETTINGS.search(network)
    return (network, "") if found is None else (network[: found.start()], found[0])


def published(network: str | None) -> Published | None:
    """Return the published accuracy of a network, named as ``FamilyNames.describe`` does; None where none is known.

    Weights that were rounded are other weights, and so is what computes in int8.
    """
    described, settings = _parts(network or "")
    found = DESCRIBED.fullmatch(described)
    if not found or "weights" in settings or ", in " in settings:
        return None
    name, depth, dynamic, width, squeeze = found.groups(default="")
    arch = f"{name}{depth}{dynamic}"
    family = names_of(arch)
    key = arch + (f" ×{float(width):g}" if width else "")
    return family.published.get(key) if squeeze in ("", family.squeezes.get(key)) else None


def title(network: str) -> str:
    """Return "MobileNetV2-DCD ×1.0" for "mobilenetv2_dcd ×1, fc_squeeze 16"; names of no known family as they are."""
    described, settings = _parts(network)
    found = DESCRIBED.fullmatch(described)
    family = names_of(network)
    if not found or family not in FAMILIES:
        return network
    name, depth, dynamic, width, _ = found.groups(default="")
    if name != family.name:
        return network
    numbered = f"-{depth}" if depth else ""
    return family.printed + numbered + ("-DCD" if dynamic else "") + (f" ×{float(width)}" if width else "") + settings
