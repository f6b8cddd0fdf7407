"""Where XNNPACK's flag cannot be set: the answers are right all the same, and a warning says what is slower."""

import json
import subprocess
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from right_answers import assert_near
from test_tflite_interpreters import LEGACY, ROOT

from dcd_deploy.artifacts import LITERT_COMPILED
from dcd_deploy.benchmarks.environment import read_environment
from dcd_deploy.devices.answers import Survey
from dcd_deploy.devices.packages import check
from dcd_deploy.errors import (
    DeviceLackError,
    MissingDependencyError,
    ModelFileError,
)
from dcd_deploy.runtimes import litert_compiled, open_model
from dcd_deploy.runtimes.choice import SlowRuntimeWarning
from dcd_deploy.runtimes.litert_compiled import lacking


def without_compiled_model(monkeypatch):
    honest = litert_compiled.require

    def require(name):
        if name == "ai_edge_litert.compiled_model":
            raise MissingDependencyError(f"No module named '{name}'")
        return honest(name)

    monkeypatch.setattr(litert_compiled, "require", require)


def another_version(monkeypatch, version):
    monkeypatch.setattr(litert_compiled, "installed_version", lambda _: version)


def without_options(monkeypatch):
    monkeypatch.delattr("ai_edge_litert.compiled_model.CpuOptions")


def on_an_old_core(monkeypatch):
    """A Raspberry Pi 4's."""
    core = ROOT / "tests" / "stand_ins" / "cortex-a72.cpuinfo"
    monkeypatch.setattr(litert_compiled, "CPUINFO", core)


LACKS = [
    (without_compiled_model, "No module named 'ai_edge_litert.compiled_model'"),
    (partial(another_version, version="2.4.0"), r"ai-edge-litert 2\.2 or 2\.3, .* found 2\.4\.0; run: pip install"),
    (partial(another_version, version="2.30.1"), r"found 2\.30\.1"),
    (partial(another_version, version="1.4.0"), r"found 1\.4\.0"),
    (partial(another_version, version="unknown"), "found unknown"),
    (without_options, "whose CompiledModel takes XNNPACK's flags"),
    (on_an_old_core, r"atomic instructions .*libLiteRtWebGpuAccelerator\.so'.* move that file away"),
]


@pytest.mark.parametrize(("lack", "words"), LACKS)
def test_without_the_flag_it_is_right_and_says_so(lack, words, digits_compiled, images, monkeypatch):
    wanted = open_model(digits_compiled.artifact.path).run(images)
    lack(monkeypatch)
    with pytest.warns(SlowRuntimeWarning, match=f"'digits.tflite' is right in litert, but slower: .*{words}") as said:
        model = open_model(digits_compiled.artifact.path)
    assert [Path(each.filename) for each in said] == [Path(__file__)]
    assert model.session.runtime == "ai-edge-litert"
    assert_near(model.run(images), wanted)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_near(open_model(digits_compiled.artifact.path, runtime="litert").run(images), wanted)
    with pytest.raises(MissingDependencyError, match=words):
        open_model(digits_compiled.artifact.path, runtime=LITERT_COMPILED)


def test_a_new_core_and_other_machines_lack_nothing(tmp_path, monkeypatch):
    assert lacking() is None
    new = tmp_path / "cpuinfo"
    new.write_text("processor : 0\nFeatures\t: fp asimd atomics\n\nprocessor : 1\nFeatures\t: fp asimd atomics\n")
    for path in (new, tmp_path / "none"):
        monkeypatch.setattr(litert_compiled, "CPUINFO", path)
        assert lacking() is None
    on_an_old_core(monkeypatch)
    monkeypatch.setattr(litert_compiled, "GPU_LIBRARY", "moved-away.so")
    assert lacking() is None


def test_without_xnnpack_it_is_right(digits_compiled, images):
    plain = open_model(digits_compiled.artifact.path, runtime="litert-plain")
    assert "DELEGATE" not in {op["op_name"] for op in plain.session.interpreter._get_ops_details()}
    assert_near(plain.run(images), open_model(digits_compiled.artifact.path).run(images))


def test_the_old_interpreter_runs_it_and_says_so(digits_compiled, images, tmp_path):
    assert LEGACY.exists(), "the environment of tflite-runtime is missing: run the tests with `make test-long`"
    np.save(tmp_path / "images.npy", images)
    command = [LEGACY, ROOT / "tests" / "legacy_reader.py", digits_compiled.artifact.path, tmp_path / "images.npy"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert (answer["runtime"], answer["passed"]) == ("tflite-runtime", True)
    assert answer["classes"] == open_model(digits_compiled.artifact.path).run(images).argmax(1).tolist()
    assert done.stderr.count("SlowRuntimeWarning: 'digits.tflite' is right in litert, but slower") == 1
    assert "Traceback" not in done.stderr


def test_a_board_whose_interpreter_is_the_old_one():
    """Before anything is sent: tflite-runtime has no CompiledModel."""
    packages = {"numpy": "1.26.4", "tflite-runtime": "2.14.0"}
    found = Survey(replace(read_environment(), packages=packages), (), 1000, "glibc 2.36")
    check("litert", found, "ssh://board")
    with pytest.raises(DeviceLackError, match="expected ai-edge-litert on ssh://board, found none"):
        check(LITERT_COMPILED, found, "ssh://board")


def test_a_runtime_that_nobody_knows(digits_compiled, images, tmp_path):
    built, card = digits_compiled.built, digits_compiled.artifact.card
    path = tmp_path / "later.tflite"
    path.write_bytes(built.content(replace(card, runtime="litert\x1b[2Jnext")))
    with pytest.warns(SlowRuntimeWarning, match=r"made for litert\\x1b\[2Jnext; this version of dcd-deploy knows"):
        model = open_model(path)
    assert_near(model.run(images), open_model(digits_compiled.artifact.path).run(images))
    path.write_bytes(built.content(replace(card, runtime=3)))
    with pytest.raises(ModelFileError, match="expected text, found int"):
        open_model(path)
