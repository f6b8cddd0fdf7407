"""The exporters in a process of their own: the same files and the same errors, and nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import COMMAND, QUICK
from dynamic_layers import Decomposed, OtherwiseWhenLarge, lively
from torch import nn

import dcd_deploy
from dcd_deploy import commands
from dcd_deploy.errors import ExportError
from dcd_deploy.export import ahead, formats
from dcd_deploy.export.ahead import Exporter, UnfinishedError
from dcd_deploy.lowering import dynamic_layers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing tells which cores are free")
RUNNING = Path("/proc")


@pytest.fixture
def helped(monkeypatch):
    """Exports of this process have another one's help, however busy the machine is."""
    monkeypatch.setattr(ahead, "free_cores", lambda: 2)
    monkeypatch.setattr(ahead, "available_memory", lambda: ahead.LEAST_MEMORY)
    yield
    without_help()


def without_help():
    if ahead._begun is not None:
        ahead._begun.close()
    ahead._begun = ahead._exporter = None


def ended():
    """Return of each call how many answers came before its end, and whether it succeeded."""
    return [(len(answers) - 1, answers[-1][1]) for answers in ahead.exporter()._answers]


@pytest.fixture
def other():
    process = Exporter()
    yield process
    process.close()


@pytest.mark.parametrize(
    ("to", "there"),
    [
        pytest.param("onnx,tflite", [(0, True), (2, True), (1, True)], marks=pytest.mark.exhaustive),
        ("onnx", [(0, True), (2, True)]),
        pytest.param("onnx,executorch", [(0, True), (2, True)], marks=pytest.mark.exhaustive),
    ],
)
def test_an_export_is_the_same_either_way(helped, small_checkpoint, tmp_path, to, there):
    """Loaded there; traced and simplified; converted. An ExecuTorch program is made here."""

    def exported(name):
        made = commands.export(small_checkpoint, input_size=32, to=to, out=tmp_path / name)
        assert all(file.built.report.passed for file in made.files)
        return [Path(file.artifact.path).read_bytes() for file in made.files]

    ahead.begin()
    made = exported("there")
    assert ended() == there
    without_help()
    assert exported("here") == made
    assert ahead.exporter() is None


class Refused(nn.Module):
    def forward(self, x):
        return torch.special.bessel_j0(x.mean((2, 3)))


@pytest.mark.exhaustive
def test_what_is_refused_there_is_met_here(helped, tmp_path):
    ahead.begin()
    ahead.start(("onnx",))
    with pytest.raises(ExportError, match="ONNX exporter refused the network for bessel_j0"):
        dcd_deploy.export_module(Refused(), torch.rand(1, 3, 8, 8), out=tmp_path)
    assert ended() == [(0, True), (0, False)]


def negated(*values):
    for each in values:
        yield -each


def failing(value):
    yield value
    raise RuntimeError("not there")


def process():
    yield os.getpid()


def large():
    yield np.zeros(1 << 20)  # more than a pipe holds
    Path("there").touch()
    yield 1


def test_functions_are_called_there(other):
    first, second = other.started(negated, np.arange(3), 5), other.started(failing, 1)
    where = other.started(process)
    assert [*where()] == [other._process.pid]  # in any order
    failed = second()
    assert next(failed) == 1
    with pytest.raises(UnfinishedError):
        next(failed)
    found, five = first()
    assert found.tolist() == [0, -1, -2]
    assert five == -5
    assert next(first()) is found, "it is waited for once"


