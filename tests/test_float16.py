"""Files that compute in half precision: what they keep, what their gate refuses, and what the options refuse."""

import numpy as np
import onnx
import pytest
from conftest import DIGITS_OPTIONS
from onnx import TensorProto, numpy_helper

from dcd_deploy import commands
from dcd_deploy.artifacts import FLOAT16, Preprocessing
from dcd_deploy.errors import OptionError, VerificationError
from dcd_deploy.export.build_config import BuildConfig
from dcd_deploy.export.checked_reference import CheckedReference
from dcd_deploy.export.half import largest_activation
from dcd_deploy.export.noise import snr_db
from dcd_deploy.export.onnx.float16 import half_graph
from dcd_deploy.export.onnx.half import check_half, half_nodes, halved
from dcd_deploy.export.quantised import judged
from dcd_deploy.export.tflite.file import TfliteModel, text_of
from dcd_deploy.export.tflite.float16 import half_model
from dcd_deploy.export.tflite.half import flushed, pooled_sizes, suiting_half
from dcd_deploy.export.tflite.store import constants
from dcd_deploy.export.truth import TrainReference
from dcd_deploy.export.verify import new_report
from dcd_deploy.runtimes import open_model
from dcd_deploy.runtimes.litert import LiteRtSession
from dcd_deploy.runtimes.litert_compiled import IN_HALF, LiteRtCompiledSession

NARROWING = "features.1.conv.3"  # its output is cut by no activation
CONFIG = BuildConfig(Preprocessing(32, 32, 32), weights=FLOAT16, precision=FLOAT16)


@pytest.fixture(scope="module")
def images(held_out):
    import digits

    return digits.normalised(held_out[0][:48])


def each(run, images):
    return np.concatenate([run(images[i : i + 1]) for i in range(len(images))])


