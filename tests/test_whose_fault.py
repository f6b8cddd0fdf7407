"""Files that are wrong everywhere, renamed by another tool, or made for the very runtime: whose fault it is is told."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from faked_runtimes import QUICK, fake_one_that_is_right, fake_runtimes

from dcd_deploy import commands
from dcd_deploy.benchmarks import other_runtimes
from dcd_deploy.errors import BenchError

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def beside(tmp_path, monkeypatch):
    fake_runtimes(tmp_path, monkeypatch)
    fake_one_that_is_right(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("made_for", "words"), [("off", "leave that runtime out: the file is for it"), (None, "`for_`")]
)
def test_no_file_is_to_be_exported_for_what_it_is_for(onnx_file, beside, made_for, words, monkeypatch):
    described = other_runtimes.described_of
    monkeypatch.setattr(
        other_runtimes,
        "described_of",
        lambda path: (replace((found := described(path))[0], runtime=made_for), found[1]),
    )
    with pytest.raises(BenchError, match=words):
        commands.bench(onnx_file, runtime="off", memory=False, baseline="none", **QUICK)


@pytest.fixture
def changed(onnx_file, tmp_path):
    """A copy with other weights."""
    model = onnx.load(onnx_file)
    largest = max(model.graph.initializer, key=lambda one: onnx.numpy_helper.to_array(one).size)
    largest.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(largest) * np.float32(1.1), largest.name))
    onnx.save(model, tmp_path / "changed.onnx")
    return tmp_path / "changed.onnx"


def test_a_file_that_is_wrong_here_too_is_not_blamed_on_another_runtime(changed, beside):
    with pytest.raises(BenchError, match="it is wrong in onnxruntime too: export or fetch it again"):
        commands.bench(changed, runtime="off", memory=False, baseline="none", **QUICK)
    with pytest.raises(BenchError) as error:
        commands.runtimes(changed, runtime="refusing", baseline="none", blocks=1)
    assert "no such operator: Split; it is wrong in onnxruntime too" in str(error.value)


def test_bench_says_so_of_a_file_that_is_wrong(changed, onnx_file):
    (trial,) = commands.bench(changed, baseline=onnx_file, memory=False, **QUICK).trials
    (said,) = [verdict.text for verdict in trial.verdicts if verdict.kind == "wrong"]
    assert said.startswith("changed.onnx does not compute what was trained: its error in onnxruntime is ")
    (trial,) = commands.bench(onnx_file, baseline="none", against=str(changed), memory=False, **QUICK).trials
    assert [verdict.text[:12] for verdict in trial.verdicts if verdict.kind == "wrong"] == ["changed.onnx"]
    (trial,) = commands.bench(onnx_file, memory=False, **QUICK).trials
    assert not [verdict for verdict in trial.verdicts if verdict.kind == "wrong"]


def test_a_file_whose_input_another_tool_renamed(onnx_file, beside, tmp_path):
    model = onnx.load(onnx_file)
    (old,) = (one.name for one in model.graph.input)
    model.graph.input[0].name = "renamed"
    for node in model.graph.node:
        node.input[:] = ["renamed" if name == old else name for name in node.input]
    onnx.save(model, tmp_path / "copy.onnx")
    (row,) = commands.runtimes(tmp_path / "copy.onnx", runtime="onnxruntime", baseline=onnx_file, blocks=1).rows
    assert (row.status, row.cpu.ratio is None) == ("right", False)
    result = commands.bench(tmp_path / "copy.onnx", runtime="beside", baseline=onnx_file, memory=False, **QUICK)
    assert list(result.trials[0].ratios) == ["static twin"]
