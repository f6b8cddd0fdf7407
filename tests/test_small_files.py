"""Files with weights stored small, end to end: every target, both formats, the bundled network and one's own."""

import io
import subprocess
import sys

import digits
import numpy as np
import onnx
import pytest
import torch
from conftest import DIGITS, DIGITS_OPTIONS
from deployed import deployed
from foreign_networks import NETWORKS
from rich.console import Console
from test_small_weights import planted, stored, tensors

import dcd_deploy
from dcd_deploy import commands
from dcd_deploy.artifacts import METADATA_KEY
from dcd_deploy.errors import ModelFileError, VerificationError
from dcd_deploy.export.deployable import deployable
from dcd_deploy.export.noise import LEAST_DB, snr_db
from dcd_deploy.export.onnx.simplify import simplify
from dcd_deploy.export.onnx.store import store_onnx
from dcd_deploy.export.onnx.trace import to_onnx
from dcd_deploy.export.tflite.convert import to_tflite
from dcd_deploy.export.tflite.file import finish
from dcd_deploy.export.tflite.store import store_tflite
from dcd_deploy.export.twin import export_twin
from dcd_deploy.export.verify import FLOAT32_TOLERANCE, ROUNDED
from dcd_deploy.lowering.targets import PORTABLE_ONNX, PORTABLE_TFLITE
from dcd_deploy.models.checkpoint import read_checkpoint
from dcd_deploy.models.fit import fit, load_network
from dcd_deploy.models.random_weights import calibrated_network
from dcd_deploy.models.spec import NetworkSpec
from dcd_deploy.reports.export import show_export
from dcd_deploy.runtimes import open_model, self_check
from dcd_deploy.runtimes.litert import LiteRtSession
from dcd_deploy.runtimes.nodes import delegation

LEAST_ON_DIGITS = {"int8": 40.0, "float16": 65.0}
MOST_OF_FLOAT = {"onnx": {"int8": 0.28, "float16": 0.51}, "tflite": {"int8": 0.33, "float16": 0.54}}


@pytest.fixture(scope="module")
def exported(digits_checkpoint, tmp_path_factory):
    """The bundled network in both formats, with its twin."""
    out = tmp_path_factory.mktemp("int8")
    to = "onnx,tflite"
    return commands.export(
        digits_checkpoint, to=to, out=out, name="digits", weights="int8", with_baseline=True, **DIGITS_OPTIONS
    )


def test_the_file_says_it_and_is_checked_later(exported, digits_checkpoint, tmp_path):
    for file in exported.files:
        path = file.artifact.path
        card = open_model(path, threads=1).described()
        assert card.weights == file.built.weights
        assert card.weights.format == "int8"
        assert card.weights.snr_db >= card.weights.least_db == LEAST_DB["int8"]
        assert (card.target, card.opset) == ("portable", 18 if path.suffix == ".onnx" else None)
        assert self_check(open_model(path, threads=1)).checked().relative <= FLOAT32_TOLERANCE
        report = commands.verify(path, checkpoint=digits_checkpoint)
        assert report.passed
        assert (len(report.noise), report.comparisons[-1].against) == (1, ROUNDED)
        twin = open_model(file.baseline, threads=1).described()
        assert (twin.weights.format, twin.weights.least_db) == ("int8", None)
        assert path.stat().st_size < 0.45 * file.built.sizes["float32"]
        assert path.stat().st_size == pytest.approx(file.built.sizes["int8"], rel=0.05)


def test_a_fault_in_the_file_is_found_later(exported, digits_checkpoint, tmp_path):
    model = onnx.load(exported.artifact.path)
    name = stored(model, "scale")[20]
    faulty = tmp_path / "faulty.onnx"
    onnx.save(planted(model, {name: tensors(model)[name] * 2}), faulty)
    with pytest.raises(VerificationError, match="rounded weights"):
        commands.verify(faulty, checkpoint=digits_checkpoint)
    with pytest.raises(VerificationError):
        commands.verify(faulty)


