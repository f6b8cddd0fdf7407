"""The folder: data files, a manifest with their hashes, and the sample of a platform."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dcd_deploy import __version__
from dcd_deploy.artifacts import NHWC, ModelCard
from dcd_deploy.bundle.browser_runtime import browser_runtime
from dcd_deploy.bundle.golden import TOLERANCE, Golden, classifier_card, drawn_picture, golden, png, ppm
from dcd_deploy.bundle.sample import sample_files
from dcd_deploy.errors import OptionError, OutputError, UnknownNameError
from dcd_deploy.files import existing_file, staging, suffix_of
from dcd_deploy.runtimes.choice import runtimes_for
from dcd_deploy.runtimes.isolated import isolated_model
from dcd_deploy.runtimes.onnxruntime import X86_ALONE
from dcd_deploy.runtimes.preprocessing import Picture

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Platform:
    """Where a bundle runs: which files it takes, the command that starts it, the form of its picture.

    ``data`` is the folder within the bundle for what the sample reads, with a slash at its end; ``bytes``: its sample
    knows models of raw bytes too.
    """

    suffixes: tuple[str, ...]
    start: str
    picture: str = "picture.png"
    data: str = ""
    bytes: bool = False


PLATFORMS = {
    "python": Platform((".onnx", ".tflite"), "python predict.py", bytes=True),
    "web": Platform((".onnx",), "python -m http.server", bytes=True),
    "cpp": Platform((".onnx",), "cmake -B build && cmake --build build && build/predict", "picture.ppm"),
    "android": Platform((".tflite", ".onnx", ".ort"), "gradle :app:installDebug", data="app/src/main/assets/"),
    "ios": Platform((".onnx", ".ort"), "open Package.swift", data="Sources/Classifier/Bundle/"),
}


@dataclass(frozen=True)
class Bundle:
    """A folder that was written: its files, their size together in bytes, and the command that starts the sample."""

    folder: Path
    platform: str
    files: tuple[str, ...]
    size_bytes: int
    start: str


def write_bundle(
    path: Path,
    platform: str,
    folder: Path,
    *,
    labels: Sequence[str] = (),
    picture: Picture | None = None,
    web_runtime: Path | None = None,
) -> Bundle:
    """Write the bundle of a model file for a platform into a folder that is new or empty.

    ``labels`` are instead of the file's own, ``picture`` (H, W, 3) instead of the drawn one, ``web_runtime`` has the
    files of onnxruntime-web instead of those that npm fetches.

    Raises:
        UnknownNameError: no such platform. OutputError: there is something in the folder.
        OptionError: a model that the platform cannot run, or labels of another number.
        ModelFileError: the model says nothing of itself. VerificationError: it does not compute what was trained.
    """
    if platform not in PLATFORMS:
        raise UnknownNameError("platform", platform, PLATFORMS)
    kind = PLATFORMS[platform]
    _check_folder(folder)
    _check_file(existing_file(path, "a model file"), platform)
    with isolated_model(path) as model:
        card = classifier_card(model, takes_bytes=kind.bytes)
        names = _labels(card, labels)
        wanted = golden(model, drawn_picture() if picture is None else picture)
    data = _data(path, card, names, wanted, kind)
    runtime = browser_runtime(web_runtime) if platform == "web" else []
    data |= {MANIFEST: _manifest(path, card, wanted, kind, data)} | {file.name: file.read_bytes() for file in runtime}
    written = {kind.data + name: content for name, content in data.items()} | sample_files(platform, path, card)
    with staging(folder) as stage:
        for name, content in written.items():
            (stage / name).parent.mkdir(parents=True, exist_ok=True)
            (stage / name).write_bytes(content)
    return Bundle(folder, platform, tuple(sorted(written)), sum(map(len, written.values())), kind.start)


def _check_folder(folder: Path) -> None:
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise OutputError(
            expected=f"a folder '{folder}' that is new or empty",
            but="there is something in it" if folder.is_dir() else "it is a file",
            advice="nothing was changed: choose another `out`, or move it away",
        )


def _check_file(path: Path, platform: str) -> None:
    suffixes = PLATFORMS[platform].suffixes
    runtimes_for(path)  # names what is no model file at all
    if suffix_of(path) not in suffixes:
        raise OptionError(
            expected=f"a model file ({' or '.join(suffixes)}) for {platform}",
            found=path.suffix or "no suffix",
            advice="export it in that format",
        )
    if platform == "web" and X86_ALONE.encode() in path.read_bytes():
        raise OptionError(
            expected="a model with ONNX's own operators, which a browser has",
            found=f"operators of {X86_ALONE}",
            advice="export it with `target` portable",
        )


def _labels(card: ModelCard, given: Sequence[str]) -> tuple[str, ...]:
    """Return a line for each class: the labels given, those of the file, or else the numbers of the classes."""
    classes = int(card.output.shape[1] or 0)
    labels = tuple(given) or card.labels or tuple(map(str, range(classes)))
    if len(labels) != classes:
        raise OptionError(
            expected=f"{classes} labels, one for each class of the network", found=len(labels), advice="check `labels`"
        )
    return tuple(" ".join(label.split()) for label in labels)


def _data(path: Path, card: ModelCard, labels: tuple[str, ...], wanted: Golden, kind: Platform) -> dict[str, bytes]:
    assert card.preprocessing is not None
    layout = NHWC if card.input.layout == NHWC else "nchw"
    preprocessing = asdict(card.preprocessing) | {"layout": layout, "type": card.input_type}
    return {
        f"model{suffix_of(path)}": path.read_bytes(),
        "labels.txt": "".join(f"{label}\n" for label in labels).encode("utf-8", "backslashreplace"),
        "preprocessing.json": _json(preprocessing),
        "golden-input.bin": wanted.input.tobytes() if wanted.input.dtype == np.uint8 else _floats(wanted.input),
        "golden-output.bin": _floats(wanted.output),
        kind.picture: ppm(wanted.picture) if kind.picture.endswith(".ppm") else png(wanted.picture),
        "picture-logits.bin": _floats(wanted.logits),
    }


def _manifest(path: Path, card: ModelCard, wanted: Golden, kind: Platform, data: dict[str, bytes]) -> bytes:
    return _json(
        {
            "producer": f"dcd-deploy {__version__}",
            "arch": card.arch,
            "model": f"model{suffix_of(path)}",
            "picture": kind.picture,
            "input": {"name": card.input.name, "shape": wanted.input.shape},
            "output": {"name": card.output.name, "classes": wanted.output.size},
            "range": wanted.range,
            "tolerance": TOLERANCE,
            "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in data.items()},
        }
    )


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=True) + "\n").encode()


def _floats(values: np.ndarray) -> bytes:
    return np.ascontiguousarray(values, "<f4").tobytes()
