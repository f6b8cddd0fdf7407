"""Functions in others that mean the same at any batch size; each goes to ONNX at a free batch, and to TFLite."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from capturing import Calling
from torch import nn

from dcd_deploy import export_module
from dcd_deploy.errors import ExportError
from dcd_deploy.lowering.passes.spelled import chunked, pairwise, spectrum
from dcd_deploy.runtimes import open_model

X = torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))


class Mixed(nn.Module):
    """A linear layer of mixed weights, on vectors."""

    def __init__(self, equation):
        super().__init__()
        self.mix, self.bank, self.equation = nn.Linear(8, 4), nn.Parameter(torch.randn(4, 5, 8)), equation

    def forward(self, y):
        x = y.mean((2, 3))
        return torch.einsum(self.equation, self.mix(x).softmax(1), self.bank, x)


class Best(nn.Module):
    """A dynamic convolution of no known family, which mixes the best two kernels, by padding in a word."""

    def __init__(self, kernel, padding):
        super().__init__()
        self.bank, self.mix = nn.Parameter(torch.randn(4, 8, 8, kernel, kernel) / 9), nn.Linear(8, 4)
        self.padding = padding

    def forward(self, x):
        n, c, h, w = x.shape
        values, places = self.mix(x.mean((2, 3))).softmax(1).topk(2, 1)
        mix = torch.zeros(n, 4, dtype=x.dtype).scatter(1, places, values)
        kernels = torch.einsum("nm,mkcij->nkcij", mix, self.bank).flatten(0, 1)
        y = F.conv2d(x.reshape(1, n * c, h, w), kernels, padding=self.padding, groups=n)
        return y.view(n, c, *y.shape[2:])


class Enlarging(nn.Module):
    """A dynamic transposed convolution, a group or two for each sample, as generators have them."""

    def __init__(self, groups=1, **settings):
        super().__init__()
        self.bank, self.mix = nn.Parameter(torch.randn(4, 8, 6 // groups, 4, 3) / 9), nn.Linear(8, 4)
        self.groups, self.settings = groups, settings

    def forward(self, x):
        n, c, h, w = x.shape
        kernels = torch.einsum("nm,mcokl->ncokl", self.mix(x.mean((2, 3))).softmax(1), self.bank).flatten(0, 1)
        y = F.conv_transpose2d(x.reshape(1, n * c, h, w), kernels, groups=n * self.groups, **self.settings)
        return y.view(n, -1, *y.shape[2:])


def siamese(cut):
    def function(y):
        one, other = cut(torch.cat([y, 2 * y.flip(3)]), y.shape[0])
        return one - other

    return Calling(function)


def turned(y):
    """Pairs of channels as complex numbers, which ask how a tensor lies."""
    pairs = y.permute(0, 2, 3, 1).reshape(-1, 4, 2).flip(1).contiguous()
    return torch.view_as_real(torch.view_as_complex(pairs) * (1 + 2j)).reshape(y.shape)


NETWORKS = {
    "einsum of three": lambda: Mixed("nm,mkc,nc->nk"),
    "einsum of three, with spaces": lambda: Mixed("b m, m k c, b c -> b k"),
    "same": lambda: Best(3, "same"),
    "valid": lambda: Best(3, "valid"),
    "transposed": lambda: Enlarging(stride=2, padding=1),
    "transposed, in groups": lambda: Enlarging(2, stride=(2, 3), padding=(0, 1), output_padding=(1, 0), dilation=2),
    "chunks of the batch": lambda: siamese(lambda y, _: torch.chunk(y, 2)),
    "chunks by a method": lambda: siamese(lambda y, _: y.chunk(chunks=2, dim=0)),
    "complex": lambda: Calling(turned),
    "squares of five axes": lambda: Calling(lambda y: y[:, None].pow(2) + y.unsqueeze(1).square()),
}


def network(layer):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), layer()).eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_at_a_free_batch(tmp_path, name):
    net = network(NETWORKS[name])
    model = open_model(export_module(net, X, batch="dynamic", out=tmp_path).artifact.path)
    for x in (X, torch.cat([X, -X, X + 1])):
        right = net(x).detach().numpy()
        assert np.abs(model.run(x.numpy()) - right).max() <= 1e-5 * np.ptp(right)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["einsum of three", "same", "squares of five axes"])
def test_in_tflite(tmp_path, name):
    net = network(NETWORKS[name])
    right = net(X).detach().numpy()
    found = open_model(export_module(net, X, to="tflite", out=tmp_path).artifact.path).run(X.numpy())
    assert np.abs(found - right).max() <= 1e-5 * np.ptp(right)


@pytest.mark.parametrize(
    ("equation", "sizes"),
    [
        ("ab,bc,cd->ad", [(2, 3), (3, 4), (4, 5)]),
        ("ab,cd,bd->ac", [(2, 3), (4, 5), (3, 5)]),
        ("ab,ab,ab->", [(2, 3)] * 3),
        ("abc,b,c,d->da", [(2, 3, 4), (3,), (4,), (5,)]),
    ],
)
def test_einsum_by_pairs(equation, sizes):
    tensors = [torch.randn(size, dtype=torch.float64) for size in sizes]
    assert torch.allclose(pairwise(equation, *tensors), torch.einsum(equation, *tensors))
    assert torch.equal(pairwise(equation, tensors), pairwise(equation, *tensors))


def test_chunks():
    assert [len(part) for part in chunked(X[0].repeat(2, 1, 1), 3)] == [2, 2, 2]


def test_a_batch_that_forward_fixes_is_named(tmp_path):
    net = network(lambda: siamese(torch.split))
    with pytest.raises(ExportError, match="leaves the batch free, found a forward from which torch.export concludes"):
        export_module(net, X, batch="dynamic", out=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("norm", ["ortho", "forward"])
@pytest.mark.parametrize("name", ["fx", "export"])
def test_a_spectrum_that_is_divided(norm, name, tmp_path):
    def loudness(y):
        y = y[:, :, 1:] if name == "export" and y.shape[2] % 2 else y
        return torch.fft.rfft(y, norm=norm).abs()

    network = nn.Sequential(nn.Conv2d(3, 4, 1), Calling(loudness)).eval()
    x = torch.randn(1, 3, 5, 16)  # its length is a power of two, as the interpreter asks for
    result = export_module(network, x, to="tflite", layout="nchw", out=tmp_path)
    (found,) = open_model(result.artifact.path).run_all(x.numpy())
    assert np.abs(found - network(x).detach().numpy()).max() < 1e-5


@pytest.mark.parametrize("norm", [None, "backward", "ortho", "forward"])
@pytest.mark.parametrize(("n", "dim"), [(None, -1), (7, 2), (20, 3)])
def test_spectra(norm, n, dim):
    x = X.double()
    torch.testing.assert_close(spectrum(x, n, dim, norm), torch.fft.rfft(x, n, dim, norm), rtol=0, atol=1e-12)
