"""A user's own Python file: it makes the network, or is refused in one line."""

import logging
import sys

import pytest
import torch

from dcd_deploy.errors import InputFileError, NetworkError
from dcd_deploy.models.user_network import load_weights, network_from_file

CODE = """
import torch
from helper import WIDTH

def make(width=WIDTH, depth=1):
    return torch.nn.Sequential(*(torch.nn.Conv2d(width, width, 1) for _ in range(depth)))

def needy(width):
    return make(width)

def failing():
    raise ValueError("no such width")

def empty():
    return None

class Net(torch.nn.Module):
    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.head = torch.nn.Linear(4, classes)

ready = Net()
number = 3
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "helper.py").write_text("WIDTH = 4\n")
    path = tmp_path / "net.py"
    path.write_text(CODE)
    return path


def test_functions_classes_and_modules_make_networks(file):
    assert network_from_file(f"{file}:make")[0].in_channels == 4
    assert len(network_from_file(f"{file}:make", '{"depth": 3}')) == 3
    assert network_from_file(f"{file}:needy", {"width": 2})[0].in_channels == 2
    assert network_from_file(f"{file}:Net", '{"classes": 7}').head.out_features == 7
    assert network_from_file(f"{file}:ready").head.out_features == 3


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("missing", None, ["'missing'", "it has make, needy, failing"]),
        ("needy", None, ["'net.py:needy'", "'width'", "`network_args`"]),
        ("make", '{"breadth": 1}', ["'breadth'", "`network_args`"]),
        ("make", "[1]", ["JSON object", "list"]),
        ("make", "{", ["JSON"]),
        ("failing", None, ["ValueError at line 12: no such width"]),
        ("empty", None, ["torch.nn.Module", "NoneType"]),
        ("number", None, ["int"]),
    ],
)
def test_what_makes_no_network_is_refused(file, name, arguments, words):
    with pytest.raises(NetworkError) as refusal:
        network_from_file(f"{file}:{name}", arguments)
    assert all(word in str(refusal.value) for word in words), refusal.value


def test_other_texts_and_files_are_refused(tmp_path):
    for text in ("net.py", "net:make", "net.py:", "net.py:a b"):
        with pytest.raises(NetworkError, match=r"FILE\.py:FACTORY"):
            network_from_file(text)
    with pytest.raises(InputFileError):
        network_from_file(f"{tmp_path}/none.py:make")
    broken = tmp_path / "broken.py"
    broken.write_text("import no_such_package_at_all\n")
    with pytest.raises(NetworkError, match="ModuleNotFoundError at line 1"):
        network_from_file(f"{broken}:make")


def test_weights_are_taken_strictly(file):
    module = network_from_file(f"{file}:make")
    state = {key: torch.full_like(value, 0.5) for key, value in module.state_dict().items()}
    load_weights(module, {key: value.half() for key, value in state.items()}, "w.pt")
    assert torch.equal(module[0].weight.data, torch.full((4, 4, 1, 1), 0.5))
    for change, words in (
        ({"0.bias": None}, "1 missing: 0.bias"),
        ({"aux.weight": torch.zeros(2)}, "1 unexpected: aux.weight"),
        ({"0.weight": torch.zeros(4, 4, 3, 3)}, r"expected \(4, 4, 1, 1\), found \(4, 4, 3, 3\)"),
    ):
        changed = {key: value for key, value in (state | change).items() if value is not None}
        with pytest.raises(NetworkError, match=words):
            load_weights(module, changed, "w.pt")


def test_a_script_that_ends_itself_is_refused(tmp_path):
    path = tmp_path / "script.py"
    path.write_text("import sys\n\ndef net():\n    sys.exit('no data')\n\nif 'never' in sys.argv:\n    sys.exit(2)\n")
    with pytest.raises(NetworkError, match="SystemExit at line 4: no data"):
        network_from_file(f"{path}:net")
    path.write_text("raise SystemExit(2)\n")
    with pytest.raises(NetworkError, match="cannot be run: SystemExit at line 1: 2"):
        network_from_file(f"{path}:net")


OWN_ERROR = "class Stop(BaseException): pass\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{OWN_ERROR}raise Stop('enough')", "cannot be run: Stop at line 2: enough"),
        (f"{OWN_ERROR}def net(): raise Stop", "raised Stop at line 2"),
        ("def net(): raise GeneratorExit", "raised GeneratorExit at line 1"),
    ],
)
def test_errors_of_their_own_kind_are_refused(tmp_path, text, words):
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(NetworkError, match=words):
        network_from_file(f"{tmp_path / 'own.py'}:net")


@pytest.mark.parametrize("text", ["raise KeyboardInterrupt", "def net(): raise KeyboardInterrupt"])
def test_an_interruption_is_none_of_them(tmp_path, text):
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(KeyboardInterrupt):
        network_from_file(f"{tmp_path / 'own.py'}:net")


SETTING = "sys.setrecursionlimit({limit}); logging.basicConfig(level=0, force=True)"


@pytest.mark.parametrize("where", ["file", "factory", "a factory that fails"])
def test_what_a_file_sets_for_the_process_is_undone(tmp_path, where):
    limit, root = sys.getrecursionlimit(), logging.getLogger()
    before = (limit, root.level, list(root.handlers))
    setting = SETTING.format(limit=limit + 7)
    lines = ["import sys, logging, torch", setting if where == "file" else "", "def net():"]
    lines += ["    " + (setting if where != "file" else "pass"), f"    assert sys.getrecursionlimit() > {limit - 1}"]
    lines += ["    1 / 0" if "fails" in where else "    return torch.nn.Identity()"]
    (tmp_path / "own.py").write_text("\n".join(lines))
    if "fails" in where:
        with pytest.raises(NetworkError, match="ZeroDivisionError"):
            network_from_file(f"{tmp_path / 'own.py'}:net")
    else:
        network_from_file(f"{tmp_path / 'own.py'}:net")
    assert (sys.getrecursionlimit(), root.level, list(root.handlers)) == before


def test_lazy_layers_are_refused():
    with pytest.raises(NetworkError, match="lazy layers"):
        load_weights(torch.nn.LazyLinear(3), {}, "own.pt")
