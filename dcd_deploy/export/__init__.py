"""From a trained network to a verified model file.

pipeline    checkpoint → files
formats     captured network → verified graphs in memory: onnx/, tflite/, executorch/; through
checked_reference   the float64 outputs that everything is compared with, and each stage compared
verify              the gate
twin        the static twin as a file
recheck     the gate again, on a file
"""
