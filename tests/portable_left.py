"""Graphs that need no other words to be portable, as text, in float64."""

# what none of them may touch
LEFT = {
    "an outer product": (
        '(double[1, 3] x, double[1, 2] z) => (double[1, 3, 2] y) { y = Einsum <equation = "bi,bj->bij"> (x, z) }'
    ),
    "an Einsum that drops an axis": (
        '(double[1, 3] x, double[3, 2] z) => (double[1] y) { y = Einsum <equation = "bi,ij->b"> (x, z) }'
    ),
    "one of a diagonal": ('(double[3, 3] x) => (double[3] y) { y = Einsum <equation = "ii->i"> (x) }'),
    "a weight for each pixel": (
        "(double[1, 2, 3] x, double[1, 2, 4, 3] z) => (double[1, 4, 3] y)"
        ' { y = Einsum <equation = "bkl,bkcl->bcl"> (x, z) }'
    ),
    "copies of what may be one": ("(double[N, 3] x) => (double[4, 3] y) <int64[2] s = {4, 3}> { y = Expand (x, s) }"),
    "copies of whole numbers": (
        "(double[1, 3] x) => (double[2, 3] y) <int64[2] s = {2, 3}> { k = Cast <to = 7> (x) e = Expand (k, s)"
        " y = Cast <to = 11> (e) }"
    ),
    "tiles of two sides": ("(double[1, 3, 2] x) => (double[1, 6, 4] y) <int64[3] s = {1, 2, 2}> { y = Tile (x, s) }"),
    "a Gemm with a constant summand": (
        "(double[1, 2] x) => (double[1, 2] y) <double[2, 2] w = {1, 2, 3, 4}, double[2] b"
        " = {1, 2}> { y = Gemm (x, w, b) }"
    ),
    "two products of one vector": (
        "(double[1, 2] x) => (double[1, 2] y, double[1, 2] z) <double[2, 2] w = {1, 2, 3, 4}, double[2, 2] v"
        " = {5, 6, 7, 8}> { y = Gemm (x, w) z = Gemm (x, v) }"
    ),
    "three products of which one is scaled": (
        "(double[1, 2] x) => (double[1, 2] y, double[1, 2] z, double[1, 2] v) <double[2, 2] w = {1, 2, 3, 4}>"
        " { y = Gemm (x, w) z = Gemm (x, w) v = Gemm <alpha = 2.0> (x, w) }"
    ),
    "a mean of a small map": (
        "(double[1, 2, 7, 7] x) => (double[1, 2] y) <int64[2] a = {2, 3}> { y = ReduceMean <keepdims = 0> (x, a) }"
    ),
    "one new axis": ("(double[1, 3] x) => (double[1, 3, 1] y) <int64[1] a = {2}> { y = Unsqueeze (x, a) }"),
    "half a gate of something else": (
        "(double[1, 3] x, double[1, 3] z) => (double[1, 3] y) <double r = {1.5}, double one = {1}, double h = {0.5}>"
        " { a = Div (z, r) b = Erf (a) c = Add (b, one) d = Mul (c, h) y = Mul (x, d) }"
    ),
    "a square": "(double[1, 3] x) => (double[1, 3] y) <double e = {2}> { y = Pow (x, e) }",
    "a root": "(double[1, 3] x) => (double[1, 3] y) <double e = {0.5}> { a = Abs (x) y = Pow (a, e) }",
    "a gate of as many channels": (
        "(double[1, 2, 2, 2] x) => (double[1, 2, 2, 2] y) <double[2, 2, 1, 1] w = {1, -2, 3, 4}>"
        " { v = Conv (x, w) g = Sigmoid (v) y = Mul (x, g) }"
    ),
    "a gate that no convolution makes": (
        "(double[1, 3, 2, 2] x, double[1, 1, 2, 2] v) => (double[1, 3, 2, 2] y) { g = Sigmoid (v) y = Mul (x, g) }"
    ),
    "a gate of one pixel": (
        "(double[1, 3, 2, 2] x, double[1, 3, 1, 1] z) => (double[1, 3, 2, 2] y) <double[1, 3, 1, 1] w = {1, -2, 3}>"
        " { g = Conv (z, w) y = Mul (x, g) }"
    ),
    "a softplus that soon is its input": (
        "(double[1, 3] x) => (double[1, 3] y) <double one = {1}, double t = {2}> { s = Softplus (x)"
        " d = Div (s, one) g = Greater (x, t) y = Where (g, x, d) }"
    ),
    "a softplus divided by another number": (
        "(double[1, 3] x) => (double[1, 3] y) <double two = {2}, double c = {3}, double t = {20}> { z = Mul (x, two)"
        " s = Softplus (z) d = Div (s, c) g = Greater (z, t) y = Where (g, x, d) }"
    ),
    "a softplus of what is not its input": (
        "(double[1, 3] x) => (double[1, 3] y) <double two = {2}, double t = {20}> { z = Mul (x, two) s = Softplus (z)"
        " d = Div (s, two) g = Greater (z, t) n = Neg (x) y = Where (g, n, d) }"
    ),
    "an unpadded convolution": (
        "(double[1, 1, 1, 1] x) => (double[1, 1, 1, 1] y) <double[1, 1, 1, 1] w = {2}> { y = Conv (x, w) }"
    ),
    "two free sizes": (
        "(double[N, M, 4] x) => (double[N, 4] y) <int64[1] a = {1}> { y = ReduceMean <keepdims = 0> (x, a) }"
    ),
    "a sum over three axes that lie apart": (
        "(double[2, 2, 3, 2, 2] x) => (double[2, 3] y) <int64[3] a = {1, 3, 4}> { y = ReduceSum <keepdims = 0> (x, a) }"
    ),
}
