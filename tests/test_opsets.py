"""Every opset that --opset promises, end to end, on the bundled network and on golden MobileNetV2."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from deployed import captured, deployed
from golden_cases import load_module
from onnx import helper
from onnx.reference import ReferenceEvaluator
from rewriting import parsed

from dcd_deploy import commands
from dcd_deploy.errors import ExportError
from dcd_deploy.export.build_config import BuildConfig
from dcd_deploy.export.onnx import trace as tracing
from dcd_deploy.export.onnx.dialect import in_dialect, in_older_opset
from dcd_deploy.export.onnx.opsets import OPSETS, TRACED_FROM
from dcd_deploy.export.onnx.simplify import simplify
from dcd_deploy.export.onnx.trace import to_onnx
from dcd_deploy.lowering.deploy import lower
from dcd_deploy.lowering.targets import PORTABLE_ONNX
from dcd_deploy.models.checkpoint import read_checkpoint
from dcd_deploy.models.dynamic import DynamicConv2d
from dcd_deploy.models.fit import fit, load_network
from dcd_deploy.runtimes.onnxruntime import OnnxRuntimeSession

LIMIT = 5e-5
EDGES = (OPSETS.start, 13, TRACED_FROM - 1, TRACED_FROM, OPSETS.stop - 1)  # where operators are written otherwise


def written(traced, opset):
    """The graph of a file."""
    return in_dialect(simplify(traced.tidied), BuildConfig(None, opset=opset))


def unread(model):
    """The constants that nothing reads, subgraphs included: onnxruntime warns of each at every opening."""
    constants = {one.name for one in model.graph.initializer}
    return constants - {value.name for value in ir.from_proto(model).graph.initializers.values() if value.uses()}


@pytest.fixture(scope="module")
def traced_once():
    """Below the exporter's oldest opset the same trace serves, of each network that is traced."""
    trace, kept = tracing._trace, {}

    def remembered(network, inputs, outputs, batch, opset):
        key = (tuple(inputs), batch, opset)
        if opset > TRACED_FROM:
            return trace(network, inputs, outputs, batch, opset)
        if key not in kept:
            kept[key] = trace(network, inputs, outputs, batch, opset)
        return kept[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracing, "_trace", remembered)
        yield


@pytest.fixture(scope="module")
def bundled(digits_checkpoint):
    """The deploy form of the bundled network, pictures, and what the train form makes of them in float64."""
    checkpoint = read_checkpoint(digits_checkpoint)
    network = load_network(checkpoint, fit(checkpoint))
    images = np.random.default_rng(0).standard_normal((2, 3, 32, 32), np.float32)
    with torch.inference_mode():
        wanted = network(torch.from_numpy(images).double()).numpy()
    return deployed(network, 32, 32).module, images, wanted


@pytest.mark.parametrize(
    "opset", [each if each in EDGES else pytest.param(each, marks=pytest.mark.exhaustive) for each in OPSETS]
)
def test_the_bundled_network(traced_once, bundled, opset):
    deploy, images, wanted = bundled
    allowed = LIMIT * np.ptp(wanted)
    model = written(to_onnx(deploy, 32, 32, 1, opset), opset)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]
    assert not unread(model)
    assert "Split" in {node.op_type for node in model.graph.node}
    session = OnnxRuntimeSession(model.SerializeToString())
    assert np.abs(np.concatenate([session.run(image[None]) for image in images]) - wanted).max() <= allowed


@pytest.mark.exhaustive
@pytest.mark.parametrize("target", ["portable", "onnxruntime-x86"])
def test_the_oldest_from_end_to_end(digits_checkpoint, tmp_path, target):
    result = commands.export(digits_checkpoint, input_size=32, opset=OPSETS.start, out=tmp_path, target=target)
    model = onnx.load(result.artifact.path)
    assert next(entry.version for entry in model.opset_import if entry.domain == "") == OPSETS.start
    assert result.built.report.passed
    assert commands.verify(result.artifact.path, checkpoint=digits_checkpoint).passed


@pytest.mark.exhaustive
def test_any_batch_of_the_golden_network(traced_once):
    """Branches and kernels in turns, with a batch that is free."""
    case, network = load_module("mobilenetv2_dcd_w0.1_10c_64px")
    layers = [name for name, module in network.named_modules() if isinstance(module, DynamicConv2d)]
    lowering = {name: ("branch", "kernel")[index % 2] for index, name in enumerate(layers)}
    deploy = lower(captured(network, 64, 64), PORTABLE_ONNX.for_batch(None), lowering).module
    for opset in range(OPSETS.start, TRACED_FROM):
        traced = to_onnx(deploy, 64, 64, None, opset)
        model = written(traced, opset)
        assert model.opset_import[0].version == opset
        assert not unread(model)
        assert {"Split", "MatMul"} <= {node.op_type for node in model.graph.node}
        assert case.error(OnnxRuntimeSession(model.SerializeToString()).run(case.input)) <= LIMIT