def test_it_goes_on_before_anybody_has_taken_an_answer(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    other = Exporter()
    try:
        results = other.started(large)
        for _ in range(1200):
            if Path("there").exists():
                break
            time.sleep(0.05)
        assert Path("there").exists()
        assert [np.size(each) for each in results()] == [1 << 20, 1]
    finally:
        other.close()


def test_what_cannot_be_sent_is_not(other):
    assert other.started(negated, lambda: 1) is None
    assert [*other.started(negated, 1)()] == [-1], "the next one is"


def test_of_a_process_that_dies_nothing_is_awaited(other):
    wait = other.started(time.sleep, 60)
    other._process.kill()
    with pytest.raises(UnfinishedError):
        next(wait())
    other._process.wait()
    if (later := other.started(negated, 1)) is not None:
        with pytest.raises(UnfinishedError):
            next(later())


@pytest.mark.exhaustive
def test_what_did_not_come_from_there_is_made_here(helped, monkeypatch, small_checkpoint, tmp_path):
    """The other process dies when it has given one graph of two."""
    answers = Exporter._answer

    def dying(self, number, place):
        if (number, place) == (1, 1):
            self._process.kill()
            self._process.wait()
            return False, False
        return answers(self, number, place)

    monkeypatch.setattr(Exporter, "_answer", dying)
    ahead.begin()
    made = commands.export(small_checkpoint, input_size=32, out=tmp_path / "there")
    assert made.built.report.passed
    without_help()
    here = commands.export(small_checkpoint, input_size=32, out=tmp_path / "here")
    assert Path(made.artifact.path).read_bytes() == Path(here.artifact.path).read_bytes()


def test_it_ends_with_the_one_that_it_works_for():
    code = (
        "import time; from dcd_deploy.export.ahead import Exporter; other = Exporter(); "
        "other.started(time.sleep, 60); print(other._process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        there = RUNNING / process.stdout.readline().strip()
        assert there.exists()
        process.send_signal(signal.SIGKILL)
    for _ in range(200):
        if not there.exists() or "Z (zombie)" in (there / "status").read_text(encoding="ascii"):
            return
        time.sleep(0.05)
    pytest.fail("it works on for nobody")


@pytest.mark.parametrize(
    ("name", "value"), [("free_cores", lambda: 1), ("available_memory", lambda: ahead.LEAST_MEMORY - 1)]
)
def test_it_is_begun_only_where_it_helps(monkeypatch, helped, name, value):
    monkeypatch.setattr(ahead, "Exporter", lambda: pytest.fail("it was begun"))
    monkeypatch.setattr(ahead, name, value)
    ahead.begin()
    ahead.start(("onnx",))
    assert ahead.exporter() is None


def test_memory_is_what_the_machine_and_the_container_leave(monkeypatch, tmp_path):
    for name, text in {
        "info": "MemTotal: 9 kB\nMemAvailable: 4096 kB\n",
        "max": "3000000\n",
        "used": "1000000\n",
    }.items():
        (tmp_path / name).write_text(text, encoding="ascii")
    monkeypatch.setattr(ahead, "MEMORY", tmp_path / "info")
    monkeypatch.setattr(ahead, "LIMITS", ((tmp_path / "none", tmp_path / "used"),))
    assert ahead.available_memory() == 4096 << 10
    monkeypatch.setattr(ahead, "LIMITS", ((tmp_path / "max", tmp_path / "used"),))
    assert ahead.available_memory() == 2_000_000
    (tmp_path / "max").write_text("max\n", encoding="ascii")
    assert ahead.available_memory() == 4096 << 10
    monkeypatch.setattr(ahead, "MEMORY", tmp_path / "none")
    assert ahead.available_memory() == 0


def test_without_another_process_all_is_done_here(monkeypatch, helped):
    def refused():
        raise OSError("no more processes")

    monkeypatch.setattr(ahead, "Exporter", refused)
    ahead.begin()
    ahead.start(("onnx",))
    assert ahead.exporter() is None


def test_it_ends_where_it_cannot_help(helped):
    ahead.begin()
    ahead.start(("pte",))
    assert ahead.exporter() is None
    assert ahead._begun._process.returncode is not None


def test_the_command_line_starts_it_and_loads_no_exporter_itself(tmp_path, small_checkpoint):
    code = f"""
import atexit, sys
from dcd_deploy import __main__
from dcd_deploy.export import ahead, alongside
ahead.free_cores, ahead.available_memory = lambda: 2, lambda: ahead.LEAST_MEMORY
atexit.register(lambda: print("loaded:", {{"onnxscript", "onnxsim", "onnx"}} & set(sys.modules)))
sys.argv = {["dcd-deploy", "export", str(small_checkpoint), "--out", str(tmp_path), "--quiet", *QUICK]!r}
__main__.main()
"""
    done = subprocess.run([COMMAND[0], "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.strip() == "loaded: {'onnx'}", done.stderr


@pytest.mark.exhaustive
def test_a_layer_that_is_not_what_was_expected_is_found_out(helped, tmp_path):
    """Its graph is on its way before it is proved; then another is sent."""
    torch.manual_seed(0)
    layers = [Decomposed(C=8, K=8), OtherwiseWhenLarge(C=8, K=8)]
    module, example = lively(nn.Sequential(*layers)), torch.rand(1, 8, 9, 8)
    ahead.begin()
    ahead.start(("onnx",))
    made = dcd_deploy.export_module(module, example, out=tmp_path / "there")
    assert ended() == [(0, True), (2, True), (2, True)]
    assert made.built.lowering.keys() == {"0"}
    assert any("'1' is exported as ordinary operators" in note for note in made.built.notes)
    without_help()
    here = dcd_deploy.export_module(module, example, out=tmp_path / "here")
    assert Path(made.artifact.path).read_bytes() == Path(here.artifact.path).read_bytes()


def test_layers_are_proved_once_where_nothing_can_be_sent(helped, monkeypatch, tmp_path):
    """In this process: what comes back from another is not the graph that was lowered."""
    stages, forked = [], formats.alongside
    monkeypatch.setattr(formats, "alongside", lambda stage, *given: stages.append(stage) or forked(stage, *given))
    monkeypatch.setattr(Exporter, "started", lambda *_: None)
    proofs, prove = [], dynamic_layers.prove
    monkeypatch.setattr(dynamic_layers, "prove", lambda *given: proofs.append(given) or prove(*given))
    ahead.begin()
    ahead.start(("onnx",))
    layers = [Decomposed(C=8, K=8) for _ in range(3)]
    module, example = lively(nn.Sequential(*layers)), torch.rand(1, 8, 9, 8)
    made = dcd_deploy.export_module(module, example, out=tmp_path, lowering="kernel")
    assert made.built.lowering == dict.fromkeys("012", "kernel")
    assert len(proofs) == 3
    assert stages == ["reference and deploy form in float64"]
