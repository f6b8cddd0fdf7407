"""Files with weights stored small: the planted faults that the gate must catch, and what rounding may cost."""

import re
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from deployed import captured
from golden_cases import load_module
from onnx import numpy_helper

from dcd_deploy import commands
from dcd_deploy.artifacts import Preprocessing
from dcd_deploy.card_json import read_card
from dcd_deploy.errors import UnknownNameError, VerificationError
from dcd_deploy.export import deployable as deployable_module
from dcd_deploy.export import noise
from dcd_deploy.export.build_config import BuildConfig
from dcd_deploy.export.formats import build_formats
from dcd_deploy.export.noise import MOST_DB, measure_noise, snr_db
from dcd_deploy.export.rounding import rounded
from dcd_deploy.export.truth import TrainReference
from dcd_deploy.export.verify import FLOAT32_TOLERANCE, ROUNDED, compare
from dcd_deploy.network_names import both_labelled, labelled, published, title, with_settings
from dcd_deploy.runtimes.onnxruntime import OnnxRuntimeSession

SIZE = 64


@pytest.fixture(scope="module")
def ready():
    """A network in which every weight matters."""
    _, network = load_module("mobilenetv2_dcd_w0.1_10c_64px")
    return captured(network, SIZE, SIZE)


@pytest.fixture(scope="module")
def built(ready):
    """The network with weights in float32, float16 and int8."""
    settings = Preprocessing.for_size(SIZE, SIZE)
    kinds = ("float32", "float16", "int8")
    return {
        kind: build_formats(ready, BuildConfig(settings, weights=kind, judged=False), ["onnx"])["onnx"]
        for kind in kinds
    }


