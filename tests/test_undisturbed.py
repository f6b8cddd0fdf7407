"""What a training script has set does not reach an export, and is as it was behind it."""

import logging
import random
import subprocess
import sys

import pytest
import torch
from dynamic_layers import Decomposed, lively
from torch import nn

from dcd_deploy import deploy_form, export_module
from dcd_deploy.errors import CaptureError, ExportError

X = torch.randn(1, 3, 8, 8)
FIRST = """
import random, sys, torch, dcd_deploy
random.seed(0)
before = random.getstate()
dcd_deploy.export_module(torch.nn.Conv2d(3, 4, 1), torch.randn(1, 3, 4, 4), out=sys.argv[1])
print(random.getstate() == before)
"""


def network():
    return lively(nn.Sequential(nn.Conv2d(3, 6, 3), Decomposed(6, 8)))


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_an_export_under_autocast_is_in_float32(tmp_path, format):
    with torch.autocast("cpu", torch.bfloat16):
        assert export_module(network(), X, to=format, out=tmp_path).built.report.passed
        assert torch.is_autocast_enabled("cpu")


def test_a_deploy_form_under_autocast_is_proved():
    with torch.autocast("cpu", torch.bfloat16):
        form = deploy_form(network(), X)
    assert {weight.dtype for weight in form.parameters()} == {torch.float32}


@pytest.mark.exhaustive
def test_pythons_random_numbers_stay_where_they_were(tmp_path):
    done = subprocess.run([sys.executable, "-c", FIRST, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_so_they_do_where_it_is_refused(tmp_path):
    before = random.getstate()
    with pytest.raises(ExportError):
        export_module(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)), X, out=tmp_path)
    assert random.getstate() == before


class Logs(nn.Conv2d):
    def forward(self, x):
        sys.setrecursionlimit(sys.getrecursionlimit() + 1)
        logging.basicConfig(level=logging.ERROR, force=True)
        return super().forward(x)


def test_so_do_the_recursion_limit_and_the_root_logger():
    root = logging.getLogger()
    before = (sys.getrecursionlimit(), root.level, list(root.handlers))
    deploy_form(nn.Sequential(Logs(3, 4, 1)), X)
    assert (sys.getrecursionlimit(), root.level, list(root.handlers)) == before


class Ends(nn.Module):
    def __init__(self, error):
        super().__init__()
        self.conv, self.error = nn.Conv2d(3, 4, 1), error

    def forward(self, x):
        raise self.error("enough")


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit])
def test_a_forward_that_ends_the_process_is_refused(error):
    with pytest.raises(CaptureError, match=f"does not run on an example .*: {error.__name__}: enough"):
        deploy_form(Ends(error), X)
    with pytest.raises(KeyboardInterrupt):
        deploy_form(Ends(KeyboardInterrupt), X)
