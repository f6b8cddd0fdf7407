"""The gate catches what it is there for: planted faults, each of which must fail."""

import itertools
import json
import math
import re
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from conftest import SMALL
from deployed import captured, deployed
from golden_cases import load_module
from onnx import numpy_helper

from dcd_deploy import commands
from dcd_deploy.artifacts import METADATA_KEY, Preprocessing
from dcd_deploy.dynamic.canonical import CanonicalLayer
from dcd_deploy.dynamic.folds import affine, scaled, with_norm, without_gains
from dcd_deploy.dynamic.operator import LowRank
from dcd_deploy.errors import VerificationError
from dcd_deploy.export import checked_reference, pipeline
from dcd_deploy.export import reference as reference_module
from dcd_deploy.export.build_config import BuildConfig
from dcd_deploy.export.formats import build_formats
from dcd_deploy.export.onnx import build as build_onnx_module
from dcd_deploy.export.reference import CONTRASTS, generated_reference, make_reference, runner
from dcd_deploy.export.verify import FLOAT32_TOLERANCE, Comparison, VerificationReport, compare, new_report
from dcd_deploy.lowering.capture import capture
from dcd_deploy.lowering.deploy import lower
from dcd_deploy.lowering.passes import fold_norms, substitute
from dcd_deploy.models.dynamic import DynamicLayer
from dcd_deploy.models.random_weights import calibrated_network, save_checkpoint
from dcd_deploy.models.registry import build
from dcd_deploy.models.spec import NetworkSpec
from dcd_deploy.runtimes.onnxruntime import OnnxRuntimeSession
from dcd_deploy.samples import verification_inputs

SIZE = 64
FACTOR = 1.01


@pytest.fixture(scope="module")
def built():
    """A network in which every weight matters, some of its layers in the kernel order, some in the branch order."""
    _, network = load_module("mobilenetv2_dcd_w0.1_10c_64px")
    config = BuildConfig(Preprocessing.for_size(SIZE, SIZE))
    ready = captured(network, SIZE, SIZE)
    built = build_formats(ready, config, ["onnx"])["onnx"]
    return built, network


def errors(model: onnx.ModelProto, built) -> tuple[Comparison, ...]:
    session = OnnxRuntimeSession(model.SerializeToString())
    return compare("planted", session.run_all, built.reference, FLOAT32_TOLERANCE, batch=1)


def changed(built, name: str, change) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(built.model)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)).astype(np.float32), name))
    return model


def weights(built) -> list[str]:
    return [t.name for t in built.model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims)]


def test_without_a_fault_it_passes(built):
    assert built[0].report.passed
    assert all(comparison.passed for comparison in errors(built[0].model, built[0]))


