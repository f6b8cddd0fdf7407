"""ExecuTorch programs: exported in one partition, verified in their own runtime, opened, measured, refused."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from importlib.metadata import version
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from dynamic_layers import lively
from mixture_layers import OmniDimensional
from pte_network import EXAMPLE, SMALL, inputs, small
from right_answers import answers, assert_near, assert_right
from torch import nn
from xnnpack_graph import operators

import dcd_deploy
from dcd_deploy import commands
from dcd_deploy.benchmarks.profile_executorch import ExecuTorchProfile
from dcd_deploy.errors import ExportError, MissingDependencyError, ModelFileError, OptionError, VerificationError
from dcd_deploy.export.executorch import build as build_pte
from dcd_deploy.export.executorch import make as make_pte
from dcd_deploy.export.executorch.graph import pte_stats
from dcd_deploy.reports.export import show_export
from dcd_deploy.reports.terminal import console
from dcd_deploy.runtimes import executorch, open_model, self_check
from dcd_deploy.runtimes.pte_file import HASH_KEY, read_program

ANSWERS = np.load(SMALL.with_suffix(".npy"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pte")
    return dcd_deploy.export_module(
        small(), EXAMPLE + 0.1, to="executorch", out=folder, name="small", with_baseline=True
    )


def test_every_stage_is_verified(exported):
    report = exported.built.report
    assert [each.stage for each in report.comparisons] == ["deploy form", "ExecuTorch program"]
    assert exported.built.versions.keys() == {"torch", "executorch", "numpy"}


def test_the_command_line_shows_it(exported, capsys):
    show_export(console(), exported, {"checkpoint": "small.pth", "verbose": True})
    assert "  weights: float32\n" in capsys.readouterr().out


def test_both_files_are_one_partition(exported):
    for path in (exported.artifact.path, exported.baseline):
        program = read_program(path.read_bytes(), path)
        assert (program.delegate_calls, program.outside, program.intact) == (1, (), True)
    assert "kernel" in exported.artifact.card.lowering.values()


def test_no_reshape_follows_another_or_changes_nothing(exported):
    for path in (exported.artifact.path, exported.baseline):
        reshapes = [each for each in operators(path) if each.kind == "RESHAPE"]
        assert not {each.output for each in reshapes} & {each.inputs[0] for each in reshapes}
        assert not [each for each in reshapes if each.shapes[0] == each.written]


def test_no_operator_only_to_change_a_shape_that_the_delegate_takes_as_it_is(exported):
    """What is pooled to a pixel is no row, Φ is no product of two maps, and b(x) is a bias as a row."""
    kinds = Counter(each.kind for each in operators(exported.artifact.path))
    assert kinds["BATCH_MATMUL"] == 0
    cells, phi, scale, bias, output = 2, 4, 2, 2, 1
    assert kinds["RESHAPE"] == cells + phi + scale + bias + output
    kernels, residual, branch = 2, 1, 1
    assert kinds["ADD"] == kernels + residual + branch, "the constant bias is a column of P, and no sum"


def test_it_answers_as_the_network(exported):
    values = inputs(5)
    model = open_model(exported.artifact.path, threads=1)
    assert_right(model.run_all(values), answers(small(), (values,)))
    assert self_check(model).passed


def test_named_arrays():
    model = open_model(SMALL, threads=1)
    assert {name: found.shape for name, found in model.run_named({model.card.input.name: inputs(2)}).items()} == {
        model.card.output.name: ANSWERS.shape
    }


@pytest.mark.exhaustive
def test_the_runtimes_command_runs_it(exported):
    (row,) = commands.runtimes(exported.artifact.path, blocks=2).rows
    assert (row.runtime, row.status, row.partitions, row.left_out) == ("executorch", "right", 1, ())
    assert row.relative_error < 5e-6
    assert row.cpu.ratio is not None
    assert row.version == version("executorch")


def test_the_kept_file_still_runs():
    """Made by an earlier export: the runtime that is installed runs it."""
    assert_near(open_model(SMALL, threads=1).run(inputs(2)), ANSWERS)


@pytest.mark.parametrize(
    ("settings", "lowering"),
    [({"groups": 6, "K": 6}, "products"), pytest.param({}, "kernel", marks=pytest.mark.exhaustive)],
)
def test_layers_whose_inputs_and_taps_are_scaled(settings, lowering, tmp_path):
    """ODConv: expanded values, and a depthwise one, in operators that XNNPACK has."""
    network = lively(nn.Sequential(nn.Conv2d(3, 6, 3), OmniDimensional(**settings), nn.ReLU()))
    done = dcd_deploy.export_module(network, EXAMPLE, to="executorch", out=tmp_path)
    assert done.artifact.card.lowering == {"1": lowering}
    values = inputs(3)
    assert_right(open_model(done.artifact.path, threads=1).run_all(values), answers(network, (values,)))


def test_a_layer_that_no_order_computes_is_named(tmp_path):
    network = lively(nn.Sequential(nn.Conv2d(3, 6, 3), OmniDimensional(groups=6, K=6)))
    with pytest.raises(ExportError, match=r"an order of computation for '1' that serves in pte at this batch"):
        dcd_deploy.export_module(network, EXAMPLE, to="executorch", batch=2, out=tmp_path)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("lowering", "batch"), [("branch", 3), ("kernel", 1)])
def test_each_lowering_and_a_batch_of_three(lowering, batch, tmp_path):
    done = dcd_deploy.export_module(
        small(), EXAMPLE + 0.1, to="pte", target="executorch", lowering=lowering, batch=batch, out=tmp_path
    )
    assert lowering in done.artifact.card.lowering.values()
    assert done.artifact.card.input.shape[0] == batch
    values = inputs(5)
    assert_right(open_model(done.artifact.path, threads=1).run_all(values), answers(small(), (values,)))


def plain():
    """The least that has weights: what is refused does not hang on dynamic layers."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    ).eval()


