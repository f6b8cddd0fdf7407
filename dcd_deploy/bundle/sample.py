"""The sample of a platform: its files, as they lie in the templates, with what they say of the model filled in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dcd_deploy.artifacts import LITERT_COMPILED, ModelCard
from dcd_deploy.files import suffix_of
from dcd_deploy.runtimes.litert_compiled import FLAGS

TEMPLATES = Path(__file__).parent / "templates"
COMPILED = "__pycache__"  # of the sample in Python: pip makes one when it installs us


@dataclass(frozen=True)
class AppRuntime:
    """What runs a kind of file on a platform: its name, the file of the sample that calls it, what brings it."""

    name: str
    source: str = ""
    dependency: str = ""


_ANDROID_ONNX = AppRuntime("onnxruntime", "OnnxRunner.kt", "com.microsoft.onnxruntime:onnxruntime-android:1.24.3")
RUNTIMES = {
    "python": {".onnx": AppRuntime("onnxruntime"), ".tflite": AppRuntime("ai-edge-litert")},
    "web": {".onnx": AppRuntime("onnxruntime-web")},
    "cpp": {".onnx": AppRuntime("onnxruntime")},
    "android": {
        ".onnx": _ANDROID_ONNX,
        ".ort": _ANDROID_ONNX,
        ".tflite": AppRuntime("LiteRT", "LiteRtRunner.kt", "com.google.ai.edge.litert:litert:2.3.0"),
    },
    "ios": dict.fromkeys((".onnx", ".ort"), AppRuntime("onnxruntime")),
}


def sample_files(platform: str, path: Path, card: ModelCard) -> dict[str, bytes]:
    """Return the files of the sample, by their paths in the bundle, for a model file with its description."""
    runtimes = RUNTIMES[platform]
    used = runtimes[suffix_of(path)]
    others = {each.source for each in runtimes.values()} - {used.source}
    root = TEMPLATES / platform
    there = (file for file in sorted(root.rglob("*")) if file.is_file() and file.parent.name != COMPILED)
    found = (file for file in there if file.name not in others)
    return {file.relative_to(root).as_posix(): _filled(file.read_bytes(), _said(path, card, used)) for file in found}


def _said(path: Path, card: ModelCard, used: AppRuntime) -> dict[str, str]:
    return {
        "@MODEL@": f"model{suffix_of(path)}",
        "@ARCH@": ascii(card.arch)[1:-1],
        "@SIZE@": "×".join(str(size) for size in card.input.torch_shape[2:]),
        "@RUNTIME@": used.name,
        "@RUNNER@": used.source,
        "@DEPENDENCY@": used.dependency,
        "@XNNPACK_FLAGS@": str(FLAGS) if card.runtime == LITERT_COMPILED else "null",
    }


def _filled(content: bytes, said: dict[str, str]) -> bytes:
    text = content.decode("utf-8")
    for place, value in said.items():
        text = text.replace(place, value)
    return text.encode("utf-8")
