"""onnxruntime's operators on blocks of channels, in numpy, for blocks of any size: for processors that nobody emulates.

They take and refuse what the runtime's do. With them a file is run as on a processor with AVX-512 (blocks of 16) on a
machine that has none, and no emulator has.
"""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from dcd_deploy.export.onnx.in_blocks import DOMAIN


def run_in_blocks_of(block: int, model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """Return the first output of a model with operators on blocks, for its first input ``x``."""
    session = ReferenceEvaluator(model, new_ops=operators(block))
    return session.run(None, {model.graph.input[0].name: x})[0]


def to_blocks(x: np.ndarray, block: int) -> np.ndarray:
    """Order (N, C, H, W) as [n][C / B][h][w][C % B], under the same shape."""
    n, c, h, w = x.shape
    return np.ascontiguousarray(x.reshape(n, c // block, block, h, w).transpose(0, 1, 3, 4, 2)).reshape(x.shape)


def from_blocks(x: np.ndarray, block: int) -> np.ndarray:
    """The reverse."""
    n, c, h, w = x.shape
    return np.ascontiguousarray(x.reshape(n, c // block, h, w, block).transpose(0, 1, 4, 2, 3)).reshape(x.shape)


def plain_weights(weights: np.ndarray, block: int, by_inputs: bool) -> np.ndarray:
    """Order weights as (K, C, kh, kw), from blocks of outputs, and of inputs too if so."""
    outputs, inputs, *kernel = weights.shape
    if by_inputs:
        parts = weights.reshape(outputs // block, inputs // block, *kernel, block, block)
        return parts.transpose(0, 5, 1, 4, 2, 3).reshape(weights.shape)
    return weights.reshape(outputs // block, inputs, *kernel, block).transpose(0, 4, 1, 2, 3).reshape(weights.shape)


def operators(block: int) -> list[type[OpRun]]:
    """Return the operators of a processor with blocks of that size."""

    class ReorderInput(OpRun):
        op_domain = DOMAIN

        def _run(self, x, channels_last=0):
            x = x.transpose(0, 3, 1, 2) if channels_last else x
            assert x.shape[1] % 4 == 0, "ReorderInput takes channels in multiples of four"
            more = -x.shape[1] % block
            return (to_blocks(np.pad(x, ((0, 0), (0, more), (0, 0), (0, 0))), block),)

    class ReorderOutput(OpRun):
        op_domain = DOMAIN

        def _run(self, x, channels):
            assert x.shape[1] % block == 0, "maps in blocks have whole blocks"
            assert 0 <= x.shape[1] - channels < block, "ReorderOutput cuts off less than a block"
            return (from_blocks(x, block)[:, :channels],)

    class Conv(OpRun):
        op_domain = DOMAIN

        def _run(self, x, weights, bias, summand=None, **attributes):
            group, channels = attributes.get("group") or 1, x.shape[1]
            from_plain = channels < block
            assert from_plain or channels % block == 0, "maps in blocks have whole blocks"
            assert weights.shape[0] % block == 0, "outputs come in whole blocks"
            by_inputs = not from_plain and group != channels
            assert not by_inputs or weights.shape[1] % block == 0, "each group has whole blocks"
            x = x if from_plain else from_blocks(x, block)
            weights = plain_weights(weights, block, by_inputs)
            top, left, bottom, right = attributes.get("pads") or (0, 0, 0, 0)
            x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
            tensors = (torch.tensor(value) for value in (x, weights, bias))
            y = torch.nn.functional.conv2d(*tensors, stride=attributes.get("strides") or (1, 1), groups=group).numpy()
            if summand is not None:
                assert summand.shape == y.shape, "summands have one shape"
                y = y + from_blocks(summand, block)
            if attributes.get("activation"):
                limits = {"Relu": (0, None), "Clip": attributes.get("activation_params")}[attributes["activation"]]
                y = np.clip(y, *limits)
            return (to_blocks(y, block),)

    class AveragePool(OpRun):
        op_domain = DOMAIN

        def _run(self, x, **attributes):
            assert x.shape[1] % block == 0, "maps in blocks have whole blocks"
            assert not any(attributes.get("pads") or ()), "only without padding"
            x = torch.from_numpy(from_blocks(x, block))
            return (
                to_blocks(
                    torch.nn.functional.avg_pool2d(x, attributes["kernel_shape"], attributes.get("strides")).numpy(),
                    block,
                ),
            )

    return [ReorderInput, ReorderOutput, Conv, AveragePool]
