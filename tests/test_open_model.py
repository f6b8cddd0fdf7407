"""``open_model`` in an app: pictures as one has them, several at once, named arrays, several threads."""

import doctest
import gc
import io
import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import DIGITS
from PIL import Image

from dcd_deploy.artifacts import TensorSpec
from dcd_deploy.errors import InputFileError, OptionError
from dcd_deploy.export.onnx.ort import to_ort
from dcd_deploy.runtimes import Model, open_model
from dcd_deploy.runtimes.pictures import read_picture

SEVEN = DIGITS / "seven.png"
PAGE = Path(__file__).parent.parent / "docs/apps/python.md"
TWO_WAYS = """<ir_version: 8, opset_import: ["" : 18]> net (float[N, 3, 4, 4] picture, float[N, 1, 1, 1] gain)
    => (float[N, 3, 4, 4] mask, float[N, 1, 4, 4] largest) {
    mask = Mul (picture, gain)
    axes = Constant <value: tensor = int64[1] {1}> ()
    largest = ReduceMax <keepdims = 1> (mask, axes)
}"""


@pytest.fixture(scope="module")
def model(onnx_file):
    return open_model(onnx_file)


def test_a_picture_as_one_has_it(model):
    pixels = read_picture(SEVEN)
    wanted = model.predict(pixels)
    assert wanted[0].label == "seven"
    with Image.open(SEVEN) as image:
        for given in (SEVEN, str(SEVEN), SEVEN.read_bytes(), bytearray(SEVEN.read_bytes()), image):
            assert model.predict(given) == wanted


@pytest.fixture(scope="module")
def files(onnx_file, digits_tflite, tmp_path_factory):
    """The bundled network in the formats of classifiers' files."""
    ort = tmp_path_factory.mktemp("ort") / "digits.ort"
    ort.write_bytes(to_ort(onnx_file.read_bytes(), "portable"))
    return {"onnx": onnx_file, "ort": ort, "tflite": digits_tflite.artifact.path}


def threads_of_this_process():
    gc.collect()  # models of other tests
    return len(list(Path("/proc/self/task").iterdir()))


@pytest.mark.parametrize("kind", ["onnx", "ort", "tflite"])
def test_every_format_answers_with_labels_on_the_threads_asked_for(files, model, kind):
    alone = open_model(files[kind], threads=1)
    before = threads_of_this_process()
    several = open_model(files[kind], threads=3)
    assert threads_of_this_process() == before + 2, "beside the one that calls"
    wanted = model.predict(SEVEN)
    for found in (alone.predict(SEVEN), several.predict(SEVEN)):
        assert (found[0].label, found[0].index) == ("seven", 7)
        assert np.allclose([e.probability for e in found], [e.probability for e in wanted], atol=1e-5)


def test_it_is_turned_as_its_camera_says(model):
    turned, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    with Image.open(SEVEN) as image:
        image.convert("RGB").rotate(90, expand=True).save(turned, "png", exif=exif)
    assert model.predict(turned.getvalue()) == model.predict(SEVEN)


def test_what_is_no_picture(model):
    with pytest.raises(
        InputFileError, match="a picture at 5 bytes, but it cannot be read: .*; give a PNG or JPEG file, or a .npy file"
    ):
        model.predict(b"seven")
    with pytest.raises(InputFileError, match=r"none\.png"):
        model.predict("none.png")


def test_several_pictures(model):
    pictures = [read_picture(SEVEN), np.zeros((40, 50, 3), np.uint8), np.full((33, 32, 3), 255, np.uint8)]
    found = model.predict_batch(pictures, top=3)
    for answers, picture in zip(found, pictures, strict=True):
        alone = model.predict(picture, top=3)
        assert [each.index for each in answers] == [each.index for each in alone]
        assert np.allclose([e.probability for e in answers], [e.probability for e in alone], atol=1e-6)
    with pytest.raises(OptionError, match="expected pictures, found none"):
        model.predict_batch([])


def test_named_arrays(tmp_path):
    onnx.save(onnx.parser.parse_model(TWO_WAYS), tmp_path / "two.onnx")
    model = open_model(tmp_path / "two.onnx")
    picture = np.random.default_rng(0).random((2, 3, 4, 4), np.float32)
    found = model.run_named({"gain": np.full((2, 1, 1, 1), 2, np.float32), "picture": picture})
    assert {name: values.shape for name, values in found.items()} == {"mask": (2, 3, 4, 4), "largest": (2, 1, 4, 4)}
    assert np.array_equal(found["mask"], 2 * picture)
    assert np.array_equal(found["largest"], found["mask"].max(axis=1, keepdims=True))
    with pytest.raises(OptionError, match="expected inputs picture, gain, found picture"):
        model.run_named({"picture": picture})


@pytest.mark.parametrize("kind", ["onnx_file", "digits_tflite"])
def test_several_threads(request, kind):
    """Each thread has pictures of its own, so that a mixed-up buffer shows."""
    made = request.getfixturevalue(kind)
    model = open_model(made if kind == "onnx_file" else made.artifact.path, threads=1)
    inputs = np.random.default_rng(0).normal(size=(8, 1, 3, 32, 32)).astype(np.float32)
    wanted = [model.run(each) for each in inputs]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(model.run, np.repeat(inputs, 20, axis=0)))
    assert all(np.allclose(each, wanted[i // 20], atol=1e-5) for i, each in enumerate(found))


class OneByOne:
    """A session that no two threads may run at a time; ``most`` is how many did."""

    inputs = (TensorSpec("x", (1, 4), "float32", None),)
    outputs = inputs
    metadata: dict[str, str] = {}  # noqa: RUF012

    def __init__(self):
        self.now = self.most = 0

    def run_all(self, inputs):
        self.now += 1
        self.most = max(self.most, self.now)
        time.sleep(0.002)
        self.now -= 1
        return tuple(inputs)


def overlapping(run):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, [np.zeros((1, 4), np.float32)] * 16))


def test_runtimes_for_one_thread_are_run_by_one_at_a_time():
    alone, shared = OneByOne(), OneByOne()
    overlapping(Model(alone, None).run_all)
    overlapping(lambda values: shared.run_all([values]))
    assert alone.most == 1
    assert shared.most > 1, "what the lock prevents happens without it"


def test_importing_it_loads_numpy_and_nothing_more():
    """It takes 0.05 to 0.1 s beyond numpy's own time: so many modules do."""
    code = "import sys, json, numpy; n = len(sys.modules); import dcd_deploy.runtimes; "
    code += "print(json.dumps([n, *sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, *names = json.loads(done.stdout)
    assert len(names) - before < 80
    loaded = {name.partition(".")[0] for name in names}
    assert not loaded & {"torch", "onnx", "onnxruntime", "ai_edge_litert", "executorch", "PIL", "rich", "typer"}
    assert "importlib.metadata" not in names


def test_the_page_says_what_happens(onnx_file, tmp_path, monkeypatch):
    shutil.copy(onnx_file, tmp_path / "digits.onnx")
    shutil.copy(SEVEN, tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    found = doctest.testfile(str(PAGE), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert found.attempted > 8
    assert found.failed == 0
