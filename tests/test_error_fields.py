"""Errors carry fields; the library names parameters, and the command line alone spells flags."""

import ast
import pickle
import re
from pathlib import Path

import pytest

from dcd_deploy import commands
from dcd_deploy.cli import entries
from dcd_deploy.commands.options import parameters
from dcd_deploy.errors import PARAMETER, DcdDeployError, OptionError, UnknownNameError, VerificationError
from dcd_deploy.reports.json import as_plain
from dcd_deploy.reports.terminal import spelled

PACKAGE = Path(__file__).parent.parent / "dcd_deploy"
OWN = {entry.name for command in commands.COMMANDS for entry in parameters(command)}
NAMES = {entry.name for command in commands.COMMANDS for entry in entries(command)}
FLAG = re.compile(r"(?<![\w-])--([a-z]+(?:-[a-z]+)*)(?![\w-])")
PRESENTATION = {"cli.py", "reports", "__main__.py"}
SAMPLES = PACKAGE / "bundle" / "templates"  # programs of their own


def texts(source: str):
    """The texts of a module that are no docstrings."""
    tree = ast.parse(source)
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


def spelled_flags(source: str) -> list[str]:
    return [text for text in texts(source) for name in FLAG.findall(text) if name.replace("-", "_") in OWN]


MODULES = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.relative_to(PACKAGE).parts[0] not in PRESENTATION and SAMPLES not in path.parents
]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_library_spells_no_flag_and_names_parameters_that_there_are(path):
    source = path.read_text(encoding="utf-8")
    assert spelled_flags(source) == []
    named = {name for text in texts(source) for name in PARAMETER.findall(text)}
    assert named <= NAMES, "a word in backticks is a parameter of a command"


def test_a_flag_in_the_library_is_seen():
    assert spelled_flags("raise OptionError('try another --opset')")
    assert spelled_flags('"""Docs may: --opset."""\nx = f"{1} or --input-size"') == [" or --input-size"]


def test_the_fields_are_the_message():
    error = OptionError(expected="`opset` as a whole number", found="'x'", advice="leave `opset` out, or `target`")
    assert str(error) == "expected `opset` as a whole number, found 'x'; leave `opset` out, or `target`"
    assert error.parameters == ("opset", "target")
    assert (error.expected, error.found) == ("`opset` as a whole number", "'x'")
    assert spelled(str(error)).startswith("expected --opset as")
    assert str(OptionError(expected="a file", but="there is none")) == "expected a file, but there is none"
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.parameters, again.found) == (str(error), error.parameters, "'x'")


def test_the_fields_reach_json():
    told = as_plain(VerificationError(expected="`samples` that move", found="none", report={"passed": False}))["error"]
    assert told["parameters"] == ["samples"]
    assert (told["expected"], told["found"], told["report"]) == ("`samples` that move", "none", {"passed": False})
    assert told["message"] == "expected --samples that move, found none"


def test_an_unknown_name_tells_what_was_given_and_the_nearest():
    error = UnknownNameError("format", "onx", ("onnx", "tflite"))
    assert (error.found, error.advice) == ("onx", "did you mean 'onnx'?")


def test_a_whole_message_has_no_fields():
    error = DcdDeployError("the network does not run")
    assert (str(error), error.expected, error.found, error.parameters) == ("the network does not run", "", "", ())
