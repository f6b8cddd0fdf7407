"""From a trained network to a verified model file.

pipeline    checkpoint → files
build       train form → verified graph in memory, through
reference       the float64 outputs that everything is compared with
to_onnx         tracing
simplify        onnxsim, and the passes it lacks
verify          the gate
twin        the static twin as a file
recheck     the gate again, on a file
"""
