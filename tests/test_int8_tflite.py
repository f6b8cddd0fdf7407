"""TFLite files that compute in int8: what they keep, XNNPACK takes them whole, and planted faults are found."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import DIGITS_OPTIONS

from dcd_deploy import commands
from dcd_deploy.artifacts import Preprocessing
from dcd_deploy.errors import OptionError, VerificationError
from dcd_deploy.export.budget import within_budget
from dcd_deploy.export.build_config import BuildConfig
from dcd_deploy.export.calibration import Calibration
from dcd_deploy.export.noise import snr_db
from dcd_deploy.export.tflite.file import TfliteModel, text_of
from dcd_deploy.export.tflite.quantised import roles
from dcd_deploy.export.tflite.quantised.build import TfliteQuantiser, prepared, rewritten
from dcd_deploy.export.tflite.quantised.numbers import check_numbers
from dcd_deploy.export.tflite.quantised.ranges import measured
from dcd_deploy.export.tflite.quantised.roles import in_int8
from dcd_deploy.export.truth import TrainReference
from dcd_deploy.labelled_images.calibration_manifest import CalibrationManifest
from dcd_deploy.runtimes import open_model
from dcd_deploy.runtimes.litert import LiteRtSession
from dcd_deploy.runtimes.nodes import delegation

IMAGES = 128
WIDENING, NARROWING = "features.5.conv.0", "features.5.conv.6"


def channels_last(images):
    import digits

    return np.ascontiguousarray(digits.normalised(images).transpose(0, 2, 3, 1))


@pytest.fixture(scope="module")
def images():
    """Digits that training saw, as the file's input has them."""
    import digits

    return channels_last(digits.load()[0][:IMAGES])


@pytest.fixture(scope="module")
def case(digits_tflite, images):
    """The float32 graph, the places of its operators in int8, the ranges, and the graph in int8."""
    model = prepared(digits_tflite.artifact.path.read_bytes())
    chosen, ranges = in_int8(model), measured(model, (images,))
    return model, chosen, ranges, rewritten(model, chosen, ranges)


@pytest.fixture
def planted(case):
    """The graph in int8, to plant a fault in; and what says whether one is found."""
    model, chosen, ranges, made = case
    faulty = TfliteModel.from_bytes(made)
    return faulty, lambda: check_numbers(model, chosen, ranges, faulty)


def answers(content, pictures):
    session = LiteRtSession(content)
    return np.concatenate([session.run(picture) for picture in pictures])


def test_int8_keeps_signal_and_accuracy_in_one_partition(case, digits_tflite, held_out):
    pictures, labels = channels_last(held_out[0])[:, None], held_out[1]
    wanted = answers(digits_tflite.artifact.path.read_bytes(), pictures.transpose(0, 1, 4, 2, 3))
    session = LiteRtSession(case[3])
    found = np.concatenate([_plain(session, picture) for picture in pictures])
    assert delegation(session).whole
    assert snr_db(found, wanted.astype(np.float64)) >= 30
    assert (found.argmax(1) == labels).mean() >= (wanted.argmax(1) == labels).mean() - 0.003


def _plain(session, picture):
    """Run a file that has no description yet, which would say how maps lie."""
    session.interpreter.set_tensor(session.interpreter.get_input_details()[0]["index"], picture)
    session.interpreter.invoke()
    return session.interpreter.get_tensor(session.interpreter.get_output_details()[0]["index"])


