"""Runtimes asked in a process of their own: what they answer, and what is said of those that crash, hang or refuse."""

import shutil
import sys

import numpy as np
import onnx
import pytest

from dcd_deploy.runtimes.others import process
from dcd_deploy.runtimes.others.process import ask

X = np.arange(12, dtype=np.float32).reshape(2, 6)
FAKES = {
    "crashing": "import os, signal\ndef version(): return '1'\ndef opened(*a): os.kill(os.getpid(), signal.SIGSEGV)\n",
    "hanging": "import time\ndef version(): return '1'\ndef opened(*a): time.sleep(60)\n",
    "missing": "import a_package_that_nobody_has\n",
    "refusing": "def version(): return '1'\ndef opened(*a): raise RuntimeError('no such operator: Split')\n",
    "installing": (
        "import subprocess, sys\n"
        "def version(): return '1'\n"
        "def opened(*a):\n"
        "    done = subprocess.run(['pip', 'install', 'six'], capture_output=True, text=True)\n"
        "    raise RuntimeError('pip ended with %d' % bool(done.returncode))\n"
    ),
    "lacking_an_output": "def version(): return '1'\ndef opened(*a): return lambda values: []\n",
    "quoting": (
        "def version(): return '1'\n"
        "def opened(*a): raise RuntimeError('in function handleNode\\n> Node [Conv]: parse error\\n> ')\n"
    ),
}
SAID = {
    "crashing": "crashed (SIGSEGV), opening small.onnx",
    "hanging": "did not end within 2 s, opening small.onnx",
    "missing": "importing the package: ModuleNotFoundError: No module named 'a_package_that_nobody_has'",
    "refusing": "opening small.onnx: RuntimeError: no such operator: Split",
    "installing": "opening small.onnx: RuntimeError: pip ended with 1",
    "lacking_an_output": "running small.onnx: RuntimeError: it gave 0 of 1 outputs",
    "quoting": "opening small.onnx: RuntimeError: in function handleNode Node [Conv]: parse error",
}


@pytest.fixture
def small(tmp_path):
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> net (float[1, 6] x) => (float[1, 6] y) { y = Relu (x) }'
    )
    onnx.save(model, tmp_path / "small.onnx")
    return tmp_path / "small.onnx"


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    worker = tmp_path / "worker.py"
    shutil.copy(process.WORKER, worker)
    for name, text in FAKES.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(process, "WORKER", worker)


@pytest.mark.parametrize("name", ["onnxruntime", "onnx_reference"])
def test_what_a_runtime_answers(small, name):
    answer = ask(name, [small, small], {"x": X - 5}, ["y"], blocks=2)
    assert answer.failure is None
    assert answer.version
    for model in answer.models:
        assert np.array_equal(model.outputs[0], np.maximum(X - 5, 0))
        assert len(model.cpu_ms) == 2
        assert min(model.cpu_ms) > 0


def test_a_file_with_other_names(small, tmp_path):
    """Of tensors that another tool renamed, "file" included, which numpy takes for its own word."""
    renamed = tmp_path / "renamed.onnx"
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> net (float[1, 6] file) => (float[1, 6] out) { out = Relu (file) }'
    )
    onnx.save(model, renamed)
    names = {renamed: process.Names(("file",), ("out",))}
    answer = ask("onnxruntime", [small, renamed], {"x": X - 5}, ["y"], named=names, blocks=1)
    assert answer.failure is None
    for one in answer.models:
        assert np.array_equal(one.outputs[0], np.maximum(X - 5, 0))
        assert len(one.cpu_ms) == 1


@pytest.mark.parametrize("name", FAKES)
def test_what_goes_wrong_is_told(small, fakes, name):
    answer = ask(name, [small], {"x": X}, ["y"], timeout_s=2 if name == "hanging" else 60)
    assert answer.models == ()
    assert SAID[name] in answer.failure


def test_a_python_that_is_not_there(small, tmp_path):
    answer = ask("onnxruntime", [small], {"x": X}, ["y"], python=tmp_path / "python")
    assert "its Python cannot be started" in answer.failure


def test_its_environment_is_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    variables = process.environment_of(process.Path(sys.executable))
    assert "PYTHONPATH" not in variables
    assert variables["PIP_NO_INDEX"] == "1"
