"""What a picture's input takes: normalised values, or its raw bytes, which the network then normalises itself."""

from __future__ import annotations

from dcd_deploy.artifacts import INPUT_TYPES, UINT8, Preprocessing
from dcd_deploy.errors import OptionError, UnknownNameError
from dcd_deploy.export.build_config import BuildConfig
from dcd_deploy.lowering.capture import Captured
from dcd_deploy.lowering.raw_bytes import taking_bytes


def check_input_type(config: BuildConfig) -> None:
    """Refuse, before any work, bytes where nobody says how they are normalised, or answers to something else.

    Raises:
        OptionError: that is so. UnknownNameError: there is no such type.
    """
    if config.input_type not in INPUT_TYPES:
        raise UnknownNameError("type of input", config.input_type, INPUT_TYPES)
    if config.input_type != UINT8:
        return
    _normalisation(config)
    if config.recorded is not None:
        raise OptionError(
            expected="`input_` float32 together with `reference`, whose answers are to normalised inputs",
            found=UINT8,
            advice="leave one of them out",
        )


def taking_input(captured: Captured, config: BuildConfig) -> Captured:
    """Return a captured network that takes its first input as ``config`` has it.

    Raises:
        OptionError: it is to take bytes, and nobody says how they are normalised.
    """
    if config.input_type != UINT8:
        return captured
    settings = _normalisation(config)
    return taking_bytes(captured, settings.mean, settings.std)


def _normalisation(config: BuildConfig) -> Preprocessing:
    if config.inputs and (len(config.inputs[0].shape) != 3 or config.inputs[0].shape[0] != 3):
        raise OptionError(
            expected="a picture of three channels with `input_` uint8",
            found=f"an input {config.inputs[0].shape}",
            advice="leave `input_` out",
        )
    if config.preprocessing is None:
        raise OptionError(
            expected="an RGB picture and its `mean` and `std` together with `input_` uint8",
            found="a network without preprocessing",
            advice="give `mean` and `std`, or leave `input_` out",
        )
    return config.preprocessing