def test_a_description_that_lies_is_refused(exported, digits_checkpoint, tmp_path):
    def saying(change) -> str:
        model = onnx.load(exported.artifact.path)
        (entry,) = (prop for prop in model.metadata_props if prop.key == METADATA_KEY)
        entry.value = change(entry.value)
        path = tmp_path / "lying.onnx"
        onnx.save(model, path)
        return path

    with pytest.raises(VerificationError):  # rounded as half precision is another network
        commands.verify(
            saying(lambda text: text.replace('"format":"int8"', '"format":"float16"')), checkpoint=digits_checkpoint
        )
    with pytest.raises(VerificationError):
        commands.verify(
            saying(lambda text: text.replace('"format":"int8"', '"format":"float32"')), checkpoint=digits_checkpoint
        )
    with pytest.raises(ModelFileError, match="order of computation"):
        commands.verify(saying(lambda text: text.replace('"branch"', '"unheard"')), checkpoint=digits_checkpoint)
    with pytest.raises(ModelFileError, match="weights 'int4'"):
        commands.verify(saying(lambda text: text.replace('"format":"int8"', '"format":"int4"')))


def test_the_twin_made_for_a_file_is_stored_alike(exported, tmp_path):
    card = open_model(exported.artifact.path, threads=1).described()
    twin = open_model(export_twin(card, tmp_path / "twin.onnx"), threads=1).described()
    assert (twin.weights.format, twin.target, twin.opset) == ("int8", "portable", 18)


@pytest.fixture(scope="module")
def halves(digits_checkpoint, tmp_path_factory):
    """The bundled network in both formats, with weights in half precision."""
    out = tmp_path_factory.mktemp("float16")
    return commands.export(digits_checkpoint, to="onnx,tflite", out=out, weights="float16", **DIGITS_OPTIONS)


def test_signal_over_noise_on_held_out_digits(exported, halves, held_out):
    """What the trained network loses on pictures that it was not trained on: no decision, and less than was asked."""
    images, _ = held_out
    checkpoint = read_checkpoint(DIGITS / "dcd.pth.tar")
    with torch.inference_mode():
        pictures = torch.from_numpy(digits.normalised(images)).double()
        trained = load_network(checkpoint, fit(checkpoint))(pictures).numpy()
    for file in (*exported.files, *halves.files):
        found = open_model(file.artifact.path).run(digits.normalised(images))
        assert snr_db(found, trained) >= LEAST_ON_DIGITS[file.built.weights.format]
        assert (found.argmax(1) == trained.argmax(1)).all()


def test_xnnpack_takes_all_in_one_piece(exported, halves):
    for result in (exported, halves):
        session = LiteRtSession(result.files[1].artifact.path, threads=1)
        found = delegation(session)
        assert (found.partitions, found.left_out) == (1, ())


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_sizes_of_a_whole_network(format):
    network = calibrated_network(NetworkSpec("mobilenetv2_dcd", 1000))
    for weights, most in MOST_OF_FLOAT[format].items():
        target = PORTABLE_ONNX if format == "onnx" else PORTABLE_TFLITE
        deploy = deployed(network, 224, 224, target=target)
        single = deployable(deploy.module, weights)
        if format == "onnx":
            model = simplify(to_onnx(single, 224, 224).tidied)
            before, after = model.ByteSize(), store_onnx(model, weights).ByteSize()
        else:
            content = finish(to_tflite(single, 224, 224), deploy.places)
            before, after = len(content), len(store_tflite(content, weights))
        assert after <= most * before


@pytest.mark.parametrize(
    ("target", "batch"),
    [
        ("portable", "dynamic"),
        ("onnxruntime-arm", 1),
        ("onnxruntime-arm", 3),
        ("onnxruntime-x86", 1),
        ("onnxruntime-x86", "dynamic"),
        ("litert", 2),
        ("litert-compiled", 1),
    ],
)
@pytest.mark.parametrize("weights", ["int8", "float16"])
def test_every_target(target, batch, weights, small_checkpoint, tmp_path):
    to = "tflite" if target.startswith("litert") else "onnx"
    result = commands.export(
        small_checkpoint, to=to, target=target, batch=batch, weights=weights, input_size=32, out=tmp_path
    )
    card = open_model(result.artifact.path, threads=1).described()
    assert (card.target, card.weights.format) == (target, weights)
    assert result.built.report.passed
    assert result.built.sizes[weights] < 0.6 * result.built.sizes["float32"]
    assert self_check(open_model(result.artifact.path)).checked().relative <= FLOAT32_TOLERANCE
    assert commands.verify(result.artifact.path, checkpoint=small_checkpoint).passed