def test_one_weight_tensor_of_each_kind_scaled_by_one_percent(built):
    built = built[0]
    kinds: dict[str, list[str]] = {}
    for name in weights(built):
        kinds.setdefault(re.sub(r"\d+", "#", name), []).append(name)
    assert len(kinds) >= 20
    for names in kinds.values():
        for name in {names[0], names[len(names) // 2], names[-1]}:
            (comparison,) = errors(changed(built, name, lambda w: w * FACTOR), built)
            assert not comparison.passed, f"{name} off by 1 % moves the outputs by {comparison.relative:.1e} only"


def test_phi_transposed(built):
    def transpose(weight):
        latent = int(np.sqrt(weight.shape[0]))
        return weight.reshape(latent, latent, -1).swapaxes(0, 1).reshape(weight.shape)

    built = built[0]
    for name in (name for name in weights(built) if name.endswith("attention.phi.weight")):
        (comparison,) = errors(changed(built, name, transpose), built)
        assert not comparison.passed


def test_a_bias_lost(built):
    built = built[0]
    biases = [name for name in weights(built) if name.endswith("bias") and "phi" not in name]
    assert len(biases) > 50
    for name in biases[::6]:
        (comparison,) = errors(changed(built, name, np.zeros_like), built)
        assert not comparison.passed


def constants_in_place_of(model: onnx.ModelProto, values: dict[str, np.ndarray]) -> onnx.ModelProto:
    """Return the graph with the nodes that make ``values`` replaced by constants."""
    frozen = onnx.ModelProto()
    frozen.CopyFrom(model)
    kept = [node for node in frozen.graph.node if not set(node.output) & values.keys()]
    del frozen.graph.node[:]
    frozen.graph.node.extend(kept)
    frozen.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())
    return frozen


def values_on(model: onnx.ModelProto, names: list[str], image: np.ndarray) -> dict[str, np.ndarray]:
    import onnxruntime

    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    tapped.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    session = onnxruntime.InferenceSession(tapped.SerializeToString())
    return dict(zip(names, session.run(names, {"input": image}), strict=True))


def outputs_of(model: onnx.ModelProto, weight: str) -> list[str]:
    return [node.output[0] for node in model.graph.node if any(i.endswith(weight) for i in node.input)]


def test_phi_frozen_to_the_first_input(built):
    built = built[0]
    names = outputs_of(built.model, "attention.phi.weight")
    frozen = constants_in_place_of(built.model, values_on(built.model, names, built.reference.images[:1]))
    (comparison,) = errors(frozen, built)
    assert not comparison.passed
    session = OnnxRuntimeSession(frozen.SerializeToString())
    first = session.run(built.reference.images[:1])
    error = np.abs(first - built.reference.outputs["logits"][:1]).max() / built.reference.range()
    assert error <= FLOAT32_TOLERANCE, "on the first input alone nothing would have shown"


def test_lambda_dropped(built):
    built = built[0]
    names = [n.output[0] for n in built.model.graph.node if n.name.endswith("/attention/clip_2")]  # the second gate
    assert len(names) == 33
    ones = {
        name: np.full_like(value, 0.5)
        for name, value in values_on(built.model, names, built.reference.images[:1]).items()
    }
    for chosen in (names[:1], names[-1:], names):
        (comparison,) = errors(constants_in_place_of(built.model, {name: ones[name] for name in chosen}), built)
        assert not comparison.passed


def test_a_kernel_of_one_sample_applied_to_another(small_network):
    """Right for every input alone, wrong in a batch: only the comparison in one batch can tell."""
    deploy = deployed(small_network, 32, 32).module
    run = runner(deploy)
    reference = generated_reference(small_network, Preprocessing.for_size(32, 32), FLOAT32_TOLERANCE)

    def run_with_the_first_samples_phi(images):
        handles = [
            module.register_forward_hook(lambda m, i, o: o._replace(phi=o.phi[:1].expand_as(o.phi)))
            for name, module in deploy.named_modules()
            if name.endswith("attention")
        ]
        try:
            return run(images)
        finally:
            for handle in handles:
                handle.remove()

    alone, together = compare("planted", run_with_the_first_samples_phi, reference, FLOAT32_TOLERANCE)
    assert (alone.mode, alone.passed) == ("one by one", True)
    assert (together.mode, together.passed) == ("in one batch", False)


@pytest.mark.parametrize("batch", [None, 1, 2, 3, 8])
def test_every_input_is_compared_at_any_batch(small_network, batch):
    reference = make_reference(small_network, verification_inputs(Preprocessing.for_size(32, 32), 5))
    seen = []

    def run(inputs):
        seen.append(len(inputs[0]))
        return runner(small_network)(inputs)

    comparisons = compare("train form", run, reference, 1e-12, batch)
    assert all(comparison.passed for comparison in comparisons)
    assert [comparison.mode for comparison in comparisons] == ["one by one", "in one batch"][: 1 + (batch != 1)]
    assert set(seen) == ({batch} if batch else {1, 5})
    worst = {*itertools.accumulate(seen)}
    assert max(worst) >= 5

    def wrong_on_the_last(inputs):
        ((images,), (outputs,)) = (inputs, runner(small_network)(inputs))
        outputs[(images == reference.images[4]).all(axis=(1, 2, 3))] += 1
        return (outputs,)

    assert not any(c.passed for c in compare("train form", wrong_on_the_last, reference, 1e-12, batch))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_a_number_fails(small_network, value):
    reference = make_reference(small_network, verification_inputs(Preprocessing.for_size(32, 32)))
    (alone, _) = compare("planted", lambda inputs: [runner(small_network)(inputs)[0] * value], reference, 0.5)
    assert not alone.passed


def test_inputs_that_do_not_exercise_the_branch_are_refused():
    network = calibrated_network(SMALL)
    for head, symbol in (("fc_phi", "Φ"), ("fc_scale", "λ")):
        for layer in (module for module in network.modules() if isinstance(module, DynamicLayer)):
            getattr(layer, head).weight.data.zero_()
        canonical = captured(network, 32, 32).as_module()
        settings = Preprocessing.for_size(32, 32)
        reference = generated_reference(network, settings, FLOAT32_TOLERANCE, canonical=canonical)
        with pytest.raises(VerificationError, match="do not exercise Φ"):
            new_report(reference, "pictures")
        variation = reference.sensitivity.variation["phi" if symbol == "Φ" else "scale"]
        assert max(variation.values()) == 0


def test_one_picture_repeated_is_refused(tmp_path, small_checkpoint):
    pictures = np.repeat(verification_inputs(Preprocessing.for_size(32, 32), 1), 3, axis=0)
    np.save(tmp_path / "same.npy", pictures)
    with pytest.raises(
        VerificationError, match=r"do not exercise Φ: freezing it moves the outputs by (0\.0e|\d\.\de-1[5-9])"
    ):
        commands.export(small_checkpoint, input_size=32, out=tmp_path / "out", samples=tmp_path / "same.npy")
    assert not (tmp_path / "out").exists()


def in_a_lowering(monkeypatch):
    def lowered_wrongly(*arguments):
        deploy = lower(*arguments)
        weights = [weight for name, weight in deploy.module.named_parameters() if name.endswith("phi.weight")]
        weights[len(weights) // 2].data.mul_(1 + 1e-6)
        return deploy

    monkeypatch.setattr(checked_reference, "lower", lowered_wrongly)


def in_the_folds(monkeypatch):
    monkeypatch.setattr(fold_norms, "with_norm", lambda operator, s, t: with_norm(operator, s * (1 + 1e-6), t))


def in_the_static_folds(monkeypatch):
    monkeypatch.setattr(fold_norms, "affine", lambda norm: [(1 + 1e-6) * values for values in affine(norm)])


def in_the_gains(monkeypatch):
    def without(operator):
        folded = without_gains(operator)
        return replace(
            folded, terms=tuple(scaled(t, torch.tensor([1 + 1e-6], dtype=torch.float64)) for t in folded.terms)
        )

    monkeypatch.setattr(substitute, "without_gains", without)


def in_the_captured_graph(monkeypatch):
    def captured_wrongly(*arguments):
        found = capture(*arguments)
        layers = found.graph.layers()
        path = list(layers)[len(layers) // 2]
        (node,) = (node for node in found.graph.nodes if node.target == path)
        operator = layers[path].operator
        low_rank = operator.term(LowRank)
        wrong = replace(low_rank, project=low_rank.project * (1 + 1e-6))
        terms = tuple(wrong if term is low_rank else term for term in operator.terms)
        found.graph.replace_module(node, CanonicalLayer(replace(operator, terms=terms)))
        return found

    monkeypatch.setattr(pipeline, "capture", captured_wrongly)


@pytest.mark.parametrize(
    "fault", [in_a_lowering, in_the_folds, in_the_static_folds, in_the_gains, in_the_captured_graph]
)
def test_a_fault_of_a_millionth_stops_the_export(monkeypatch, tmp_path, small_checkpoint, fault):
    fault(monkeypatch)
    with pytest.raises(VerificationError, match="deploy form, inputs one by one: expected outputs within 1.0e-09"):
        commands.export(small_checkpoint, input_size=32, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_fault_in_the_simplification_stops_the_export(monkeypatch, tmp_path, small_checkpoint):
    honest = build_onnx_module.simplify

    def simplified_wrongly(*arguments):
        model = honest(*arguments)
        tensor = next(t for t in model.graph.initializer if t.name.endswith("attention.phi.weight"))
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(FACTOR), tensor.name))
        return model

    (tmp_path / "there.onnx").write_bytes(b"an earlier export")
    monkeypatch.setattr(build_onnx_module, "simplify", simplified_wrongly)
    with pytest.raises(VerificationError, match="ONNX simplified") as caught:
        commands.export(small_checkpoint, input_size=32, out=tmp_path, name="there")
    assert [c.passed for c in caught.value.report.comparisons] == [True, True, True, False]
    assert [path.name for path in tmp_path.iterdir()] == ["there.onnx"]
    assert (tmp_path / "there.onnx").read_bytes() == b"an earlier export"


def test_verify_later(tmp_path, digits_export, digits_checkpoint):
    report = commands.verify(digits_export.artifact.path, checkpoint=digits_checkpoint)
    assert report.passed
    model = onnx.load(digits_export.artifact.path)
    tensor = next(t for t in model.graph.initializer if t.name.endswith("attention.phi.weight"))
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(FACTOR), tensor.name))
    onnx.save(model, tmp_path / "changed.onnx")
    with pytest.raises(VerificationError, match="model file, inputs one by one"):
        commands.verify(tmp_path / "changed.onnx", checkpoint=digits_checkpoint)
    with pytest.raises(VerificationError, match="does not compute what was trained"):
        commands.verify(tmp_path / "changed.onnx")


