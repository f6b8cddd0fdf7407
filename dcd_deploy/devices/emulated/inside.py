"""The program that runs under emulation: opens one model, then does what each line of standard input asks.

    python3 inside.py RUNTIME MODEL FOLDER

It needs numpy and the runtime alone, and no other file of this package. A line is a JSON object; each is answered with
one on standard output. Arrays lie in FOLDER.

    {"task": "run"}               input.npy → output.npy
    {"task": "count", "runs": 3}  runs the model on input.npy, with a system call before each run and after the last
    {"task": "quit"}
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

Array = Any
Run = Callable[[], object]


def open_onnxruntime(path: str, *, blocked: bool = True) -> tuple[str, Callable[[Array], Run], Callable[[], Array]]:
    """Return the runtime's version, what sets an input and returns what runs the model, and what gives the output."""
    onnxruntime = import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if not blocked:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [session.get_outputs()[0].name]
    found: list[Array] = []

    def prepare(images: Array) -> Run:
        feed = {session.get_inputs()[0].name: images}

        def run() -> None:
            found[:] = session.run(names, feed)

        return run

    return str(onnxruntime.__version__), prepare, lambda: found[0]


def open_litert(path: str, *, xnnpack: bool = True) -> tuple[str, Callable[[Array], Run], Callable[[], Array]]:
    """Return the same for a TFLite model."""
    litert = import_module("ai_edge_litert.interpreter")
    resolvers = litert.OpResolverType
    resolver = resolvers.AUTO if xnnpack else resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = litert.Interpreter(model_path=path, num_threads=1, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()

    def prepare(images: Array) -> Run:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
        run: Run = interpreter.invoke
        return run

    return (
        version("ai-edge-litert"),
        prepare,
        lambda: interpreter.get_tensor(interpreter.get_output_details()[0]["index"]),
    )


Opener = Callable[[str], tuple[str, Callable[[Array], Run], Callable[[], Array]]]
OPENERS: dict[str, Opener] = {
    "onnxruntime": open_onnxruntime,
    "onnxruntime-plain": partial(open_onnxruntime, blocked=False),
    "litert": open_litert,
    "litert-plain": partial(open_litert, xnnpack=False),
}


def mark() -> None:
    """Make the system call that the counting plugin waits for, and nothing else here makes."""
    os.sched_get_priority_max(os.SCHED_IDLE)


def main() -> None:
    """Open the model, say so, and do what is asked."""
    runtime, path, folder = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a runtime prints is no answer

    def answer(**content: object) -> None:
        print(json.dumps(content), file=answers, flush=True)

    try:
        found, prepare, output = OPENERS[runtime](path)
        answer(opened=found)
        for line in sys.stdin:
            request = json.loads(line)
            if request["task"] == "quit":
                break
            run = prepare(np.load(Path(folder) / "input.npy", allow_pickle=False))
            run()  # allocates what later runs use again
            if request["task"] == "count":
                for _ in range(request["runs"] + 1):  # the first switches the counting on, and warms the modelled cache
                    mark()
                    run()
                mark()
            np.save(Path(folder) / "output.npy", output())
            answer(done=request["task"])
    except Exception as error:  # noqa: BLE001 - the other side says it to the user
        answer(error=f"{type(error).__name__}: {error}"[:500])


if __name__ == "__main__":
    main()
