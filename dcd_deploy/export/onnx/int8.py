"""The last stage of an ONNX file in int8: calibrated, quantised, and checked layer by layer and as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import onnx

from dcd_deploy.export.budget import within_budget
from dcd_deploy.export.build_config import BuildConfig
from dcd_deploy.export.calibration import generated_calibration
from dcd_deploy.export.checked_reference import CheckedReference
from dcd_deploy.export.onnx.quantised.build import calibrated, check_layers, rewritten
from dcd_deploy.export.onnx.quantised.exact import exact_runner
from dcd_deploy.export.onnx.quantised.formats import check_formats
from dcd_deploy.export.onnx.quantised.layer_noise import LayerNoise, check_layer_noise, layer_noise
from dcd_deploy.export.onnx.quantised.ranges import Ranges
from dcd_deploy.export.onnx.quantised.roles import Int8Site, sites
from dcd_deploy.export.quantised import float_answers, judged
from dcd_deploy.export.verify import Runner
from dcd_deploy.lowering.places import is_within
from dcd_deploy.lowering.targets import target_for
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
class OnnxQuantiser:
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

    def run(self, keep_float: Sequence[str]) -> Runner:
        """Return what runs the graph in int8, all but the layers ``keep_float``."""
        return exact_runner(self.graph(keep_float))

    def noisiest(self, keep_float: Sequence[str]) -> list[str]:
        """Return all other layers, of which least is left first."""
        noise = self.noise(self.graph(keep_float), keep_float)
        return list(dict.fromkeys(each.layer for each in sorted(noise, key=lambda each: each.isolated_db)))

    def without(self, keep_float: Sequence[str]) -> list[Int8Site]:
        """Return the sites of all other layers."""
        return [site for site in self.found if not is_within(site.layer, keep_float)]


def int8_graph(model: onnx.ModelProto, checked: CheckedReference, config: BuildConfig) -> Int8Graph:
    """Return a verified float32 graph in int8, and the check with what that costs.

    Raises:
        OptionError: a layer to keep in float32 is none.
        VerificationError: it costs more than it may.
    """
    calibration = config.calibration or generated_calibration(config.entries, config.preprocessing)
    found = sites(model.graph)
    if config.judged:
        check_layers(model.graph, found, config.keep_float)
    right = float_answers(exact_runner(model), calibration, checked.reference.names)
    bits = target_for(config.target, "onnx").weight_bits
    ranges = calibrated(model, found, calibration.inputs)
    quantiser = OnnxQuantiser(model, found, ranges, bits, calibration.images)
    if config.budget is not None and config.judged:
        kept = config.keep_float
        run = quantiser.run
        config = replace(config, keep_float=within_budget(run, lambda: quantiser.noisiest(kept), right, config))
    made = quantiser.graph(config.keep_float)
    noise: list[LayerNoise] = []
    if config.judged:
        check_formats(model, made, quantiser.without(config.keep_float), ranges, bits)
        noise = quantiser.noise(made, config.keep_float)
        check_layer_noise(noise)
    return Int8Graph(made, config, judged(checked, STAGE, exact_runner(made), right, config), tuple(noise))
