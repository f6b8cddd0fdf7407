"""An exported file in an app: no torch, its own preprocessing and labels, nothing trusted that it says."""

import json
import re
import subprocess
import sys

import numpy as np
import onnx
import pytest
from command_line import without
from conftest import DIGITS

from dcd_deploy import commands
from dcd_deploy.artifacts import Preprocessing
from dcd_deploy.errors import (
    InputFileError,
    MissingDependencyError,
    ModelFileError,
    OptionError,
    UnknownNameError,
    VerificationError,
)
from dcd_deploy.optional import require
from dcd_deploy.runtimes import open_model, self_check

APP = """
import sys
class Guard:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in "torch onnx onnxscript onnxsim PIL rich typer safetensors sklearn".split():
            raise ImportError(f"{name} is not there in an app")
sys.meta_path.insert(0, Guard())
import numpy as np
from dcd_deploy.runtimes import open_model, self_check
model = open_model(sys.argv[1])
picture = np.zeros((50, 40, 3), np.uint8)
answers = model.predict(picture, top=3)
assert len(answers) == 3 and answers[0].label in model.card.labels
assert self_check(model).passed
assert "torch" not in sys.modules
files = {name.split(".")[0]: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}
packages = {name for name, file in files.items() if "site-packages" in file}
print(sorted(packages))
"""


def test_an_app_needs_numpy_and_onnxruntime_alone(digits_export):
    command = [sys.executable, "-c", APP, str(digits_export.artifact.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    foreign = set(json.loads(done.stdout.replace("'", '"'))) - {"numpy", "onnxruntime", "dcd_deploy"}
    assert not {name for name in foreign if not name.startswith("_")}, "packages that an app would have to install"


NOT_IN_THE_BASE = ["torch", "onnx", "onnxscript", "onnxsim", "PIL", "safetensors", "sklearn", "scipy"]
SHORT = ["--min-runs", "8", "--min-seconds", "0", "--rounds", "1"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["verify", "MODEL"], 0, "self-check on 2 samples"),
        (["verify", "MODEL", "--json"], 0, '"passed": true'),
        (["bench", "MODEL", "--min-seconds", "0.1", "--min-runs", "8", "--rounds", "1"], 0, "ratio"),
        (
            ["bench", "MODEL", "--baseline", "none", "--min-seconds", "0.1", "--min-runs", "8", "--rounds", "1"],
            0,
            "median",
        ),
        (["--help"], 0, "predict"),
        (["predict", "MODEL", "PICTURE"], 11, "pip install 'dcd-deploy[image]'"),
        (["export", "PICTURE"], 11, "pip install 'dcd-deploy[export]'"),
        (["inspect", "MODEL"], 0, "pip install onnx"),
        (["verify", "MODEL", "--checkpoint", "PICTURE"], 11, "pip install 'dcd-deploy[export]'"),
    ],
)
def test_the_base_install(digits_export, tmp_path, arguments, code, words):
    """With numpy, onnxruntime and typer alone the app's commands work, and the others name what is missing."""
    places = {"MODEL": str(digits_export.artifact.path), "PICTURE": str(DIGITS / "seven.png")}
    command = [sys.executable, "-m", "dcd_deploy", *(places.get(argument, argument) for argument in arguments)]
    environment = without(tmp_path, *NOT_IN_THE_BASE)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == code, done.stderr
    assert words in (done.stderr if code else done.stdout)


def test_the_file_knows_itself(digits_export, digits_checkpoint):
    from dcd_deploy.files import sha256

    card = open_model(digits_export.artifact.path).card
    assert card.labels[3] == "three"
    assert card.preprocessing == Preprocessing(32, 32, 32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert card.input.shape == (1, 3, 32, 32)
    assert card.checkpoint_sha256 == sha256(digits_checkpoint)
    assert set(card.lowering.values()) <= {"branch", "kernel"}
    assert len(card.lowering) == 33
    sidecar = json.loads(digits_export.artifact.sidecar_path.read_text())
    wanted = {
        "inputs",
        "outputs",
        "preprocessing",
        "labels",
        "lowering",
        "macs",
        "verification",
        "versions",
        "checkpoint_sha256",
    }
    assert wanted <= sidecar.keys()
    assert sidecar["size_bytes"] == digits_export.artifact.path.stat().st_size
    assert sidecar["graph"]["finished"]["nodes"] == digits_export.built.finished.nodes


def test_predictions_are_the_logits_softmax(digits_export, held_out):
    images, labels = held_out
    model = open_model(digits_export.artifact.path)
    answers = model.predict(images[0], top=10)
    logits = model.run(model.preprocess(images[0]))[0].astype(float)
    assert sum(answer.probability for answer in answers) == pytest.approx(1)
    assert [answer.index for answer in answers] == list(np.argsort(-logits))
    assert answers[0].index == labels[0]


def test_self_check_can_fail(digits_export):
    check = self_check(open_model(digits_export.artifact.path))
    assert check.passed
    assert check.checked() is check
    with pytest.raises(VerificationError, match="runtime's version, unless another tool changed the file as"):
        check.checked(tolerance=check.relative / 2)


@pytest.mark.parametrize("command", [open_model, commands.verify, commands.profile, commands.runtimes])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dcd.pth.tar", "'.pth.tar': this is a checkpoint; run 'dcd-deploy export' on it first. Known: .onnx"),
        ("net.safetensors", "'.safetensors': this is a checkpoint; run 'dcd-deploy export'"),
        ("seven.PNG", "'.png': this is a picture; the model file comes first. Known"),
        ("net.onnx.json", "'.json': give the model file, not what lies beside it"),
    ],
)
def test_what_is_no_model_file_is_named(tmp_path, command, name, words):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UnknownNameError, match=re.escape(words)):
        command(tmp_path / name)


