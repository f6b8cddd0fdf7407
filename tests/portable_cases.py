"""Graphs for the rewrites of portable ONNX: what becomes of each."""

# name → (graph in float64, operators before → after)
CASES = {
    "a hard sigmoid behind a Gemm without a bias": (
        (
            "(double[1, 3] x) => (double[1, 2] y) <double[2, 3] w = {1, 2, 3, -4, 5, 6}> {"
            " v = Gemm <transB = 1> (x, w) y = HardSigmoid <alpha = 0.25, beta = 0.5> (v) }"
        ),
        {"Gemm": 1, "Clip": 1},
    ),
    "with a bias, not transposed": (
        (
            "(double[1, 2] x) => (double[1, 3] y) <double[2, 3] w = {1, 2, 3, -4, 5, 6}, double[3] b = {1, 0, -1}> {"
            " v = Gemm (x, w, b) y = HardSigmoid <alpha = 0.125, beta = 0.5> (v) }"
        ),
        {"Gemm": 1, "Clip": 1},
    ),
    "behind a convolution": (
        (
            "(double[1, 2, 3, 3] x) => (double[1, 2, 3, 3] y)"
            " <double[2, 2, 1, 1] w = {1, 2, 3, -4}, double[2] b = {1, 0}>"
            " { v = Conv (x, w, b) y = HardSigmoid <alpha = 0.25> (v) }"
        ),
        {"Conv": 1, "Clip": 1},
    ),
    "of a value that others read": (
        (
            "(double[1, 3] x) => (double[1, 2] y) <double[2, 3] w = {1, 2, 3, -4, 5, 6}> {"
            " v = Gemm <transB = 1> (x, w) s = HardSigmoid <alpha = 0.25> (v) y = Mul (s, v) }"
        ),
        {"Gemm": 1, "Mul": 2, "Add": 1, "Clip": 1},
    ),
    "of an input": (
        "(double[1, 3] x) => (double[1, 3] y) { y = HardSigmoid <alpha = 0.25> (x) }",
        {"Mul": 1, "Add": 1, "Clip": 1},
    ),
    "a Gemm with a computed summand": (
        (
            "(double[2, 3] x, double[3, 2] z) => (double[2, 2] y) { c = Neg (z) d = Gemm <transA = 1> (c, c)"
            " y = Gemm (x, c, d) }"
        ),
        {"Neg": 1, "Gemm": 1, "MatMul": 1, "Add": 1},
    ),
    "with a transposed constant and a transposed factor": (
        (
            "(double[3, 2] x, double[2, 2] z) => (double[2, 2] y) <double[2, 3] w = {1, 2, 3, 4, 5, 6}> {"
            " c = Neg (z) y = Gemm <transA = 1, transB = 1> (x, w, c) }"
        ),
        {"Neg": 1, "Transpose": 1, "MatMul": 1, "Add": 1},
    ),
    "three products of one vector": (
        (
            "(double[N, 2] x) => (double[N, 1] y, double[N, 2] z, double[N, 2] v) <double[1, 2] a = {1, 2},"
            " double[2, 2] b = {3, 4, 5, 6}, double[2, 2] c = {7, 8, 9, 10}, double[2] s = {1, -1}> {"
            " y = Gemm <transB = 1> (x, a) z = Gemm (x, b, s) v = Gemm <transB = 1> (x, c, s) }"
        ),
        {"Gemm": 1, "Split": 1},
    ),
    "a mean over one axis": (
        "(double[2, 3, 4] x) => (double[2, 4] y) <int64[1] a = {1}> { y = ReduceMean <keepdims = 0> (x, a) }",
        {"Reshape": 1, "ReduceMean": 1},
    ),
    "behind a Reshape": (
        (
            "(double[2, 12] x) => (double[2, 3] y) <int64[3] s = {2, 3, 4}, int64[1] a = {-1}> {"
            " r = Reshape (x, s) y = ReduceMean <keepdims = 0> (r, a) }"
        ),
        {"Reshape": 1, "ReduceMean": 1},
    ),
    "the largest over one axis that stays": (
        "(double[N, 3, 4] x) => (double[N, 1, 4] y) <int64[1] a = {1}> { y = ReduceMax (x, a) }",
        {"Reshape": 2, "ReduceMax": 1},
    ),
    "the mean of a large map": (
        "(double[N, 2, 64, 40] x) => (double[N, 2] y) <int64[2] a = {2, 3}> { y = ReduceMean <keepdims = 0> (x, a) }",
        {"Reshape": 2, "ReduceMean": 2},
    ),
    "the mean of a large map that stays": (
        "(double[1, 2, 64, 40] x) => (double[1, 2, 1, 1] y) <int64[2] a = {-1, -2}> { y = ReduceMean (x, a) }",
        {"Reshape": 2, "ReduceMean": 2},
    ),
    "a padded convolution of one pixel": (
        (
            "(double[1, 2, 1, 1] x) => (double[1, 2, 1, 1] y)"
            " <double[2, 1, 3, 3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18}>"
            " { y = Conv <group = 2, pads = [1, 1, 1, 1], strides = [2, 2]> (x, w) }"
        ),
        {"Conv": 1},
    ),
    "several new axes": (
        "(double[N, 3] x) => (double[N, 3, 1, 1] y) <int64[2] a = {2, 3}> { y = Unsqueeze (x, a) }",
        {"Reshape": 1},
    ),
    "an Einsum of five axes": (
        (
            "(double[N, 2, 3, 2, 4] x, double[N, 2, 3, 5, 4] z) => (double[N, 2, 3, 2, 5] y)"
            ' { y = Einsum <equation = "bghid, bghjd -> bghij"> (x, z) }'
        ),
        {"Reshape": 3, "Transpose": 1, "MatMul": 1},
    ),
    "one that sums over a map and turns": (
        (
            "(double[1, 2, 3, 4] x, double[1, 5, 3, 4] z) => (double[5, 2, 1] y)"
            ' { y = Einsum <equation = "bchw,bdhw->dcb"> (x, z) }'
        ),
        {"Reshape": 3, "Transpose": 2, "MatMul": 1},
    ),
    "one by a matrix": (
        (
            "(double[N, 2, 3, 2] x) => (double[N, 2, 3, 3] y) <double[2, 3] w = {1, 2, 3, 4, 5, 6}>"
            ' { y = Einsum <equation = "nctv,vw->nctw"> (x, w) }'
        ),
        {"Reshape": 3, "MatMul": 1},
    ),
    "one that sums products": (
        '(double[N, 3, 2] x, double[N, 3, 2] z) => (double[N, 2] y) { y = Einsum <equation = "ncl,ncl->nl"> (x, z) }',
        {"Mul": 1, "Reshape": 1, "ReduceSum": 1},
    ),
    "a gated GELU": (
        (
            "(double[N, 3] x) => (double[N, 3] y) <double r = {1.4142135623730951}, double one = {1}, double h = {0.5}>"
            " { a = Div (x, r) b = Erf (a) c = Add (b, one) d = Mul (x, h) g = Mul (d, c) s = Sigmoid (g)"
            " y = Mul (s, g) }"
        ),
        {"Div": 1, "Erf": 1, "Add": 1, "Mul": 3, "Sigmoid": 1, "Reshape": 1},
    ),
    "an exact GELU, as torch's exporter writes it": (
        (
            "(double[N, 3] x) => (double[N, 3] y) <double r = {1.4142135623730951}, double one = {1}, double h = {0.5}>"
            " { v = Neg (x) a = Div (v, r) b = Erf (a) c = Add (b, one) d = Mul (c, h) y = Mul (v, d) }"
        ),
        {"Neg": 1, "Div": 1, "Erf": 1, "Add": 1, "Mul": 2},
    ),
    "a cube": ("(double[N, 3] x) => (double[N, 3] y) <double e = {3}> { y = Pow (x, e) }", {"Mul": 2}),
    "the sixth power": ("(double[N, 3] x) => (double[N, 3] y) <double e = {6}> { y = Pow (x, e) }", {"Mul": 3}),
    "a mish, and its tanh": (
        "(double[N, 3] x) => (double[N, 3] y) { y = Mish (x) }",
        {"Softplus": 1, "Clip": 1, "Tanh": 1, "Mul": 1},
    ),
    "a softplus with torch's threshold": (
        (
            "(double[N, 3] x) => (double[N, 3] y) <float one = {1}, float t = {20}> { s = Softplus (x)"
            " o = CastLike (one, s) d = Div (s, o) c = CastLike (t, x) g = Greater (x, c) y = Where (g, x, d) }"
        ),
        {"Softplus": 1},
    ),
    "of another slope": (
        (
            "(double[N, 3] x) => (double[N, 3] y) <double two = {2}, float t = {20}> { z = Mul (two, x)"
            " s = Softplus (z)"
            " o = CastLike (two, s) d = Div (s, o) c = CastLike (t, z) g = Greater (z, c) y = Where (g, x, d) }"
        ),
        {"Mul": 2, "Softplus": 1},
    ),
    "a gate of one channel over several": (
        (
            "(double[N, 3, 2, 2] x) => (double[N, 3, 2, 2] y) <double[1, 3, 1, 1] w = {1, -2, 3}>"
            " { v = Conv (x, w) g = Sigmoid (v) y = Mul (g, x) }"
        ),
        {"Conv": 1, "Sigmoid": 1, "Reshape": 1, "Mul": 1},
    ),
    "a sum of it": (
        (
            "(double[1, 3, 2, 2] x) => (double[1, 3, 2, 2] y) <double[1, 3, 1, 1] w = {1, -2, 3}>"
            " { v = Conv (x, w) y = Sub (x, v) }"
        ),
        {"Conv": 1, "Reshape": 1, "Sub": 1},
    ),
    "a constant of another type": (
        "(double[1, 3] x) => (double[1, 3] y) <float two = {2}> { c = CastLike (two, x) y = Mul (x, c) }",
        {"Mul": 1},
    ),
    "a length of channels": (
        ("(double[1, 3, 2, 2] x) => (double[1, 1, 2, 2] y) <int64[1] a = {1}> { y = ReduceL2 (x, a) }"),
        {"Reshape": 2, "Mul": 1, "ReduceSum": 1, "Sqrt": 1},
    ),
    "of several axes, of which none is kept": (
        "(double[N, 3, 2] x) => (double[N] y) <int64[2] a = {1, 2}> { y = ReduceL2 <keepdims = 0> (x, a) }",
        {"Mul": 1, "ReduceSum": 1, "Sqrt": 1},
    ),
    "a softmax times a bank": (
        (
            "(double[1, 2] x) => (double[1, 1, 3] y) <double[1, 2, 3] b = {1, 2, 3, 4, 5, 6}> {"
            " s = Softmax (x) y = MatMul (s, b) }"
        ),
        {"Softmax": 1, "Reshape": 1, "MatMul": 1},
    ),
    "a mean over three axes": (
        (
            "(double[N, 2, 3, 2, 2] x) => (double[N, 2, 1, 1, 1] y) <int64[3] a = {-1, 2, 3}>"
            " { y = ReduceMean <keepdims = 1> (x, a) }"
        ),
        {"Reshape": 2, "ReduceMean": 1},
    ),
    "the largest of three axes that go": (
        "(double[2, 2, 3, 2] x) => (double[2] y) <int64[3] a = {1, 2, 3}> { y = ReduceMax <keepdims = 0> (x, a) }",
        {"Reshape": 1, "ReduceMax": 1},
    ),
    "a computed kernel of one output": (
        (
            "(double[2, 3, 4, 4] x, double[1, 12] k, double[1] c) => (double[2, 1, 3, 3] y) <int64[4] s = {1, 3, 2, 2}>"
            " { w = Reshape (k, s) b = Neg (c) y = Conv (x, w, b) }"
        ),
        {"Neg": 1, "Reshape": 2, "Concat": 2, "Conv": 1, "Slice": 1},
    ),
    "copies of channels": (
        "(double[1, 1, 2, 3] x) => (double[1, 4, 2, 3] y) <int64[4] s = {1, 4, 1, 3}> { y = Expand (x, s) }",
        {"Mul": 1},
    ),
    "copies of samples, of more axes": (
        "(double[N, 1, 3] x) => (double[2, N, 2, 3] y) <int64[4] s = {2, 1, 2, 1}> { y = Expand (x, s) }",
        {"Mul": 1},
    ),
    "tiles of one": (
        "(double[1, 3, 1] x) => (double[1, 3, 4] y) <int64[3] s = {1, 1, 4}> { y = Tile (x, s) }",
        {"Mul": 1},
    ),
    "tiles of several": (
        "(double[1, 3, 2] x) => (double[1, 9, 2] y) <int64[3] s = {1, 3, 1}> { y = Tile (x, s) }",
        {"Concat": 1},
    ),
}
