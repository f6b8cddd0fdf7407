"""The targets that a network can be lowered for, and the rates that decide for each layer.

    onnxruntime-x86   keeps maps in blocks of channels (its NCHWc layout); everything else pays for leaving them
    onnxruntime-arm   plain layout; timed with onnxruntime's blocked layout switched off
    litert            TFLite's XNNPACK kernels, channels last
    portable          of each format, what is good on all of its targets and bad on none

The rates are nanoseconds, fitted by ``scripts/fit_costs.py`` to every form of every layer shape of the published
networks, each measured in turns with its static layer, on one thread of an x86-64 core with AVX-512;
``docs/performance.md`` shows them beside what was measured.
"""

from __future__ import annotations

from dcd_deploy.errors import OptionError, UnknownNameError
from dcd_deploy.models.deploy.channels_first import CHANNELS_FIRST
from dcd_deploy.models.deploy.channels_last import CHANNELS_LAST
from dcd_deploy.models.deploy.form import Rates
from dcd_deploy.models.deploy.target import Target

X86 = Rates(0.0125, 0.0143, 0.0460, 0.0552, 0.0203, 298.0)
X86_PORTABLE = Rates(0.0112, 0.0134, 0.0419, 0.0357, 0.0168, 454.0)  # fitted to forms of ONNX's own operators alone
PLAIN = Rates(0.0127, 0.0129, 0.0138, 0.0519, 0.0244, 270.0)
XNNPACK = Rates(0.0108, 0.0112, 0.0212, 0.0, 0.0258, 33.0)
PLAIN_FORMS = ("branch", "half", "kernel")

ONNXRUNTIME_X86 = Target("onnxruntime-x86", "onnx", CHANNELS_FIRST, (*PLAIN_FORMS, "blocked", "nchwc"), (X86,))
ONNXRUNTIME_ARM = Target("onnxruntime-arm", "onnx", CHANNELS_FIRST, PLAIN_FORMS, (PLAIN,))
LITERT = Target("litert", "tflite", CHANNELS_LAST, PLAIN_FORMS, (XNNPACK,))
PORTABLE_ONNX = Target("portable", "onnx", CHANNELS_FIRST, PLAIN_FORMS, (X86_PORTABLE, PLAIN))
PORTABLE_TFLITE = Target(
    "portable", "tflite", CHANNELS_LAST, ("branch", "kernel"), (XNNPACK,), narrowing_kernels_from=56 * 56
)

PORTABLE = "portable"
TARGETS = (ONNXRUNTIME_X86, ONNXRUNTIME_ARM, LITERT, PORTABLE_ONNX, PORTABLE_TFLITE)
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
    raise OptionError(f"expected --target {name} with --to {formats}, found --to {format}; choose the one or the other")
