"""Bundles for apps: what is in them, what is refused, and the sample in Python, which runs without this package."""

import importlib.util
import json
import os
import py_compile
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from apps import ALTERATIONS, LARGE, altered, made, odd_picture, pillow_crop, told
from command_line import refused, run_here
from conftest import DIGITS
from PIL import Image

from dcd_deploy import commands
from dcd_deploy.bundle import browser_runtime
from dcd_deploy.bundle import sample as samples
from dcd_deploy.bundle.browser_runtime import FILES, PACKAGE
from dcd_deploy.bundle.folder import PLATFORMS, write_bundle
from dcd_deploy.bundle.golden import TOLERANCE, drawn_picture, png, ppm
from dcd_deploy.bundle.sample import TEMPLATES
from dcd_deploy.errors import (
    InputFileError,
    MissingDependencyError,
    ModelFileError,
    OptionError,
    OutputError,
    UnknownNameError,
    VerificationError,
)
from dcd_deploy.runtimes import open_model
from dcd_deploy.runtimes.pictures import read_picture

SAMPLE = TEMPLATES / "python" / "predict.py"
DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def folder(onnx_file, tmp_path_factory):
    return made(onnx_file, "python", tmp_path_factory.mktemp("bundle") / "app")


def run(folder, *arguments):
    """Run the sample where nothing of this repository can be imported."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-P", str(folder / "predict.py"), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=folder.parent, timeout=120
    )


def test_the_folder_has_what_an_app_needs(folder, onnx_file):
    manifest = json.loads((folder / "manifest.json").read_text())
    data = {"model.onnx", "labels.txt", "preprocessing.json", "golden-input.bin", "golden-output.bin"}
    data |= {"picture.png", "picture-logits.bin"}
    assert set(manifest["sha256"]) == data
    assert {path.name for path in folder.iterdir()} == data | {"manifest.json", "README.md", "predict.py"}
    assert (folder / "labels.txt").read_text() == (DIGITS / "labels.txt").read_text()
    model = open_model(onnx_file)
    picture = read_picture(folder / "picture.png")
    assert np.array_equal(picture, drawn_picture()), "written without loss"
    logits = np.fromfile(folder / "picture-logits.bin", "<f4")
    assert np.allclose(model.run(model.preprocess(picture))[0], logits, atol=1e-5)
    assert "@" not in (folder / "README.md").read_text()


@pytest.mark.parametrize("platform", PLATFORMS)
def test_each_readme_is_a_screen_and_each_page_begins_with_its_command(platform):
    readme = (TEMPLATES / platform / "README.md").read_text("utf-8")
    assert len(readme.splitlines()) <= 40
    page = (DOCS / "apps" / f"{platform}.md").read_text("utf-8")
    command = rf"dcd-deploy bundle demo-out/digits\.(onnx|tflite) --for {platform} --out app"
    assert re.match(rf"# Into apps: .+\n\n```console\n\$ {command}\n", page)
    assert "![" in page or "self-check passed: error" in page  # a picture, or what a terminal shows
    assert f"(apps/{platform}.md)" in (DOCS / "apps.md").read_text("utf-8")


@pytest.mark.parametrize("suffix", ["onnx", pytest.param("tflite", marks=pytest.mark.exhaustive)])
def test_the_sample_says_seven(request, tmp_path, suffix):
    path = request.getfixturevalue("onnx_file" if suffix == "onnx" else "digits_tflite")
    path = path if suffix == "onnx" else path.artifact.path
    done = run(made(path, "python", tmp_path / "app"), DIGITS / "seven.png")
    assert done.returncode == 0, done.stderr
    error = float(re.match(r"self-check passed: error (\S+) of", done.stdout)[1])
    assert error <= TOLERANCE
    assert re.search(
        r"^seven\.png: seven \d\d\.\d%, .*\(preprocessing \d+\.\d ms, model \d+\.\d ms\)$", done.stdout, re.MULTILINE
    )


@pytest.mark.parametrize("what", ALTERATIONS)
def test_an_altered_bundle_fails(folder, tmp_path, what):
    done = run(altered(folder, tmp_path / "app", what))
    assert done.returncode == 1
    assert re.match(told(what), done.stderr), done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_sample_refuses_what_is_no_picture(folder):
    done = run(folder, folder / "labels.txt")
    assert done.returncode == 1
    assert "cannot be read as a picture" in done.stderr


def sample():
    spec = importlib.util.spec_from_file_location("predict_sample", SAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_sample_resizes_as_pillow(tmp_path):
    path = odd_picture(tmp_path / "odd.png")
    for settings in (LARGE, {"height": 32, "width": 32, "resize": 32}, {"height": 480, "width": 480, "resize": 501}):
        ours = sample().resized_crop(read_picture(path), settings)
        assert np.abs(ours - pillow_crop(path, settings).astype(int)).max() <= 1


def test_a_resize_without_averaging_is_seen(tmp_path):
    path = odd_picture(tmp_path / "odd.png")
    with Image.open(path) as image:
        nearest = np.asarray(image.resize((196, 140), Image.Resampling.NEAREST))[21:118, 32:163]
    assert np.abs(nearest.astype(int) - pillow_crop(path, LARGE).astype(int)).max() > 50


def test_the_camera_loop(monkeypatch, folder, capsys):
    """Without a camera: pictures as one gives them."""
    module = sample()
    frames = np.random.default_rng(0).integers(0, 256, (2, 480, 640, 3), dtype=np.uint8)
    monkeypatch.setattr(module, "HERE", folder)
    monkeypatch.setattr(module, "camera_pictures", lambda: iter(frames))
    monkeypatch.setattr(sys, "argv", ["predict.py", "--camera"])
    module.main()
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(frames)


def test_pictures_are_written_as_they_are(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    for name, write in (("a.png", png), ("a.ppm", ppm)):
        (tmp_path / name).write_bytes(write(pixels))
        with Image.open(tmp_path / name) as image:
            assert np.array_equal(np.asarray(image), pixels)


def test_own_labels_and_picture(onnx_file, tmp_path):
    out = made(onnx_file, "python", tmp_path / "app", labels=[f"n{i}" for i in range(10)], image=DIGITS / "seven.png")
    assert (out / "labels.txt").read_text().split()[7] == "n7"
    assert "n7" in run(out).stdout.splitlines()[1].split(",")[0]


def test_what_pip_compiled_of_a_sample_stays_out_of_the_bundle(onnx_file, tmp_path, monkeypatch):
    templates = shutil.copytree(TEMPLATES, tmp_path / "templates", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(samples, "TEMPLATES", templates)
    before = {path.name for path in made(onnx_file, "python", tmp_path / "before").iterdir()}
    py_compile.compile(str(templates / "python" / "predict.py"))
    assert list(templates.rglob("*.pyc"))
    assert {path.name for path in made(onnx_file, "python", tmp_path / "after").iterdir()} == before


def test_what_is_refused(onnx_file, small_checkpoint, tmp_path, folder):
    with pytest.raises(UnknownNameError, match=r"unknown platform 'web2': did you mean 'web'"):
        made(onnx_file, "web2", tmp_path / "a")
    with pytest.raises(UnknownNameError, match=r"'\.pth\.tar': this is a checkpoint; run 'dcd-deploy export' on it"):
        made(small_checkpoint, "python", tmp_path / "a")
    with pytest.raises(OptionError, match="expected 10 labels, one for each class of the network, found 3"):
        made(onnx_file, "python", tmp_path / "a", labels=["a", "b", "c"])
    with pytest.raises(OutputError, match="new or empty, but there is something in it; nothing was changed"):
        made(onnx_file, "python", folder)
    (tmp_path / "m.tflite").write_bytes(b"x")
    with pytest.raises(OptionError, match=r"\(\.onnx\) for web, found \.tflite"):
        made(tmp_path / "m.tflite", "web", tmp_path / "a")
    with pytest.raises(InputFileError):
        made(onnx_file, "python", tmp_path / "a", image=tmp_path / "none.png")
    assert not (tmp_path / "a").exists()
    done = run_here("bundle", onnx_file, "--for", "phone", "--out", tmp_path / "a")
    refused(done, 7, "unknown platform 'phone'")


def test_a_model_that_says_nothing_of_itself_or_computes_something_else(onnx_file, tmp_path):
    import onnx

    model = onnx.load(onnx_file)
    weights = max(model.graph.initializer, key=lambda each: len(each.raw_data))
    weights.raw_data = bytes(len(weights.raw_data))
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(VerificationError):
        made(tmp_path / "other.onnx", "python", tmp_path / "a")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "plain.onnx")
    with pytest.raises(ModelFileError, match="expected a model exported by dcd-deploy"):
        made(tmp_path / "plain.onnx", "python", tmp_path / "a")


def test_operators_of_one_processor_are_not_for_browsers(onnx_file, tmp_path):
    (tmp_path / "m.onnx").write_bytes(onnx_file.read_bytes() + b"com.microsoft.nchwc")
    with pytest.raises(
        OptionError, match=r"found operators of com\.microsoft\.nchwc; export it with `target` portable"
    ):
        write_bundle(tmp_path / "m.onnx", "web", tmp_path / "a")


def test_the_browsers_runtime_from_a_folder_or_npm(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(InputFileError, match="a file of the npm package onnxruntime-web"):
        browser_runtime.browser_runtime(tmp_path)
    for name in FILES:
        (tmp_path / name).write_bytes(b"x")
    assert browser_runtime.browser_runtime(tmp_path) == [tmp_path / name for name in FILES]
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingDependencyError, match=f"{PACKAGE}, but npm is not installed; .* give `web_runtime`"):
        browser_runtime.browser_runtime()
    (tmp_path / "npm").write_text("#!/bin/sh\necho 'npm error 404' >&2\nexit 1\n")
    (tmp_path / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(MissingDependencyError, match="npm says: npm error 404"):
        browser_runtime.browser_runtime()


def test_the_help_names_every_platform():
    (for_,) = [entry for entry in commands.options.parameters(commands.bundle) if entry.name == "for_"]
    assert set(re.findall(r"\w+", for_.option.help)) >= set(PLATFORMS)
