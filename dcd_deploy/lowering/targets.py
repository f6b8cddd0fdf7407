"""The targets that a network can be lowered for, and the rates that decide for each layer.

    onnxruntime-x86   keeps maps in blocks of channels (its NCHWc layout); everything else pays for leaving them
    onnxruntime-arm   plain layout; timed with onnxruntime's blocked layout switched off
    litert            TFLite's XNNPACK kernels, channels last
    litert-compiled   the same where they are told to take computed weights: LiteRT's CompiledModel with one flag
    portable          of each format, what is good on all of its targets and bad on none

The rates are nanoseconds, fitted by ``scripts/fit_costs.py`` to every lowering of every layer shape of the published
networks, each measured interleaved with its static layer, on one thread of an x86-64 core with AVX-512;
``docs/performance.md`` shows them beside what was measured.
"""

from __future__ import annotations

from dcd_deploy.errors import OptionError, UnknownNameError
from dcd_deploy.lowering.channels_first import CHANNELS_FIRST
from dcd_deploy.lowering.channels_last import CHANNELS_LAST
from dcd_deploy.lowering.lowering import Rates
from dcd_deploy.lowering.target import Target

X86 = Rates(0.01119, 0.0126, 0.05595, 0.06952, 0.03061, 260.9)
X86_STANDARD = Rates(0.009959, 0.01266, 0.06318, 0.04547, 0.02779, 301.3)  # without what x86 alone can run
PLAIN = Rates(0.01173, 0.0118, 0.008644, 0.06459, 0.02542, 295.6)
XNNPACK = Rates(0.009812, 0.0102, 0.02604, 0.0, 0.02777, 85.49)
COMPILED = Rates(0.01955, 0.01981, 0.06106, 0.0, 0.08764, 0.0)  # XNNPACK where it takes computed weights
PORTABLE = "portable"

ONNXRUNTIME_X86 = Target.serving("onnxruntime-x86", "onnx", CHANNELS_FIRST, X86)
ONNXRUNTIME_ARM = Target.serving("onnxruntime-arm", "onnx", CHANNELS_FIRST, PLAIN)
LITERT = Target.serving("litert", "tflite", CHANNELS_LAST, XNNPACK)
LITERT_COMPILED = Target.serving("litert-compiled", "tflite", CHANNELS_LAST, COMPILED)
PORTABLE_ONNX = Target.serving(PORTABLE, "onnx", CHANNELS_FIRST, X86_STANDARD, PLAIN)
PORTABLE_TFLITE = Target.serving(PORTABLE, "tflite", CHANNELS_LAST, XNNPACK, narrowing_kernels_from=56 * 56)

TARGETS = (ONNXRUNTIME_X86, ONNXRUNTIME_ARM, LITERT, LITERT_COMPILED, PORTABLE_ONNX, PORTABLE_TFLITE)
TARGET_NAMES = tuple(dict.fromkeys(target.name for target in TARGETS))


def target_for(name: str, format: str) -> Target:
    """Return the target of that name for a format, "onnx" or "tflite".

    Raises:
        UnknownNameError: there is no such target.
        OptionError: it runs files of another format.
    """
    if name not in TARGET_NAMES:
        raise UnknownNameError("target", name, TARGET_NAMES)
    for target in TARGETS:
        if (target.name, target.format) == (name, format):
            return target
    formats = " and ".join(target.format for target in TARGETS if target.name == name)
    raise OptionError(
        expected=f"`target` {name} with `to` {formats}", found=f"`to` {format}", advice="choose the one or the other"
    )