def test_verify_against_another_checkpoint(tmp_path, digits_export, digits_checkpoint):
    content = torch.load(digits_checkpoint, weights_only=True)
    content["state_dict"]["module.classifier.1.cls.bias"][3] += 0.1
    torch.save(content, tmp_path / "other.pth.tar")
    with pytest.raises(VerificationError, match="made from another checkpoint"):
        commands.verify(digits_export.artifact.path, checkpoint=tmp_path / "other.pth.tar")


def test_the_smallest_tolerance_that_would_pass(small_network):
    reference = make_reference(small_network, verification_inputs(Preprocessing.for_size(32, 32)))
    off = lambda inputs: [runner(small_network)(inputs)[0] + 1.234e-3 * reference.range()]  # noqa: E731
    tight, _ = compare("planted", off, reference, 1e-3)
    assert tight.smallest_tolerance == pytest.approx(1.3e-3)
    loose, _ = compare("planted", off, reference, tight.smallest_tolerance)
    assert (tight.passed, loose.passed) == (False, True)


def test_checkpoint_of_another_class_count(tmp_path, digits_export):
    network = calibrated_network(NetworkSpec("mobilenetv2_dcd", 7, 0.25, 8))
    path = save_checkpoint(tmp_path / "seven.pth.tar", network)
    with pytest.raises(VerificationError, match="the checkpoint has 7 classes, the model 10"):
        commands.verify(digits_export.artifact.path, checkpoint=path)


