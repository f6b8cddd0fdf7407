"""The gate of files in int8: the faults that it must catch, and the layers that stay in float32."""

from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from dcd_deploy.artifacts import Preprocessing
from dcd_deploy.errors import OptionError, VerificationError
from dcd_deploy.export.budget import within_budget
from dcd_deploy.export.build_config import BuildConfig
from dcd_deploy.export.calibration import Calibration
from dcd_deploy.export.noise import snr_db
from dcd_deploy.export.onnx import int8
from dcd_deploy.export.onnx.int8 import OnnxQuantiser
from dcd_deploy.export.onnx.quantised.build import calibrated, check_layers
from dcd_deploy.export.onnx.quantised.exact import exact_session
from dcd_deploy.export.onnx.quantised.formats import check_formats
from dcd_deploy.export.onnx.quantised.layer_noise import check_layer_noise
from dcd_deploy.export.onnx.quantised.roles import GENERATED_KERNEL, STATIC_KERNEL, SUM, sites
from dcd_deploy.export.quantised import answers, float_answers, judged
from dcd_deploy.export.truth import TrainReference
from dcd_deploy.export.verify import new_report
from dcd_deploy.labelled_images.calibration_manifest import CalibrationManifest

BITS = 8


@pytest.fixture(scope="module")
def images(training):
    """Fewer of them: pictures (128, 3, 32, 32), and their labels."""
    return tuple(each[:128] for each in training)


@pytest.fixture(scope="module")
def quantiser(onnx_file, images):
    """The shared export of the bundled network: the layers in the branch order stay in float32 here."""
    model = onnx.load(onnx_file)
    found = sites(model.graph)
    return OnnxQuantiser(model, found, calibrated(model, found, (images[0],)), BITS, images[0])


@pytest.fixture(scope="module")
def made(quantiser):
    return quantiser.graph(())


def site_of(quantiser, role):
    return next(site for site in quantiser.found if site.role == role)


def check(quantiser, made):
    check_formats(quantiser.model, made, quantiser.found, quantiser.ranges, BITS)
    check_layer_noise(quantiser.noise(made, ()))


