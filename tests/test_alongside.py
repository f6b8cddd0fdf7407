"""Work beside this process's own: the same result and the same errors wherever it is done, and nothing left behind."""

import multiprocessing
import os
import time
from pathlib import Path

import pytest
import torch
from dynamic_layers import Decomposed, lively
from mixture_layers import MixedKernels
from torch import nn

from dcd_deploy import commands
from dcd_deploy.errors import ExportError, VerificationError
from dcd_deploy.export import alongside as alongside_module
from dcd_deploy.export.alongside import alongside
from dcd_deploy.export.pipeline import capture_network
from dcd_deploy.lowering.network import network_of
from dcd_deploy.progress import silent

pytestmark = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="nothing to fork with")


@pytest.fixture(params=[True, False], ids=["forked", "here"])
def forked(request, monkeypatch):
    monkeypatch.setattr(alongside_module, "can_fork", lambda cores: request.param)
    return request.param


def test_the_result_is_waited_for_once(forked):
    stages = []

    def told(stage):
        stages.append(stage)
        return silent(stage)

    with alongside("work", os.getpid, told) as wait:
        assert (wait() != os.getpid()) == forked
        assert wait() == wait()
    assert stages == ["work"]
    assert not multiprocessing.active_children()


def refused():
    raise VerificationError("the reference is worth nothing")


def test_its_error_is_met_here(forked):
    with pytest.raises(VerificationError, match="worth nothing"), alongside("work", refused, silent) as wait:
        wait()


def test_its_error_comes_before_that_of_the_block(forked):
    with pytest.raises(VerificationError, match="worth nothing"), alongside("work", refused, silent):
        raise ExportError("the graph cannot be traced")


def test_the_blocks_own_error_stays(forked):
    with pytest.raises(ExportError, match="cannot be traced"), alongside("work", os.getpid, silent):
        raise ExportError("the graph cannot be traced")


def test_work_whose_process_dies_is_done_again_here(monkeypatch):
    monkeypatch.setattr(alongside_module, "can_fork", lambda cores: True)
    here = os.getpid()

    def killed_elsewhere():
        if os.getpid() != here:
            os.kill(os.getpid(), 9)
        return "done"

    with alongside("work", killed_elsewhere, silent) as wait:
        assert wait() == "done"


def test_an_interruption_ends_both(monkeypatch):
    monkeypatch.setattr(alongside_module, "can_fork", lambda cores: True)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), alongside("work", lambda: time.sleep(60), silent):
        raise KeyboardInterrupt
    assert time.monotonic() - start < 30
    assert not multiprocessing.active_children()


@pytest.mark.exhaustive
def test_an_export_is_the_same_either_way(monkeypatch, small_checkpoint, tmp_path):
    made = []
    for forked in (True, False):
        monkeypatch.setattr(alongside_module, "can_fork", lambda cores, forked=forked: forked)
        result = commands.export(small_checkpoint, input_size=32, to="onnx,tflite", out=tmp_path / str(forked))
        assert all(file.built.report.passed for file in result.files)
        made.append([Path(file.artifact.path).read_bytes() for file in result.files])
    assert made[0] == made[1], "one thread or several must not change what is written"


def test_layers_are_proved_and_refused_by_another_process(forked):
    layers = [Decomposed(C=8), MixedKernels(C=10, K=8), MixedKernels(C=8, axis=0)]
    network = network_of(lively(nn.Sequential(*layers)), torch.rand(1, 8, 9, 8))
    beside, alone = capture_network(network, formats=("onnx",)), capture_network(network)
    assert set(beside.operators) == set(alone.operators) == {"0", "1"}
    assert "computes something else" in beside.refused["2"].reason
    assert beside.refused == alone.refused
    assert list(beside.operators) == list(alone.operators)
    for path, layer in beside.operators.items():
        for name, values in vars(layer.terms[0]).items():
            if isinstance(values, torch.Tensor):
                assert torch.equal(values, vars(alone.operators[path].terms[0])[name])
    assert not multiprocessing.active_children()
