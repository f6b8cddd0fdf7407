"""The one door for optional packages: import, or an error that names the extra to install."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from dcd_deploy.errors import MissingDependencyError

EXTRA_OF = {
    "torch": "export",
    "onnx": "export",
    "onnxscript": "export",
    "onnxsim": "export",
    "safetensors.torch": "export",
    "PIL.Image": "image",
    "PIL.ImageOps": "image",
    "litert_torch": "tflite-export",
    "litert_torch.backend.lowerings": "tflite-export",
    "litert_converter.mlir.ir": "tflite-export",
    "litert_converter.mlir.dialects.stablehlo": "tflite-export",
    "ai_edge_quantizer.quantizer": "tflite-export",
    "flatbuffers": "tflite",
    "ai_edge_litert.schema_py_generated": "tflite",
    "ai_edge_litert.interpreter": "tflite",
    "ai_edge_litert.compiled_model": "tflite",
    "tflite_runtime.interpreter": "tflite-runtime",
    "executorch.runtime": "executorch",
    "executorch.exir": "executorch",
    "executorch.extension.pybindings.portable_lib": "executorch",
    "executorch.backends.xnnpack.xnnpack_preprocess": "executorch",
    "executorch.backends.xnnpack._passes.xnnpack_pass": "executorch",
    "executorch.backends.xnnpack.partition.xnnpack_partitioner": "executorch",
    "executorch.backends.xnnpack.partition.config": "executorch",
    "executorch.backends.xnnpack.partition.config.gemm_configs": "executorch",
    "executorch.backends.xnnpack.utils.utils": "executorch",
    "torch.fx.passes.infra.pass_base": "export",
    "jinja2": "report",
    "plotly.offline": "report",
    "onnxruntime": None,  # part of the base install, but runtimes may be replaced by hand
}

FORMATS = {
    "onnx": ("torch", "onnx", "onnxscript", "onnxsim"),
    "ort": ("torch", "onnx", "onnxscript", "onnxsim", "flatbuffers"),
    "tflite": ("torch", "litert_torch", "ai_edge_litert.interpreter"),
    "pte": ("torch", "executorch.exir"),
}  # of model files, and the packages that make them


def require_packages(format: str) -> None:
    """Raise MissingDependencyError unless what makes files of a format is installed."""
    for package in FORMATS.get(format, ()):
        check_installed(package)


def check_installed(name: str) -> None:
    """Raise MissingDependencyError if the module ``name`` is not there, without the time that importing it takes."""
    try:
        found = find_spec(name.partition(".")[0])
    except (ImportError, ValueError) as error:
        raise _missing(name, str(error)) from error
    if found is None:
        raise _missing(name, "it is not installed")


def require(name: str) -> ModuleType:
    """Return the module ``name``.

    Raises:
        MissingDependencyError: it is not installed; the message says how to get it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise _missing(name, str(error)) from error


def _missing(name: str, reason: str) -> MissingDependencyError:
    package = name.partition(".")[0]
    extra = next(extra for known, extra in EXTRA_OF.items() if known == name or known.partition(".")[0] == package)
    what = f"dcd-deploy[{extra}]" if extra else package
    return MissingDependencyError(
        f"this needs the package '{package}', which cannot be imported ({reason}); run: pip install '{what}'"
    )
