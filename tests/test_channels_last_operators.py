"""Each operator of TFLite as torch computes it, as its shape is said, and as TFLite's own kernels compute it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dcd_deploy.artifacts import NCHW
from dcd_deploy.export.tflite.convert import convert_tflite
from dcd_deploy.export.tflite.operators import WRITTEN
from dcd_deploy.lowering.channels_last import operators
from dcd_deploy.lowering.channels_last.reference import IMPLEMENTATIONS, same_padding
from dcd_deploy.runtimes.litert import LiteRtSession
from dcd_deploy.samples import InputSpec

FLOAT32 = 5e-5
MAP = (2, 9, 7, 4)
# operator, and what is special → shapes of its tensors, and its settings
CASES = {
    "conv_2d": (MAP, (5, 3, 3, 4), (5,), 2, 2, False, 1, 1),
    "conv_2d same": (MAP, (5, 3, 3, 4), (5,), 1, 1, True, 1, 1),
    "conv_2d same, strided, rectangular": (MAP, (5, 4, 3, 4), (5,), 2, 3, True, 1, 1),
    "conv_2d dilated": (MAP, (5, 3, 2, 4), (5,), 1, 1, False, 2, 3),
    "conv_2d same, dilated": (MAP, (5, 3, 3, 4), (5,), 1, 1, True, 2, 2),
    "conv_2d grouped": (MAP, (6, 3, 3, 2), (6,), 1, 1, True, 1, 1),
    "conv_2d grouped, strided": ((1, 9, 7, 6), (9, 3, 3, 2), (9,), 2, 1, False, 1, 2),
    "depthwise_conv_2d": (MAP, (1, 3, 3, 4), (4,), 1, 1, True, 1, 1, 1),
    "depthwise_conv_2d multiplied": (MAP, (1, 3, 3, 12), (12,), 1, 1, True, 1, 1, 3),
    "depthwise_conv_2d multiplied, strided": (MAP, (1, 3, 3, 36), (36,), 2, 2, False, 1, 1, 9),
    "depthwise_conv_2d multiplied, dilated": (MAP, (1, 3, 3, 36), (36,), 1, 1, True, 2, 2, 9),
    "depthwise_conv_2d of one": (MAP, (1, 1, 1, 4), (4,), 2, 2, False, 1, 1, 1),
    "transpose_conv": (MAP, (5, 2, 2, 4), (5,), 2, 2, 18, 14, False),
    "transpose_conv larger": (MAP, (5, 3, 3, 4), (5,), 2, 2, 20, 16, False),
    "transpose_conv same": (MAP, (5, 4, 4, 4), (5,), 2, 2, 18, 14, True),
    "transpose_conv same, odd": (MAP, (5, 3, 3, 4), (5,), 2, 2, 17, 13, True),
    "average_pool_2d": (MAP, 3, 2, 2, 1, False),
    "average_pool_2d same": (MAP, 3, 2, 2, 1, True),
    "max_pool_2d": (MAP, 3, 3, 2, 2, False),
    "max_pool_2d same": (MAP, 3, 2, 2, 2, True),
    "batch_matmul": ((2, 3, 5, 4), (2, 1, 4, 6)),
    "batch_matmul of one for all": ((1, 1, 5, 4), (2, 3, 4, 6)),
    "fully_connected": (MAP, (6, 4), (6,)),
    "resize_bilinear": (MAP, 18, 10, False),
    "resize_bilinear of corners": (MAP, 13, 14, True),
    "resize_nearest_neighbor": (MAP, 18, 21, False),
    "resize_nearest_neighbor of centres": (MAP, 5, 14, True),
    "prelu": (MAP, (1, 1, 4)),
}


def operator_of(name):
    return getattr(torch.ops.dcd_deploy, name.partition(" ")[0]).default


def arguments_of(name, dtype=torch.float32):
    torch.manual_seed(0)
    return [torch.randn(a, dtype=dtype) if isinstance(a, tuple) else a for a in CASES[name]]


def test_every_operator_has_cases_and_is_written_down():
    assert {name.partition(" ")[0] for name in CASES} == IMPLEMENTATIONS.keys() == WRITTEN.keys()


@pytest.mark.parametrize("name", CASES)
def test_the_shapes_said_of_the_operators_are_those_they_compute(name):
    torch.library.opcheck(operator_of(name), arguments_of(name), test_utils="test_faketensor")


class Single(nn.Module):
    """One operator; its first tensor, or the second too where that is no weight, comes from the input."""

    def __init__(self, name):
        super().__init__()
        self.operator = operator_of(name)
        self.example, *rest = arguments_of(name)
        self.weights = nn.ParameterList([nn.Parameter(a, requires_grad=False) for a in rest if torch.is_tensor(a)])
        self.settings = [a for a in rest if not torch.is_tensor(a)]

    def forward(self, x):
        return self.operator(x, *self.weights, *self.settings)


class Several(nn.Module):
    """Operators, each on an input of its own: converting takes far longer than what is converted."""

    def __init__(self, names):
        super().__init__()
        self.singles = nn.ModuleList(Single(name) for name in names)

    def forward(self, *inputs):
        return tuple(single(x) for single, x in zip(self.singles, inputs, strict=True))


@pytest.fixture(scope="module")
def computed():
    """What torch computes in each case, and TFLite with plain kernels and with XNNPACK."""
    found = {}
    for batch in (1, 2):
        names = [name for name, (shape, *_) in CASES.items() if shape[0] == batch]
        several = Several(names).eval()
        inputs = [single.example for single in several.singles]
        specs = [InputSpec(f"input_{i}", tuple(x.shape[1:])) for i, x in enumerate(inputs)]
        outputs = [f"output_{i:02}" for i in range(len(names))]
        content = convert_tflite(several, specs, outputs, batch, NCHW)
        answers = [[y.numpy() for y in several(*inputs)]]
        for xnnpack in (False, True):
            run = LiteRtSession(content, 1, xnnpack=xnnpack).interpreter.get_signature_runner()
            by_name = run(**{f"args_{i}": x.numpy() for i, x in enumerate(inputs)})
            answers.append([by_name[output] for output in outputs])
        found |= dict(zip(names, zip(*answers, strict=True), strict=True))
    return found


@pytest.mark.parametrize("name", CASES)
def test_tflite_computes_the_same(name, computed):
    wanted, *answers = computed[name]
    for answer in answers:
        assert answer.shape == wanted.shape
        assert np.abs(answer - wanted).max() <= FLOAT32 * np.ptp(wanted)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation"), [(9, 3, 2, 1), (8, 3, 2, 1), (8, 2, 3, 1), (9, 3, 1, 2)]
)
def test_same_padding_is_that_of_torch_where_torch_has_it(size, kernel, stride, dilation):
    before, behind = same_padding(size, kernel, stride, dilation)
    windows = (size + before + behind - dilation * (kernel - 1) - 1) // stride + 1
    assert windows == -(-size // stride)
    assert 0 <= behind - before <= 1


def test_depth_multiplier_has_the_channels_of_groups():
    """One-hot kernels take a map's patches: channel c·taps + t is channel c, moved by tap t."""
    x = torch.randn(2, 6, 5, 3, dtype=torch.float64)
    taps = torch.eye(9, dtype=torch.float64).view(3, 3, 9)
    weight = taps.repeat(1, 1, 3)[None]
    patches = operators.depthwise_conv_2d(x, weight, x.new_zeros(27), same=True)
    wanted = F.unfold(operators.to_channels_first(x), 3, padding=1).view(2, 27, 6, 5)
    torch.testing.assert_close(operators.to_channels_first(patches), wanted, rtol=0, atol=0)
