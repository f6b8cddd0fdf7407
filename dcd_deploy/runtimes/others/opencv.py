"""OpenCV's dnn module, version 4 or 5."""

import cv2


def version():
    """Return the version."""
    return cv2.__version__


def opened(path, entries, outputs, threads):
    """Open an ONNX file; the result maps arrays by name to the outputs in their order."""
    del entries
    cv2.setNumThreads(threads)
    network = cv2.dnn.readNetFromONNX(path)

    def run(values):
        for name, value in values.items():
            network.setInput(value, name)
        return network.forward(outputs)

    return run
