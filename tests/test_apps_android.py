"""The sample for Android, as far as there is one here: its plain Kotlin compiled and run on a Java machine, the rest
checked by Kotlin's compiler against onnxruntime's own classes, and for the others declarations in ``tests/android``,
written by hand.

ANDROID_CLASSPATH gives real classes in place of these, as far as one has them: files named as the declarations are,
such as litert.jar; or onnxruntime.jar for a desktop, with which the check runs in onnxruntime itself.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from apps import ALTERATIONS, LARGE, ONNXRUNTIME, altered, made, needs, odd_picture, pillow_crop, told

from dcd_deploy.bundle.golden import TOLERANCE
from dcd_deploy.bundle.sample import TEMPLATES
from dcd_deploy.runtimes.litert_compiled import FLAGS

HERE = Path(__file__).parent / "android"
SAMPLE = Path("app/src/main")
NODE = Path(__file__).parent.parent / ".venv-kotlin/node_modules/kotlin-compiler"
HOME = Path(os.environ.get("KOTLIN_HOME", NODE))
LIBRARY = HOME / "lib/kotlin-stdlib.jar"
GIVEN = [Path(path) for path in os.environ.get("ANDROID_CLASSPATH", "").split(os.pathsep) if path]
REAL = list({path.stem: path for path in (ONNXRUNTIME / "onnxruntime.jar", *GIVEN)}.values())
needs_kotlin = needs(
    LIBRARY.is_file() and shutil.which("java") and all(path.is_file() for path in REAL),
    "Java, Kotlin's compiler where KOTLIN_HOME says, and onnxruntime's classes: `make test-programs`",
)


def run(*command):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture(scope="module")
def of_onnx(onnx_file, tmp_path_factory):
    return made(onnx_file, "android", tmp_path_factory.mktemp("onnx") / "app")


@pytest.fixture(scope="module")
def of_tflite(digits_tflite, tmp_path_factory):
    return made(digits_tflite.artifact.path, "android", tmp_path_factory.mktemp("tflite") / "app")


def texts(folder):
    return {path.name: path.read_text("utf-8") for path in folder.rglob("*") if path.suffix in (".kt", ".kts", ".md")}


def test_the_project_has_one_runtime_and_its_data(of_onnx, of_tflite):
    for folder, runner, dependency, model in (
        (of_onnx, "OnnxRunner.kt", "com.microsoft.onnxruntime:onnxruntime-android:", "model.onnx"),
        (of_tflite, "LiteRtRunner.kt", "com.google.ai.edge.litert:litert:", "model.tflite"),
    ):
        found = texts(folder)
        assert {name for name in found if name.endswith("Runner.kt")} == {runner}
        assert dependency in found["build.gradle.kts"] + (folder / "app/build.gradle.kts").read_text()
        assert not any(re.search(r"@[A-Z_]+@", text) for text in found.values()), "all places are filled in"
        manifest = json.loads((folder / SAMPLE / "assets/manifest.json").read_text())
        assert {*manifest["sha256"], "manifest.json"} == {path.name for path in (folder / SAMPLE / "assets").iterdir()}
        assert manifest["model"] == model
        assert "What was not run" in found["README.md"]
        assert "createScaledBitmap(" not in "".join(found.values())


def test_a_file_for_any_tflite_sets_no_flag(of_tflite):
    assert "XNNPACK_FLAGS: Int? = null" in texts(of_tflite)["LiteRtRunner.kt"]


@pytest.mark.exhaustive
def test_a_file_for_compiled_model(digits_compiled, tmp_path):
    folder = made(digits_compiled.artifact.path, "android", tmp_path / "app")
    assert f"XNNPACK_FLAGS: Int? = {FLAGS}" in texts(folder)["LiteRtRunner.kt"]


def test_resources_that_the_code_names_are_there():
    kotlin = "".join(path.read_text() for path in (TEMPLATES / "android").rglob("*.kt"))
    strings = {
        each.get("name") for each in ET.parse(TEMPLATES / "android" / SAMPLE / "res/values/strings.xml").iter("string")
    }
    assert set(re.findall(r"R\.string\.(\w+)", kotlin)) | {"name"} == strings
    activity = ET.parse(TEMPLATES / "android" / SAMPLE / "AndroidManifest.xml").find("application/activity")
    assert activity.get("{http://schemas.android.com/apk/res/android}name") == ".MainActivity"


def declarations(folder):
    """Return those of the classes that there are no real ones of, with the names of the sample's texts."""
    folder.mkdir()
    real = {path.stem.lower() for path in REAL}
    for path in (HERE / "declarations").glob("*.kt"):
        if path.stem.lower() not in real:
            names = re.findall(
                r'<string name="(\w+)"', (TEMPLATES / "android" / SAMPLE / "res/values/strings.xml").read_text()
            )
            constants = "\n".join(f"        const val {name} = {i}" for i, name in enumerate(names))
            (folder / path.name).write_text(path.read_text().replace("@STRINGS@", constants))
    return sorted(folder.iterdir())


