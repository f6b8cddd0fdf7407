"""The rewrites for the target "portable": the same function in float64, in words that every runtime takes right."""

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from portable_cases import CASES
from portable_left import LEFT
from rewriting import EXACT, inputs_of, operators, parsed

from dcd_deploy.export.onnx import portable as rewrites
from dcd_deploy.export.onnx.portable import PASSES, portable


@pytest.mark.parametrize("name", CASES)
def test_the_same_in_float64(name):
    body, wanted = CASES[name]
    model = parsed(body)
    written = portable(model)
    assert operators(written) == wanted
    given = inputs_of(model)
    expected, computed = (ReferenceEvaluator(one).run(None, given) for one in (model, written))
    for before, after in zip(expected, computed, strict=True):
        assert after.shape == before.shape
        assert np.abs(after - before).max() <= EXACT
        assert np.ptp(before) > 0


def test_a_tanh_is_bounded_where_it_is_one():
    """OpenCV 5 gives not a number far out; others need no bounds."""
    model = parsed("(double[1, 4] x) => (double[1, 4] y) { y = Tanh (x) }")
    far = {"x": np.array([[-1000.0, -20.5, 21.0, 1e30]])}
    assert np.array_equal(ReferenceEvaluator(portable(model)).run(None, far)[0], [[-1, -1, 1, 1]])
    for name in ("nnapi", "coreml", "openvino"):
        assert operators(portable(model, name)) == {"Tanh": 1}


def test_nnapi_gets_no_uneven_split():
    assert operators(portable(parsed(CASES["three products of one vector"][0]), "nnapi")) == {"Gemm": 3}


def test_bounds_are_scalars():
    """As the standard has it, though runtimes differ in how strict they are."""
    written = portable(parsed(CASES["of an input"][0]))
    clip = next(node for node in written.graph.node if node.op_type == "Clip")
    dimensions = {one.name: list(one.dims) for one in written.graph.initializer}
    assert [dimensions[name] for name in clip.input[1:]] == [[], []]


@pytest.mark.parametrize("name", LEFT)
def test_what_needs_no_other_words_is_left(name):
    model = parsed(LEFT[name])
    assert operators(portable(model)) == operators(model)


@pytest.mark.parametrize("kind", PASSES)
def test_each_is_needed(monkeypatch, kind):
    """Without it at least one case stays as it was: no rewrite does another's work."""
    monkeypatch.setattr(rewrites, "PASSES", tuple(one for one in PASSES if one is not kind))
    written = {name: portable(parsed(body)) for name, (body, _) in CASES.items()}
    assert any(
        operators(model) != CASES[name][1] or has_padding(model) or has_halved_gate(model)
        for name, model in written.items()
    )


def has_padding(model: onnx.ModelProto) -> bool:
    return any(one.name == "pads" and any(one.ints) for node in model.graph.node for one in node.attribute)


def has_halved_gate(model: onnx.ModelProto) -> bool:
    sums = {node.output[0] for node in model.graph.node if node.op_type == "Add"}
    return any(node.op_type == "Mul" and sums & {*node.input} and "h" in node.input for node in model.graph.node)


def test_other_order_of_a_gelu():
    """Its gate is not halved, which OpenCV crashes on; the test above would see it if it were."""
    name = "an exact GELU, as torch's exporter writes it"
    assert has_halved_gate(parsed(CASES[name][0]))
    assert not has_halved_gate(portable(parsed(CASES[name][0])))


def test_half_a_gate_of_something_else_stays():
    model = parsed(LEFT["half a gate of something else"])
    assert has_halved_gate(portable(model))
