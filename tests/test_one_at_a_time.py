"""Networks for one input at a time, layers that convolve all samples at once, views of what lies otherwise."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from capturing import Calling
from dynamic_layers import lively
from mixture_layers import MixedKernels
from torch import fx, nn

from dcd_deploy import deploy_form, export_module
from dcd_deploy.errors import CaptureError, ExportError, OptionError
from dcd_deploy.export.build_config import BuildConfig
from dcd_deploy.export.checked_reference import checked_form, reference_for
from dcd_deploy.lowering.capture import capture
from dcd_deploy.lowering.deploy import lower
from dcd_deploy.lowering.network import network_of
from dcd_deploy.lowering.passes.convolve_by_products import Products
from dcd_deploy.lowering.reshapes import reshape_views
from dcd_deploy.lowering.targets import target_for
from dcd_deploy.runtimes import open_model
from dcd_deploy.samples import InputSpec

X = torch.randn(1, 3, 8, 8)
LIMIT = 1e-9


class Generated(nn.Module):
    """A layer of no known family: each sample has kernels of its own, and all are convolved at once."""

    def __init__(self, channels: int = 4, groups: int = 1, stride: int = 1, bias: bool = True) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.channels, self.groups, self.stride = channels, groups, stride
        self.made = nn.Linear(channels, 2 * channels * (channels // groups) * 9)
        self.shift = nn.Linear(channels, 2 * channels) if bias else None

    def forward(self, x):
        n, c, h, w = x.shape
        pooled = x.mean((2, 3))
        weight = torch.tanh(self.made(pooled)).view(n * 2 * c, c // self.groups, 3, 3)
        bias = None if self.shift is None else self.shift(pooled).view(-1)
        y = F.conv2d(x.view(1, -1, h, w), weight, bias, self.stride, 1, 1, n * self.groups)
        return y.view(n, -1, *y.shape[2:])


def network(*layers):
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), *layers).eval()


def form_error(module, format, batch=1, example=X, target="portable"):
    """Check the deploy form as an export does; return the largest relative error."""
    found = capture(network_of(module, example))
    config = BuildConfig(None, batch=batch, inputs=(InputSpec("input", tuple(example.shape[1:])),), alone="output")
    deploy = lower(found, target_for(target, format).for_batch(batch))
    checked = checked_form(reference_for(found, config), found.network.module, deploy, config)
    return max(one.relative for one in checked.report.comparisons)


@pytest.mark.parametrize("layer", [Generated(), Generated(groups=2, stride=2), Generated(groups=4, bias=False)])
@pytest.mark.parametrize(("format", "batch"), [("onnx", 1), ("onnx", None), ("tflite", 1), ("tflite", 3)])
def test_a_layer_of_no_family_is_right_in_each_form(layer, format, batch):
    assert form_error(network(layer), format, batch) < LIMIT


class OfAnySides(nn.Module):
    """The same of signals and of volumes."""

    def __init__(self, dimensions, groups=1):
        super().__init__()
        self.convolve, self.sides, self.groups = getattr(F, f"conv{dimensions}d"), [3] * dimensions, groups
        self.make = nn.Linear(4, 6 * (4 // groups) * 3**dimensions)

    def forward(self, x):
        n = x.shape[0]
        kernels = self.make(x.flatten(2).mean(2)).tanh().view(-1, 4 // self.groups, *self.sides)
        flat = x.reshape(1, -1, *x.shape[2:])
        y = self.convolve(flat, kernels, stride=2, padding=1, dilation=1, groups=n * self.groups)
        return y.view(n, 6, *y.shape[2:]).flatten(1)


@pytest.mark.parametrize(("dimensions", "groups"), [(1, 1), (1, 2), (3, 1)])
@pytest.mark.parametrize("batch", [1, "dynamic"])
def test_signals_and_volumes(tmp_path, dimensions, groups, batch):
    network, x = lively(OfAnySides(dimensions, groups)), torch.randn(3, 4, *[5] * dimensions)
    result = export_module(network, x[:1], batch=batch, out=tmp_path)
    with torch.no_grad():
        wanted = network(x.double()).numpy()
    (found,) = open_model(result.artifact.path).run_all(x.numpy())
    assert np.abs(found - wanted).max() < 5e-5 * np.ptp(wanted)


def test_kernels_computed_of_weights_alone_are_convolved(tmp_path):
    """Weight standardisation: its kernels are the same for each input."""

    class Standardised(nn.Conv2d):
        def forward(self, x):
            weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            return F.conv2d(x, weight, self.bias)

    found = capture(network_of(nn.Sequential(Standardised(3, 4, 3)).eval(), X))
    deploy = lower(found, target_for("portable", "tflite"))
    assert not [one for one in deploy.module.modules() if isinstance(one, Products)]
    export_module(Standardised(3, 4, 3), X, to="tflite", out=tmp_path, name="net")


@pytest.mark.exhaustive
def test_an_executorch_program_of_a_layer_of_no_family(tmp_path):
    module = network(Generated(groups=2, stride=2), nn.Flatten(), nn.Linear(8 * 16, 5))
    made = export_module(module, X, to="executorch", out=tmp_path, name="net")
    assert made.built.report.passed


@pytest.mark.parametrize(("format", "batch"), [("onnx", "dynamic"), ("tflite", 1)])
def test_files_of_a_layer_of_no_family(tmp_path, format, batch):
    """Converters take groups by their number alone, and TFLite's constant kernels alone."""
    module = network(Generated(groups=2, stride=2), nn.Flatten(), nn.Linear(8 * 16, 5))
    made = export_module(module, X, to=format, batch=batch, out=tmp_path, name="net")
    model = open_model(made.artifact.path)
    for count in (1, 3) if batch == "dynamic" else (1,):
        x = np.random.default_rng(count).standard_normal((count, 3, 8, 8), np.float32)
        fed = x if format == "onnx" else np.moveaxis(x, 1, -1) if model.card.input.layout == "NHWC" else x
        right = module.double()(torch.from_numpy(x).double()).detach().numpy()
        module.float()
        assert np.abs(model.run(fed) - right).max() / np.ptp(right) < 5e-5


