"""From the heads of a dynamic convolution to its kernel and bias: knows the terms, and no runtime.

activations   rewrites of an attention: constants into weights, hard sigmoids as relu6, Φ as Φᵀ
attention     the stages and heads in the order of their computation; b(x) from the heads
terms         the terms of an operator, and what they cost
kernel        W(x) from the heads, a sum of terms; as matrices by rows (K, C/g·taps) or by columns (C/g·taps, K)
enlarged      operators with channels added: zeros, or a one for the bias
windows       adaptive pooling to a few cells, as pooling by windows or as a matrix
"""