@pytest.mark.parametrize("cached", [roles.CACHED, 0])
def test_roles_decide_what_is_in_int8(case, cached, monkeypatch):
    """What the dynamic half makes of a map is in float32 where a cache holds it: all maps of this network, or none."""
    monkeypatch.setattr(roles, "CACHED", cached)
    model = case[0]
    names = {text_of(model.graph.tensors[model.graph.operators[i].outputs[0]].name) for i in in_int8(model)}
    halves = {f"{WIDENING}/{part}" for part in ("project/conv2d", "dynamic/mul", "dynamic/add")}
    assert halves & names == (set() if cached else halves)
    assert {f"{layer}/{part}/conv2d" for layer in (WIDENING, NARROWING) for part in ("static", "query")} < names
    assert not {f"{NARROWING}/project/conv2d", f"{NARROWING}/dynamic/mul"} & names
    assert ("classifier.1/static/conv2d" in names) == (not cached)
    assert not any("/attention." in name or name.endswith("/batchmatmul") for name in names)


def test_layers_stay_in_float32_on_request(case, digits_tflite, images):
    content = digits_tflite.artifact.path.read_bytes()
    model = prepared(content)
    kept = in_int8(model, [WIDENING])
    assert set(kept) < set(case[1])
    assert TfliteModel.from_bytes(TfliteQuantiser.of(content, images[:2]).quantised([WIDENING])).graph
    with pytest.raises(OptionError, match="no.layer"):
        in_int8(model, ["no.layer"])


def test_a_submodule_stays_in_float32_with_all_of_its_layers(case):
    model, chosen, _, _ = case
    parts = {roles.layer_of(model, model.graph.operators[i]) for i in in_int8(model, ["features.1"])}
    assert not any(layer.startswith("features.1.") for layer in parts)
    assert {"features.0.0", "features.2.conv.3", "features.10.conv.0"} <= parts
    assert len(in_int8(model, ["features"])) < len(chosen) / 10
    with pytest.raises(OptionError, match="features.1.con"):
        in_int8(model, ["features.1.con"])  # a part of a name


def by_name(model, name):
    return next(tensor for tensor in model.graph.tensors if text_of(tensor.name) == name)


def maker(model, name):
    return next(each for each in model.graph.operators if text_of(model.graph.tensors[each.outputs[0]].name) == name)


def constant(model, operator, position):
    return model.graph.tensors[operator.inputs[position]]


def weight_scale_doubled(model):
    weight = constant(model, maker(model, f"{WIDENING}/static/conv2d"), 1)
    weight.quantization.scale = np.concatenate([weight.quantization.scale[:1] * 2, weight.quantization.scale[1:]])


def map_scale_doubled(model):
    tensor = by_name(model, f"{WIDENING}/static/conv2d")
    tensor.quantization.scale = np.asarray(tensor.quantization.scale) * 2


def zero_point_off(model):
    tensor = by_name(model, f"{WIDENING}/query/conv2d")
    tensor.quantization.zeroPoint = np.asarray(tensor.quantization.zeroPoint) + 1


def quantised_input_off(model):
    tensor = by_name(model, "input/input/quantize")
    tensor.quantization.zeroPoint = np.asarray(tensor.quantization.zeroPoint) + 2  # one more is as near: −1 … 1


def bias_off(model):
    bias = constant(model, maker(model, f"{WIDENING}/static/conv2d"), 2)
    buffer = model.root.buffers[bias.buffer]
    buffer.data = (np.frombuffer(bytes(bytearray(buffer.data)), np.int32) + 2).view(np.uint8)


def lambda_at_4_bits(model):
    weight = maker(model, "features.15.conv.0/attention.scale/conv2d").inputs[1]
    stored = next(each.inputs[0] for each in model.graph.operators if each.outputs[0] == weight)
    buffer = model.root.buffers[model.graph.tensors[stored].buffer]
    numbers = np.frombuffer(bytes(bytearray(buffer.data)), np.int8)
    buffer.data = (np.rint(numbers / 16) * 16).clip(-127, 127).astype(np.int8).view(np.uint8)


@pytest.mark.parametrize(
    "fault",
    [weight_scale_doubled, map_scale_doubled, zero_point_off, quantised_input_off, bias_off, lambda_at_4_bits],
)
def test_planted_fault_is_found(planted, fault):
    model, check = planted
    check()
    fault(model)
    with pytest.raises(VerificationError):
        check()


