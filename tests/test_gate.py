"""The gate catches what it is there for: planted faults, each of which must fail."""

import itertools
import re
from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from conftest import SMALL
from deployed import captured, deployed
from golden_cases import load_module
from onnx import numpy_helper

from dcd_deploy import commands
from dcd_deploy.artifacts import Preprocessing
from dcd_deploy.errors import VerificationError
from dcd_deploy.export.build_config import BuildConfig
from dcd_deploy.export.formats import build_formats
from dcd_deploy.export.reference import generated_reference, make_reference, runner
from dcd_deploy.export.verify import FLOAT32_TOLERANCE, Comparison, compare, new_report
from dcd_deploy.models.dynamic import DynamicLayer
from dcd_deploy.models.random_weights import calibrated_network
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
    phis = {name: None for name in weights(built) if name.endswith("attention.phi.weight")}
    phis |= {joined.input[1]: rows for joined, _, rows in joined_phis(built.model)}
    assert len(phis) == 33
    for name, rows in phis.items():
        (comparison,) = errors(changed(built, name, lambda w, n=rows: np.r_[transpose(w[:n]), w[len(w[:n]) :]]), built)
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
    kept = [node for node in frozen.graph.node if not set(node.output) <= values.keys()]
    for node in kept:
        node.output[:] = [f"{name}.unused" if name in values else name for name in node.output]
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


def joined_phis(model: onnx.ModelProto) -> Iterator[tuple[onnx.NodeProto, str, int]]:
    """Yield the products that make Φ beside other heads, where Φ comes out behind them, and its number of rows."""
    makers = {node.output[0]: node for node in model.graph.node}
    sizes = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Split" and node.name.endswith("attention.phi/split"):
            yield makers[node.input[0]], node.output[0], int(sizes[node.input[1]][0])


def outputs_of(model: onnx.ModelProto, weight: str) -> list[str]:
    return [node.output[0] for node in model.graph.node if any(i.endswith(weight) for i in node.input)]


def test_phi_frozen_to_the_first_input(built):
    built = built[0]
    names = outputs_of(built.model, "attention.phi.weight") + [name for _, name, _ in joined_phis(built.model)]
    assert len(names) == 33
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
