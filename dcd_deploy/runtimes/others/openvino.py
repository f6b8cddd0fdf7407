"""OpenVINO on the CPU, in float32."""

import openvino


def version():
    """Return the version."""
    return openvino.__version__.partition("-")[0]


def opened(path, entries, outputs, threads):
    """Open an ONNX file; the result maps arrays by name to the outputs in their order."""
    del entries
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}
    request = openvino.Core().compile_model(path, "CPU", settings).create_infer_request()

    def run(values):
        answer = request.infer(values)
        return [answer[name] for name in outputs]

    return run
