"""The versions of ONNX's operators that a file can be written in."""

from __future__ import annotations

from dcd_deploy.errors import OptionError

OPSETS = range(11, 27)
TRACED_FROM = 18  # the exporter's own oldest; it goes below in silence, where it can
TRACED_UP_TO = 25  # what its converter reaches for any operator; what is above is stated, where no operator changed


def check_opset(opset: int) -> None:
    """Raise OptionError unless the opset is among ``OPSETS``."""
    if opset not in OPSETS:
        raise OptionError(
            expected=f"an opset in {OPSETS.start}..{OPSETS.stop - 1}, the ones that come out right",
            found=opset,
            advice="choose another `opset`",
        )
