"""The ONNX file itself: batch sizes, opsets, names, shapes, layout of the file."""

import numpy as np
import onnx
import pytest
from deployed import deployed
from torch import nn

from dcd_deploy import commands
from dcd_deploy.errors import OptionError
from dcd_deploy.export.onnx.file import graph_macs, graph_stats
from dcd_deploy.export.onnx.trace import deployable, to_onnx
from dcd_deploy.lowering.channels_first import CHANNELS_FIRST
from dcd_deploy.runtimes import open_model
from dcd_deploy.samples import verification_inputs

ANY = [name for name, kind in CHANNELS_FIRST.lowerings.items() if kind.batches == "any"]


@pytest.fixture(
    scope="module",
    params=["auto", *(pytest.param(name, marks=pytest.mark.exhaustive) for name in ANY)],
)
def any_batch(request, small_checkpoint, tmp_path_factory):
    out = tmp_path_factory.mktemp(request.param)
    return commands.export(small_checkpoint, input_size=(40, 32), batch=None, lowering=request.param, out=out)


def test_any_batch(any_batch):
    """Per-sample kernels at any batch size: each row of a batch is what the picture gives alone."""
    model = open_model(any_batch.artifact.path)
    assert model.session.inputs[0].shape == (None, 3, 40, 32)
    images = verification_inputs(any_batch.artifact.card.preprocessing, 7)
    together = model.session.run(images)
    alone = np.concatenate([model.session.run(image[None]) for image in images])
    assert np.abs(together - alone).max() <= 1e-5 * np.ptp(alone)
    modes = {(c.stage, c.mode) for c in any_batch.built.report.comparisons}
    assert {("ONNX as traced", "in one batch"), ("ONNX simplified", "in one batch")} <= modes


def test_any_batch_uses_batched_matmul(any_batch):
    model = onnx.load(any_batch.artifact.path)
    weights = {tensor.name for tensor in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert all(node.input[1] in weights for node in convolutions), (
        "a computed weight would tie the graph to one batch size"
    )
    assert not any(a.name == "group" and a.i > 1 for node in convolutions for a in node.attribute)


def test_fixed_batch(small_checkpoint, tmp_path):
    result = commands.export(small_checkpoint, input_size=32, batch=3, out=tmp_path)
    model = open_model(result.artifact.path)
    assert model.session.inputs[0].shape == (3, 3, 32, 32)
    images = verification_inputs(result.artifact.card.preprocessing, 4)
    assert model.run(images).shape == (4, 10)  # filled up to the batch, and cut
    assert np.allclose(model.run(images)[3], model.run(images[3:])[0], atol=1e-4)


def test_names_shapes_and_layout(digits_export):
    path = digits_export.artifact.path
    model = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    (entry,), (answer,) = model.graph.input, model.graph.output
    assert (entry.name, answer.name) == ("input", "logits")
    assert [d.dim_value for d in entry.type.tensor_type.shape.dim] == [1, 3, 32, 32]
    assert [d.dim_value for d in answer.type.tensor_type.shape.dim] == [1, 10]
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
    assert model.ir_version == 8, "the oldest that opset 18 allows, so that older runtimes open it"
    assert sorted(p.name for p in path.parent.iterdir()) == ["digits-static.onnx", "digits.onnx", "digits.onnx.json"]
    operators = {node.op_type for node in model.graph.node}
    assert not operators & {"BatchNormalization", "Shape", "Cast", "Constant", "Identity", "Transpose"}


@pytest.mark.parametrize("opset", [-1, 9, 10, 27])
def test_opsets_that_do_not_come_out_right_are_refused(small_checkpoint, tmp_path, opset):
    with pytest.raises(OptionError, match=rf"expected an opset in 11..26.*found {opset}"):
        commands.export(small_checkpoint, input_size=32, opset=opset, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_before_and_after(digits_export):
    traced, simplified = digits_export.built.traced, digits_export.built.finished
    assert simplified.nodes < traced.nodes / 2
    assert simplified.size_bytes < traced.size_bytes
    # three layers of 240 channels see one pixel: their kernels become the centre (``export.onnx.portable.one_pixel``)
    assert simplified.macs + 3 * 240 * (9 - 1) == traced.macs > 1e6
    assert sum(simplified.operators.values()) == simplified.nodes


def test_multiply_adds_of_a_graph():
    text = """
        <ir_version: 8, opset_import: ["" : 18]>
        net (float[1, 4, 10, 10] x, float[8, 4, 3, 3] w, float[5, 800] m, float[7, 5] v) => (float[7, 1] z) {
            c = Conv <pads = [1, 1, 1, 1]> (x, w)
            f = Flatten (c)
            g = Gemm <transB = 1> (m, f)
            z = MatMul (v, g)
        }"""
    model = onnx.parser.parse_model(text)
    assert graph_macs(model) == 8 * 4 * 9 * 100 + 5 * 800 + 7 * 5
    assert graph_stats(model).operators == {"Conv": 1, "Flatten": 1, "Gemm": 1, "MatMul": 1}


def test_a_matrix_that_is_turned_is_a_transpose():
    class Turned(nn.Module):
        def forward(self, x):
            return x.mT * 2

    operators = [node.op_type for node in to_onnx(Turned(), 4, 6).tidied.graph.node]
    assert operators == ["Transpose", "Mul"], "an Einsum has no quick kernel, and in_blocks does not know it"


def test_denormal_weights_become_zero(small_network):
    import copy

    network = copy.deepcopy(small_network)
    weight = network.get_parameter("conv1.weight")
    weight.data[0, 0, 0, 0] = 1e-41
    single = deployable(deployed(network, 32, 32).module)
    smallest = min(float(p.abs()[p != 0].min()) for p in single.parameters() if (p != 0).any())
    assert smallest >= np.finfo(np.float32).tiny