def test_layer_that_was_left_out_is_found(case):
    model, chosen, ranges, _ = case
    without = [i for i in chosen if i not in set(chosen) - set(in_int8(model, [WIDENING]))]
    made = TfliteModel.from_bytes(rewritten(model, without, ranges))
    with pytest.raises(VerificationError, match=WIDENING):
        check_numbers(model, chosen, ranges, made)


@pytest.mark.long
@pytest.mark.parametrize("target", [pytest.param("portable", marks=pytest.mark.exhaustive), "litert-compiled"])
def test_export_verify_inspect_predict(target, digits_checkpoint, tmp_path):
    import digits

    pictures, _, labels, _ = digits.load()
    calibrate = tmp_path / "digits.npz"
    np.savez(calibrate, images=digits.normalised(pictures[:IMAGES]), labels=labels[:IMAGES])
    result = commands.export(
        digits_checkpoint,
        to="tflite",
        target=target,
        precision="int8",
        calibrate=calibrate,
        with_baseline=True,
        out=tmp_path,
        name="digits",
        **DIGITS_OPTIONS,
    )
    path, precision = result.artifact.path, result.artifact.card.precision
    assert (precision.format, precision.images, precision.bits) == ("int8", IMAGES, 8)
    assert precision.snr_db >= 27
    assert commands.verify(path).passed
    assert commands.verify(path, checkpoint=digits_checkpoint).passed
    assert commands.inspect(path).delegation.whole == (target == "portable")
    assert open_model(result.baseline).described().precision.format == "int8"
    assert delegation(LiteRtSession(result.baseline)).whole
    assert path.stat().st_size < 1.2e6
    assert "unknown" not in {node.part for node in commands.profile(path, runs=2).nodes}
    model = open_model(path)
    found = np.concatenate([model.run(digits.normalised(pictures[i : i + 1])) for i in range(IMAGES)])
    assert (found.argmax(1) == labels[:IMAGES]).mean() > 0.99


@pytest.mark.exhaustive
def test_budget_keeps_the_noisiest_layers_in_float32(digits_tflite, images):
    """The layers whose W0 x is cut into steps far too wide are found, and the accuracy is there again."""
    import digits

    quantiser = TfliteQuantiser.of(digits_tflite.artifact.path.read_bytes(), images)
    labels = tuple(map(int, digits.load()[2][:IMAGES]))
    right = TrainReference((images,), {"logits": _each(quantiser.model.to_bytes(), images)})
    manifest = Calibration(images, labels, CalibrationManifest.of([]), "digits")
    config = BuildConfig(Preprocessing(32, 32, 32), precision="int8", calibration=manifest, budget=0.5)

    def kept(quantiser):
        def run(keep_float):
            content = quantiser.graph(keep_float)
            session = LiteRtSession(content)
            return lambda inputs: (_plain(session, inputs[0]),)

        return within_budget(run, quantiser.noisiest, right, config)

    assert kept(quantiser) == ()
    spoilt = [WIDENING, "features.8.conv.0"]
    wide = {f"{layer}/static/conv2d": 1e4 for layer in spoilt}
    ranges = {
        name: {end: value * np.float32(wide.get(name, 1)) for end, value in each.items()}
        for name, each in quantiser.ranges.items()
    }
    chosen = kept(replace(quantiser, ranges=ranges))
    assert chosen  # as few as serve
    assert set(chosen) <= set(spoilt)
    everywhere = {
        name: {end: value * np.float32(1e4) for end, value in each.items()} for name, each in quantiser.ranges.items()
    }
    with pytest.raises(VerificationError, match="raise `budget`"):
        kept(replace(quantiser, ranges=everywhere))


def _each(content, pictures):
    session = LiteRtSession(content)
    return np.concatenate([_plain(session, pictures[i : i + 1]) for i in range(len(pictures))]).astype(np.float64)
