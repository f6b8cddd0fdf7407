"""An exported file in an app: no torch, its own preprocessing and labels, nothing trusted that it says."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from command_line import without
from conftest import DIGITS
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dcd_deploy.artifacts import METADATA_KEY, Preprocessing
from dcd_deploy.card_json import read_card
from dcd_deploy.errors import (
    DcdDeployError,
    InputFileError,
    MissingDependencyError,
    ModelFileError,
    OptionError,
    UnknownNameError,
    VerificationError,
)
from dcd_deploy.optional import require
from dcd_deploy.runtimes import open_model, self_check
from dcd_deploy.runtimes.pictures import read_picture
from dcd_deploy.runtimes.preprocessing import preprocess, resized_crop

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
    with pytest.raises(VerificationError, match="export it again, or check the runtime's version"):
        check.checked(tolerance=check.relative / 2)


def rewritten(tmp_path, source, change):
    model = onnx.load(source)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    card = json.loads(properties[METADATA_KEY])
    new = change(card)
    onnx.helper.set_model_props(model, {METADATA_KEY: new if isinstance(new, str) else json.dumps(new or card)})
    path = tmp_path / "rewritten.onnx"
    onnx.save(model, path)
    return path


def setting(*keys, value):
    def change(card):
        place = card
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


HOSTILE_CARDS = {
    "not JSON": lambda card: "{",
    "a list": lambda card: "[]",
    "too deep": lambda card: "[" * 100_000,
    "huge number": lambda card: '{"schema": ' + "9" * 5000 + "}",
    "another schema": setting("schema", value=99),
    "no labels": lambda card: card.pop("labels") and None,
    "labels are numbers": setting("labels", value=[1, 2]),
    "negative size": setting("preprocessing", "height", value=-1),
    "immense size": setting("preprocessing", "resize", value=10**9),
    "text for size": setting("preprocessing", "width", value="32"),
    "true for size": setting("preprocessing", "width", value=True),
    "crop larger than picture": setting("preprocessing", "resize", value=16),
    "zero std": setting("preprocessing", "std", value=[0, 1, 1]),
    "two means": setting("preprocessing", "mean", value=[0, 1]),
    "infinite mean": setting("preprocessing", "mean", value=[float("inf"), 0, 0]),
    "other shapes": setting("inputs", 0, "shape", value=[1, 3, 224, 224]),
    "ragged reference": setting("reference", "outputs", "logits", "values", value=[[1.0], [1.0, 2.0]]),
    "two tensors of one name": lambda card: card["inputs"].append(card["inputs"][0]),
    "no inputs": setting("inputs", value=[]),
    "another layout": setting("inputs", 0, "layout", value="nhwc"),
    "no such layout": setting("inputs", 0, "layout", value="chwn"),
    "a layout of a vector": setting("outputs", 0, "layout", value="nchw"),
    "many dimensions": setting("outputs", 0, "shape", value=[1] * 9),
    "preprocessing for another size": setting("preprocessing", "height", value=31),
    "reference of another output": lambda card: card["reference"]["outputs"].update(other=1),
    "reference of no outputs": setting("reference", "outputs", value={}),
    "immense step": setting("reference", "outputs", "logits", "step", value=1 << 40),
    "another shape of reference": setting("reference", "outputs", "logits", "shape", value=[11]),
    "negative scales": setting("reference", "scales", value=[-1]),
    "text for assumed": setting("assumed", value=[1]),
    "text in reference": setting("reference", "outputs", "logits", "range", value="1"),
    "no tolerance": setting("reference", "tolerance", value=0),
    "any error tolerated": setting("reference", "tolerance", value=1),
    "negative tolerance": setting("reference", "tolerance", value=-0.1),
}


@pytest.mark.parametrize("change", HOSTILE_CARDS.values(), ids=HOSTILE_CARDS)
def test_a_hostile_description_is_refused(tmp_path, digits_export, change):
    path = rewritten(tmp_path, digits_export.files[0].artifact.path, change)
    with pytest.raises(ModelFileError) as caught:
        open_model(path)
    assert "\n" not in str(caught.value)


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
        max_leaves=20,
    )
)
def test_no_description_crashes_the_reader(content):
    with pytest.raises(DcdDeployError):
        read_card(json.dumps(content))


def test_description_survives_the_round_trip(digits_export):
    card = digits_export.artifact.card
    assert read_card(card.to_json()) == card


def as_first_schema(card):
    """What earlier versions wrote of the same file."""
    reference = card["reference"]
    (carried,) = reference["outputs"].values()
    old = {key: value for key, value in card.items() if key not in ("inputs", "outputs", "assumed")}
    old["schema"] = 1
    for name, (tensor,) in (("input", card["inputs"]), ("output", card["outputs"])):
        old[name] = {key: tensor[key] for key in ("name", "shape", "dtype")}
    old["reference"] = {
        "contrast": reference["contrast"],
        "logits": carried["values"],
        "range": carried["range"],
        "tolerance": reference["tolerance"],
    }
    return json.dumps(old)


def test_files_of_the_first_schema_are_read(tmp_path, digits_export, pictures):
    path = rewritten(tmp_path, digits_export.artifact.path, as_first_schema)
    model = open_model(path)
    new = digits_export.artifact.card
    assert (model.card.inputs, model.card.outputs, model.card.spec) == (new.inputs, new.outputs, new.spec)
    assert self_check(model).passed
    assert model.predict(pictures[0])[0].label in new.labels
    ragged = lambda card: as_first_schema(card).replace('"logits": [[', '"logits": [1, [')  # noqa: E731
    with pytest.raises(ModelFileError, match="not a table"):
        open_model(rewritten(tmp_path, digits_export.artifact.path, ragged))


def test_files_that_are_no_models(tmp_path, digits_export):
    with pytest.raises(InputFileError, match="no such file"):
        open_model(tmp_path / "none.onnx")
    with pytest.raises(UnknownNameError, match=r"unknown kind of model file '.pdf'"):
        open_model(tmp_path / "paper.pdf")
    whole = digits_export.artifact.path.read_bytes()
    for name, content in (("cut", whole[: len(whole) // 2]), ("noise", b"\x00" * 100), ("text", b"hello")):
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match="expected an ONNX model at"):
            open_model(path)


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


@pytest.mark.parametrize(
    ("height", "width", "side"), [(300, 500, 256), (97, 61, 256), (640, 257, 224), (32, 32, 32), (33, 500, 40)]
)
def test_resizing_is_pillows(height, width, side):
    noise = np.random.default_rng(0).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    picture = np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))
    sides = [side * size // min(height, width) for size in (height, width)]
    ours = resized_crop(picture, side, *sides)
    theirs = Image.fromarray(picture).resize((ours.shape[1], ours.shape[0]), Image.Resampling.BILINEAR)
    assert min(ours.shape[:2]) == side
    assert np.abs(ours - np.asarray(theirs, float)).max() <= 1


@pytest.mark.parametrize(("height", "width", "side"), [(300, 500, 256), (97, 61, 64), (33, 500, 40)])
def test_the_crop_is_the_middle_of_the_whole(height, width, side):
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    rows, columns = (side * size // min(height, width) for size in (height, width))
    whole = resized_crop(picture, side, rows, columns)
    top, left = round((rows - 32) / 2), round((columns - 40) / 2)
    assert np.array_equal(resized_crop(picture, side, 32, 40), whole[top : top + 32, left : left + 40])


def test_preprocessing_is_the_published_one():
    """Resize 256, centre crop 224, mean and deviation of ImageNet, channels first."""
    picture = np.random.default_rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    found = preprocess(picture, Preprocessing.for_size(224, 224))
    resized = np.asarray(Image.fromarray(picture).resize((341, 256), Image.Resampling.BILINEAR), float)
    cropped = resized[16:240, 58:282] / 255
    wanted = ((cropped - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(2, 0, 1)[None]
    assert found.dtype == np.float32
    assert found.shape == (1, 3, 224, 224)
    assert np.abs(found - wanted).max() <= 1.01 / 255 / 0.224


def test_pictures_are_turned_as_the_camera_says(tmp_path):
    image = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    assert read_picture(tmp_path / "turned.png").shape == (6, 4, 3)
    (tmp_path / "none.png").write_bytes(b"no picture")
    with pytest.raises(InputFileError, match="expected a picture"):
        read_picture(tmp_path / "none.png")


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
