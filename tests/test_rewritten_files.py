"""Copies of our files that other tools rewrote: read where the description survived, foreign where it did not."""

import struct

import numpy as np
import onnx
import pytest
from ai_edge_quantizer import quantizer, recipe
from command_line import BENCH, run_here
from conftest import DIGITS
from foreign_networks import NETWORKS
from onnxruntime.quantization import quantize_dynamic

import dcd_deploy
from dcd_deploy.errors import ModelFileError, VerificationError
from dcd_deploy.export.tflite.file import TfliteModel
from dcd_deploy.runtimes import open_model
from dcd_deploy.runtimes.flatbuffer import BUFFER_OFFSET, BUFFER_SIZE, MODEL_BUFFERS, Table
from dcd_deploy.runtimes.pictures import read_picture


@pytest.fixture(scope="module")
def quantised(digits_tflite, tmp_path_factory):
    """A copy by ai-edge-quantizer, which writes all buffers behind the flatbuffer."""
    path = tmp_path_factory.mktemp("quantised") / "w.tflite"
    made = quantizer.Quantizer(str(digits_tflite.artifact.path))
    made.load_quantization_recipe(recipe.weight_only_wi8_afp32())
    made.quantize().export_model(str(path))
    return path


def emptied(source, path):
    """Write a copy that kept the entry of the description, but not its bytes."""
    model = TfliteModel.from_bytes(source.read_bytes())
    for entry in model.root.metadata:
        model.root.buffers[entry.buffer].data = None
    path.write_bytes(model.to_bytes())


def stripped(source, path):
    """Write a copy without metadata."""
    model = TfliteModel.from_bytes(source.read_bytes())
    model.root.metadata = []
    path.write_bytes(model.to_bytes())


def test_a_quantised_copy_is_read(quantised, digits_tflite):
    model = open_model(quantised)
    assert model.card == open_model(digits_tflite.artifact.path).card
    (best,) = model.predict(read_picture(DIGITS / "seven.png"), top=1)
    assert best.label == "seven"


def test_a_quantised_copy_is_inspected_and_timed_and_fails_in_words(quantised, digits_tflite):
    assert "mobilenetv2_dcd" in run_here("inspect", quantised).stdout
    done = run_here("bench", quantised, "--baseline", digits_tflite.artifact.path, *BENCH)
    assert done.returncode == 0, done.stderr
    done = run_here("verify", quantised)
    assert done.returncode not in (0, 1)
    assert "expected an error within" in done.stderr


def test_onnxruntimes_own_quantisation_works_as_the_page_about_trouble_says(tmp_path):
    """Of convolutions with computed weights and a bias; with its defaults it takes them for constant."""
    module, example = NETWORKS["grey"]()
    path = dcd_deploy.export_module(module, example, out=tmp_path, name="mine").artifact.path
    copy = tmp_path / "copy.onnx"
    quantize_dynamic(path, copy, op_types_to_quantize=["MatMul", "Gemm"])
    assert "MatMulInteger" in {node.op_type for node in onnx.load(copy).graph.node}
    done = run_here("verify", copy)
    assert done.returncode in (0, VerificationError.exit_code)
    assert "self-check on" in done.stdout


@pytest.mark.parametrize("change", [emptied, stripped])
def test_a_copy_that_lost_its_description_is_foreign(change, digits_tflite, tmp_path):
    path = tmp_path / "copy.tflite"
    change(digits_tflite.artifact.path, path)
    taken_as_foreign(path)


def test_an_onnx_copy_that_lost_its_description_is_foreign(digits_export, tmp_path):
    model = onnx.load(digits_export.artifact.path)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "copy.onnx")
    taken_as_foreign(tmp_path / "copy.onnx")


def taken_as_foreign(path):
    assert open_model(path).card is None
    with pytest.raises(ModelFileError, match="foreign file"):
        open_model(path).described()
    done = run_here("inspect", path)
    assert done.returncode == 0
    assert "a foreign file" in done.stdout
    done = run_here("bench", path, *BENCH)
    assert done.returncode == 0, done.stderr
    assert "damaged" not in done.stderr


def test_a_description_behind_the_file_is_damage(quantised):
    content = bytearray(quantised.read_bytes())
    for buffer in Table.root(bytes(content)).tables(MODEL_BUFFERS):
        if buffer.number(BUFFER_OFFSET, "Q") > 1:
            at = buffer._field(BUFFER_SIZE)
            content[at : at + 8] = struct.pack("<Q", len(content))
    path = quantised.with_name("behind.tflite")
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="damaged or cut short"):
        open_model(path)


@pytest.mark.parametrize("dtype", ["int8", "int64", "float64"])
def test_bench_feeds_a_foreign_file_what_it_takes(dtype, tmp_path):
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    value, answer = (onnx.helper.make_tensor_value_info(name, kind, [1, 3]) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [value], [answer])
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8),
        tmp_path / "f.onnx",
    )
    done = run_here("bench", tmp_path / "f.onnx", *BENCH)
    assert done.returncode == 0, done.stderr
