"""From the heads of a dynamic convolution to its kernel and bias: knows the terms, and no runtime.

activations   rewrites of an attention: constants into weights, hard sigmoids as relu6, Φ as Φᵀ
matrices      terms and kernels as matrices, by rows (K, C/g·taps) or by columns (C/g·taps, K), for each group
bias          b(x) from the heads
kernel        W(x) from the heads, a sum of terms
"""
