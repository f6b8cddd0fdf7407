"""The last stage of a TFLite file in half precision: its range measured, and judged as XNNPACK computes it so here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from dcd_deploy.artifacts import NHWC
from dcd_deploy.export.build_config import BuildConfig
from dcd_deploy.export.checked_reference import CheckedReference
from dcd_deploy.export.half import images_for, largest_activation
from dcd_deploy.export.quantised import float_answers, judged
from dcd_deploy.export.tflite.file import TfliteModel
from dcd_deploy.export.tflite.half import asking_for_half, flushed, pooled_sizes
from dcd_deploy.export.tflite.quantised.ranges import channels_last, measured
from dcd_deploy.export.verify import Runner
from dcd_deploy.runtimes.litert import LiteRtSession
from dcd_deploy.runtimes.litert_compiled import IN_HALF, LiteRtCompiledSession

Runs = Callable[[LiteRtSession, str], Runner]


def half_model(
    model: bytes, checked: CheckedReference, config: BuildConfig, runner: Runs
) -> tuple[bytes, CheckedReference, float]:
    """Return a verified model that asks for half precision, the check with its cost, and the largest activation.

    Raises:
        MissingDependencyError: there is no CompiledModel, which alone computes so on every machine.
        VerificationError: it costs more than it may, or an activation leaves the range.
    """
    images = images_for(config)
    right = float_answers(runner(LiteRtSession(model), config.layout), images, checked.reference.names)
    inputs = images.inputs if config.layout != NHWC else tuple(map(channels_last, images.inputs))
    ranges = measured(TfliteModel.from_bytes(model), inputs)
    sizes = {name: max(-float(each["min"].item()), float(each["max"].item())) for name, each in ranges.items()}
    sums = {name: values * sizes[source] for name, (source, values) in pooled_sizes(model).items()}
    largest = largest_activation(sizes, sums)
    opened = partial(LiteRtCompiledSession, threads=1, flags=IN_HALF)
    checked = judged(checked, "TFLite in float16", runner(opened(flushed(model)), config.layout), right, config)
    return asking_for_half(model), checked, largest
