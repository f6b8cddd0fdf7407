"""The page of a bundle in a real browser: checked, used, altered, and its pixels against Pillow's."""

import json
import re
import shutil

import numpy as np
import pytest
from apps import ALTERATIONS, LARGE, altered, made, needs, odd_picture, pillow_crop, told
from browser import CHROMIUM, driven
from conftest import DIGITS, DIGITS_OPTIONS

from dcd_deploy import commands
from dcd_deploy.bundle.browser_runtime import FILES
from dcd_deploy.bundle.golden import TOLERANCE
from dcd_deploy.runtimes import open_model
from dcd_deploy.runtimes.pictures import read_picture

pytestmark = needs(CHROMIUM and shutil.which("npm"), "Chromium and npm")
MOST_BYTES = 15_000_000  # page and runtime


@pytest.fixture(scope="module")
def folder(onnx_file, tmp_path_factory):
    return made(onnx_file, "web", tmp_path_factory.mktemp("web") / "app")


SHOWN = 'return { check: words("check"), classes: words("classes"), times: words("times"), problem: words("problem") };'
CHOOSE = """
const chosen = async (name, type, how) => {
  const content = await (await fetch(name)).blob();
  const files = new DataTransfer();
  files.items.add(new File([content], name, { type }));
  const document = page.contentDocument;
  const before = words("times") + words("problem");
  if (how === "drop") {
    document.dispatchEvent(new page.contentWindow.DragEvent("drop", { dataTransfer: files, bubbles: true }));
  } else {
    document.getElementById("file").files = files.files;
    document.getElementById("file").dispatchEvent(new Event("change"));
  }
  await until(() => words("times") + words("problem") !== before);
};
"""


def test_page_and_runtime_are_small(folder):
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert set(FILES) < set(sizes)
    page = (folder / "index.html").read_text()
    linked = set(re.findall(r'(?:href|src)="([^":]+)"', page))
    assert linked < set(sizes), "what the page links to and loads beforehand is there"
    assert set(FILES) < linked
    assert sum(size for name, size in sizes.items() if name != "model.onnx") < MOST_BYTES


@pytest.fixture(scope="module")
def of_bytes(digits_checkpoint, tmp_path_factory):
    """The bundled network as a file that takes raw bytes."""
    options = {"to": "onnx", "input_": "uint8", "labels": DIGITS / "labels.txt", **DIGITS_OPTIONS}
    return commands.export(digits_checkpoint, out=tmp_path_factory.mktemp("bytes"), **options).artifact.path


@pytest.fixture
def of_int8(digits_int8):
    return digits_int8.artifact.path


@pytest.mark.exhaustive
@pytest.mark.parametrize(("kind", "seven"), [("of_bytes", "seven"), ("of_int8", "7")])
def test_files_of_raw_bytes_and_in_int8(request, tmp_path, kind, seven):
    site = made(request.getfixturevalue(kind), "web", tmp_path / "site")
    shutil.copy(DIGITS / "seven.png", site / "seven.png")
    found = driven(site, tmp_path / "p", f'{CHOOSE} await opened(); await chosen("seven.png", "image/png"); {SHOWN}')
    assert float(re.match(r"self-check passed: error (\S+) of", found["check"])[1]) <= TOLERANCE
    assert re.match(rf"{seven}\d\d\.\d %", found["classes"])


@pytest.mark.parametrize("how", ["choose", pytest.param("drop", marks=pytest.mark.exhaustive)])
def test_the_page_checks_itself_and_says_seven(folder, tmp_path, how):
    site = shutil.copytree(folder, tmp_path / "site")
    shutil.copy(DIGITS / "seven.png", site / "seven.png")
    found = driven(
        site, tmp_path / "p", f'{CHOOSE} await opened(); await chosen("seven.png", "image/png", "{how}"); {SHOWN}'
    )
    assert float(re.match(r"self-check passed: error (\S+) of the outputs' range$", found["check"])[1]) <= TOLERANCE
    assert re.match(r"seven\d\d\.\d %", found["classes"])
    assert re.match(r"model \d+\.\d ms, preprocessing \d+\.\d ms$", found["times"])
    assert found["problem"] == ""


