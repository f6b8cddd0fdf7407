"""A module whose Python names precisions, or that was compiled, scripted or prepared for integers."""

import pytest
import torch
import torch.nn.functional as F
from mixture_layers import MixedKernels
from torch import nn
from torch.nn.utils import parametrizations

import dcd_deploy
from dcd_deploy.errors import CaptureError, WeightValueError
from dcd_deploy.lowering import capture as capturing
from dcd_deploy.lowering.capture import capture
from dcd_deploy.lowering.network import network_of


class Casting(nn.Module):
    """Casts as people write them; each would stop a float64 run, or leave it as coarse as float32."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.dynamic, self.place = (
            nn.Conv2d(3, 6, 3, bias=False),
            nn.BatchNorm2d(6),
            MixedKernels(C=6, K=8),
            nn.Linear(1, 8),
        )
        self.grid = torch.linspace(0, 1, 5)  # no buffer

    def forward(self, x):
        y = self.dynamic(F.relu(self.norm(self.conv(x.float()))).to(torch.float32)).type(torch.FloatTensor)
        columns = self.place(torch.arange(y.shape[3], dtype=torch.float32)[:, None]).t()[:, None]
        rows = self.place(torch.linspace(0, 1, y.shape[2])[:, None]).t()[..., None]
        y = F.softmax(y + columns + rows, 1, dtype=torch.float32)
        return y.half().double() + F.linear(self.grid, self.grid.repeat(4, 1)).sum()


@pytest.mark.parametrize("way", ["fx", "export"])
def test_precisions_that_forward_names_are_those_of_the_file(way, monkeypatch):
    if way == "export":
        monkeypatch.setattr(capturing, "_by_fx", lambda *_: 1 / 0)
    torch.manual_seed(0)
    module = Casting().eval()
    network = network_of(module, torch.randn(1, 3, 9, 11))
    assert [one.dtype for one in network.run(*network.examples)] == [torch.float64]
    captured = capture(network)
    assert set(captured.operators) == {"dynamic"}
    code = captured.graph.module.code
    assert "float64" not in code
    assert ".double()" not in code


def test_the_form_of_such_a_module_computes_in_float32():
    torch.manual_seed(0)
    module, x = Casting().eval(), torch.randn(1, 3, 9, 11)
    with torch.no_grad():
        ours = dcd_deploy.deploy_form(module, x)(x)
        torch.testing.assert_close(ours, module(x).float(), rtol=1e-3, atol=1e-3)  # it rounds to half
    assert ours.dtype == torch.float32


def test_a_layer_that_torch_does_not_see_is_named_as_the_reason():
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = [nn.Conv2d(3, 4, 1)]

        def forward(self, x):
            return self.layers[0](x)

    with pytest.raises(CaptureError, match=r"nn\.ModuleList"):
        network_of(Hidden().eval(), torch.randn(1, 3, 8, 8))


@pytest.mark.parametrize("name", ["conv", "dynamic"])
def test_the_users_module_keeps_its_parametrisations(name):
    """torch's own way to remove them changes the class, which a copy shares."""
    module, x = Casting().eval(), torch.randn(1, 3, 9, 11)
    part = module.conv if name == "conv" else module.dynamic
    weight = "weight" if name == "conv" else next(key for key, _ in part.named_parameters(recurse=False))
    parametrizations.weight_norm(part, weight)
    with torch.no_grad():
        before = module(x)
        assert "dynamic" in capture(network_of(module, x)).operators
        assert torch.equal(module(x), before)


def test_what_was_compiled_is_taken_as_it_was():
    module = nn.Sequential(nn.Conv2d(3, 6, 3), torch.compile(MixedKernels(C=6, K=4), backend="eager")).eval()
    for one, path in ((module, "1"), (torch.compile(module, backend="eager"), "1"), (module[1], "layer")):
        x = torch.randn(1, 6 if path == "layer" else 3, 9, 8)
        assert set(capture(network_of(one, x)).operators) == {path}
    assert hasattr(module[1], "_orig_mod")


def test_a_dynamic_layer_alone_is_recognised():
    assert set(capture(network_of(MixedKernels().eval(), torch.randn(1, 6, 9, 8))).operators) == {"layer"}


def scripted():
    return nn.Sequential(nn.Conv2d(3, 4, 1), torch.jit.script(nn.ReLU()))


def prepared():
    from torch.ao.quantization import FakeQuantize

    return nn.Sequential(nn.Conv2d(3, 4, 1), FakeQuantize())


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize(("make", "words"), [(scripted, "TorchScript"), (prepared, "prepared for quantisation")])
def test_modules_that_are_no_float_python_are_refused(make, words):
    with pytest.raises(CaptureError, match=f"'1', .*{words}"):
        network_of(make().eval(), torch.randn(1, 3, 8, 8))


def test_numbers_that_are_none_are_refused():
    module = nn.Sequential(nn.Conv2d(3, 4, 1)).eval()
    with pytest.raises(CaptureError, match="finite outputs for the example"):
        network_of(module, torch.full((1, 3, 8, 8), torch.inf))
    with torch.no_grad():
        module[0].weight[0] = torch.nan
    with pytest.raises(WeightValueError, match=r"'0\.weight'"):
        network_of(module, torch.randn(1, 3, 8, 8))


@pytest.mark.long
def test_buffers_of_any_kind_and_outputs_that_are_one_tensor(tmp_path):
    import onnxruntime

    class Choosing(nn.Module):
        def __init__(self):
            super().__init__()
            self.dynamic = MixedKernels(C=6, K=4)
            self.register_buffer("mask", torch.tensor([True, False, True]))
            self.register_buffer("order", torch.tensor([3, 1, 0]))

        def forward(self, x):
            y = torch.where(self.mask[:, None, None], self.dynamic(x)[:, self.order], x[:, :3])
            return y, y, x

    module, x = Choosing().eval(), torch.randn(1, 6, 9, 8)
    result = dcd_deploy.export_module(module, x, out=tmp_path)
    session = onnxruntime.InferenceSession(str(result.artifact.path), providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_outputs()] == ["output_0", "output_1", "output_2"]
    with torch.no_grad():
        for ours, theirs in zip(session.run(None, {"input": x.numpy()}), module(x), strict=True):
            torch.testing.assert_close(torch.from_numpy(ours), theirs, rtol=1e-4, atol=1e-4)


class Gridded(nn.Module):
    """YOLOv5's head keeps the grids of the size that it saw last, in a list."""

    def __init__(self):
        super().__init__()
        self.conv, self.grids = nn.Conv2d(3, 4, 1), [torch.empty(0)]

    def forward(self, x):
        y = self.conv(x)
        if self.grids[0].shape != y.shape[2:]:
            self.grids[0] = torch.arange(y.shape[2] * y.shape[3], dtype=y.dtype).view(y.shape[2:])
        return y + self.grids[0]


@pytest.mark.parametrize("called", [False, True])
def test_tensors_that_a_module_keeps_in_a_list(called, tmp_path):
    network, x = Gridded().eval(), torch.randn(1, 3, 4, 5)
    if called:
        network(x)
    kept = network.grids[0]
    result = dcd_deploy.export_module(network, x, out=tmp_path)
    assert result.built.report.passed
    assert network.grids[0] is kept
    assert kept.dtype == torch.float32
