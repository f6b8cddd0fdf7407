"""The rewrites for one runtime alone: the same function in float64, in the words that it takes, or is quick at."""

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator
from rewriting import EXACT, inputs_of, operators, parsed

from dcd_deploy.export.onnx.portable import portable

FOR_NNAPI = {
    "a hard swish": (
        "(double[1, 3] x) => (double[1, 3] y) { y = HardSwish (x) }",
        {"Mul": 2, "Add": 1, "Clip": 1},
    ),
    "an uneven split": (
        "(double[1, 6] x) => (double[1, 4] y, double[1, 2] z) <int64[2] s = {4, 2}> { y, z = Split <axis = 1> (x, s) }",
        {"Slice": 2},
    ),
}


@pytest.mark.parametrize("name", FOR_NNAPI)
def test_the_same_for_nnapi(name):
    body, wanted = FOR_NNAPI[name]
    model = parsed(body)
    written = portable(model, "nnapi")
    assert operators(written) == wanted
    assert operators(portable(model)) == operators(model)
    given = inputs_of(model)
    expected = ReferenceEvaluator(model).run(None, given)
    if name == "a hard swish":  # the evaluator's own takes its sixth in float32
        expected = [given["x"] * np.clip(given["x"] / 6 + 0.5, 0, 1)]
    for before, after in zip(expected, ReferenceEvaluator(written).run(None, given), strict=True):
        assert after.shape == before.shape
        assert np.abs(after - before).max() <= EXACT