def kotlinc(sources, jar):
    return run("bash", HOME / "bin/kotlinc", *sources, "-cp", os.pathsep.join(map(str, REAL)), "-d", jar)


@pytest.fixture(scope="module")
def compiled(of_onnx, of_tflite, tmp_path_factory):
    """All in one go: the sample with LiteRT, the runner for onnxruntime beside it, and the tests' own program."""
    root = tmp_path_factory.mktemp("kotlin")
    onnx = (of_onnx / SAMPLE / "kotlin/OnnxRunner.kt").read_text()
    (root / "Onnx.kt").write_text(
        onnx.replace("package app.classifier", "package app.onnx\n\nimport app.classifier.Runner")
    )
    sources = [*(of_tflite / SAMPLE / "kotlin").iterdir(), root / "Onnx.kt", HERE / "Main.kt"]
    done = kotlinc([*sources, *declarations(root / "d")], root / "all.jar")
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr, done.stderr
    return os.pathsep.join(map(str, [root / "all.jar", LIBRARY, *REAL]))


@needs_kotlin
@pytest.mark.exhaustive
def test_the_compiler_refuses_what_onnxruntimes_classes_have_not(of_onnx, tmp_path):
    kotlin = of_onnx / SAMPLE / "kotlin"
    runner = (kotlin / "OnnxRunner.kt").read_text().replace("environment.createSession(", "environment.openSession(")
    (tmp_path / "OnnxRunner.kt").write_text(runner)
    others = [kotlin / "Classifier.kt", kotlin / "Preprocessing.kt", HERE / "declarations/Resources.kt"]
    done = kotlinc([tmp_path / "OnnxRunner.kt", *others], tmp_path / "none.jar")
    assert done.returncode == 1
    assert re.findall(r"error: unresolved reference '(\w+)'", done.stderr)[0] == "openSession"


@needs_kotlin
@pytest.mark.parametrize(
    "sizes", [pytest.param(tuple(LARGE.values()), marks=pytest.mark.exhaustive), (32, 32, 32), (480, 480, 501)]
)
def test_it_resizes_as_pillow(compiled, tmp_path, sizes):
    path = odd_picture(tmp_path / "odd.png")
    crop = dict(zip(("height", "width", "resize"), sizes, strict=True))
    settings = json.dumps(crop | {"mean": [0.5] * 3, "std": [0.5] * 3, "layout": "nchw"})
    done = run("java", "-cp", compiled, "MainKt", "pixels", path, settings)
    assert (done.returncode, done.stderr) == (0, "")
    wanted = pillow_crop(path, crop)
    assert np.abs(np.reshape(list(map(int, done.stdout.split())), wanted.shape) - wanted.astype(int)).max() <= 1


def checked(compiled, folder):
    model = (sys.executable, HERE.parent / "run_model.py")
    return run("java", "-cp", compiled, "MainKt", "check", folder / SAMPLE / "assets", 10, *model)


@needs_kotlin
@pytest.mark.parametrize("kind", ["of_onnx", "of_tflite"])
def test_the_check_passes(compiled, request, kind):
    done = checked(compiled, request.getfixturevalue(kind))
    assert done.returncode == 0, done.stderr
    assert float(re.match(r"self-check passed: error (\S+) of", done.stdout)[1]) <= TOLERANCE
    assert len(done.stdout.splitlines()[1].split(",")) == 3


@needs_kotlin
@pytest.mark.skipif(not any(path.stem == "onnxruntime" for path in GIVEN), reason="needs onnxruntime for a desktop")
def test_the_check_passes_in_onnxruntime_itself(compiled, of_onnx):
    done = run("java", "-cp", compiled, "MainKt", "check", of_onnx / SAMPLE / "assets", 10)
    assert done.returncode == 0, done.stderr
    assert float(re.match(r"self-check passed: error (\S+) of", done.stdout)[1]) <= TOLERANCE


@needs_kotlin
@pytest.mark.parametrize("what", sorted(set(ALTERATIONS) - {"a corrupt model and its hash"}))
def test_an_altered_bundle_fails(compiled, of_onnx, tmp_path, what):
    shutil.copytree(of_onnx, tmp_path / "app")
    assets = tmp_path / "app" / SAMPLE / "assets"
    altered(of_onnx / SAMPLE / "assets", tmp_path / "other", what)
    shutil.copytree(tmp_path / "other", assets, dirs_exist_ok=True)
    done = checked(compiled, tmp_path / "app")
    assert done.returncode == 1
    assert re.match(told(what), done.stderr), done.stderr
