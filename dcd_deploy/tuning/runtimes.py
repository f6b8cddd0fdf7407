"""The targets that one can tune for: those of one runtime, and what that runtime is where it is measured."""

from __future__ import annotations

from dcd_deploy import artifacts
from dcd_deploy.benchmarks.environment import Environment
from dcd_deploy.errors import MissingDependencyError, OptionError, UnknownNameError
from dcd_deploy.export.formats import QUANTISED
from dcd_deploy.lowering.targets import (
    EXECUTORCH,
    LITERT,
    LITERT_COMPILED,
    ONNXRUNTIME_ARM,
    ONNXRUNTIME_X86,
    Target,
    target_for,
)

ONNXRUNTIME, ONNXRUNTIME_PLAIN, LITERT_RUNTIME = "onnxruntime", "onnxruntime-plain", "litert"
COMPILED_RUNTIME = artifacts.LITERT_COMPILED
PACKAGES = {
    ONNXRUNTIME: ("onnxruntime",),
    ONNXRUNTIME_PLAIN: ("onnxruntime",),
    LITERT_RUNTIME: ("ai-edge-litert", "tflite-runtime"),
    COMPILED_RUNTIME: ("ai-edge-litert",),
    EXECUTORCH.name: ("executorch",),
}  # runtime → the packages that bring it
TUNABLE = (ONNXRUNTIME_X86, ONNXRUNTIME_ARM, LITERT, LITERT_COMPILED, EXECUTORCH)
RUNTIMES = {
    ONNXRUNTIME_X86.name: (ONNXRUNTIME,),
    ONNXRUNTIME_ARM.name: (ONNXRUNTIME, ONNXRUNTIME_PLAIN),
    LITERT.name: (LITERT_RUNTIME,),
    LITERT_COMPILED.name: (COMPILED_RUNTIME,),
    EXECUTORCH.name: (EXECUTORCH.name,),
}  # target → what it is measured on, on its own kind of machine, and elsewhere


def check_tunable(name: str, precision: str = artifacts.FLOAT32) -> Target:
    """Return the target of that name in a precision.

    Raises:
        OptionError: it is no single runtime, or its files compute in float32 alone.
        UnknownNameError: there is no such precision.
    """
    if precision not in artifacts.PRECISIONS:
        raise UnknownNameError("precision", precision, artifacts.PRECISIONS)
    for target in TUNABLE:
        if target.name == name:
            if precision != artifacts.FLOAT32 and target.format not in QUANTISED:
                raise OptionError(
                    expected=f"a `target` whose files compute in {precision}, with `precision` {precision}",
                    found=f"{name}, whose files compute in float32 alone",
                )
            return target_for(name, target.format, precision)
    names = ", ".join(target.name for target in TUNABLE)
    raise OptionError(expected=f"a `target` that is one runtime to measure on ({names})", found=f"'{name}'")


def runtime_of(target: Target, environment: Environment) -> str:
    """Return the runtime to measure a target on; for ARM elsewhere it is onnxruntime without its blocked layout."""
    elsewhere = not environment.system.endswith(("aarch64", "arm64"))
    return RUNTIMES[target.name][-1 if elsewhere else 0]


def version_of(runtime: str, environment: Environment) -> str | None:
    """Return the version of a runtime's package; None where it is not installed."""
    return next((environment.packages[name] for name in PACKAGES[runtime] if name in environment.packages), None)


def installed_version(runtime: str, environment: Environment, device: str) -> str:
    """Return the version of a runtime on the device.

    Raises:
        MissingDependencyError: it is not there.
    """
    if (found := version_of(runtime, environment)) is not None:
        return found
    packages = " or ".join(PACKAGES[runtime])
    raise MissingDependencyError(
        expected=f"{packages} on '{device}' to tune for",
        found="none",
        advice="install it there, or choose another `target`",
    )


def processor(environment: Environment) -> str:
    """Return what kind of machine it is: processors of one name differ in their vectors, above all virtual ones."""
    return " ".join((environment.cpu, *environment.features))
