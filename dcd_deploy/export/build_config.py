"""What a file is to be: the settings that every format's build shares."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dcd_deploy.artifacts import (
    FEATURES,
    FLOAT32,
    FLOAT32_TOLERANCE,
    INPUT,
    NHWC,
    OUTPUT,
    Preprocessing,
)
from dcd_deploy.errors import OptionError
from dcd_deploy.export.calibration import Calibration
from dcd_deploy.export.noise import LEAST_DB
from dcd_deploy.export.reference import CONTRASTS
from dcd_deploy.export.runtime_needs import needs_of
from dcd_deploy.lowering.network import Network, network_of
from dcd_deploy.lowering.passes.substitute import AUTO, Choice
from dcd_deploy.lowering.targets import PORTABLE
from dcd_deploy.models.spec import NO_HEAD, NetworkSpec
from dcd_deploy.samples import InputSpec, generated_inputs, inputs_from_file

DEFAULT_OPSET = 18
RGB = 3


@dataclass(frozen=True)
class BuildConfig:
    """What the graph is to be.

    ``preprocessing`` is None where the first input is no picture of three channels; ``inputs`` are left out where it
    is the only one. A ``batch`` of None is free; ``target`` is a name of ``lowering.targets``; ``samples`` is a
    .npy file of verification inputs, ``recorded`` an .npz file of what the user's network answered; ``opset`` counts
    for ONNX, and ``layout``, "nhwc" or "nchw", for the maps that go in and out of TFLite. ``alone`` is the name of an
    output that is the only one and has none; ``assumed`` says what no tensor tells, and which option sets it;
    ``runtime`` is what the file is for, a name of ``runtime_needs``, where that was said.
    Large weights are stored as ``weights``; without ``judged`` it may cost what it does. ``precision`` "int8" quantises
    by the ranges that ``calibration`` gives, all but the layers ``keep_float``; with a ``budget``, in points of top-1,
    more of them stay in float32, until no more than that is lost; "float16" asks for
    ``weights`` "float16". ``input_type`` is that of the
    first input: "uint8" of a picture's raw bytes, whose normalisation the network takes in (``lowering.raw_bytes``).
    """

    preprocessing: Preprocessing | None
    batch: int | None = 1
    lowering: Choice = AUTO
    target: str = PORTABLE
    opset: int = DEFAULT_OPSET
    tolerance: float = FLOAT32_TOLERANCE
    samples: Path | None = None
    layout: str = NHWC
    inputs: tuple[InputSpec, ...] = ()
    alone: str = OUTPUT
    recorded: Path | None = None
    assumed: tuple[str, ...] = ()
    runtime: str | None = None
    weights: str = FLOAT32
    judged: bool = True
    precision: str = FLOAT32
    calibration: Calibration | None = None
    keep_float: tuple[str, ...] = ()
    budget: float | None = None
    input_type: str = FLOAT32

    @property
    def traced_batch(self) -> int | None:
        """The batch size of the traced graph. With a free one no convolution has computed weights."""
        return None if self.runtime is not None and needs_of(self.runtime).constant_kernels else self.batch

    @property
    def least_db(self) -> float | None:
        """The signal-to-noise ratio that rounding the weights has to leave."""
        return LEAST_DB.get(self.weights) if self.judged else None

    @property
    def entries(self) -> tuple[InputSpec, ...]:
        """The inputs, of a classifier the one picture that its preprocessing makes."""
        return (replace(self._given[0], dtype=self.input_type), *self._given[1:])

    @property
    def _given(self) -> tuple[InputSpec, ...]:
        if self.inputs:
            return self.inputs
        if self.preprocessing is None:
            raise OptionError(expected="the inputs of the network or the preprocessing of its picture", found="neither")
        return (InputSpec(INPUT, (3, self.preprocessing.height, self.preprocessing.width)),)


def for_registry(spec: NetworkSpec, config: BuildConfig) -> BuildConfig:
    """Return the settings for a network of the registry: its channels, and what its output is called."""
    alone = FEATURES if spec.head_kind == NO_HEAD else OUTPUT
    if spec.in_channels == RGB or config.preprocessing is None:
        return replace(config, alone=alone)
    sides = (config.preprocessing.height, config.preprocessing.width)
    return replace(config, alone=alone, preprocessing=None, inputs=(InputSpec(INPUT, (spec.in_channels, *sides)),))


def picture_network(module: nn.Module, config: BuildConfig) -> Network:
    """Return a module that takes the inputs of ``config``, ready to be captured.

    Its example is a generated one. On a blank picture a deep dynamic network may overflow, and no pixel out of its
    place would show.
    """
    examples = generated_inputs(config.entries, config.preprocessing, 1, CONTRASTS[-1])
    return network_of(module, tuple(torch.from_numpy(values) for values in examples), config.alone)


def samples_for(config: BuildConfig) -> tuple[Any, ...]:
    """Return the verification inputs that the user chose.

    Raises:
        OptionError: the network has several inputs, which one .npy file does not hold.
        InputFileError: the file is none of them.
    """
    assert config.samples is not None
    if len(config.entries) > 1:
        raise OptionError(
            expected="`samples` for a network of one input",
            found=len(config.entries),
            advice="record what your network answers, and give `reference`",
        )
    return (inputs_from_file(config.samples, config.entries[0].shape, config.input_type),)


def graph_of(format: str) -> str:
    """Return the format whose graph a file holds: an .ort file is an ONNX graph in onnxruntime's own words."""
    return "onnx" if format == "ort" else format