def changed(model, name, change):
    """Return the graph with another constant."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    (tensor,) = (tensor for tensor in copy.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), name))
    return copy


def test_graph_without_a_fault_passes(quantiser, made):
    assert {site.role for site in quantiser.found} >= {STATIC_KERNEL, GENERATED_KERNEL, SUM}
    check(quantiser, made)


@pytest.mark.parametrize("role", [STATIC_KERNEL, GENERATED_KERNEL, SUM])
def test_scale_doubled_and_zero_point_off_are_caught(role, quantiser, made):
    output = site_of(quantiser, role).output
    for name, change in (("scale", lambda v: 2 * v), ("zero", lambda v: v + np.uint8(1))):
        with pytest.raises(VerificationError, match=output):
            check(quantiser, changed(made, f"{output}.{name}", change))


def test_wrong_weights_and_scales_of_kernels_are_caught(quantiser, made):
    for role, constants in ((STATIC_KERNEL, ("scales", "weight")), (GENERATED_KERNEL, ("scales",))):
        for constant in constants:
            name = f"{site_of(quantiser, role).node.name}.{constant}"
            with pytest.raises(VerificationError, match=name.rpartition(".")[0]):
                check(quantiser, changed(made, name, lambda v: np.concatenate([v[1:], v[:1]])))


def test_bias_of_a_kernel_is_judged_by_its_noise(quantiser, made):
    name = f"{site_of(quantiser, STATIC_KERNEL).node.name}.bias"
    with pytest.raises(VerificationError, match="dB of signal over noise"):
        check(quantiser, changed(made, name, lambda v: 2 * v))


def test_reader_with_a_zero_point_of_its_own_is_caught(quantiser, made):
    copy = onnx.ModelProto()
    copy.CopyFrom(made)
    node = next(node for node in copy.graph.node if node.op_type == "QLinearConv")
    copy.graph.initializer.append(numpy_helper.from_array(np.array(3, np.uint8), "other"))
    node.input[2] = "other"
    with pytest.raises(VerificationError, match="parameters"):
        check(quantiser, copy)


def test_layer_left_out_is_caught(quantiser):
    layer = site_of(quantiser, STATIC_KERNEL).layer
    with pytest.raises(VerificationError, match=f"'{layer}' in int8, found it left out"):
        check(quantiser, quantiser.graph([layer]))


def test_scales_of_kernels_in_four_bits_are_caught(quantiser, made):
    """λ of one layer, which is computed in float32, rounded to 4 bits."""
    copy = onnx.ModelProto()
    copy.CopyFrom(made)
    layer = [site.layer for site in quantiser.found if site.role == GENERATED_KERNEL][-1]
    product = next(node for node in copy.graph.node if node.name == f"{layer}/kernel/mul")
    head = product.input[1]
    copy.graph.initializer.append(numpy_helper.from_array(np.float32(15), "steps"))
    position = list(copy.graph.node).index(product)
    largest = quantiser_head_range(quantiser, head)
    copy.graph.initializer.append(numpy_helper.from_array(np.float32(largest), "largest"))
    names = [head, "parts", "many", "whole", "few", "coarse"]
    kinds = [("Div", "largest"), ("Mul", "steps"), ("Round", None), ("Div", "steps"), ("Mul", "largest")]
    for i, (kind, constant) in enumerate(kinds):
        inputs = [names[i], *([constant] if constant else [])]
        copy.graph.node.insert(position + i, helper.make_node(kind, inputs, [names[i + 1]]))
    product = next(node for node in copy.graph.node if node.name == f"{layer}/kernel/mul")
    product.input[1] = "coarse"
    with pytest.raises(VerificationError, match=f"kernel of layer '{layer}'"):
        check(quantiser, copy)


def quantiser_head_range(quantiser, head):
    from dcd_deploy.export.onnx.quantised.ranges import measured

    return measured(quantiser.model, [head], [], (quantiser.images[:16],)).maps[head][1]


def test_calibration_on_one_class_is_caught(quantiser, images):
    """Unlabelled and unknown to the network, one class would pass; what it cuts off on the others does not."""
    one = np.resize(images[0][images[1] == 1], images[0].shape)
    ranges = calibrated(quantiser.model, quantiser.found, (one,))
    narrow = OnnxQuantiser(quantiser.model, quantiser.found, ranges, BITS, one)
    right, wide = (decibels(quantiser, graph) for graph in (narrow.graph(()), quantiser.graph(())))
    assert right < wide - 3
    with pytest.raises(VerificationError):
        check(quantiser, narrow.graph(()))


def decibels(quantiser, graph):
    inputs = (quantiser.images,)
    right, found = (answers(exact_session(model, 1).run_all, inputs, ("logits",)) for model in (quantiser.model, graph))
    return snr_db(found["logits"], right["logits"])


def config_for(images, labels, **settings):
    manifest = CalibrationManifest.of(["0" * 64] * len(images))
    calibration = Calibration(images, None if labels is None else tuple(map(int, labels)), manifest, "digits.npz")
    return BuildConfig(Preprocessing.for_size(32, 32), precision="int8", calibration=calibration, **settings)


def noisy(quantiser, factor):
    """Return the quantiser with ranges that are too wide by a factor."""
    ranges = quantiser.ranges
    wide = {name: (factor * low, factor * high) for name, (low, high) in ranges.maps.items()}
    wider = SimpleNamespace(maps=wide, kernels=ranges.kernels)
    return OnnxQuantiser(quantiser.model, quantiser.found, wider, BITS, quantiser.images)


def test_noise_and_lost_accuracy_are_refused(quantiser, images, made):
    config = config_for(*images)
    run = exact_session(quantiser.model, 1).run_all
    right = float_answers(run, config.calibration, ("logits",))
    reference = TrainReference((images[0][:4],), {"logits": right.outputs["logits"][:4]})
    checked = int8.CheckedReference(reference, new_report(reference, "digits"))
    found = judged(checked, "int8", exact_session(made, 1).run_all, right, config)
    assert found.report.accuracy.lost == 0
    assert found.report.noise[0].snr_db > 27
    bad = exact_session(noisy(quantiser, 16).graph(()), 1).run_all
    with pytest.raises(VerificationError, match="at least 20 dB"):
        judged(checked, "int8", bad, right, config)


@pytest.mark.exhaustive
def test_budget_keeps_the_noisiest_layers_in_float32(quantiser, images):
    right = float_answers(exact_session(quantiser.model, 1).run_all, config_for(*images).calibration, ("logits",))

    def kept(chosen, config):
        return within_budget(chosen.run, lambda: chosen.noisiest(()), right, config)

    assert kept(quantiser, config_for(*images, budget=0.5)) == ()
    spoilt = spoilt_layers(quantiser)
    assert set(kept(spoilt_kernels(quantiser, spoilt), config_for(*images, budget=0.5))) == set(spoilt)
    with pytest.raises(VerificationError, match="raise `budget`"):
        kept(noisy(quantiser, 4096), config_for(*images, budget=0.0))
    with pytest.raises(OptionError, match="labels"):
        kept(quantiser, config_for(images[0], None, budget=0.5))


def spoilt_layers(quantiser):
    return [site.layer for site in quantiser.found if site.role == GENERATED_KERNEL][:2]


def spoilt_kernels(quantiser, layers):
    """Return the quantiser whose kernels W(x) in these layers are all zeros: their ranges are far too wide."""
    spoilt = {site.node.input[1] for site in quantiser.found if site.layer in layers}
    kernels = {name: v * (1e4 if name in spoilt else 1) for name, v in quantiser.ranges.kernels.items()}
    ranges = SimpleNamespace(maps=quantiser.ranges.maps, kernels=kernels)
    return OnnxQuantiser(quantiser.model, quantiser.found, ranges, BITS, quantiser.images)


def test_layers_that_stay_in_float32(quantiser):
    layer = site_of(quantiser, GENERATED_KERNEL).layer
    kept = quantiser.graph([layer])
    kinds = {node.op_type for node in kept.graph.node if node.name.startswith(f"{layer}/applied")}
    assert kinds == {"Conv"} | (kinds & {"DequantizeLinear"})
    with pytest.raises(OptionError, match="'features.99'"):
        check_layers(quantiser.model.graph, quantiser.found, ["features.99"])