X = np.random.default_rng(0).standard_normal((2, 6), np.float32)
SAME = {
    "a split in equal parts": "(float[2, 6] x) => (float[2, 3] y) { y, z = Split <axis = 1, num_outputs = 2> (x) }",
    "a split by sizes": "(float[2, 6] x) => (float[2, 2] y) <int64[2] s = {4, 2}> { z, y = Split <axis = 1> (x, s) }",
    "means of an axis": "(float[2, 6] x) => (float[2, 1] y) <int64[1] a = {-1}> { y = ReduceMean (x, a) }",
    "the largest of all": "(float[2, 6] x) => (float y) { y = ReduceMax <keepdims = 0, noop_with_empty_axes = 0> (x) }",
    "sums, whose axes were an input before": (
        "(float[2, 6] x) => (float[2, 1] y) <int64[1] a = {1}> { y = ReduceSum <noop_with_empty_axes = 1> (x, a) }"
    ),
    "new and dropped axes": (
        "(float[2, 6] x) => (float[6, 2] y) <int64[1] a = {0}> { u = Unsqueeze (x, a) t = Transpose <perm = [2, 1, 0]>"
        " (u) b = Identity (t) z = Unsqueeze (b, a) y3 = Squeeze (z, a) y = Reshape <allowzero = 1> (y3, s) }"
    ).replace("<int64[1] a = {0}>", "<int64[1] a = {0}, int64[2] s = {6, 2}>"),
    "a mish": "(float[2, 6] x) => (float[2, 6] y) { y = Mish (x) }",
    "a cast like another": "(float[2, 6] x) => (float[2, 6] y) { i = Cast <to = 7> (x) y = CastLike (i, x) }",
    "a layer norm": (
        "(float[2, 6] x) => (float[2, 6] y) <float[6] s = {1, 2, 3, 4, 5, 6}, float[6] b = {0, 1, 0, 1, 0, 1}> {"
        " y = LayerNormalization (x, s, b) }"
    ),
    "a layer norm of several axes, without a shift": (
        "(float[2, 6] x) => (float[2, 3, 2] y) <int64[3] s = {2, 3, 2}, float[3, 2] by = {1, 2, 3, 4, 5, 6}> {"
        " m = Reshape (x, s) y = LayerNormalization <axis = 1, epsilon = 0.5> (m, by) }"
    ),
    "a hard swish": "(float[2, 6] x) => (float[2, 6] y) { y = HardSwish (x) }",
    "a softmax of the last axis": "(float[2, 6] x) => (float[2, 6] y) { y = Softmax (x) }",
    "a softmax of the first axis": "(float[2, 6] x) => (float[2, 6] y) { y = Softmax <axis = 0> (x) }",
    "a softmax inside, over the axis before the last": (
        "(float[2, 6] x) => (float[1, 2, 3, 2] y) <int64[4] s = {1, 2, 3, 2}> {"
        " m = Reshape (x, s) r = Relu (m) t = Softmax <axis = 1> (r) y = LogSoftmax <axis = -2> (t) }"
    ),
    "a softmax of the last of three, which nothing says": (
        "(float[2, 6] x) => (float[2, 3, 2] y) <int64[3] s = {2, 3, 2}> { m = Reshape (x, s) y = Softmax (m) }"
    ),
    "a map made larger": (
        "(float[2, 6] x) => (float[1, 1, 4, 12] y) <int64[4] s = {1, 1, 2, 6}, float[4] by = {1, 1, 2, 2}> {"
        ' m = Reshape (x, s) y = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (m,, by) }'
    ),
    "a branch": (
        "(float[2, 6] x) => (float[2, 1] y) <int64[1] a = {1}, bool c = {1}> {"
        " y = If (c) <then_branch = t () => (float[2, 1] p) { p = ReduceMean (x, a) },"
        " else_branch = e () => (float[2, 1] q) { q = ReduceMin (x, a) }> }"
    ),
}
PADDED = (
    "(float[2, 6] x) => (float[2, 8] y) <int64[2] p = {1, 1}, float v = {0}, int64[1] a = {1}> { y = Pad (x, p, v, a) }"
)
BEYOND = {
    "an operator": ("(float[2, 6] x) => (float[2, 6] y) { y = Trilu (x) }", 13),
    "computed axes": ("(float[2, 6] x, int64[1] a) => (float[2, 1] y) { y = ReduceMean (x, a) }", 17),
    "an attribute": ("(float[2, 6] x) => (float[2, 6] y) { y = ReduceMean <noop_with_empty_axes = 1> (x) }", 17),
    "an input": (PADDED, 17),
    "a type": ("(bfloat16[2, 6] x, bfloat16[2, 6] z, bool[2, 6] c) => (bfloat16[2, 6] y) { y = Where (c, x, z) }", 15),
    "parts that are not equal": (
        "(float[2, 6] x) => (float[2, 4] y) { y, z = Split <axis = 1, num_outputs = 2> (x) }",
        17,
    ),
}
SAID = {
    "an operator": "there is no Trilu in it",
    "computed axes": "its ReduceMean has constant axes alone",
    "an attribute": "its ReduceMean has no 'noop_with_empty_axes'",
    "an input": "input size 4",
    "a type": "bfloat16",
    "parts that are not equal": "",
}


