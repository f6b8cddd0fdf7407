"""Profiles: every node has its layer and part, sums are whole, and what cannot be profiled is said in words.

The times themselves are for people; here it counts that none is lost and each stands in its place.
"""

import csv
import json
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import pytest
from command_line import dcd_deploy, refused, run_here

from dcd_deploy import commands
from dcd_deploy.benchmarks import litert_profiler, profile_onnxruntime
from dcd_deploy.benchmarks.environment import core_count
from dcd_deploy.benchmarks.litert_profiler import OperatorTime, ProfiledLiteRt
from dcd_deploy.benchmarks.profile_litert import match
from dcd_deploy.benchmarks.profile_onnxruntime import origins_of, runs_of, with_neighbours
from dcd_deploy.errors import (
    InputFileError,
    MissingDependencyError,
    ModelFileError,
    OptionError,
    OutputError,
    UnknownNameError,
)
from dcd_deploy.export.tflite.file import TfliteModel, read_tflite_nodes
from dcd_deploy.reports.profile import check_table
from dcd_deploy.runtimes.model import open_model
from dcd_deploy.runtimes.nodes import PARTS, FileNode

RUNS = 4


@pytest.fixture(scope="module")
def profiles(digits_export, digits_tflite):
    exported = {"onnx": digits_export, "tflite": digits_tflite}
    return {format: (commands.profile(e.artifact.path, runs=RUNS), e) for format, e in exported.items()}


@pytest.fixture(params=["onnx", "tflite"])
def profiled(request, profiles):
    return profiles[request.param]


def layers_of_the_network() -> list[str]:
    """Return the layers of the digits network by their names in the checkpoint, in the order in which they run."""
    blocks = [f"features.{i}.conv.{j}" for i in range(2, 18) for j in (0, 3, 6)]
    return ["features.0.0", "features.1.conv.0", "features.1.conv.3", *blocks, "conv.0", "avgpool", "classifier.1"]


def test_every_node_has_its_layer_and_the_layers_are_in_order(profiled):
    result, _ = profiled
    assert [found.name for found in result.by_layer() if found.name != "avgpool"] == [
        layer for layer in layers_of_the_network() if layer != "avgpool"
    ]
    assert {node.part for node in result.nodes} <= set(PARTS) - {"unknown"}
    dynamic = {node.layer for node in result.nodes if node.part == "dynamic"}
    assert dynamic == {f"features.{i}.conv.{j}" for i in range(2, 18) for j in (0, 6)} | {"classifier.1"}


def test_sums_are_whole(profiled):
    result, exported = profiled
    total = sum(node.median_ms for node in result.nodes)
    assert result.total_ms == pytest.approx(total)
    for sums in (result.by_layer(), result.by_part(), result.by_type()):
        assert math.fsum(found.total_ms for found in sums) == pytest.approx(total)
        assert sum(found.nodes for found in sums) == len(result.nodes)
        assert sum(found.macs for found in sums) == exported.built.finished.macs
    assert all(node.bytes_written > 0 for node in result.nodes if node.macs)
    assert (result.latency_ms > 0, result.runs, result.threads) == (True, RUNS, 1)
    assert (result.kind, result.schema) == ("dcd-deploy profile", 2)


def test_the_static_twin_has_no_dynamic_part(digits_export, digits_tflite):
    for exported in (digits_export, digits_tflite):
        result = commands.profile(exported.baseline, runs=2)
        assert {node.part for node in result.nodes} <= {"static", "layout"}
        assert {node.layer for node in result.nodes} - {"avgpool"} == set(layers_of_the_network()) - {"avgpool"}


def test_a_foreign_model_without_names(tmp_path):
    text = """
        <ir_version: 8, opset_import: ["" : 18]>
        net (float[1, 3, 8, 8] x, float[16, 3, 3, 3] w) => (float[1, 16, 8, 8] z) {
            c = Conv <pads = [1, 1, 1, 1]> (x, w)
            z = Relu (c)
        }"""
    model = onnx.parser.parse_model(text)
    weight = onnx.numpy_helper.from_array(np.ones((16, 3, 3, 3), np.float32), "w")
    del model.graph.input[1]
    model.graph.initializer.append(weight)
    onnx.save(model, tmp_path / "foreign.onnx")
    result = commands.profile(tmp_path / "foreign.onnx", runs=2)
    assert {node.layer for node in result.nodes} == {""}
    assert {node.part for node in result.nodes} <= {"unknown", "layout"}
    assert sum(node.macs for node in result.nodes) in (0, 16 * 27 * 64), "a node without a name cannot be found again"
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    model.graph.input.append(onnx.helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, [1]))
    onnx.save(model, tmp_path / "two.onnx")
    with pytest.raises(ModelFileError):
        commands.profile(tmp_path / "two.onnx", runs=2)