def scaled(model, name, factor):
    """Return the graph with another constant."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    (tensor,) = (tensor for tensor in copy.graph.initializer if tensor.name == name)
    values = numpy_helper.to_array(tensor).copy()
    values[:1] *= np.array(factor, values.dtype)
    tensor.CopyFrom(numpy_helper.from_array(values, name))
    return copy


def weight_of(model, layer):
    return next(n.input[1] for n in model.graph.node if n.name.startswith(f"{layer}/static/conv"))


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_half_precision_keeps_signal(format, digits_half, digits_export, digits_tflite, images):
    """On this machine; ``test_emulated`` has the ARM cores."""
    file = digits_half[format]
    single = (digits_export if format == "onnx" else digits_tflite).artifact.path
    wanted = each(open_model(single).run, images).astype(np.float64)
    assert snr_db(each(open_model(file.artifact.path).run, images), wanted) >= 50
    assert file.artifact.path.stat().st_size < 0.6 * single.stat().st_size
    precision = file.artifact.card.precision
    assert (precision.format, precision.bits, precision.kept_float) == (FLOAT16, None, ())
    assert precision.snr_db >= precision.least_db == 30
    assert 1 < precision.largest < 200
    assert open_model(file.baseline).described().precision.format == FLOAT16


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_a_file_in_half_precision_verifies(format, digits_half, digits_checkpoint):
    path = digits_half[format].artifact.path
    assert commands.verify(path).passed
    assert commands.verify(path, checkpoint=digits_checkpoint).passed
    assert commands.inspect(path).card.precision.format == FLOAT16


def test_xnnpack_is_asked_for_half_precision(digits_half):
    model = TfliteModel.from_bytes(digits_half["tflite"].artifact.path.read_bytes())
    (entry,) = (each for each in model.root.metadata if text_of(each.name) == "reduced_precision_support")
    assert bytes(model.root.buffers[entry.buffer].data) == b"fp16accfp16"
    kinds = {model.operator_name(operator) for operator in model.graph.operators}
    assert "MEAN" in kinds
    assert "AVERAGE_POOL_2D" not in kinds  # whose sums overflow there: of 64x64 values of 100


def test_maps_alone_are_halved_in_onnx(digits_half):
    graph = onnx.load(digits_half["onnx"].artifact.path).graph
    made = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if any(name.endswith(".half") for name in node.input):
            assert node.op_type in ("Conv", "Clip", "Relu", "MaxPool", "Cast"), node.name
    assert any(made[node.input[1]].op_type == "Cast" for node in graph.node if node.input[1:] and node.input[1] in made)
    assert {graph.input[0].type.tensor_type.elem_type, graph.output[0].type.tensor_type.elem_type} == {
        TensorProto.FLOAT
    }


def test_every_node_and_weight_in_half_precision_is_checked(onnx_file):
    model = onnx.load(onnx_file)
    names = half_nodes(model)
    made = halved(model, names)
    check_half(model, made, names)
    half = f"{weight_of(model, NARROWING)}.half"
    with pytest.raises(VerificationError, match="nearest number"):
        check_half(model, scaled(made, half, 2), names)
    with pytest.raises(VerificationError, match="found another"):
        check_half(model, halved(model, names[:-1]), names)
    kept = half_nodes(model, [NARROWING])
    assert {name.partition("/")[0] for name in set(names) - set(kept)} == {NARROWING}
    with pytest.raises(OptionError, match="'features.99'"):
        half_nodes(model, ["features.99"])


def checked():
    """Return what a stage is compared with, of inputs that are the generated ones."""
    pictures = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    reference = TrainReference((pictures,), {"logits": np.random.default_rng(1).standard_normal((2, 10))})
    return CheckedReference(reference, new_report(reference, "test", 1e-4))


def test_an_onnx_graph_whose_activations_overflow_is_refused(onnx_file):
    model = onnx.load(onnx_file)
    planted = scaled(model, weight_of(model, NARROWING), 1e5)
    with pytest.raises(VerificationError, match=rf"at most 65504.*'{NARROWING}.*keep_float"):
        half_graph(planted, checked(), CONFIG)


def test_a_tflite_graph_whose_activations_overflow_is_refused(digits_tflite):
    model = TfliteModel.from_bytes(suiting_half(digits_tflite.artifact.path.read_bytes()))
    readers = {int(op.inputs[1]): op for op in model.graph.operators if model.operator_name(op) == "CONV_2D"}
    for index, values in constants(model):
        name = model.graph.tensors[readers[index].outputs[0]].name if index in readers else b""
        if NARROWING.encode() in (name if isinstance(name, bytes) else name.encode()):
            model.root.buffers[model.graph.tensors[index].buffer].data = (values * 1e5).reshape(-1).view(np.uint8)
    with pytest.raises(VerificationError, match=rf"at most 65504.*'{NARROWING}.*precision"):
        half_model(model.to_bytes(), checked(), CONFIG, lambda session, _: session.run_all)


def test_a_pool_whose_sum_overflows_is_refused():
    assert largest_activation({"map": 40.0}, {"pool": 4 * 40.0}) == 40.0
    with pytest.raises(VerificationError, match="sums in pools of at most 65504.*'pool'"):
        largest_activation({"map": 40.0}, {"pool": 112 * 112 * 40.0})
    with pytest.raises(VerificationError, match="found nan"):
        largest_activation({"map": float("nan")}, {})


def test_pools_and_products_are_written_as_half_precision_needs_them(digits_tflite, images):
    content = digits_tflite.artifact.path.read_bytes()
    suiting = suiting_half(content)
    assert pooled_sizes(content)
    assert not pooled_sizes(suiting)
    before, after = (
        each(LiteRtSession(model).run, np.ascontiguousarray(images[:4]) if model is content else images[:4])
        for model in (content, suiting)
    )
    assert np.abs(after - before).max() <= 1e-5 * np.ptp(before)


def test_weights_that_a_core_takes_for_zero_are_judged_so(digits_tflite, images):
    """Heads a thousand times smaller than the squeeze, which is the same in float32, leave half precision."""
    content = suiting_half(digits_tflite.artifact.path.read_bytes())
    right = TrainReference((images,), {"logits": each(LiteRtSession(content).run, images).astype(np.float64)})
    case = CheckedReference(right, new_report(right, "test", 1e-4))

    def found(factor):
        model = flushed(unbalanced(content, factor))
        return judged(case, "half", LiteRtCompiledSession(model, 1, IN_HALF).run_all, right, CONFIG)

    with pytest.raises(VerificationError, match="at least 30 dB"):
        found(2.0**10)
    assert found(1.0).report.noise[0].snr_db >= 40


def unbalanced(content, factor):
    """Return a model whose squeezes give values so many times larger, and whose heads take them so."""
    model, done = TfliteModel.from_bytes(content), set()
    for operator in model.graph.operators:
        part = text_of(model.graph.tensors[operator.outputs[0]].name).split("/")[1:2]
        squeeze = part == ["attention.squeeze"]
        if squeeze or part in (["attention.gate"], ["attention.phi"], ["attention.scale"]):
            for tensor in map(int, operator.inputs[1 : 3 if squeeze else 2]):
                buffer = model.root.buffers[model.graph.tensors[tensor].buffer]
                if tensor not in done and buffer.data is not None and len(buffer.data):
                    done.add(tensor)
                    values = np.frombuffer(memoryview(buffer.data), np.float32)
                    buffer.data = (values * np.float32(factor if squeeze else 1 / factor)).view(np.uint8)
    return model.to_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 0.5}, "`precision` int8 with"),
        ({"weights": "int8"}, "without `weights`"),
        ({"batch": 2}, "`batch` 1"),
        ({"to": "ort"}, "`to` ort"),
        ({"to": "tflite", "keep_float": "features.1"}, "all or nothing"),
        ({"to": "pte"}, "onnx or tflite"),
    ],
)
def test_options_that_do_not_go_with_half_precision(options, message, digits_checkpoint, tmp_path):
    with pytest.raises(OptionError, match=message):
        commands.export(digits_checkpoint, out=tmp_path, precision="float16", **(DIGITS_OPTIONS | options))
    assert list(tmp_path.iterdir()) == []