def test_files_that_are_no_models(tmp_path, digits_export):
    with pytest.raises(InputFileError, match="no such file"):
        open_model(tmp_path / "none.onnx")
    with pytest.raises(UnknownNameError, match=r"unknown kind of model file '.pdf'\. Known: \.onnx, "):
        open_model(tmp_path / "paper.pdf")
    whole = digits_export.artifact.path.read_bytes()
    for name, content in (("cut", whole[: len(whole) // 2]), ("noise", b"\x00" * 100), ("text", b"hello")):
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match="expected an ONNX model at"):
            open_model(path)
        with pytest.raises(ModelFileError, match="expected an .ort model at"):
            open_model(path.rename(path.with_suffix(".ort")))


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname"])
def test_a_model_that_reads_other_files_is_refused(tmp_path, location):
    (tmp_path / "secret.bin").write_bytes(b"x" * 16)
    folder = tmp_path / "models"
    folder.mkdir()
    text = """<ir_version: 8, opset_import: ["" : 18]> net (float[1, 4] x) => (float[1, 4] y) { y = Add (x, w) }"""
    model = onnx.parser.parse_model(text)
    tensor = model.graph.initializer.add(name="w", dims=[4], data_type=onnx.TensorProto.FLOAT)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError):
        open_model(folder / "net.onnx")


def test_a_foreign_model_runs_but_does_not_preprocess(tmp_path):
    text = '<ir_version: 8, opset_import: ["" : 18]> net (float[N, 3, 4, 4] x) => (float[N, 48] y) { y = Flatten (x) }'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "foreign.onnx")
    model = open_model(tmp_path / "foreign.onnx")
    assert model.run(np.zeros((2, 3, 4, 4), np.float32)).shape == (2, 48)
    with pytest.raises(ModelFileError, match="expected a model exported by dcd-deploy"):
        model.predict(np.zeros((4, 4, 3), np.uint8))


def test_inputs_of_the_wrong_kind(digits_export):
    model = open_model(digits_export.artifact.path)
    with pytest.raises(OptionError, match=r"expected images of shape \(N, 3, H, W\)"):
        model.run(np.zeros((3, 32, 32), np.float32))
    with pytest.raises(ModelFileError, match="cannot run on an input of shape"):
        model.run(np.zeros((1, 3, 31, 32), np.float32))
    for picture in (
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3)),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
    ):
        with pytest.raises(OptionError, match="expected an RGB picture"):
            model.predict(picture)


class Tensor:
    """As those of torch and others, which give an array if they are asked."""

    numpy = None


def test_tensors_are_told_how_to_become_arrays(digits_export):
    model = open_model(digits_export.artifact.path)
    for run in (model.run, model.run_all):
        with pytest.raises(OptionError, match=r"found Tensor; give numpy's arrays: a tensor's \.numpy\(\)"):
            run(Tensor())
    with pytest.raises(OptionError, match="found list$"):
        model.run([])


def test_shapes_are_told_as_they_are_given(digits_tflite):
    """Channels first, whatever the file has."""
    model = open_model(digits_tflite.artifact.path)
    assert model.card.input.shape == (1, 32, 32, 3)
    words = "shape (1, 32, 32, 3) and type float32 (it takes (1, 3, 32, 32) of float32, channels first, whatever"
    with pytest.raises(ModelFileError, match=re.escape(words)):
        model.run_all(np.zeros(model.card.input.shape, np.float32))


def test_a_missing_package_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'dcd-deploy\[image\]'"):
        require("PIL.Image")


@pytest.mark.parametrize("picture", [3, None, [[0]]])
def test_what_is_no_picture_is_told_what_would_be_one(digits_export, picture):
    model = open_model(digits_export.files[0].artifact.path)
    with pytest.raises(OptionError, match=r"a path, bytes .* or an array \(height, width, 3\) of uint8, found \w+"):
        model.predict(picture)
    with pytest.raises(OptionError, match=r"expected images of shape \(N, 3, H, W\)"):
        model.run(picture)
