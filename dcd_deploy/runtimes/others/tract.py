"""tract, as its Python package has it; one thread."""

from importlib.metadata import version as version_of

import tract


def version():
    """Return the version."""
    return version_of("tract")


def opened(path, entries, outputs, threads):
    """Open an ONNX file; the result maps arrays by name to the outputs in their order."""
    del outputs, threads
    model = tract.onnx().load(path)
    runnable = model.into_model().into_runnable()

    def run(values):
        answers = runnable.run([values[name] for name in entries])
        return [answer.to_numpy() for answer in answers]

    return run
