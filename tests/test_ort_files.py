"""``--to ort``: the bundled network in onnxruntime's own format, and .ort files that are none."""

import json

import onnxruntime
import pytest
from command_line import BENCH, run_here
from conftest import DIGITS, DIGITS_OPTIONS

from dcd_deploy import commands
from dcd_deploy.errors import ExportError, InputFileError, ModelFileError, OptionError, VerificationError
from dcd_deploy.export.onnx import ort as build_ort
from dcd_deploy.export.onnx.required_operators import required_operators
from dcd_deploy.runtimes import open_model
from dcd_deploy.runtimes.pictures import read_picture

CHECKPOINT = DIGITS / "dcd.pth.tar"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("ort")
    options = {"labels": DIGITS / "labels.txt", "with_baseline": True, "for_": "onnxruntime", **DIGITS_OPTIONS}
    return commands.export(CHECKPOINT, to="ort", out=out, name="digits", **options)


def test_the_file_is_checked_in_its_own_format(made):
    assert made.artifact.path.name == "digits.ort"
    assert made.artifact.path.read_bytes()[4:8] == b"ORTM"
    last = made.built.report.comparisons[-1]
    assert (last.stage, last.passed) == (".ort", True)


def test_open_model_reads_its_description(made):
    model = open_model(made.artifact.path)
    assert model.card == made.artifact.card
    (best,) = model.predict(read_picture(DIGITS / "seven.png"), top=1)
    assert best.label == "seven"


def test_verify_and_bench_read_it(made):
    assert commands.verify(made.artifact.path, checkpoint=CHECKPOINT, input_size=32).passed
    assert commands.verify(made.artifact.path).passed
    done = run_here("bench", made.artifact.path, *BENCH)
    assert done.returncode == 0, done.stderr
    assert "digits.ort" in done.stdout
    assert "over static twin" in done.stdout


def test_the_twin_is_made_from_the_file_where_there_is_none(made, tmp_path):
    alone = tmp_path / "alone.ort"
    alone.write_bytes(made.artifact.path.read_bytes())
    done = run_here("bench", alone, *BENCH)
    assert done.returncode == 0, done.stderr
    assert "over static twin" in done.stdout


def test_required_operators_are_those_of_the_file(made):
    lines = json.loads(made.artifact.sidecar_path.read_text())["required_operators"]
    assert tuple(lines) == required_operators(made.artifact.path.read_bytes())
    domains = {line.split(";")[0]: line.split(";")[2].split(",") for line in lines}
    assert "FusedConv" in domains["com.microsoft"]
    assert "com.microsoft.nchwc" not in domains
    done = run_here("inspect", made.artifact.path)
    assert all(line in done.stdout for line in lines)
    assert "mobilenetv2_dcd" in done.stdout


def test_operators_of_one_processor_are_refused_unless_asked_for(made, small_checkpoint, monkeypatch, tmp_path):
    target = "onnxruntime-x86"
    x86 = build_ort.to_ort(made.built.model.SerializeToString(), target)
    if not any("nchwc" in line for line in required_operators(x86)):
        pytest.skip("onnxruntime has no blocked operators on this processor")
    monkeypatch.setattr(build_ort, "to_ort", lambda model, _: x86)
    with pytest.raises(ExportError, match="operators that every processor has"):
        commands.export(small_checkpoint, to="ort", out=tmp_path, input_size=32)
    assert not list(tmp_path.iterdir())


def test_a_fault_in_the_format_is_found(made, monkeypatch, tmp_path):
    twin = (made.artifact.path.parent / "digits-static.ort").read_bytes()
    monkeypatch.setattr(build_ort, "to_ort", lambda model, _: twin)
    with pytest.raises(VerificationError, match=r"\.ort"):
        commands.export(CHECKPOINT, to="ort", out=tmp_path, **DIGITS_OPTIONS)


def test_small_weights_are_refused(tmp_path):
    with pytest.raises(OptionError, match="`weights` float32 with `to` ort"):
        commands.export(CHECKPOINT, to="ort", weights="int8", out=tmp_path, **DIGITS_OPTIONS)


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "overwritten", "onnx"])
@pytest.mark.parametrize("command", ["inspect", "verify", "bench"])
def test_files_that_are_none_end_in_one_line(made, digits_export, tmp_path, damage, command):
    whole = made.artifact.path.read_bytes()
    content = {
        "empty": b"",
        "text": b"hello",
        "cut": whole[: len(whole) // 2],
        "overwritten": whole[:5000] + bytes(2000) + whole[7000:],
        "onnx": digits_export.artifact.path.read_bytes()[:100_000],
    }[damage]
    path = tmp_path / "m.ort"
    path.write_bytes(content)
    done = run_here(command, path)
    assert done.returncode == (InputFileError if damage == "empty" else ModelFileError).exit_code, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("dcd-deploy: error:")]
    assert len(errors) == 1
    assert "Traceback" not in done.stderr


def test_a_foreign_file(tmp_path, digits_export):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(digits_export.artifact.path)
    del model.metadata_props[:]
    path = tmp_path / "foreign.ort"
    path.write_bytes(build_ort.to_ort(model.SerializeToString(), "portable"))
    assert open_model(path).card is None
    assert "a foreign file" in run_here("inspect", path).stdout
    assert run_here("bench", path, *BENCH).returncode == 0
    assert onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