def tensors(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def planted(model: onnx.ModelProto, values: dict[str, np.ndarray]) -> onnx.ModelProto:
    """Return the graph with other constants."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for tensor in changed.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(numpy_helper.from_array(values[tensor.name], tensor.name))
    return changed


def passes(model: onnx.ModelProto, built) -> bool:
    session = OnnxRuntimeSession(model.SerializeToString())
    found = compare("planted", session.run_all, built.reference, FLOAT32_TOLERANCE, batch=1)
    return all(comparison.passed for comparison in found)


def stored(model: onnx.ModelProto, kind: str = "stored") -> list[str]:
    return [name for name in tensors(model) if re.fullmatch(rf"{kind}\.\d+", name)]


def named(model: onnx.ModelProto, ending: str) -> list[str]:
    """Return the int8 constants of the weights whose name ends so."""
    weights = {node.input[0]: node.output[0] for node in model.graph.node if node.op_type == "Cast"}
    scaled = {node.input[0]: node.output[0] for node in model.graph.node if node.op_type == "Mul"}
    return [name for name in stored(model) if scaled.get(weights[name], weights[name]).endswith(ending)]


def test_without_a_fault_it_passes(built):
    for kind in ("float16", "int8"):
        assert built[kind].report.passed
        assert passes(built[kind].model, built[kind])
        assert built[kind].report.comparisons[-1].against == ROUNDED
        assert built[kind].report.comparisons[-1].stage == f"ONNX, weights {kind}"
        assert built[kind].weights.snr_db == round(built[kind].report.noise[0].snr_db, 3), (
            "the same bytes on any threads"
        )
        assert not passes(built["float32"].model, built[kind]), "float32 is another network, by far more than the limit"


def test_all_that_is_rounded_is_stored_small(built):
    """Whatever an exporter does to weights: float32 is left of those alone that are not worth it."""
    for kind in ("float16", "int8"):
        left = {name: values for name, values in tensors(built[kind].model).items() if values.dtype == np.float32}
        assert all(rounded(values, kind) is values for values in left.values())
        assert len(stored(built[kind].model)) > 40


def test_a_scale_doubled_or_swapped(built):
    model = built["int8"].model
    every = tensors(model)
    names = stored(model, "scale")
    assert len(names) > 40
    for name in names[::5]:
        assert not passes(planted(model, {name: 2 * every[name]}), built["int8"])
        doubled = every[name].copy().reshape(-1)
        doubled[np.argmax(doubled)] *= 2  # of one channel alone
        assert not passes(planted(model, {name: doubled.reshape(every[name].shape)}), built["int8"])
        assert not passes(planted(model, {name: every[name][::-1, ::-1]}), built["int8"])


@pytest.mark.parametrize("ending", ["attention.scale.weight", "attention.phi.weight", "attention.squeeze.weight"])
def test_one_layer_at_four_bits(built, ending):
    model = built["int8"].model
    every = tensors(model)
    names = named(model, ending)
    assert len(names) >= 3
    for name in names[::2]:
        four = (np.rint(every[name] / 16.0) * 16).clip(-127, 127).astype(np.int8)
        assert not passes(planted(model, {name: four}), built["int8"])


def test_a_layer_left_out(built):
    model = built["int8"].model
    every = tensors(model)
    for name in stored(model)[::5]:
        assert not passes(planted(model, {name: np.zeros_like(every[name])}), built["int8"])
    for name in stored(built["float16"].model)[::5]:
        other = tensors(built["float16"].model)[name] * np.float16(1.002)  # two units in the last place
        assert not passes(planted(built["float16"].model, {name: other}), built["float16"])


def test_rounding_itself_to_four_bits_is_a_defect(ready, monkeypatch):
    def coarse(values, weights):
        found = rounded(values, weights)
        return found if found is values else np.rint(values * 7 / abs(values).max()) * abs(values).max() / np.float32(7)

    monkeypatch.setattr(deployable_module, "rounded", coarse)
    config = BuildConfig(Preprocessing.for_size(SIZE, SIZE), weights="int8", judged=False)
    with pytest.raises(VerificationError, match=r"rounding '.*' to int8 moved a weight by .* is allowed"):
        build_formats(ready, config, ["onnx"])


def test_rounding_that_costs_too_much_is_refused(ready, monkeypatch):
    monkeypatch.setitem(noise.LEAST_DB, "int8", 90.0)
    config = BuildConfig(Preprocessing.for_size(SIZE, SIZE), weights="int8")
    with pytest.raises(VerificationError, match=r"at least 90 dB .* found \d+\.\d dB") as raised:
        build_formats(ready, config, ["onnx"])
    assert not raised.value.report.passed


def test_signal_over_noise():
    wanted = np.array([[3.0, 4.0], [0.0, 5.0]])
    assert snr_db(wanted * 1.1, wanted) == pytest.approx(20.0)
    assert snr_db(wanted, wanted) == MOST_DB
    assert np.isnan(snr_db(wanted * np.nan, wanted))
    reference = TrainReference((np.zeros((2, 1), np.float32),), {"one": wanted, "two": wanted})
    found = measure_noise("stage", {"one": wanted * 1.1, "two": wanted * 2}, reference, 20.0, "it")
    assert (found.output, found.snr_db, found.passed) == ("two", pytest.approx(0.0), False)
    assert not measure_noise("stage", {"one": wanted, "two": wanted * np.nan}, reference, 20.0, "it").passed
    assert measure_noise("stage", {"one": wanted, "two": wanted * np.nan}, reference, None, "it").passed
    with pytest.raises(VerificationError, match="shape"):
        snr_db(wanted[:1], wanted)


def optimised(model: bytes, folder) -> Counter[str]:
    """Return the operators that onnxruntime makes of a model."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model, options)
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


def test_onnxruntime_runs_the_same_graph(built, tmp_path):
    graphs = {kind: optimised(each.model.SerializeToString(), tmp_path) for kind, each in built.items()}
    joined = graphs["float32"]["Split"] - graphs["int8"]["Split"]  # three heads in one product, in float32 alone
    assert graphs["int8"] == graphs["float16"] == graphs["float32"] + Counter(Gemm=2 * joined) - Counter(Split=joined)
    assert not graphs["int8"]["Cast"]
    assert built["int8"].finished.macs == built["float32"].finished.macs


def test_older_descriptions_are_read():
    text = '{"arch":"x","spec":null,"inputs":[{"name":"i","shape":[1,2],"dtype":"float32","layout":null}],"outputs":'
    text += (
        '[{"name":"o","shape":[1,2],"dtype":"float32","layout":null}],"preprocessing":null,"labels":[],"lowering":{},'
    )
    text += '"checkpoint_sha256":"","producer":"","reference":null,"assumed":[],"schema":2}'
    card = read_card(text)
    assert (card.weights.format, card.weights.snr_db, card.target, card.opset) == ("float32", None, None, None)


def test_other_names_are_refused_at_once(digits_checkpoint, tmp_path):
    with pytest.raises(UnknownNameError, match="int4"):
        commands.export(digits_checkpoint, out=tmp_path, weights="int4")
    assert not list(tmp_path.iterdir())


def test_names_say_what_is_unusual():
    name = with_settings("mobilenetv2_dcd ×1", "int8", "onnxruntime-x86")
    assert title(name) == "MobileNetV2-DCD ×1.0, int8 weights, for onnxruntime-x86"
    assert published(name) is None
    assert published(with_settings("mobilenetv2_dcd ×0.5", "float32", "litert")) == published("mobilenetv2_dcd ×0.5")
    assert with_settings("mobilenetv2_dcd ×1", "float32", "portable") == "mobilenetv2_dcd ×1"
    assert labelled("mine.onnx", name) == "mine.onnx (int8 weights, for onnxruntime-x86)"
    assert both_labelled("mine.onnx", "net", "net, int8 weights") == "mine.onnx → mine.onnx (int8 weights)"
    assert both_labelled("mine.onnx", "net", None) == "mine.onnx"