def test_a_foreign_tflite_file(digits_tflite, tmp_path):
    """Without our names the operators are still there; where the lists do not fit, XNNPACK's own stand for them."""
    path = tmp_path / "foreign.tflite"
    model = TfliteModel.from_bytes(digits_tflite.artifact.path.read_bytes())
    for i, tensor in enumerate(model.graph.tensors):
        tensor.name = f"tensor_{i}"
    path.write_bytes(model.to_bytes())
    result = commands.profile(path, runs=2)
    assert ({node.layer for node in result.nodes}, {node.part for node in result.nodes}) == ({""}, {"unknown"})
    assert sum(node.macs for node in result.nodes) == digits_tflite.built.finished.macs


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"threads": core_count() + 1}, OptionError, "one for each"),
        ({"threads": 0}, OptionError, "at least one thread"),
        ({"runs": 0}, OptionError, "`runs`"),
        ({"runs": 10**9}, OptionError, "`runs`"),
    ],
)
def test_bad_options(digits_export, change, error, words):
    with pytest.raises(error, match=words):
        commands.profile(digits_export.artifact.path, **change)


def test_bad_files(digits_export, digits_tflite, tmp_path):
    for exported in (digits_export, digits_tflite):
        path = exported.artifact.path
        for name, content in (("cut", path.read_bytes()[: path.stat().st_size // 2]), ("text", b"hello")):
            damaged = tmp_path / f"{name}{path.suffix}"
            damaged.write_bytes(content)
            with pytest.raises(ModelFileError):
                commands.profile(damaged, runs=1)
    with pytest.raises(InputFileError):
        commands.profile(tmp_path / "missing.onnx")
    for name in ("model.bin", "model.ort"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UnknownNameError, match="kind of model file"):
        commands.profile(tmp_path / "model.bin")
    with pytest.raises(UnknownNameError, match=r"to profile '\.ort': give the \.onnx file of the same network\. Known"):
        commands.profile(tmp_path / "model.ort")
    with pytest.raises(UnknownNameError, match="table of a profile"):
        check_table("colour")


@pytest.fixture
def here(monkeypatch):
    """Profile in this process, where a test can change what happens."""

    def call(_, function, *arguments, **progress):
        return function(*arguments, **progress)

    monkeypatch.setattr("dcd_deploy.runtimes.isolated.Isolated.call", call)


@pytest.mark.usefixtures("here")
def test_nothing_is_left_behind(digits_export, digits_tflite, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for exported in (digits_export, digits_tflite):
        commands.profile(exported.artifact.path, runs=1)
    monkeypatch.setattr(profile_onnxruntime, "runs_of", lambda events: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        commands.profile(digits_export.artifact.path, runs=1)
    assert list(tmp_path.iterdir()) == []


def test_csv(digits_export, tmp_path):
    result = commands.profile(digits_export.artifact.path, runs=1, csv=tmp_path / "new" / "nodes.csv")
    with (tmp_path / "new" / "nodes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [node.name for node in result.nodes]
    assert sum(float(row["median_ms"]) for row in rows) == pytest.approx(result.total_ms)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["nodes.csv"]
    with pytest.raises(OutputError):
        commands.profile(digits_export.artifact.path, runs=1, csv=tmp_path / "new")


def test_litert_computes_what_the_interpreter_does(digits_tflite):
    """A call of LiteRT with wrong arguments would not come out right."""
    path = digits_tflite.artifact.path
    images = np.random.default_rng(1).standard_normal((1, 32, 32, 3), np.float32)
    compiled = ProfiledLiteRt(path, [images], 1)
    try:
        assert len(compiled.profile()) == len(compiled.profile()) > 400
        found = compiled.output((1, 10))
        with pytest.raises(ModelFileError, match="expected a tensor of"):
            compiled.output((1, 11))
    finally:
        compiled.close()
    wanted = open_model(path).session.run(images.transpose(0, 3, 1, 2))
    assert np.array_equal(found, wanted) or np.abs(found - wanted).max() < 1e-6 * np.ptp(wanted)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("version", ["", "2.1.0", "2.30.0", "3.0"])
def test_litert_in_a_version_that_was_not_tried_is_not_called(digits_tflite, monkeypatch, version):
    monkeypatch.setattr(litert_profiler, "_version", lambda: version)
    with pytest.raises(MissingDependencyError, match="whose profiler it reads"):
        commands.profile(digits_tflite.artifact.path, runs=1)


def times(*labels: str) -> list[OperatorTime]:
    return [OperatorTime(f"{label} (ND)", None, 1) for label in labels]


def file_nodes(*operators: str) -> list[FileNode]:
    return [FileNode("", name.removesuffix("+"), (), (), 0, activated=name.endswith("+")) for name in operators]


def test_operators_of_xnnpack_and_of_the_file_side_by_side():
    nodes = file_nodes("PAD", "CONV_2D+", "ADD+", "RESHAPE", "MUL")
    assert match(times("Convolution", "Add", "Clamp", "Multiply"), nodes) == [1, 2, 2, 4]
    assert match(times("Constant Pad", "Fully Connected", "Add", "Static Reshape", "Multiply"), nodes) == [
        0,
        1,
        2,
        3,
        4,
    ]
    for wrong in (("Add", "Multiply"), ("Convolution", "Add"), ("Convolution", "Add", "Multiply", "Multiply")):
        assert match(times(*wrong), nodes) is None
    assert match(times("Convolution", "Clamp"), file_nodes("CONV_2D")) is None, "a Clamp needs an activation"
    outside = [*times("Convolution"), OperatorTime("STRIDED_SLICE", 1, 5), *times("Add")]
    assert match(outside, file_nodes("CONV_2D", "STRIDED_SLICE", "ADD")) == [0, 1, 2]
    assert match([OperatorTime("ADD", 7, 5)], file_nodes("ADD")) is None


@pytest.mark.usefixtures("here")
def test_operators_that_fit_nothing_stand_for_themselves(digits_tflite, monkeypatch):
    monkeypatch.setattr("dcd_deploy.benchmarks.profile_litert.match", lambda operators, nodes: None)
    result = commands.profile(digits_tflite.artifact.path, runs=1)
    assert {node.part for node in result.nodes} == {"unknown"}
    assert len(result.nodes) > len(read_tflite_nodes(digits_tflite.artifact.path)) - 10


def test_what_onnxruntime_fused_is_found_again():
    nodes = [
        FileNode("a/static/conv", "Conv", ("input",), ("a/static/conv",), 100),
        FileNode("a/activation/clip", "Clip", ("a/static/conv",), ("a/activation/clip",), 0),
        FileNode("b/project/gemm", "Gemm", ("a/activation/clip",), ("b/project/gemm",), 7),
        FileNode("b/attention/hardsigmoid", "HardSigmoid", ("b/project/gemm",), ("logits",), 0),
    ]
    found = origins_of(["a/activation/clip_nchwc", "fused b/project/gemm", "ReorderOutput"], nodes)
    assert {name: [node.name for node in made_of] for name, made_of in found.items()} == {
        "a/activation/clip_nchwc": ["a/activation/clip", "a/static/conv"],
        "fused b/project/gemm": ["b/project/gemm"],
    }


def test_conversions_are_counted_to_their_neighbours(profiles):
    named = profiles["onnx"][0].nodes[:2]
    without = [replace(named[0], name=name, operator=name, layer="") for name in ("ReorderOutput", "ReorderInput")]
    a, b = (replace(node, layer=layer) for node, layer in zip(named, "ab", strict=True))
    assert [node.layer for node in with_neighbours([a, *without, b])] == ["a", "a", "b", "b"]
    assert [node.layer for node in with_neighbours([a, *without])] == ["a", "a", "a"]
    assert [node.layer for node in with_neighbours(without)] == ["", ""]


def test_runs_of_a_profile():
    def event(ts, name, cat="Node"):
        return {"ts": ts, "name": name, "cat": cat, "dur": 1}

    events = [event(11, "b_kernel_time"), event(0, "model_loading"), event(20, "model_run", "Session")]
    events += [event(10, "model_run", "Session"), event(21, "b_kernel_time"), event(12, "b_fence_after")]
    assert [[e["ts"] for e in run] for run in runs_of(events)] == [[11], [21]]


def test_on_the_command_line(digits_export, digits_tflite):
    for exported in (digits_export, digits_tflite):
        path = exported.artifact.path
        done = dcd_deploy("profile", path, "--runs", 2, "--json", "--quiet")
        answer = json.loads(done.stdout)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert math.fsum(part["total_ms"] for part in answer["parts"]) == pytest.approx(answer["total_ms"])
        assert Counter(node["layer"] for node in answer["nodes"])["classifier.1"] > 10
    for by, word in (("layer", "static ms"), ("operator", "in the order"), ("type", "type of operator")):
        done = run_here("profile", digits_export.artifact.path, "--runs", 2, "--by", by)
        assert (done.returncode, word in done.stdout) == (0, True), done.stderr
        assert "latency without the profiler" in done.stdout
    refused(run_here("profile", digits_export.artifact.path, "--by", "colour"), 7, "table of a profile")
    refused(run_here("profile", digits_export.artifact.path, "--runs", "0"), 8, "--runs")
