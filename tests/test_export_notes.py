"""The notes of an export are read by people: what one pass left as it was is summed up."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from capturing import Calling
from torch import nn

from dcd_deploy import export_module
from dcd_deploy.reports.export import MOST_NOTES, show_export
from dcd_deploy.reports.terminal import console


def shown(result, capsys):
    show_export(console(), result, {"checkpoint": "w.pt", "network": "net.py:make"})
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("count", [MOST_NOTES, MOST_NOTES + 3])
def test_of_what_a_pass_left_the_first_are_shown(count, tmp_path, capsys):
    norms = nn.Sequential(*(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()) for _ in range(count)))
    result = export_module(norms.eval(), torch.randn(1, 3, 4, 4), out=tmp_path)
    said = shown(result, capsys)
    assert said.count("note: fold norms: '") == MOST_NOTES
    assert ("note: fold norms: 3 more, which the file's sidecar lists" in said) == (count > MOST_NOTES)
    assert sum(note.startswith("fold norms: ") for note in result.built.notes) == count


class NormedAndActive(nn.BatchNorm2d):
    """As timm has it: the norm is a function of the module's own forward."""

    def forward(self, x):
        return F.relu(
            F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        )


def test_a_norm_is_named_as_its_module_is(tmp_path):
    net = nn.Sequential(nn.ReLU(), NormedAndActive(3)).eval()
    result = export_module(net, torch.randn(1, 3, 4, 4), out=tmp_path)
    assert "fold norms: '1': there is no convolution or linear layer before it" in result.built.notes


def test_other_notes_are_all_shown(tmp_path, capsys):
    result = export_module(Calling(torch.relu), torch.randn(1, 3, 4, 4), out=tmp_path)
    notes = tuple(f"'{i}' is exported as ordinary operators: reasons" for i in range(9))
    built = replace(result.built, notes=notes)
    assert (
        shown(replace(result, files=(replace(result.files[0], built=built),)), capsys).count("ordinary operators") == 9
    )


def test_what_of_pictures_nobody_said_is_listed(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    card = export_module(network, torch.randn(1, 3, 32, 32), mean=(0.5, 0.5, 0.5), out=tmp_path).artifact.card
    assert card.assumed == ("deviation of ImageNet (`std`)", "short side 37 before the crop (`resize`)")
    assert export_module(network, torch.randn(1, 3, 8, 8), out=tmp_path, name="none").artifact.card.assumed == ()
