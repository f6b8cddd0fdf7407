"""Which operator of onnxruntime takes a computed weight best: the smallest graph of each, beside a constant weight's.

    python scripts/computed_weight.py

A 1×1 layer of MobileNetV2-DCD, its bias and its ReLU6 between two depthwise convolutions, which the runtime keeps in
the layout that it likes best. The weight is λ ⊙ W0, and λ comes in from outside. One thread, processor time, all
operators in turns: the median of each over the constant weight's, and the 5th and 95th percentile of the turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

SHAPES = ((16, 96, 112), (144, 24, 56), (192, 32, 28), (64, 384, 14), (160, 960, 7))  # C, K, side
BLOCKED, PLAIN = "blocked", "plain"
ROUNDS, RUNS = 15, 8
Nodes = list[onnx.NodeProto]
Run = Callable[[], object]


def conv(weight: str) -> Nodes:
    """Convolution, which fuses with the Clip behind it."""
    return [helper.make_node("Conv", ["x", weight, "b"], ["s"]), helper.make_node("Clip", ["s", "zero", "six"], ["y"])]


def matmul(weight: str) -> Nodes:
    """A product of matrices, a sum and a Clip."""
    return [
        helper.make_node("Reshape", [weight, "matrix"], ["w2"]),
        helper.make_node("Reshape", ["x", "columns"], ["x2"]),
        helper.make_node("MatMul", ["w2", "x2"], ["p"]),
        helper.make_node("Add", ["p", "b2"], ["s"]),
        helper.make_node("Clip", ["s", "zero", "six"], ["c"]),
        helper.make_node("Reshape", ["c", "map"], ["y"]),
    ]


def gemm(weight: str) -> Nodes:
    """Gemm with the bias within, and a Clip."""
    return [
        helper.make_node("Reshape", [weight, "matrix"], ["w2"]),
        helper.make_node("Reshape", ["x", "columns"], ["x2"]),
        helper.make_node("Gemm", ["w2", "x2", "b2"], ["s"]),
        helper.make_node("Clip", ["s", "zero", "six"], ["c"]),
        helper.make_node("Reshape", ["c", "map"], ["y"]),
    ]


def fused_gemm(weight: str) -> Nodes:
    """Gemm with the bias and the activation within: ReLU6 is 6 times a hard sigmoid, and 6 a factor of what follows."""
    nodes = gemm(weight)
    hard_sigmoid = helper.make_node("HardSigmoid", ["s"], ["c"], alpha=1 / 6, beta=0.0)
    return [*nodes[:3], hard_sigmoid, nodes[4]]


CONSTANT = "constant weight (Conv)"
OPERATORS: dict[str, Callable[[str], Nodes]] = {
    CONSTANT: conv,
    "Conv": conv,
    "MatMul, Add, Clip": matmul,
    "Gemm, Clip": gemm,
    "Gemm with activation": fused_gemm,
}


def graph(name: str, C: int, K: int, side: int) -> onnx.ModelProto:
    """Return depthwise → 1×1 by the operator of that name → depthwise; input (1, C, side, side) and λ (K, 1, 1, 1)."""
    random = np.random.default_rng(0)

    def drawn(*shape: int) -> NDArray[np.float32]:
        return random.standard_normal(shape, np.float32) * np.float32(np.prod(shape[1:]) ** -0.5)

    last = drawn(K, 1, 3, 3) * np.float32(6 if OPERATORS[name] is fused_gemm else 1)
    bias = drawn(K)
    constants = {
        "first": drawn(C, 1, 3, 3), "w0": drawn(K, C, 1, 1), "b": bias, "b2": bias[:, None], "last": last,
        "zero": np.float32(0), "six": np.float32(6), "columns": np.array([C, -1]), "matrix": np.array([K, C]),
        "map": np.array([1, K, side, side]),
    }  # fmt: skip
    nodes = [helper.make_node("Conv", ["input", "first"], ["x"], group=C, pads=[1] * 4)]
    if name != CONSTANT:
        nodes.append(helper.make_node("Mul", ["w0", "scale"], ["w"]))
    nodes += OPERATORS[name]("w0" if name == CONSTANT else "w")
    nodes.append(helper.make_node("Conv", ["y", "last"], ["output"], group=K, pads=[1] * 4))
    values = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("input", (1, C, side, side)), ("scale", (K, 1, 1, 1)), ("output", (1, K, side, side)))
    ]
    used = {value for node in nodes for value in node.input}
    initializers = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items() if k in used]
    model = helper.make_graph(nodes, "layer", values[:2], values[2:], initializers)
    return helper.make_model(model, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def opened(model: onnx.ModelProto, layout: str) -> tuple[Run, NDArray[np.float32]]:
    """Return what runs the model once on one thread, and its output."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    disabled = ["NchwcTransformer"] if layout == PLAIN else None
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, disabled_optimizers=disabled)
    random = np.random.default_rng(1)
    feeds = {each.name: random.standard_normal(each.shape, np.float32) for each in session.get_inputs()}
    run = partial(session.run, None, feeds)
    return run, run()[0]


def times(runs: Sequence[Run]) -> NDArray[np.float64]:
    """Return microseconds (rounds, runs): the median of each turn, whose order turns around."""
    taken = np.empty((ROUNDS, len(runs)))
    for turn in range(ROUNDS):
        for i in range(len(runs))[:: -1 if turn % 2 else 1]:
            runs[i]()
            samples = []
            for _ in range(RUNS):
                start = time.thread_time_ns()
                runs[i]()
                samples.append(time.thread_time_ns() - start)
            taken[turn, i] = np.median(samples) / 1e3
    return taken


def main() -> None:
    """Measure, and print a table for each layout."""
    for layout in (BLOCKED, PLAIN):
        print(f"\n| {layout} layout: C→K on side×side | {' | '.join(OPERATORS)} |")
        print("|---" + "|--:" * len(OPERATORS) + "|")
        for C, K, side in SHAPES:
            models = {name: graph(name, C, K, side) for name in OPERATORS}
            runs, outputs = zip(*(opened(model, layout) for model in models.values()), strict=True)
            for output in outputs[2:]:
                np.testing.assert_allclose(output, outputs[1], atol=1e-4)
            taken = times(runs)
            cells = [f"{np.median(taken[:, 0]):.0f} µs"]
            for ratios in (taken[:, 1:] / taken[:, :1]).T:
                low, median, high = np.percentile(ratios, (5, 50, 95))
                cells.append(f"{median:.2f} ({low:.2f}–{high:.2f})")
            print(f"| {C}→{K} on {side}×{side} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