def test_a_contrast_without_numbers_is_not_the_best(monkeypatch, small_network):
    errors = iter((math.nan, 0.5, 0.1))
    monkeypatch.setattr(reference_module, "_float32_error", lambda *a: next(errors))
    reference = generated_reference(small_network, Preprocessing.for_size(32, 32), FLOAT32_TOLERANCE)
    assert (reference.contrast, reference.float32_error) == (CONTRASTS[2], 0.1)


def test_a_file_cannot_choose_its_own_tolerance(tmp_path, digits_export, digits_checkpoint):
    model = onnx.load(digits_export.files[0].artifact.path)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    card = json.loads(properties[METADATA_KEY])
    card["reference"]["tolerance"] = 0.04
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(card)})
    tensor = next(t for t in model.graph.initializer if t.name.endswith("attention.phi.weight"))
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(FACTOR), tensor.name))
    path = tmp_path / "lax.onnx"
    onnx.save(model, path)
    with pytest.raises(VerificationError, match=r"within 5.0e-05.*itself states a tolerance of 4.0e-02"):
        commands.verify(path)
    with pytest.raises(VerificationError, match="within 5.0e-05"):
        commands.verify(path, checkpoint=digits_checkpoint)
    assert commands.verify(path, tolerance=0.04).passed
    assert commands.verify(path, checkpoint=digits_checkpoint, tolerance=0.04).passed


def test_another_checkpoint_is_said_first_and_an_averaged_copy_named(tmp_path, digits_export, digits_checkpoint):
    content = torch.load(digits_checkpoint, weights_only=True)
    content["ema"] = dict(content["state_dict"])
    content["state_dict"] = {key: value * 1.5 for key, value in content["state_dict"].items()}
    torch.save(content, tmp_path / "both.pth.tar")
    path = digits_export.files[0].artifact.path
    with pytest.raises(VerificationError, match=r"^the model was made from another checkpoint .*try `ema`$"):
        commands.verify(path, checkpoint=tmp_path / "both.pth.tar")
    assert commands.verify(path, checkpoint=tmp_path / "both.pth.tar", ema=True).passed


def test_only_a_restless_network_is_called_so():
    report = VerificationReport("pictures", 4, {"logits": 1.0}, 1e-7, None)
    tight = Comparison("stage", "one by one", 1e-6, 1e-6, 1.0, 1.0, 1e-12)
    with pytest.raises(VerificationError) as caught:
        report.with_comparisons(tight)
    assert "amplifies rounding" not in str(caught.value)
    with pytest.raises(VerificationError, match="amplifies rounding"):
        VerificationReport("pictures", 4, {"logits": 1.0}, 1e-4, None).with_comparisons(tight)


def test_a_network_as_initialised_exports_and_the_report_says_that_this_proves_little(tmp_path):
    """A user's first try. One norm that has seen a batch, and the inputs are to blame again."""
    spec = NetworkSpec("mobilenetv2_dcd", 10, width_mult=0.25, fc_squeeze=8)
    torch.manual_seed(0)
    network = build(spec)
    torch.save(network.state_dict(), tmp_path / "fresh.pt")
    result = commands.export(tmp_path / "fresh.pt", input_size=32, out=tmp_path)
    (note,) = result.built.report.notes
    assert note.startswith("a network as initialised: no norm has seen a batch, and freezing Φ moves the outputs by")
    assert "proves little" in note
    again = commands.verify(result.artifact.path, checkpoint=tmp_path / "fresh.pt")
    assert again.notes == (note,)
    norm = next(module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d))
    norm.running_mean += 1e-3
    torch.save(network.state_dict(), tmp_path / "trained.pt")
    with pytest.raises(VerificationError, match="do not exercise Φ"):
        commands.export(tmp_path / "trained.pt", input_size=32, out=tmp_path / "none")
    assert not (tmp_path / "none").exists()
