"""The page about networks of one's own: its code and its commands run, in their order; its words are the errors'."""

import re
import shlex
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from capturing import Calling
from command_line import run_here
from dynamic_layers import Decomposed
from torch import nn
from torch.ao.quantization import FakeQuantize

import dcd_deploy
from dcd_deploy.errors import DcdDeployError

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "own-network.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "examples" / "own_network"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SAID = re.compile(r"^print\(.*\)  # (.*)$", re.MULTILINE)


def commands_in(block):
    """The lines behind "$ ", each with those that it goes on in."""
    joined = block.replace("\\\n", " ")
    return [shlex.split(line[2:]) for line in joined.splitlines() if line.startswith("$ ")]


def run_command(words, folder):
    program, *arguments = words
    if program == "cd":
        assert ROOT / arguments[0] == EXAMPLE
        return
    if program == "python":
        subprocess.run([sys.executable, *arguments], cwd=folder, check=True, env={"PYTHONPATH": str(ROOT)}, timeout=120)
        return
    assert program == "dcd-deploy"
    assert Path.cwd() == folder
    done = run_here(*arguments)
    assert done.returncode == 0, done.stderr


def run_code(block, names, capsys):
    """Run a block of Python after those before it; what its prints are said to print, they print."""
    capsys.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # OpenVINO traces, and torch warns of that
        exec(compile(block, "own-network.md", "exec"), names)
    assert capsys.readouterr().out.splitlines() == SAID.findall(block)


def test_all_code_and_all_commands_of_the_page_run(tmp_path, monkeypatch, capsys):
    shutil.copytree(EXAMPLE, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "openvino_telemetry", None)  # nothing is sent from a test
    monkeypatch.delitem(sys.modules, "network", raising=False)
    names = {}
    blocks = BLOCK.findall(PAGE)
    assert {kind for kind, _ in blocks} == {"", "python"}
    for kind, block in blocks:
        if kind == "python":
            run_code(block, names, capsys)
        for words in commands_in(block) if not kind else []:
            run_command(words, tmp_path)
    assert {path.name for path in (tmp_path / "deploy").glob("*.onnx")} >= {"segmenter.onnx", "change.onnx"}
    assert len((EXAMPLE / "network.py").read_text().splitlines()) == int(re.search(r"(\d+) lines", PAGE)[1])


class Convolved(nn.Module):
    """A convolution, and what ``after`` makes of it."""

    def __init__(self, after):
        super().__init__()
        self.conv, self.after = nn.Conv2d(3, 4, 3), after
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        return self.after(self, self.conv(x))


def counting(module, y):
    module.calls += 1
    return y


def amplifying(y):
    for _ in range(60):
        y = torch.sin(4 * y)
    return y


def closed():
    module = Convolved(lambda module, y: y + module.calls)
    module.conv.register_forward_hook(lambda _module, _inputs, output: setattr(module, "calls", output))
    return module


def infinite():
    module = nn.Conv2d(3, 4, 3)
    nn.init.constant_(module.weight, torch.inf)
    return module


def unseen():
    layers = [nn.Conv2d(4, 4, 1)]
    return Convolved(lambda _, y: layers[0](y))


MODULES = {
    "nn.ModuleList, register_buffer": unseen,
    "a module of Python": lambda: torch.jit.script(nn.Conv2d(3, 4, 3)),
    "prepared for quantisation": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), FakeQuantize()),
    "finite outputs for the example": lambda: Convolved(lambda _, y: torch.log(-y.abs())),
    "finite weights": infinite,
    "lazy layers": lambda: nn.Sequential(nn.LazyConv2d(4, 3)),
    "does not run on an example of shape": lambda: nn.Conv2d(1, 4, 3),
    "its control flow independent of the data": lambda: Convolved(lambda _, y: y if y.mean() > 0 else -y),
    "is random, changes its state, or depends on the data": lambda: Convolved(lambda _, y: y + torch.randn_like(y)),
    "a network that float64 can tell from a wrong one": lambda: nn.Sequential(Decomposed(3, 8), Calling(amplifying)),
    "changes its state": lambda: Convolved(counting),
    "depends on the others of its batch": lambda: Convolved(lambda _, y: y * y.mean().item()),
    "expected tensors as the network's outputs": lambda: Convolved(lambda module, _: module),
    "as a tensor of floating point": lambda: Convolved(lambda _, y: y.argmax(1)),
    "an entry for each of 4 inputs": lambda: Convolved(lambda _, y: y[y > 0]),
    "takes one input at a time": lambda: Convolved(lambda _, y: y.view(4, 10, 10)[None]),
    "inputs of floating point": lambda: nn.Embedding(3, 4),
    "the same for all inputs": lambda: Convolved(lambda _, y: (y, torch.ones(5, 4))),
    "its forward hooks may write to what they were made with": closed,
    "a module with weights, found one on the device 'meta'": lambda: nn.Conv2d(3, 4, 3, device="meta"),
}
SETTINGS = {"takes one input at a time": {"batch": "dynamic"}}
EXAMPLES = {"inputs of floating point": torch.ones(1, 2, dtype=torch.int64)}
FILE = """
import torch

def fails():
    raise ValueError("no such width")

def empty():
    return None

def lazy():
    return torch.nn.LazyConv2d(4, 3)

def make(width=4):
    return torch.nn.Conv2d(3, width, 3)

def needy(width):
    return make(width)
"""
FACTORIES = {
    "expected 'X' in 'network.py', found none": "X",
    "does not take these arguments": "needy",
    "raised ValueError at line 12": "fails",
    "expected … to return a torch.nn.Module": "empty",
    "lazy layers": "lazy",
    "the weights of … are not those of": "make",
}


def rows():
    """Each symptom of the page's table, with its exit codes."""
    table = PAGE[PAGE.index("| symptom |") :]
    return {m[1]: m[2] for m in re.finditer(r"^\| `([^`]+)` \|.*\| ([^|]*) \|$", table, re.MULTILINE)}


def assert_said(error, symptom, code):
    parts = [re.escape(part.strip()) for part in re.sub(r"line \d+", "line", symptom).split("…")]
    assert re.search(".*".join(parts), str(error)), error
    assert error.exit_code == code


def test_the_table_is_the_whole_of_what_is_tested():
    assert set(rows()) == set(MODULES) | set(FACTORIES)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("symptom", MODULES)
def test_symptoms_of_modules(symptom, tmp_path):
    torch.manual_seed(0)
    example = EXAMPLES.get(symptom, torch.randn(1, 3, 12, 12))
    with pytest.raises(DcdDeployError) as refusal:
        dcd_deploy.export_module(MODULES[symptom]().eval(), example, out=tmp_path, **SETTINGS.get(symptom, {}))
    code = int(rows()[symptom].split()[-1])
    said = "the lazy" if symptom == "lazy layers" else symptom
    assert_said(refusal.value, said, code)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("symptom", FACTORIES)
def test_symptoms_of_files(symptom, tmp_path):
    from dcd_deploy.commands.network import trained_network

    (tmp_path / "network.py").write_text(FILE)
    torch.save(nn.Conv2d(3, 5, 3).state_dict(), tmp_path / "weights.pt")
    given = {"network": f"{tmp_path}/network.py:{FACTORIES[symptom]}", "input_shape": "3,12,12"}
    with pytest.raises(DcdDeployError) as refusal:
        trained_network(tmp_path / "weights.pt", **given)
    assert_said(refusal.value, symptom, int(rows()[symptom].split(",")[0]))
