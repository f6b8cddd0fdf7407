"""A model file that is not the one its sidecar speaks of, and a sidecar that is damaged: both are said."""

import json
import shutil

import pytest
from command_line import BENCH, run_here
from conftest import DIGITS

from dcd_deploy.commands import verify
from dcd_deploy.runtimes.sidecar import OtherFileWarning, remarks_on_sidecar, sidecar_of, warn_of_sidecar

OTHER = "is not the file that was exported"
DAMAGED = {
    "cut": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "null": lambda text: "null",
    "a list": lambda text: f"[{text}]",
    "no text": lambda text: "\udcff\udcfe",
    "nested": lambda text: "[" * 100_000,
    "a hash that is none": lambda text: text.replace('"sha256": "', '"sha256": "x'),
    "a number for a hash": lambda text: json.dumps(json.loads(text) | {"sha256": 5}),
    "no hash for a hash": lambda text: json.dumps(json.loads(text) | {"sha256": None}),
}


@pytest.fixture(params=["onnx", pytest.param("tflite", marks=pytest.mark.exhaustive)])
def copy(request, digits_export, digits_tflite, tmp_path):
    """A file that was exported, with its sidecar."""
    source = (digits_export if request.param == "onnx" else digits_tflite).artifact.path
    for path in (source, sidecar_of(source)):
        shutil.copy(path, tmp_path / path.name)
    return tmp_path / source.name


def with_another_bit(path):
    """Flip the lowest bit of a number in the middle of the file, among the weights."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 & ~3] ^= 1
    path.write_bytes(content)


def commands(path):
    return {
        "verify": ("verify", path),
        "inspect": ("inspect", path),
        "mobile": ("inspect", path, "--mobile"),
        "predict": ("predict", path, DIGITS / "seven.png"),
        "bench": ("bench", path, "--baseline", "none", *BENCH),
    }


NAMES = [pytest.param(name, marks=[pytest.mark.exhaustive] * (name == "mobile")) for name in commands("")]


@pytest.mark.filterwarnings("always::dcd_deploy.runtimes.sidecar.OtherFileWarning")
@pytest.mark.parametrize("name", NAMES)
def test_every_command_says_that_the_file_is_another(copy, name, monkeypatch):
    monkeypatch.setattr("warnings.showwarning", _showing())
    quiet = run_here(*commands(copy)[name])
    assert (quiet.returncode, OTHER in quiet.stderr + quiet.stdout) == (0, False)
    with_another_bit(copy)
    done = run_here(*commands(copy)[name])
    assert done.returncode == 0, done.stderr
    assert f"dcd-deploy: note: '{copy.name}' {OTHER}: '{copy.name}.json' expects sha256 " in done.stderr


def _showing():
    """Return what the command line shows warnings by, without a memory of what it has said."""
    from dcd_deploy import cli

    cli._note.cache_clear()
    return cli._show_warning


@pytest.mark.filterwarnings("ignore::dcd_deploy.runtimes.sidecar.OtherFileWarning")
def test_a_verification_says_it_in_its_report_and_its_object(copy, digits_checkpoint):
    assert verify(copy).notes == ()
    assert json.loads(run_here("verify", copy, "--json").stdout)["notes"] == []
    with_another_bit(copy)
    assert OTHER in run_here("verify", copy).stdout
    (note,) = json.loads(run_here("verify", copy, "--json").stdout)["notes"]
    assert OTHER in note
    report = verify(copy, checkpoint=digits_checkpoint)
    assert report.passed
    assert OTHER in report.notes[0]


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_sidecar_is_said(digits_export, tmp_path, kind):
    path = shutil.copy(digits_export.artifact.path, tmp_path / "a.onnx")
    text = sidecar_of(digits_export.artifact.path).read_text(encoding="utf-8")
    sidecar_of(path).write_bytes(DAMAGED[kind](text).encode("utf-8", "surrogateescape"))
    with pytest.warns(
        OtherFileWarning, match=r"'a.onnx.json' beside 'a.onnx' is damaged \(.+\), so that nothing tells"
    ):
        warn_of_sidecar(path)
    with pytest.warns(OtherFileWarning):
        assert "is damaged" in verify(path).notes[0]


@pytest.mark.parametrize("text", [None, "{}", '{"voice": {"quality": "low"}}'])
def test_without_a_sidecar_and_with_another_programs_nothing_is_said(digits_export, tmp_path, text):
    path = shutil.copy(digits_export.artifact.path, tmp_path / "a.onnx")
    if text is not None:
        sidecar_of(path).write_text(text)
    assert remarks_on_sidecar(path) == ()
    warn_of_sidecar(path)
