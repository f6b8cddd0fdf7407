"""Which file is for which runtime: one table of what each needs, and what it is known to get wrong.

``since`` is the oldest version on which a file of ours was checked (``docs/other-runtimes.md``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dcd_deploy.artifacts import FLOAT32, UINT8
from dcd_deploy.errors import OptionError, UnknownNameError
from dcd_deploy.lowering.targets import PORTABLE


@dataclass(frozen=True)
class RuntimeNeeds:
    """What a runtime asks of a file.

    ``format`` is its own, ``also`` another that it reads; ``targets`` are those it runs, the best first.
    ``constant_kernels``: it takes no convolution with computed weights, or not every one. ``bytes``: pictures as raw
    bytes were tried on it. ``one_partition``: of onnxruntime's table of operators for mobile processors the file may
    use no other. ``booleans``: it reads constants of truth values. ``adding``: it adds up what ScatterND puts in one
    place. ``notes`` are told at export.
    """

    since: str
    format: str = "onnx"
    also: str | None = None
    targets: tuple[str, ...] = (PORTABLE,)
    newest_opset: int = 26
    bytes: bool = False
    fixed_batch: bool = False
    constant_kernels: bool = False
    one_partition: bool = False
    booleans: bool = True
    adding: bool = True
    notes: tuple[str, ...] = ()

    def check(
        self, name: str, formats: Sequence[str], target: str, batch: int | None, opset: int, input_type: str = FLOAT32
    ) -> str:
        """Return the target of the file.

        Raises:
            OptionError: an option is not one for this runtime.
        """
        readable = [self.format] if self.also is None else [self.format, self.also]
        if not set(formats) <= set(readable):
            raise OptionError(expected=f"`to` {' or '.join(readable)} with `for_` {name}", found=",".join(formats))
        if target not in (PORTABLE, *self.targets):
            raise OptionError(expected=f"`target` {' or '.join(self.targets)} with `for_` {name}", found=target)
        if self.fixed_batch and batch is None:
            raise OptionError(
                expected=f"a number as `batch` with `for_` {name}, which needs fixed sizes", found="dynamic"
            )
        if input_type == UINT8 and not self.bytes:
            raise OptionError(
                expected=f"`input_` float32 with `for_` {name}, on which bytes were not tried",
                found=input_type,
                advice="leave `input_` out",
            )
        if self.format == "onnx" and opset > self.newest_opset:
            raise OptionError(
                expected=f"`opset` up to {self.newest_opset} with `for_` {name}, which is what {self.since} reads",
                found=opset,
                advice="leave `opset` out",
            )
        return self.targets[0] if target == PORTABLE else target


ANY_ONNXRUNTIME = (PORTABLE, "onnxruntime-arm", "onnxruntime-x86")
HALF = "it computes in float16 by default where the processor can; switch that off where 5e-5 of the range matters"
WINOGRAD = "its Winograd convolutions are off by up to 2.5e-4 of the range in 3x3 layers; hint 3 at 0 switches them off"
NOT_RUN = "checked by onnxruntime's table of operators, not on a device"
NEEDS = {
    "onnxruntime": RuntimeNeeds("1.16", also="ort", targets=ANY_ONNXRUNTIME, newest_opset=19, bytes=True),
    "onnxruntime-web": RuntimeNeeds("1.18", newest_opset=19),
    "openvino": RuntimeNeeds("2026.4"),
    "mnn": RuntimeNeeds("3.6", adding=False, notes=(WINOGRAD,)),
    "ncnn": RuntimeNeeds("1.0.20261020, pnnx 20261020", fixed_batch=True, notes=(HALF,)),
    "tract": RuntimeNeeds("0.23"),
    "opencv": RuntimeNeeds("5.0"),
    "opencv4": RuntimeNeeds("4.14", constant_kernels=True, booleans=False),
    "onnx2tf": RuntimeNeeds("1.29", fixed_batch=True, constant_kernels=True, notes=("`to` tflite is quicker",)),
    "nnapi": RuntimeNeeds(
        "1.16", newest_opset=19, fixed_batch=True, constant_kernels=True, one_partition=True, notes=(NOT_RUN,)
    ),
    "coreml": RuntimeNeeds(
        "1.16", newest_opset=19, fixed_batch=True, constant_kernels=True, one_partition=True, notes=(NOT_RUN,)
    ),
    "litert": RuntimeNeeds("2.3", format="tflite", targets=("litert", PORTABLE), bytes=True),
    "litert-compiled": RuntimeNeeds("2.3", format="tflite", targets=("litert-compiled",), bytes=True),
}


def needs_of(name: str) -> RuntimeNeeds:
    """Return what a runtime needs.

    Raises:
        UnknownNameError: there is no such runtime.
    """
    if name not in NEEDS:
        raise UnknownNameError("runtime", name, tuple(NEEDS))
    return NEEDS[name]
