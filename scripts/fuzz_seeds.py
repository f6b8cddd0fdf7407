"""The sound files from which ``fuzz_inputs`` makes damaged ones: one of each kind."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

KINDS = {
    "onnx": "net.onnx",
    "tflite": "net.tflite",
    "ort": "net.ort",
    "pte": "net.pte",
    "checkpoint": "net.pth.tar",
    "legacy": "legacy.pth",
    "safetensors": "net.safetensors",
    "result": "result.json",
    "profile": "profile.json",
    "lowering": "lowering.json",
    "description": "description.json",
    "samples": "samples.npy",
    "recorded": "recorded.npz",
    "picture": "picture.png",
    "fleet": "devices.toml",
}


def make_seeds(folder: Path, kinds: Collection[str] = tuple(KINDS)) -> None:
    """Make the sound files of these kinds, and those that they are made from, where they are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, (make, makes) in MAKERS.items():
        if {kind, *makes} & set(kinds) and not (folder / KINDS[kind]).exists():
            make(folder)


def _network() -> Any:
    from dcd_deploy.models.random_weights import calibrated_network  # noqa: PLC0415
    from dcd_deploy.models.spec import NetworkSpec  # noqa: PLC0415

    return calibrated_network(NetworkSpec("mobilenetv2_dcd", num_classes=10, width_mult=0.1))


def _make_checkpoints(folder: Path) -> None:
    import torch  # noqa: PLC0415
    from safetensors.torch import save_file  # noqa: PLC0415

    state = _network().state_dict()
    content = {
        "state_dict": {f"module.{key}": value for key, value in state.items()},
        "epoch": 7,
        "arch": "mobilenetv2",
    }
    torch.save(content, folder / KINDS["checkpoint"])
    torch.save(content, folder / KINDS["legacy"], _use_new_zipfile_serialization=False)
    save_file(state, folder / KINDS["safetensors"])


def _make_models(folder: Path) -> None:
    from dcd_deploy import commands  # noqa: PLC0415

    commands.export(
        folder / KINDS["checkpoint"], to="onnx,ort,tflite", out=folder, name="net", input_size=32, with_baseline=True
    )


def _make_result(folder: Path) -> None:
    quickly = ["--min-runs", "10", "--min-seconds", "0.05", "--rounds", "1", "-q"]
    _command("bench", str(folder / KINDS["onnx"]), *quickly, "--save", str(folder / KINDS["result"]))


def _make_profile(folder: Path) -> None:
    (folder / KINDS["profile"]).write_bytes(_command("profile", str(folder / KINDS["onnx"]), "--runs", "5", "--json"))


def _command(*arguments: str) -> bytes:
    return subprocess.run([sys.executable, "-m", "dcd_deploy", *arguments], check=True, stdout=subprocess.PIPE).stdout


def _make_lowering(folder: Path) -> None:
    from dcd_deploy.tuning.lowering_file import TunedLowering, write_lowering  # noqa: PLC0415

    layers = {f"features.{i}.conv.0": "kernel" for i in range(2, 9)}
    facts = ("litert", "tflite", "mobilenetv2_dcd ×0.1", ((3, 32, 32),), "litert", "2.3.0", "local", "a processor", 1)
    write_lowering(folder / KINDS["lowering"], TunedLowering(*facts, layers))


def _make_description(folder: Path) -> None:
    from dcd_deploy.artifacts import METADATA_KEY  # noqa: PLC0415
    from dcd_deploy.runtimes import open_model  # noqa: PLC0415

    text = open_model(folder / KINDS["onnx"], threads=1).session.metadata[METADATA_KEY]
    (folder / KINDS["description"]).write_text(text, encoding="utf-8", newline="\n")


def _make_arrays(folder: Path) -> None:
    import numpy as np  # noqa: PLC0415

    rng = np.random.default_rng(0)
    np.save(folder / KINDS["samples"], rng.standard_normal((2, 3, 32, 32), np.float32))
    pictures, answers = rng.standard_normal((2, 3, 8, 8), np.float32), rng.standard_normal((2, 10))
    np.savez(folder / KINDS["recorded"], input=pictures, output=answers)


def _make_picture(folder: Path) -> None:
    import numpy as np  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415

    levels = np.add.outer(np.arange(40), np.arange(56))[..., None] * np.array([1, 2, 3])
    Image.fromarray(levels.astype(np.uint8)).save(folder / KINDS["picture"])


def _make_fleet(folder: Path) -> None:
    text = '[devices.pi]\ndevice = "ssh://pi@board"\ncpus = "2,3"\nthreads = "1,2"\n\n[devices.phone]\ndevice = "adb"\n'
    (folder / KINDS["fleet"]).write_text(text, encoding="utf-8", newline="\n")


PROGRAM = Path(__file__).parents[1] / "tests" / "golden" / "small.pte"
MODELS = ("tflite", "ort", "result", "profile", "description")


MAKERS: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "checkpoint": (_make_checkpoints, ("legacy", "safetensors", "onnx", *MODELS)),
    "onnx": (_make_models, MODELS),
    "result": (_make_result, ()),
    "profile": (_make_profile, ()),
    "lowering": (_make_lowering, ()),
    "description": (_make_description, ()),
    "samples": (_make_arrays, ("recorded",)),
    "picture": (_make_picture, ()),
    "fleet": (_make_fleet, ()),
    "pte": (lambda folder: shutil.copy(PROGRAM, folder / KINDS["pte"]), ()),
}  # kind → what makes it, and the kinds that are made with it or from it