@pytest.mark.parametrize("name", sorted(NETWORKS))
@pytest.mark.parametrize("to", ["onnx", "tflite"])
def test_networks_of_ones_own(name, to, tmp_path):
    module, example = NETWORKS[name]()
    result = dcd_deploy.export_module(module, example, to=to, out=tmp_path, weights="int8")
    assert result.built.report.passed
    assert result.built.weights.format == "int8"


def test_recorded_answers_are_judged_by_signal_over_noise(tmp_path):
    module, example = NETWORKS["grey"]()
    pairs = dcd_deploy.record_reference(module, torch.randn(4, *example[0].shape[1:]), tmp_path / "pairs.npz")
    result = dcd_deploy.export_module(module, example, out=tmp_path, reference=pairs, weights="int8")
    assert [each.against for each in result.built.report.noise][1:] == ["your network's recorded answers"]
    report = commands.verify(result.artifact.path, reference=pairs)
    assert report.passed
    assert report.noise[0].snr_db >= LEAST_DB["int8"]
    with pytest.raises(VerificationError, match="recorded"):  # a limit that is given is kept
        commands.verify(result.artifact.path, reference=pairs, tolerance=1e-6)
    content = dict(np.load(pairs))
    output = next(name for name in content if content[name].shape[:1] == (4,) and content[name].ndim == 2)
    np.savez(tmp_path / "other.npz", **content | {output: -content[output]})
    with pytest.raises(VerificationError, match="dB"):
        commands.verify(result.artifact.path, reference=tmp_path / "other.npz")
    model = onnx.load(result.artifact.path)
    name = stored(model, "scale")[0]
    onnx.save(planted(model, {name: tensors(model)[name] * 1.01}), tmp_path / "faulty.onnx")
    with pytest.raises(VerificationError, match="what was trained"):
        commands.verify(tmp_path / "faulty.onnx", reference=pairs)


def test_reports_say_it(exported, halves):
    screen = Console(file=io.StringIO(), width=200)
    show_export(screen, exported, {"checkpoint": "dcd.pth.tar", "verbose": True})
    said = screen.file.getvalue()
    assert "weights rounded to int8" in said
    assert "ONNX, weights int8, with rounded weights" in said
    assert "dB of signal over noise are left (at least 20 is asked for)" in said
    path = exported.artifact.path
    shown = subprocess.run(
        [sys.executable, "-m", "dcd_deploy", "inspect", path], capture_output=True, text=True, check=True
    ).stdout
    assert "dB of signal over noise left (at least 20)" in shown
    assert "portable" in shown
    assert "opset" in shown


def test_the_command_line_takes_it(digits_checkpoint, tmp_path):
    options = [text for key, value in DIGITS_OPTIONS.items() for text in (f"--{key.replace('_', '-')}", _text(value))]
    command = [sys.executable, "-m", "dcd_deploy", "export", digits_checkpoint, "--weights", "int8", "--name", "small"]
    done = subprocess.run([*command, "--out", tmp_path, *options], capture_output=True, text=True, check=True)
    assert "weights: int8, 2.6" in done.stdout
    assert commands.verify(tmp_path / "small.onnx", checkpoint=digits_checkpoint).noise[0].passed
    usual = [*command[:5], "--out", tmp_path, "--name", "usual", *options]
    done = subprocess.run(usual, capture_output=True, text=True, check=True)
    assert "weights: float32; --weights int8 would take about 9" in done.stdout


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def test_profiles_say_it_and_know_the_nodes(exported):
    for file in exported.files:
        path = file.artifact.path
        result = commands.profile(path, runs=5)
        assert result.network == "mobilenetv2_dcd ×0.25, int8 weights"
        assert {node.part for node in result.nodes} <= {"static", "dynamic", "layout"}
        assert not {node.operator for node in result.nodes} & {"Cast", "DEQUANTIZE"}