def one_alone(x):
    """What is written for one sample."""
    return x.view(3, 8, 8).mean((1, 2)).view(1, 3) * 2


def test_a_network_for_one_input_is_exported_for_one(tmp_path):
    made = export_module(Calling(one_alone), X, out=tmp_path, name="net")
    x = torch.randn(1, 3, 8, 8)
    assert np.allclose(open_model(made.artifact.path).run(x.numpy()), one_alone(x).numpy(), atol=1e-6)
    with pytest.raises(OptionError, match="`batch` 1 for a network that takes one input at a time.*'dynamic'"):
        export_module(Calling(one_alone), X, out=tmp_path, name="other", batch="dynamic")
    assert not list(tmp_path.glob("other*"))


def squeezed(x):
    """As many end: of one sample alone there would be no batch, so it is put back."""
    y = x.mean((2, 3), keepdim=True).squeeze()
    return y.unsqueeze(0) if y.dim() == 1 else y


def test_what_hangs_on_the_number_of_inputs_is_that_of_one(tmp_path):
    export_module(Calling(squeezed), X, out=tmp_path, name="net")
    with pytest.raises(OptionError, match="followed for one input alone"):
        export_module(Calling(squeezed), X, out=tmp_path, name="other", batch="dynamic")


class OfOne(nn.Module):
    """A network for one input, whose layers are dynamic: their heads are seen one run after the other."""

    def __init__(self, *layers) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x).view(4, 8, 8)[None]


@pytest.mark.parametrize("again", [False, True])
def test_heads_are_measured_one_input_after_the_other(again):
    layer, other = lively(MixedKernels(4, 4)), nn.Conv2d(4, 4, 1)
    module = OfOne(nn.Conv2d(3, 4, 1), layer, *([other, layer] if again else []))
    found = capture(network_of(module.eval(), X))
    assert list(found.operators) == ["layers.1"]
    config = BuildConfig(None, batch=1, inputs=(InputSpec("input", (3, 8, 8)),), alone="output")
    reference = reference_for(found, config).reference
    assert "view" in reference.one_at_a_time or "shape" in reference.one_at_a_time
    of_many = nn.Sequential(*module.layers)  # the same network, for as many as there are
    wanted = reference_for(capture(network_of(of_many.eval(), X)), config).reference
    assert not wanted.one_at_a_time
    for head, effect in wanted.sensitivity.frozen.items():
        assert reference.sensitivity.frozen[head] == pytest.approx(effect, rel=1e-9)
        assert list(reference.sensitivity.variation[head].values()) == pytest.approx(
            list(wanted.sensitivity.variation[head].values()), rel=1e-9
        )


