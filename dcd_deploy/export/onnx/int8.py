"""The last stage of an ONNX file in int8: calibrated, quantised, and checked layer by layer and as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import onnx

from dcd_deploy.errors import OptionError, VerificationError
from dcd_deploy.export.build_config import BuildConfig
from dcd_deploy.export.calibration import generated_calibration
from dcd_deploy.export.checked_reference import CheckedReference
from dcd_deploy.export.onnx.quantised.build import calibrated, check_layers, rewritten
from dcd_deploy.export.onnx.quantised.formats import check_formats
from dcd_deploy.export.onnx.quantised.layer_noise import LayerNoise, check_layer_noise, layer_noise
from dcd_deploy.export.onnx.quantised.ranges import Ranges
from dcd_deploy.export.onnx.quantised.roles import Int8Site, layers, sites
from dcd_deploy.export.quantised import accuracy, answers, float_answers, judged
from dcd_deploy.export.truth import TrainReference
from dcd_deploy.export.verify import Runner
from dcd_deploy.lowering.targets import target_for
from dcd_deploy.runtimes.onnxruntime import OnnxRuntimeSession
from dcd_deploy.samples import Images

STAGE = "ONNX in int8"


@dataclass(frozen=True)
class Int8Graph:
    """A verified graph in int8, the settings with the layers that stay in float32, and the noise of the others."""

    model: onnx.ModelProto
    config: BuildConfig
    checked: CheckedReference
    layers: tuple[LayerNoise, ...]


@dataclass(frozen=True, eq=False)
class Quantiser:
    """A float32 graph, and what quantising it needs."""

    model: onnx.ModelProto
    found: Sequence[Int8Site]
    ranges: Ranges
    bits: int
    images: Images

    def graph(self, keep_float: Sequence[str]) -> onnx.ModelProto:
        """Return the graph in int8, all but the layers ``keep_float``."""
        return rewritten(self.model, self.found, self.ranges, self.bits, keep_float)

    def noise(self, made: onnx.ModelProto, keep_float: Sequence[str]) -> list[LayerNoise]:
        """Return what each layer of a graph in int8 costs."""
        return layer_noise(self.model, made, self.without(keep_float), self.images)

    def without(self, keep_float: Sequence[str]) -> list[Int8Site]:
        """Return the sites of all other layers."""
        return [site for site in self.found if site.layer not in keep_float]


def int8_graph(model: onnx.ModelProto, checked: CheckedReference, config: BuildConfig) -> Int8Graph:
    """Return a verified float32 graph in int8, and the check with what that costs.

    Raises:
        OptionError: a layer to keep in float32 is none.
        VerificationError: it costs more than it may.
    """
    calibration = config.calibration or generated_calibration(config.entries, config.preprocessing)
    found = sites(model.graph)
    if config.judged:
        check_layers(found, config.keep_float)
    right = float_answers(_runner(model), calibration, checked.reference.names)
    bits = target_for(config.target, "onnx").weight_bits
    ranges = calibrated(model, found, calibration.images)
    quantiser = Quantiser(model, found, ranges, bits, calibration.images)
    if config.budget is not None and config.judged:
        config = replace(config, keep_float=within_budget(quantiser, right, config))
    made = quantiser.graph(config.keep_float)
    noise: list[LayerNoise] = []
    if config.judged:
        check_formats(model, made, quantiser.without(config.keep_float), ranges, bits)
        noise = quantiser.noise(made, config.keep_float)
        check_layer_noise(noise)
    return Int8Graph(made, config, judged(checked, STAGE, _runner(made), right, config), tuple(noise))


def within_budget(quantiser: Quantiser, right: TrainReference, config: BuildConfig) -> tuple[str, ...]:
    """Return the layers that stay in float32 so that no more than the budget is lost: the noisiest, as few as serve.

    Their number doubles until it holds.

    Raises:
        OptionError: the calibration images have no labels.
        VerificationError: with half of the layers in float32 it is still more.
    """
    assert config.budget is not None
    kept, lost = config.keep_float, _lost(quantiser, config.keep_float, right, config)
    noise = quantiser.noise(quantiser.graph(kept), kept)
    worst = list(dict.fromkeys(each.layer for each in sorted(noise, key=lambda each: each.isolated_db)))
    number = 1
    while lost > config.budget:
        if number > len(layers(quantiser.found)) / 2:
            raise VerificationError(
                f"expected at most {config.budget:g} points of top-1 lost, found {lost:.2f} with {len(kept)} of "
                f"{len(layers(quantiser.found))} layers in float32; raise `budget`, or stay with `precision` float32"
            )
        kept = (*config.keep_float, *worst[:number])
        lost, number = _lost(quantiser, kept, right, config), 2 * number
    return kept


def _lost(quantiser: Quantiser, kept: Sequence[str], right: TrainReference, config: BuildConfig) -> float:
    outputs = answers(_runner(quantiser.graph(kept)), right.inputs, right.names)
    found = accuracy(outputs, right, config)
    if found is None:
        raise OptionError(
            expected="calibration images with labels of the network's classes, for `budget`",
            found="none",
            advice="give a folder of class folders, or an .npz file with 'labels'",
        )
    return found.lost


def _runner(model: onnx.ModelProto) -> Runner:
    return OnnxRuntimeSession(model.SerializeToString()).run_all
