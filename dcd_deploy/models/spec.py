"""What a network is, apart from its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from dcd_deploy.errors import ModelFileError

DYNAMIC_SUFFIX = "_dcd"
LARGEST = {"num_classes": 1_000_000, "width_mult": 8.0, "fc_squeeze": 1024, "dropout": 1.0}


@dataclass(frozen=True)
class NetworkSpec:
    """The arguments that build a network; ``arch`` ends in ``_dcd`` where its convolutions are dynamic.

    ``width_mult`` is MobileNetV2's alone and ``fc_squeeze`` MobileNetV2-DCD's; the ResNets ignore both. Any ``dropout``
    above zero puts the classifier at index 1 of its Sequential, as upstream does.
    """

    arch: str
    num_classes: int = 1000
    width_mult: float = 1.0
    fc_squeeze: int = 16
    dropout: float = 0.0

    @property
    def dynamic(self) -> bool:
        """Whether the convolutions are dynamic."""
        return self.arch.endswith(DYNAMIC_SUFFIX)

    def twin(self) -> NetworkSpec:
        """Return the static twin: the same channels with plain convolutions and a linear classifier."""
        return replace(self, arch=self.arch.removesuffix(DYNAMIC_SUFFIX))

    def describe(self) -> str:
        """Return a short name such as ``mobilenetv2_dcd ×0.5``."""
        if not self.arch.startswith("mobilenetv2"):
            return self.arch
        squeeze = f", fc_squeeze {self.fc_squeeze}" if self.dynamic else ""
        return f"{self.arch} ×{self.width_mult:g}{squeeze}"

    def file_name(self, height: int, width: int) -> str:
        """Return the usual name of a file of this network, such as ``mobilenetv2_dcd_x0.5_224``."""
        scale = f"_x{self.width_mult:g}" if self.arch.startswith("mobilenetv2") else ""
        return f"{self.arch}{scale}_{height}" + ("" if height == width else f"x{width}")

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> NetworkSpec:
        """Read a spec out of a model file's description, which anyone may have written.

        Raises:
            ModelFileError: a field is missing, of another type, or beyond any real network.
        """
        arch, numbers = data.get("arch"), {key: data.get(key) for key in LARGEST}
        bad = [k for k, v in numbers.items() if not isinstance(v, int | float) or not 0 <= v <= LARGEST[k]]
        if not isinstance(arch, str) or bad:
            raise ModelFileError(
                f"expected the network's settings in the file's description, found {bad or 'no arch'} wrong"
            )
        counts = {key: int(numbers[key]) for key in ("num_classes", "fc_squeeze")}  # type: ignore[call-overload]  # numbers, checked above
        return cls(arch, **counts, width_mult=float(numbers["width_mult"]), dropout=float(numbers["dropout"]))  # type: ignore[arg-type]