def test_logits_of_a_real_picture_are_the_references(folder, onnx_file, tmp_path):
    site = shutil.copytree(folder, tmp_path / "site")
    odd_picture(site / "odd.png")
    shutil.copy(DIGITS / "seven.png", site / "seven.png")
    script = """
      const { Model, pixelsOf } = await import("/classifier.js");
      const model = await Model.open();
      const logits = {};
      for (const name of ["odd.png", "seven.png"]) {
        const pixels = await pixelsOf(await (await fetch(name)).blob());
        logits[name] = Array.from((await model.classify(pixels)).logits);
      }
      return logits;"""
    found = driven(site, tmp_path / "p", script)
    model = open_model(onnx_file)
    spread = json.loads((folder / "manifest.json").read_text())["range"]
    for name, logits in found.items():
        wanted = model.run(model.preprocess(read_picture(site / name)))[0]
        assert np.abs(wanted - logits).max() <= 1e-4 * spread


def test_the_page_resizes_as_pillow(folder, tmp_path):
    site = shutil.copytree(folder, tmp_path / "site")
    path = odd_picture(site / "odd.png")
    cases = [LARGE, {"height": 32, "width": 32, "resize": 32}, {"height": 480, "width": 480, "resize": 501}]
    script = f"""
      const {{ pixelsOf }} = await import("/classifier.js");
      const {{ resizedCrop }} = await import("/preprocessing.js");
      const pixels = await pixelsOf(await (await fetch("odd.png")).blob());
      return {json.dumps(cases)}.map((settings) => Array.from(resizedCrop(pixels, settings)));"""
    for settings, values in zip(cases, driven(site, tmp_path / "p", script), strict=True):
        wanted = pillow_crop(path, settings)
        assert np.abs(np.reshape(values, wanted.shape) - wanted.astype(int)).max() <= 1


def test_the_camera_is_shown(folder, tmp_path):
    script = """
      const document = await opened();
      const before = words("times");
      document.getElementById("camera").click();
      await until(() => words("times") !== before || words("problem"));
      const video = document.getElementById("video").videoWidth;
      const seen = { label: words("camera"), problem: words("problem"), video };
      document.getElementById("camera").click();
      return { ...seen, after: words("camera") };"""
    found = driven(folder, tmp_path / "p", script)
    assert (found["problem"], found["label"], found["after"]) == ("", "Stop", "Camera")
    assert found["video"] > 0


def test_what_is_no_picture_is_told_on_the_page(folder, tmp_path):
    script = f'{CHOOSE} await opened(); await chosen("labels.txt", "image/png"); {SHOWN}'
    found = driven(folder, tmp_path / "p", script)
    assert found["problem"] == "'labels.txt' is no picture that the browser can read"


def test_hostile_labels_are_text(onnx_file, tmp_path):
    evil = "<img src=x onerror=\"document.title='owned'\">"
    folder = made(onnx_file, "web", tmp_path / "app", labels=[evil] * 10)
    script = 'const document = await opened(); return { title: document.title, classes: words("classes") };'
    found = driven(folder, tmp_path / "p", script)
    assert found["classes"].startswith(evil)
    assert found["title"] == "What is in the picture?"


ALTERED = set(ALTERATIONS) - {"a corrupt model and its hash"}
IN_EXHAUSTIVE = {"fewer labels and their hash", "preprocessing and its hash"}


@pytest.mark.parametrize(
    "what",
    [pytest.param(what, marks=[pytest.mark.exhaustive] * (what in IN_EXHAUSTIVE)) for what in sorted(ALTERED)],
)
def test_an_altered_bundle_fails_on_the_page(folder, tmp_path, what):
    site = altered(folder, tmp_path / "app", what)
    found = driven(site, tmp_path / "p", f"await opened(); {SHOWN}")
    assert re.match(told(what), found["check"]), found["check"]
    assert found["classes"] == "", "nothing is classified"


def test_a_corrupt_model_whose_hash_fits_is_told(folder, tmp_path):
    site = altered(folder, tmp_path / "app", "a corrupt model and its hash")
    found = driven(site, tmp_path / "p", f"await opened(); {SHOWN}")
    assert "the model cannot be opened: 'model.onnx' is damaged" in found["check"]


def test_a_missing_file_is_told(folder, tmp_path):
    site = shutil.copytree(folder, tmp_path / "site")
    (site / "labels.txt").unlink()
    found = driven(site, tmp_path / "p", f"await opened(); {SHOWN}")
    assert found["check"] == "self-check failed: 'labels.txt' is missing (404): write the bundle again"