@pytest.mark.parametrize("opset", range(OPSETS.start, TRACED_FROM))
@pytest.mark.parametrize("body", SAME.values(), ids=SAME)
def test_the_same_in_an_older_opset(body, opset):
    model = parsed(body)
    older = in_older_opset(model, opset)
    assert older.opset_import[0].version == opset
    assert not older.graph.value_info
    assert not unread(older)
    for run in (ReferenceEvaluator(older).run(None, {"x": X})[0], OnnxRuntimeSession(older.SerializeToString()).run(X)):
        assert np.allclose(run, ReferenceEvaluator(model).run(None, {"x": X})[0], atol=1e-6)


def test_an_unread_constant_would_be_seen():
    body = "(float[2, 6] x) => (float[2, 6] y) <float[1] left = {1}, float[1] c = {2}> { y = Mul (x, c) }"
    assert unread(parsed(body)) == {"left"}
    assert not unread(in_older_opset(parsed(body), 13))


SINCE = {"an operator": 14, "a type": 16}  # of the others 18 is the first that has it


@pytest.mark.parametrize("what", BEYOND)
def test_what_an_older_opset_lacks_is_refused(what):
    body, opset = BEYOND[what]
    with pytest.raises(
        ExportError, match=rf"in ONNX opset {opset}: .*{SAID[what]}.*; choose `opset` {SINCE.get(what, 18)} or"
    ):
        in_older_opset(parsed(body), opset)


def test_a_softmax_of_unknown_axes_is_refused():
    """Shape inference does not look into other domains."""
    nodes = [
        helper.make_node("Any", ["x"], ["m"], domain="elsewhere"),
        helper.make_node("Softmax", ["m"], ["y"], axis=1),
    ]
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2, 3, 2]) for name in "xy"]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("elsewhere", 1)]
    model = helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:]), opset_imports=opsets)
    with pytest.raises(
        ExportError, match=r"opset 12: its Softmax is over the last axis alone, and that of 'm' is unkn"
    ):
        in_older_opset(model, 12)


class Modern(torch.nn.Module):
    def forward(self, x):
        rows = torch.nn.functional.gelu(x)
        return torch.nn.functional.scaled_dot_product_attention(rows, rows, rows).flatten(1)


def test_the_newest_opset_of_operators_that_the_exporter_cannot_convert_to_it():
    traced, x = to_onnx(Modern(), 4, 4, 1, OPSETS.stop - 1), torch.randn(1, 3, 4, 4)
    model = written(traced, OPSETS.stop - 1)
    assert model.opset_import[0].version == OPSETS.stop - 1
    found = ReferenceEvaluator(model).run(None, {"input": x.numpy()})[0]
    assert np.allclose(found, Modern()(x).numpy(), atol=1e-5)


def test_an_operator_that_changed_above_what_the_exporter_reaches(monkeypatch):
    monkeypatch.setattr(tracing, "TRACED_UP_TO", 19)  # Gelu came with 20, and others changed with 21
    with pytest.raises(ExportError, match=r"gave 19, and \w+ is another since; choose `opset` 19 or below"):
        to_onnx(Modern(), 4, 4, 1, OPSETS.stop - 1)


def test_other_domains_are_left_alone():
    node = helper.make_node("ReduceMean", ["x"], ["y"], domain="elsewhere", own=1)
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2]) for name in "xy"]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("elsewhere", 1)]
    model = helper.make_model(helper.make_graph([node], "g", values[:1], values[1:]), opset_imports=opsets)
    assert in_older_opset(model, 15).graph.node[0] == node
