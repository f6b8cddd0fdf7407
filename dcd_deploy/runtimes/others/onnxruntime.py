"""onnxruntime, of any version, on its default CPU kernels."""

import onnxruntime


def version():
    """Return the version."""
    return onnxruntime.__version__


def opened(path, entries, outputs, threads):
    """Open an ONNX file; the result maps arrays by name to the outputs in their order."""
    del entries
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda values: session.run(outputs, values)
