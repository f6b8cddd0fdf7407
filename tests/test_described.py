"""Files that another tool has changed since they were described: what is left of them is used, or they are refused."""

import numpy as np
import onnx
import pytest

from dcd_deploy import commands
from dcd_deploy.errors import ModelFileError
from dcd_deploy.runtimes import open_model, self_check
from dcd_deploy.runtimes.isolated import isolated_model


@pytest.fixture(scope="module")
def free(digits_checkpoint, tmp_path_factory):
    out = tmp_path_factory.mktemp("free")
    return commands.export(digits_checkpoint, input_size=32, batch="dynamic", out=out).artifact.path


def saved(source, tmp_path, change):
    model = onnx.load(source)
    change(model.graph)
    onnx.save(model, tmp_path / "changed.onnx")
    return tmp_path / "changed.onnx"


def batch(value):
    def change(graph):
        for one in (*graph.input, *graph.output):
            size = one.type.tensor_type.shape.dim[0]
            size.Clear()
            setattr(size, "dim_param" if isinstance(value, str) else "dim_value", value)

    return change


def first_too(graph):
    """Give one more output, before the others."""
    graph.output.insert(0, onnx.helper.make_tensor_value_info(graph.node[0].output[0], 1, None))


@pytest.mark.exhaustive
@pytest.mark.parametrize("size", [1, 2])
def test_a_free_batch_that_was_fixed(free, digits_checkpoint, tmp_path, size):
    file = saved(free, tmp_path, batch(size))
    model = open_model(file)
    assert [tensor.shape[0] for tensor in (*model.card.inputs, *model.card.outputs)] == [size, size]
    assert self_check(model).passed
    assert commands.verify(file, checkpoint=digits_checkpoint).passed


def test_one_batch_that_became_free_is_still_one(onnx_file, tmp_path):
    model = open_model(saved(onnx_file, tmp_path, batch("N")))
    assert model.session.inputs[0].shape[0] == 1
    images = np.random.default_rng(0).standard_normal((3, 3, 32, 32), np.float32)
    assert np.array_equal(model.run(images), open_model(onnx_file).run(images))
    assert self_check(model).passed


def test_more_outputs_than_are_described(onnx_file, tmp_path):
    file = saved(onnx_file, tmp_path, first_too)
    with isolated_model(file) as model:
        assert [tensor.name for tensor in model.session.outputs] == ["logits"]
        assert self_check(model).passed
    assert commands.verify(file).passed


def test_an_output_that_lost_its_name_among_others_is_refused(onnx_file, tmp_path):
    def change(graph):
        first_too(graph)
        graph.node.append(onnx.helper.make_node("Identity", [graph.output[1].name], ["renamed"]))
        graph.output[1].name = "renamed"

    with pytest.raises(ModelFileError, match="speaks of shapes"):
        open_model(saved(onnx_file, tmp_path, change))


def test_weights_that_were_left_behind_are_named(onnx_file, tmp_path):
    elsewhere = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 1024}
    onnx.save_model(onnx.load(onnx_file), tmp_path / "moved.onnx", **elsewhere)
    assert self_check(open_model(tmp_path / "moved.onnx")).passed
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelFileError, match=r"was left behind: put 'weights\.bin' beside it"):
        open_model(tmp_path / "moved.onnx")