def test_a_network_that_runs_on_none_of_the_inputs_is_refused_in_words():
    def small(x):
        return x * 1.0 if x.abs().max() < 1e-6 else x.view(7)

    with pytest.raises((ExportError, CaptureError), match="does not run|cannot be followed"):
        deploy_form(Calling(small), torch.zeros(1, 3, 8, 8))


def shuffled(x):
    n, c, h, w = x.shape
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)


def boxes(x):
    return x.permute(0, 2, 3, 1).contiguous().view(x.shape[0], -1, 2)


@pytest.mark.parametrize("format", ["onnx", "tflite"])
@pytest.mark.parametrize("end", [shuffled, boxes, lambda x: x.view(x.shape[0], -1)])
def test_views_of_what_a_pass_may_lay_otherwise(format, end):
    assert form_error(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), Calling(end)), format) < LIMIT


def test_what_torch_asserts_of_the_example_is_left_out():
    """It kept the layers that it reads beside those that were laid out."""
    changing = Calling(lambda x: torch.cat([a * b for a, b in zip(x.chunk(2, 1), x.split([2, 2], 1), strict=True)], 1))
    masked = Calling(lambda x: x * (x.abs() > 0.2).float())
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), masked, changing)
    assert not [node for node in capture(network_of(module, X)).graph.nodes if "assert" in str(node.target)]
    assert form_error(module, "tflite") < LIMIT


class Asserting(nn.Module):
    """timm's norms with an activation assert the rank of a map."""

    def __init__(self):
        super().__init__()
        self.first, self.layer = nn.Conv2d(3, 4, 3), MixedKernels(4, 6)

    def forward(self, x):
        x = self.first(x)
        torch._assert(x.ndim == 4, f"expected four dimensions, found {x.ndim}")
        return self.layer(torch.relu(x))


def test_what_a_network_asserts_is_left_out():
    module = lively(Asserting())
    assert not [node for node in capture(network_of(module, X)).graph.nodes if "assert" in str(node.target)]
    assert form_error(module, "tflite") < LIMIT


def test_further_arguments_that_nobody_gives(tmp_path):
    class Open(Asserting):
        def forward(self, x, *args, **kwargs):
            y = super().forward(x)
            return y if y.shape[2] < 4 else 2 * y

    export_module(lively(Open()), X, batch="dynamic", out=tmp_path)


def test_a_view_as_another_precision_stays_one():
    class Viewing(nn.Module):
        def forward(self, x):
            return x.view(torch.int32).view(2, -1)

    made = fx.symbolic_trace(Viewing())
    reshape_views(made)
    assert [node.target for node in made.graph.nodes if node.op == "call_method"] == ["view", "reshape"]


def test_numbers_and_masks_are_refused_as_inputs():
    embedding = nn.Embedding(5, 3)
    with pytest.raises(CaptureError, match=r"expected inputs of floating point.*torch.int64, of shape \(1, 2\)"):
        deploy_form(Calling(lambda x, n: x.mean() + embedding(n)), (X, torch.zeros(1, 2, dtype=torch.int64)))


def test_a_buffer_that_was_a_parameter():
    class Positioned(nn.Conv2d):
        def __init__(self) -> None:
            super().__init__(3, 2, 1)
            self.register_buffer("positions", nn.Parameter(torch.randn(1, 3, 8, 8)))

        def forward(self, x):
            return super().forward(x + self.positions)

    assert form_error(Positioned(), "onnx") < LIMIT


def test_a_part_of_a_row_that_is_expanded_over_a_map(tmp_path):
    """The converter makes something else of it; what is read with a map needs no expansion."""

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.gate, self.end = nn.Conv2d(3, 4, 1), nn.Linear(4, 8), nn.Conv2d(4, 2, 3)

        def forward(self, x):
            y = self.conv(x).relu()
            gates = self.gate(y.mean((2, 3))).sigmoid()[:, :, None, None]
            return self.end(y * gates[:, :4].expand_as(y) + gates[:, 4:].expand_as(y))

    export_module(Gated(), X, to="tflite", out=tmp_path, name="net")