# (runtime, name) → (graph in float64, operators after)
FOR_ONE = {
    ("ncnn", "the largest of the channels"): (
        "(double[N, 6, 2, 3] x) => (double[N, 1, 2, 3] y) <int64[1] a = {1}> { y = ReduceMax (x, a) }",
        {"Reshape": 2, "MaxPool": 1},
    ),
    ("ncnn", "not kept"): (
        "(double[1, 6, 2, 3] x) => (double[1, 2, 3] y) <int64[1] a = {-3}> { y = ReduceMax <keepdims = 0> (x, a) }",
        {"Reshape": 2, "MaxPool": 1},
    ),
    ("ncnn", "the largest of a map"): (
        "(double[N, 2, 2, 3] x) => (double[N, 2] y) <int64[2] a = {-1, 2}> { y = ReduceMax <keepdims = 0> (x, a) }",
        {"GlobalMaxPool": 1, "Reshape": 1},
    ),
    ("ncnn", "every second column"): (
        (
            "(double[N, 2, 5, 5] x) => (double[N, 2, 5, 2] y) <int64[1] s = {1}, int64[1] e = {999}, int64[1] a = {3},"
            " int64[1] t = {2}> { y = Slice (x, s, e, a, t) }"
        ),
        {"Slice": 1, "MaxPool": 1},
    ),
    ("ncnn", "every second pixel"): (
        (
            "(double[1, 2, 5, 6] x) => (double[1, 2, 3, 2] y) <int64[2] s = {0, 1}, int64[2] e = {5, 6},"
            " int64[2] a = {-2, -1}, int64[2] t = {2, 3}> { y = Slice (x, s, e, a, t) }"
        ),
        {"Slice": 1, "MaxPool": 1},
    ),
    ("ncnn", "every second channel"): (
        (
            "(double[1, 4, 2, 2] x) => (double[1, 2, 2, 2] y) <int64[1] s = {0}, int64[1] e = {4}, int64[1] a = {1},"
            " int64[1] t = {2}> { y = Slice (x, s, e, a, t) }"
        ),
        {"Slice": 1},
    ),
    ("ncnn", "columns backwards"): (
        (
            "(double[1, 1, 2, 4] x) => (double[1, 1, 2, 2] y) <int64[1] s = {3}, int64[1] e = {-9}, int64[1] a = {3},"
            " int64[1] t = {-2}> { y = Slice (x, s, e, a, t) }"
        ),
        {"Slice": 1},
    ),
    ("ncnn", "the largest of rows"): (
        "(double[1, 6, 2, 3] x) => (double[1, 6, 1, 3] y) <int64[1] a = {2}> { y = ReduceMax (x, a) }",
        {"Reshape": 2, "ReduceMax": 1},
    ),
    ("openvino", "a length"): (
        "(double[1, 3, 2] x) => (double[1, 1, 2] y) <int64[1] a = {1}> { y = ReduceL2 (x, a) }",
        {"ReduceL2": 1},
    ),
    ("openvino", "the means of parts"): (
        (
            "(double[N, 2, 4, 6] x) => (double[N, 8] y) <int64[4] s = {-1, 4, 2, 6}, int64[3] t = {-1, 8, 3},"
            " int64[1] a = {2}> { r = Reshape (x, s) m = ReduceMean <keepdims = 0> (r, a) c = Reshape (m, t)"
            " y = ReduceMean <keepdims = 0> (c, a) }"
        ),
        {"AveragePool": 1, "Reshape": 1},
    ),
    ("openvino", "means of what are no parts"): (
        (
            "(double[1, 2, 4, 6] x) => (double[1, 6] y) <int64[4] s = {1, 6, 4, 2}, int64[3] t = {1, 6, 2},"
            " int64[1] a = {2}> { r = Reshape (x, s) m = ReduceMean <keepdims = 0> (r, a) c = Reshape (m, t)"
            " y = ReduceMean <keepdims = 0> (c, a) }"
        ),
        {"ReduceMean": 2, "Reshape": 2},
    ),
    ("openvino", "a computed bias over a large map"): (
        (
            "(double[1, 1, 112, 112] x, double[2, 1, 1, 1] w, double[2] b) => (double[1, 2, 56, 56] y)"
            " { y = Conv <strides = [2, 2]> (x, w, b) }"
        ),
        {"Concat": 2, "Reshape": 1, "Conv": 1},
    ),
    ("openvino", "over a smaller one"): (
        (
            "(double[1, 1, 112, 111] x, double[2, 1, 1, 1] w, double[2] b) => (double[1, 2, 112, 111] y)"
            " { y = Conv (x, w, b) }"
        ),
        {"Conv": 1},
    ),
    ("openvino", "a padded one"): (
        (
            "(double[1, 1, 112, 112] x, double[2, 1, 1, 1] w, double[2] b) => (double[1, 2, 114, 114] y)"
            " { y = Conv <pads = [1, 1, 1, 1]> (x, w, b) }"
        ),
        {"Conv": 1},
    ),
}
for name, operator in (("mean of a small map", {}), ("mean of a large map", {"AveragePool": 1})):
    height = 64 if operator else 8
    FOR_ONE["mnn", name] = (
        (
            f"(double[N, 2, {height}, 35] x) => (double[N, 2] y) <int64[2] a = {{-1, 2}}>"
            " { y = ReduceMean <keepdims = 0> (x, a) }"
        ),
        {"GlobalAveragePool": 1, "Reshape": 1, **operator},
    )
FOR_ONE["mnn", "a mean that stays"] = (
    "(double[N, 2, 8, 5] x) => (double[N, 2, 1, 1] y) <int64[2] a = {2, 3}> { y = ReduceMean (x, a) }",
    {"GlobalAveragePool": 1},
)
FOR_ONE["mnn", "a mean over other axes"] = (
    "(double[N, 2, 8, 5] x) => (double[N, 5] y) <int64[2] a = {1, 2}> { y = ReduceMean <keepdims = 0> (x, a) }",
    {"ReduceMean": 1},
)
FOR_ONE["ncnn", "the means of parts"] = FOR_ONE["openvino", "the means of parts"]


@pytest.mark.parametrize(("runtime", "name"), FOR_ONE)
def test_the_same_for_one(runtime, name):
    body, wanted = FOR_ONE[runtime, name]
    model = parsed(body)
    written = portable(model, runtime)
    assert operators(written) == wanted
    given = inputs_of(model)
    before, after = (ReferenceEvaluator(one).run(None, given)[0] for one in (model, written))
    assert after.shape == before.shape
    assert np.abs(after - before).max() <= EXACT
    assert np.ptp(before) > 0
