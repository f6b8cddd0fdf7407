"""Profiles, benchmarks and predictions of files of a user's own module: they know from the file what they need."""

import math
import shutil

import pytest
from command_line import run_here
from foreign_networks import DYNAMIC_LAYERS, NETWORKS

import dcd_deploy
from dcd_deploy import commands
from dcd_deploy.benchmarks.litert_profiler import OperatorTime
from dcd_deploy.benchmarks.profile_litert import match
from dcd_deploy.benchmarks.profile_onnxruntime import origins_of
from dcd_deploy.errors import OptionError
from dcd_deploy.runtimes.nodes import FileNode, part_of

QUICK = {"min_runs": 2, "min_seconds": 0.0, "rounds": 1, "memory": False}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files of a network of one channel, and of one with two inputs and two outputs."""
    out, made = tmp_path_factory.mktemp("own"), {}
    for name in ("grey", "two inputs"):
        module, example = NETWORKS[name]()
        for to in ("onnx", "tflite"):
            result = dcd_deploy.export_module(module, example, to=to, out=out, name=name.replace(" ", "_"))
            made[name, to] = result.artifact.path
    return made


@pytest.mark.parametrize("to", ["onnx", "tflite"])
@pytest.mark.parametrize("name", ["grey", "two inputs"])
def test_profiles_know_the_layers_of_any_module(files, name, to):
    result = commands.profile(files[name, to], runs=2)
    assert {node.layer for node in result.nodes if node.part == "dynamic"} == DYNAMIC_LAYERS[name]
    assert {node.part for node in result.nodes} <= {"static", "dynamic", "layout"}
    modules = {path for path, _ in NETWORKS[name]()[0].named_modules()}
    assert {node.layer for node in result.nodes} <= modules
    assert math.fsum(part.total_ms for part in result.by_part()) == pytest.approx(result.total_ms)


def test_functions_of_the_network_are_static():
    assert part_of("static.mean", "ReduceMean") == part_of("static.mul", "MUL") == part_of("norm", "Mul") == "static"
    assert part_of("static.flatten", "Reshape") == part_of("static.permute", "Transpose") == "layout"
    assert part_of("kernel", "Mul") == part_of("mean", "ReduceMean") == "dynamic"


def test_what_onnxruntime_fused_under_a_name_of_its_own_is_found_again():
    nodes = [
        FileNode("a/activation/sigmoid", "Sigmoid", ("x",), ("a/activation/sigmoid",), 0),
        FileNode("a/activation/mul", "Mul", ("x", "a/activation/sigmoid"), ("a/activation/mul",), 0),
    ]
    found = origins_of(["a/activation/mul/QuickGeluFusion/"], nodes)
    assert [node.name for node in found["a/activation/mul/QuickGeluFusion/"]] == [
        "a/activation/mul",
        "a/activation/sigmoid",
    ]


def test_operators_of_other_networks_side_by_side():
    def matched(labels, operators):
        times = [OperatorTime(f"{label} (NC)", None, 1) for label in labels]
        return match(times, [FileNode("", operator, (), (), 0) for operator in operators])

    joined = ("TRANSPOSE_CONV", "RELU", "CONCATENATION", "RESIZE_BILINEAR")
    assert matched(("Deconvolution", "Clamp", "Copy", "Copy", "Resize Bilinear"), joined) == [0, 1, 2, 2, 3]
    assert matched(("Deconvolution", "Copy", "Resize Bilinear"), joined) == [0, 2, 3]
    assert matched(("Deconvolution", "Resize Bilinear"), joined) == [0, 3]
    assert matched(("Deconvolution", "Add"), joined) is None
    assert matched(("Copy", "Copy"), ("RESHAPE",)) is None, "one copy too many"


@pytest.mark.parametrize("to", ["onnx", "tflite"])
def test_benchmarks_of_any_module(files, to):
    for name in ("grey", "two inputs"):
        model = files[name, to]
        (trial,) = commands.bench(model, baseline="none", **QUICK).trials
        assert trial.timings[0].latency.median_ms > 0
        assert trial.timings[0].network == type(NETWORKS[name]()[0]).__name__
        with pytest.raises(OptionError, match=r"`with_baseline`, or give `baseline` FILE or none"):
            commands.bench(model, **QUICK)
        with pytest.raises(OptionError, match="`against` released"):
            commands.bench(model, baseline="none", against=["released"], **QUICK)


def test_runtimes_of_any_module_with_and_without_a_static_twin(files, tmp_path):
    model = files["grey", "onnx"]
    result = commands.runtimes(model, runtime="onnxruntime", blocks=1)
    assert [(row.status, row.cpu.static_ms) for row in result.rows] == [("right", None)]
    assert "no ratios, since there is no static twin" in result.remark
    assert "`with_baseline`" in result.remark
    done = run_here("runtimes", model, "--runtime", "onnxruntime", "--blocks", 1)
    assert done.returncode == 0
    assert "--with-baseline" in done.stdout
    for name in (model.name, f"{model.stem}-static.onnx"):
        shutil.copy(model, tmp_path / name)
    result = commands.runtimes(tmp_path / model.name, runtime="onnxruntime", blocks=1)
    assert (result.rows[0].cpu.ratio is None, result.remark) == (False, None)


def test_predictions_need_a_picture(files, tmp_path):
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "picture.png")
    with pytest.raises(OptionError, match="expected a model that takes RGB pictures"):
        commands.predict(files["grey", "onnx"], tmp_path / "picture.png")
    with pytest.raises(OptionError, match="expected a classifier"):
        commands.predict(files["two inputs", "onnx"], tmp_path / "picture.png")
