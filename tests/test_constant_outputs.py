"""Outputs that hang on no input, as a detector's anchors do: exported at batch 1, recorded, refused elsewhere."""

import numpy as np
import pytest
import torch
from torch import nn

from dcd_deploy import export_module, record_reference
from dcd_deploy.commands.verify import verify
from dcd_deploy.errors import VerificationError
from dcd_deploy.runtimes import open_model, self_check
from dcd_deploy.samples import InputSpec, generated_inputs

X = torch.ones(1, 3, 9, 11)


class Anchored(nn.Module):
    """A detector's head: anchors that hang on the size of the map alone, and on no input."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2)

    def forward(self, x):
        y = self.conv(x)
        rows, columns = torch.meshgrid(torch.arange(y.shape[2]), torch.arange(y.shape[3]), indexing="ij")
        return {"boxes": y.flatten(2), "anchors": torch.stack((rows, columns), -1).reshape(1, -1, 2) * 8.0}


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_an_output_that_hangs_on_no_input(tmp_path, format, capfd):
    made = export_module(Anchored().eval(), X, to=format, out=tmp_path)
    model = open_model(made.artifact.path)
    assert self_check(model).passed
    anchors = [[8.0 * row, 8.0 * column] for row in range(4) for column in range(5)]
    for x in generated_inputs((InputSpec("input", (3, 9, 11)),), None)[0]:
        np.testing.assert_array_equal(model.run_named({"input": x[None]})["anchors"], [anchors])
    assert capfd.readouterr().err == ""


def test_a_recorded_output_that_hangs_on_no_input(tmp_path):
    network, x = Anchored().eval(), torch.randn(3, 3, 9, 11)
    pairs = record_reference(network, x, tmp_path / "pairs.npz")
    made = export_module(network, x[:1], out=tmp_path, reference=pairs)
    assert verify(made.artifact.path, reference=pairs).passed
    with np.load(pairs) as arrays:
        assert len(arrays["anchors"]) == 3
        np.savez(pairs, **{**arrays, "anchors": arrays["anchors"] + 1})
    with pytest.raises(VerificationError, match="'anchors'"):
        verify(made.artifact.path, reference=pairs)


@pytest.mark.parametrize("batch", [None, 2])
def test_of_other_batches_it_is_refused(tmp_path, batch):
    with pytest.raises(VerificationError, match="'anchors' of shape .* or export at `batch` 1"):
        export_module(Anchored().eval(), X, out=tmp_path, batch=batch)
    assert not list(tmp_path.iterdir())
