"""Rewrites of a finished ONNX graph for the target "portable", so that no runtime takes it for something else.

Each costs onnxruntime nothing measurable. They run in this order, after simplification:

    hard_sigmoid     HardSigmoid → Clip, its slope and offset folded into the product before it
    joined_products  three or more products of one vector → one, and a Split
    computed_sum     Gemm with a computed summand → MatMul, Add
    large_mean       the mean of a large map → along its last axis, then of the rest
    single_axis      the mean over one axis → over two, the second of size 1
    one_pixel        a padded convolution of one pixel → the tap that meets it
    equal_ranks      a softmax times a bank of kernels → of one rank
    many_axes        Unsqueeze by several axes → Reshape
"""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from dcd_deploy.export.onnx.portable.computed_sum import ComputedSum
from dcd_deploy.export.onnx.portable.equal_ranks import EqualRanks
from dcd_deploy.export.onnx.portable.global_pooling import GlobalPooling
from dcd_deploy.export.onnx.portable.hard_sigmoid import HardSigmoid
from dcd_deploy.export.onnx.portable.hard_swish import HardSwish
from dcd_deploy.export.onnx.portable.joined_products import JoinedProducts
from dcd_deploy.export.onnx.portable.large_mean import LargeMean
from dcd_deploy.export.onnx.portable.many_axes import ManyAxes
from dcd_deploy.export.onnx.portable.one_pixel import OnePixel
from dcd_deploy.export.onnx.portable.one_pooling import OnePooling
from dcd_deploy.export.onnx.portable.ones_channel import OnesChannel
from dcd_deploy.export.onnx.portable.single_axis import SingleAxis
from dcd_deploy.export.onnx.portable.uneven_split import UnevenSplit

PASSES: tuple[type[ir.passes.InPlacePass], ...] = (
    HardSigmoid,
    JoinedProducts,
    ComputedSum,
    LargeMean,
    SingleAxis,
    OnePixel,
    EqualRanks,
    ManyAxes,
)


# what a runtime alone needs, or is quicker with, before all others
ALONE: dict[str | None, tuple[type[ir.passes.InPlacePass], ...]] = {
    "nnapi": (HardSwish, UnevenSplit),
    "coreml": (HardSwish,),
    "openvino": (OnePooling, OnesChannel),
    "mnn": (OnePooling, GlobalPooling),
    "ncnn": (OnePooling, GlobalPooling),
}
# what a runtime can do without: it is right on what they avoid, and quicker
NEEDLESS: dict[str | None, tuple[type[ir.passes.InPlacePass], ...]] = {
    "nnapi": (JoinedProducts,),  # it would split them unevenly
    "openvino": (HardSigmoid, ComputedSum, LargeMean, SingleAxis),
}


def portable(model: onnx.ModelProto, runtime: str | None = None, *, small: bool = False) -> onnx.ModelProto:
    """Return a copy of a simplified model without what some runtime, or this very one, is known to get wrong.

    Of a model that is to be stored ``small`` no constants are joined: each was rounded along an axis of its own.
    """
    needless = (*NEEDLESS.get(runtime, ()), *((JoinedProducts,) if small else ()))
    wanted = (*ALONE.get(runtime, ()), *(kind for kind in PASSES if kind not in needless))
    rewritten = ir.from_proto(onnx.shape_inference.infer_shapes(model, data_prop=True))
    ir.passes.Sequential(*(kind() for kind in wanted), RemoveUnusedNodesPass())(rewritten)
    written = ir.to_proto(rewritten)
    del written.graph.value_info[:]
    onnx.checker.check_model(written, full_check=True)
    return written
