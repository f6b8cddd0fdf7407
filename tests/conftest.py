"""What many tests need: networks with live statistics, checkpoints, the files exported from them, boards, phones."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

# A shell lets its background jobs, and their children, ignore Ctrl-C; the commands that the tests interrupt must not.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # nohup does the same with a terminal that is closed
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Before torch is loaded: its threads otherwise spin while they wait, and beside another busy process all tests crawl.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import benching
import boards
import lanes
import numpy as np
import phones
import pytest
from adb_phone import PhoneSide
from made_once import made_once
from torch import nn

from dcd_deploy import commands
from dcd_deploy.models.spec import NetworkSpec

gc.set_threshold(50_000, 20, 100)  # as the command line has it
ROOT = Path(__file__).parent.parent
DIGITS = ROOT / "examples" / "digits"
PHOTOGRAPHS = ROOT / "examples" / "photographs"
sys.path[:0] = [str(DIGITS), str(PHOTOGRAPHS), str(ROOT / "scripts")]

DIGITS_OPTIONS = {"input_size": 32, "resize": 32, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
# Few nodes, so that tracing it is quick, and a quarter of the usual channels, so that all else is
SMALL = NetworkSpec("resnet10_dcd", num_classes=10, channels=(16, 16, 16, 32, 32, 64, 64, 128, 128))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        if lane := lanes.lane_of(item.path.stem, set(getattr(item, "fixturenames", ())), marks):
            item.add_marker(lane)
    items.sort(key=lambda item: lanes.place_of(item.path.stem))


@pytest.fixture(scope="session")
def small_network() -> nn.Module:
    from dcd_deploy.models.random_weights import calibrated_network

    return calibrated_network(SMALL)


@pytest.fixture(scope="session")
def small_checkpoint(small_network, tmp_path_factory) -> Path:
    from dcd_deploy.models.random_weights import save_checkpoint

    return save_checkpoint(tmp_path_factory.mktemp("small") / "model_best.pth.tar", small_network, SMALL.arch)


@pytest.fixture(scope="session")
def digits_checkpoint() -> Path:
    return DIGITS / "dcd.pth.tar"


@pytest.fixture(scope="session")
def digits_export(digits_checkpoint, tmp_path_factory):
    """The bundled dynamic checkpoint, exported with its twin."""
    return made_once(tmp_path_factory, "digits", lambda out: exported(digits_checkpoint, out, to="onnx"))


@pytest.fixture(scope="session")
def digits_tflite(digits_checkpoint, tmp_path_factory):
    """The bundled dynamic checkpoint as a TFLite file, with its twin."""
    return made_once(tmp_path_factory, "digits_tflite", lambda out: exported(digits_checkpoint, out, to="tflite"))


def exported(checkpoint: Path, out: Path, **options: str):
    labels = DIGITS / "labels.txt"
    return commands.export(
        checkpoint, out=out, name="digits", labels=labels, with_baseline=True, **options, **DIGITS_OPTIONS
    )


@pytest.fixture(scope="session")
def digits_compiled(digits_checkpoint, tmp_path_factory):
    """The bundled dynamic checkpoint for LiteRT's CompiledModel, with its twin."""
    return made_once(
        tmp_path_factory,
        "digits_compiled",
        lambda out: exported(digits_checkpoint, out, to="tflite", target="litert-compiled"),
    )


@pytest.fixture(scope="session")
def training():
    """Digits (256, 3, 32, 32) that training saw, and their labels."""
    import digits

    images, _, labels, _ = digits.load()
    return digits.normalised(images[:256]), labels[:256]


@pytest.fixture(scope="session")
def calibration(training, tmp_path_factory):
    path = tmp_path_factory.mktemp("calibration") / "digits.npz"
    np.savez(path, images=training[0], labels=training[1])
    return path


@pytest.fixture(scope="session")
def digits_int8(digits_checkpoint, calibration, tmp_path_factory):
    """The bundled dynamic checkpoint in int8, with its twin."""

    def export(out):
        return commands.export(
            digits_checkpoint,
            out=out,
            name="digits",
            precision="int8",
            calibrate=calibration,
            with_baseline=True,
            **DIGITS_OPTIONS,
        )

    return made_once(tmp_path_factory, "digits_int8", export)


@pytest.fixture(scope="session")
def digits_half(digits_checkpoint, tmp_path_factory):
    """The bundled dynamic checkpoint in half precision, by format, each with its twin; judged on generated pictures."""

    def export(out):
        done = exported(digits_checkpoint, out, to="onnx,tflite", precision="float16")
        return {file.artifact.format: file for file in done.files}

    return made_once(tmp_path_factory, "digits_half", export)


@pytest.fixture(scope="session")
def onnx_file(digits_export) -> Path:
    return digits_export.artifact.path


@pytest.fixture(scope="session")
def onnx_pair(onnx_file) -> tuple[Path, Path]:
    """The bundled dynamic network and its static twin."""
    return onnx_file, onnx_file.with_name(f"{onnx_file.stem}-static.onnx")


@pytest.fixture(scope="session")
def tflite_pair(digits_tflite) -> tuple[Path, Path]:
    path = digits_tflite.artifact.path
    return path, path.with_name(f"{path.stem}-static.tflite")


@pytest.fixture(scope="session")
def held_out():
    """The digits that no training saw: pictures (n, 32, 32, 3) uint8 and labels."""
    import digits

    _, images, _, labels = digits.load()
    return images, labels


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Noise (3, 3, 32, 32), about as a model's input has pictures."""
    return np.random.default_rng(3).normal(0, 1.2, (3, 3, 32, 32)).astype(np.float32)


@pytest.fixture(scope="session")
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, 40, 56, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def realistic():
    return benching.realistic()


@pytest.fixture(scope="session")
def hostile():
    return benching.hostile()


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """Nothing is set up, whatever the user's cache has."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def running_board():
    board = boards.Board()
    yield board
    board.stop()


@pytest.fixture
def board(running_board, monkeypatch):
    """A board that ssh reaches as ssh://board, with nothing on it."""
    running_board.reset()
    monkeypatch.setenv("PATH", running_board.path)
    return running_board


@pytest.fixture(scope="module")
def adb_server(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        running = phones.Server(tmp_path_factory.mktemp("home"), patch)
        yield running
        running.stop()


@pytest.fixture
def phone_side(adb_server, tmp_path):
    """A phone that is plugged in."""
    yield adb_server.plug_in(PhoneSide(phones.make_root(tmp_path / "phone")))
    adb_server.unplug_all()


@pytest.fixture(scope="session")
def emulation():
    """What emulation needs; ``make test-long`` has made it before, and installed QEMU."""
    return commands.setup_emulated()


@pytest.fixture(scope="session")
def perf_test(tmp_path_factory):
    """A stand-in for onnxruntime's runner on phones."""
    program = tmp_path_factory.mktemp("runner") / "onnxruntime_perf_test"
    subprocess.run(["gcc", "-O1", "-o", str(program), str(phones.STAND_INS / "perf_test.c")], check=True)
    return program
