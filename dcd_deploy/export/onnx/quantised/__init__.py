"""A float32 ONNX graph in int8, by the role of each node (``roles``), not by its operator.

    static kernel, constant weights     QLinearConv                     weights per channel, symmetric
    generated kernel W(x)               QuantizeLinear → QLinearConv    computed in float32, then quantised per channel
    λ ⊙ static kernel                   QLinearConv                     λ multiplies the scales of the weights
    sum                                 Dequantize, Add, Quantize       onnxruntime makes one operator of it
    attention, Φ, pools, classifier     float32

All operators are ONNX's own. Maps between quantised layers stay in int8 (``rewriting``); their ranges, and those of
W(x), come from the calibration images (``ranges``).
"""