def test_the_gate_refuses_another_function(monkeypatch, tmp_path):
    """A program whose weights are not those of the network never becomes a file."""
    lower = make_pte.lower_executorch

    def other(single, *rest):
        single.get_parameter(next(name for name, _ in single.named_parameters())).data.mul_(1.01)
        return lower(single, *rest)

    monkeypatch.setattr(make_pte, "lower_executorch", other)
    with pytest.raises(VerificationError, match="ExecuTorch program"):
        dcd_deploy.export_module(plain(), EXAMPLE + 0.1, to="executorch", out=tmp_path)
    assert list(tmp_path.iterdir()) == []


class Sorting(nn.Module):
    """A network with an operator that XNNPACK does not have."""

    def __init__(self):
        super().__init__()
        self.network = plain()

    def forward(self, x):
        return torch.cumsum(self.network(x), 1)


def test_what_xnnpack_does_not_take_is_refused(tmp_path):
    with pytest.raises(ExportError, match=r"one partition, found 1, and 1 × aten\.cumsum"):
        dcd_deploy.export_module(Sorting().eval(), EXAMPLE + 0.1, to="executorch", out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_wrong_inputs(exported):
    model = open_model(exported.artifact.path, threads=1)
    with pytest.raises(ModelFileError, match="cannot run on an input of shape"):
        model.run(inputs(1)[:, :, :8])


def test_threads_are_shared():
    first = open_model(SMALL, threads=1)
    with pytest.raises(OptionError, match="expected 1 threads, which other ExecuTorch models are open with"):
        open_model(SMALL, threads=2)
    del first


def foreign(content):
    """The same program as another tool would write it: without a description and a hash."""
    return content.replace(HASH_KEY.encode(), b"another_producer_"[: len(HASH_KEY)].ljust(len(HASH_KEY), b"_")).replace(
        b"\x0a\x00\x00\x00dcd_deploy\x00", b"\x0a\x00\x00\x00not_deploy\x00"
    )


@pytest.mark.exhaustive
def test_the_runtimes_command_takes_no_file_of_others(tmp_path):
    path = tmp_path / "foreign.pte"
    path.write_bytes(foreign(SMALL.read_bytes()))
    with pytest.raises(ModelFileError, match="a model exported by dcd-deploy"):
        commands.runtimes(path, baseline="none")


@pytest.mark.exhaustive
def test_a_foreign_file_is_tried_first(tmp_path):
    path = tmp_path / "foreign.pte"
    path.write_bytes(foreign(SMALL.read_bytes()))
    assert read_program(path.read_bytes(), path).intact is None
    model = open_model(path, threads=1)
    assert model.card is None
    assert_near(model.run(inputs(2)), ANSWERS)


@pytest.mark.exhaustive
def test_a_damaged_foreign_file(tmp_path):
    changed = bytearray(foreign(SMALL.read_bytes()))
    (part,) = read_program(bytes(changed), "").delegates
    changed[part.start + 60 : part.start + part.size : 23] = b"\x55" * len(
        range(part.start + 60, part.start + part.size, 23)
    )
    path = tmp_path / "foreign.pte"
    path.write_bytes(changed)
    with pytest.raises(ModelFileError, match="expected an ExecuTorch program that runs at"):
        open_model(path)


def test_a_crash_does_not_take_this_process_along(monkeypatch):
    monkeypatch.setattr(executorch.subprocess, "run", lambda *a, **k: SimpleNamespace(returncode=-11, stderr=""))
    with pytest.raises(ModelFileError, match=r"ends the process that runs it \(signal 11\)"):
        executorch._try("model.pte", "model.pte")


def test_a_program_that_hangs(monkeypatch):
    def hang(*arguments, timeout, **named):
        raise subprocess.TimeoutExpired("python", timeout)

    monkeypatch.setattr(executorch.subprocess, "run", hang)
    with pytest.raises(ModelFileError, match="does not end within 120 s"):
        executorch._try("model.pte", "model.pte")


@pytest.mark.exhaustive
def test_nothing_is_remarked():
    code = f"from dcd_deploy.runtimes import open_model; m = open_model({str(SMALL)!r}, threads=1); print(m.format)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("pte\n", "")


@pytest.mark.exhaustive
def test_profile_names_xnnpacks_operators():
    result = commands.profile(SMALL, runs=4)
    assert (result.runtime, result.runs) == ("executorch", 4)
    assert {node.part for node in result.nodes} == {"unknown"}
    kinds = {each.name: each.nodes for each in result.by_type()}
    operators = pte_stats(SMALL.read_bytes()).operators
    assert sum(number for kind, number in kinds.items() if kind.startswith("Convolution")) == 3
    assert kinds["Multiply (ND)"] == operators["Multiply"]
    assert kinds["Softmax (NC, F32)"] == operators["Softmax"]
    assert 0 < result.total_ms < 100
    assert result.latency_ms > 0


@pytest.mark.parametrize("trace", [b"", b"hello, this is no trace", bytes(100)])
def test_a_trace_of_another_kind(trace, monkeypatch):
    monkeypatch.setattr(executorch.ExecuTorchSession, "trace", lambda _: trace)
    profile = ExecuTorchProfile(SMALL, [inputs(1)], 1)
    profile.run(counted=True)
    with pytest.raises(MissingDependencyError, match=r"a trace of 1 runs as executorch 1\.5 writes it"):
        profile.finish()


@pytest.mark.exhaustive
def test_bench_beside_the_twin(exported):
    result = commands.bench(
        exported.artifact.path, baseline=str(exported.baseline), min_runs=20, min_seconds=0.2, rounds=1
    )
    (trial,) = result.trials
    assert trial.runtime == "executorch"
    assert len(trial.timings) == 2


def test_the_description_is_read_back(exported):
    card = open_model(exported.artifact.path, threads=1).described()
    assert card == replace(exported.artifact.card)
    assert pte_stats(exported.artifact.path.read_bytes()).macs == exported.built.finished.macs


def test_what_the_runtime_cannot_run_of_a_new_program_is_a_refusal():
    said = "expected an ExecuTorch program at 'the model', but the runtime says: invalid parameter"
    refused = pytest.raises(ExportError, match="run what its exporter made.*says: invalid parameter.*onnx")
    with refused, build_pte.running():
        raise ModelFileError(said)
