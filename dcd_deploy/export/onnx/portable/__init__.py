"""Rewrites of a finished ONNX graph for the target "portable", so that no runtime takes it for something else.

Each costs onnxruntime nothing measurable, but the last, of rare layers. They run in this order, after simplification:

    constant_casts   CastLike(c, x) → c
    hard_sigmoid     HardSigmoid → Clip, its slope and offset folded into the product before it
    joined_products  three or more products of one vector → one, and a Split
    computed_sum     Gemm with a computed summand → MatMul, Add
    plain_einsum     Einsum of two tensors → MatMul, or a sum of products
    joined_axes      the mean over three axes or more → over two
    large_mean       the mean of a large map → along its last axis, then of the rest
    single_axis      the mean over one axis → over two, the second of size 1
    one_pixel        a padded convolution of one pixel → the tap that meets it
    equal_ranks      a softmax times a bank of kernels → of one rank
    many_axes        Unsqueeze by several axes → Reshape
    exact_gelu       x · (gate · ½) → (x · ½) · gate
    whole_powers     Pow(x, 3) → Mul(Mul(x, x), x)
    plain_softplus   a softplus with a threshold → Softplus
    plain_mish       Mish → x · Tanh(Softplus(x))
    bounded_tanh     Tanh(x) → Tanh(Clip(x, −20, 20))
    plain_length     ReduceL2 → Sqrt(ReduceSum(x · x))
    spatial_gate     x · Sigmoid(Conv(y)) of one channel → a Reshape between
    plain_copies     Expand, Tile along sides of one → Mul by ones
    single_output    a convolution by a computed kernel of one output → of two, of which the first is read
"""

from __future__ import annotations

from collections.abc import Callable

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from dcd_deploy.export.onnx.portable.bounded_tanh import bounded_tanh
from dcd_deploy.export.onnx.portable.computed_sum import computed_sum
from dcd_deploy.export.onnx.portable.constant_casts import constant_casts
from dcd_deploy.export.onnx.portable.equal_ranks import equal_ranks
from dcd_deploy.export.onnx.portable.exact_gelu import exact_gelu
from dcd_deploy.export.onnx.portable.global_pooling import global_pooling
from dcd_deploy.export.onnx.portable.hard_sigmoid import hard_sigmoid
from dcd_deploy.export.onnx.portable.hard_swish import hard_swish
from dcd_deploy.export.onnx.portable.joined_axes import joined_axes
from dcd_deploy.export.onnx.portable.joined_products import joined_products
from dcd_deploy.export.onnx.portable.large_mean import large_mean
from dcd_deploy.export.onnx.portable.many_axes import many_axes
from dcd_deploy.export.onnx.portable.one_pixel import one_pixel
from dcd_deploy.export.onnx.portable.one_pooling import one_pooling
from dcd_deploy.export.onnx.portable.ones_channel import ones_channel
from dcd_deploy.export.onnx.portable.plain_copies import plain_copies
from dcd_deploy.export.onnx.portable.plain_einsum import plain_einsum
from dcd_deploy.export.onnx.portable.plain_length import plain_length
from dcd_deploy.export.onnx.portable.plain_mish import plain_mish
from dcd_deploy.export.onnx.portable.plain_softplus import plain_softplus
from dcd_deploy.export.onnx.portable.pooled_max import pooled_max
from dcd_deploy.export.onnx.portable.pooled_steps import pooled_steps
from dcd_deploy.export.onnx.portable.single_axis import single_axis
from dcd_deploy.export.onnx.portable.single_output import single_output
from dcd_deploy.export.onnx.portable.spatial_gate import spatial_gate
from dcd_deploy.export.onnx.portable.uneven_split import uneven_split
from dcd_deploy.export.onnx.portable.whole_powers import whole_powers

Rewrite = Callable[[ir.Graph], None]
PASSES: tuple[Rewrite, ...] = (
    constant_casts,
    hard_sigmoid,
    joined_products,
    computed_sum,
    plain_einsum,
    joined_axes,
    large_mean,
    single_axis,
    one_pixel,
    equal_ranks,
    many_axes,
    exact_gelu,
    whole_powers,
    plain_softplus,
    plain_mish,
    bounded_tanh,  # behind what writes one
    plain_length,  # behind single_axis
    spatial_gate,
    plain_copies,
    single_output,
)


# what a runtime alone needs, or is quicker with, before all others
ALONE: dict[str | None, tuple[Rewrite, ...]] = {
    "nnapi": (hard_swish, uneven_split),
    "coreml": (hard_swish,),
    "openvino": (one_pooling, ones_channel),
    "mnn": (one_pooling, global_pooling),
    "ncnn": (one_pooling, global_pooling, pooled_max, pooled_steps),
}
# what a runtime can do without: it is right on what they avoid, and quicker
NEEDLESS: dict[str | None, tuple[Rewrite, ...]] = {
    "nnapi": (joined_products, bounded_tanh),  # it would split them unevenly, and has no such Clip
    "coreml": (bounded_tanh,),
    "openvino": (
        hard_sigmoid,
        computed_sum,
        large_mean,
        single_axis,
        bounded_tanh,
        plain_length,
        spatial_gate,
        single_output,
    ),
}


def portable(model: onnx.ModelProto, runtime: str | None = None, *, small: bool = False) -> onnx.ModelProto:
    """Return a copy of a simplified model without what some runtime, or this very one, is known to get wrong.

    Of a model that is to be stored ``small`` no constants are joined: each was rounded along an axis of its own.
    """
    needless = (*NEEDLESS.get(runtime, ()), *((joined_products,) if small else ()))
    wanted = (*ALONE.get(runtime, ()), *(each for each in PASSES if each not in needless))
    rewritten = ir.from_proto(onnx.shape_inference.infer_shapes(model, data_prop=True))
    for rewrite in wanted:
        rewrite(rewritten.graph)
    RemoveUnusedNodesPass()(rewritten)
    written = ir.to_proto(rewritten)
    del written.graph.value_info[:]
    onnx.checker.check_model(written, full_check=True)
    return written
