"""The command line is made from the annotations of the commands: help, completion, wrong usage, names of files."""

import importlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from command_line import COMMAND, QUICK, refused, run_here
from conftest import DIGITS

from dcd_deploy import cli, commands
from dcd_deploy.cli import VERBOSE, entries
from dcd_deploy.commands.options import Argument, parameters
from dcd_deploy.reports.renderers import PLAIN, SHOW


@pytest.mark.parametrize("command", commands.COMMANDS, ids=lambda command: command.__name__)
def test_every_parameter_of_a_command_is_an_option(command):
    """Only ``progress`` is Python's alone; nothing is said twice."""
    own = {entry.name for entry in parameters(command)}
    python = {name for name, entry in inspect.signature(command).parameters.items() if entry.kind != entry.VAR_KEYWORD}
    assert python - own <= {"progress"}
    names = [entry.name for entry in entries(command)]
    assert len(names) == len(set(names))
    assert all(entry.option.help.endswith((".", "…")) for entry in entries(command))


NETWORK = {"network", "network_args", "prefix", "drop", "leaf", "bn_eps", "last_stride"}


def test_a_network_is_named_alike_everywhere_and_a_file_says_its_own():
    options = {
        command.__name__: {entry.name: entry.option for entry in entries(command)} for command in commands.COMMANDS
    }
    for name in ("export", "verify", "costs", "tune", "inspect"):
        assert options[name].keys() >= NETWORK
        assert "that Python file is run" in options[name]["network"].help
        assert ("input_shape" in options[name]) == (name != "verify"), "a file says the shape of its input"
    for name in ("bench", "profile", "predict"):
        assert not options[name].keys() & {*NETWORK, "input_shape"}


@pytest.mark.parametrize("command", commands.COMMANDS, ids=lambda command: command.__name__)
def test_help_has_every_option_and_the_essentials_first(command):
    done = run_here(command.__name__.replace("_", "-"), "--help")
    shown = done.stdout
    assert done.returncode == 0
    options = [entry for entry in entries(command) if not isinstance(entry.option, Argument)]
    assert all(entry.flag in shown for entry in options)
    groups = [group for entry in options if (group := entry.option.group)]
    assert all(shown.index("─ Options") < shown.index(f"─ {group}") for group in groups)
    assert shown.index("─ Output") == max(shown.index(f"─ {group}") for group in groups)


WRONG = {
    "option": (["export", "x.pt", "--oput", "d"], ["No such option: --oput", "did you mean --out?"]),
    "far from any option": (["export", "x.pt", "--zzz"], ["--zzz", "see 'dcd-deploy export --help'"]),
    "command": (["exprot"], ["No such command 'exprot'", "'export'", "see 'dcd-deploy --help'"]),
    "argument missing": (["verify"], ["rtifact", "see 'dcd-deploy verify --help'"]),
    "option missing": (["costs", "x.pt"], ["expected --target", "see 'dcd-deploy costs --help'"]),
    "no number": (["export", "x.pt", "--opset", "ten"], ["--opset", "integer"]),
    "value missing": (["export", "x.pt", "--opset"], ["--opset"]),
}


@pytest.mark.parametrize(("words", "said"), WRONG.values(), ids=WRONG)
def test_wrong_usage_is_one_line(words, said):
    done = run_here(*words)
    refused(done, 2, *said)
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)


@pytest.mark.parametrize(("words", "said"), WRONG.values(), ids=WRONG)
def test_wrong_usage_is_told_as_json_too(words, said):
    done = run_here(*words, "--json")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    error = json.loads(done.stdout)["error"]
    assert (error["kind"], error["exit_code"]) == ("UsageError", 2)
    assert error["advice"].startswith("see 'dcd-deploy ")
    assert all(part in error["message"] and part in done.stderr for part in said)


def test_a_defect_is_told_as_json_too(monkeypatch):
    def defective(*_):
        raise KeyError("a defect")

    monkeypatch.setattr(cli, "configured", defective)
    done = run_here("inspect", "x.pt", "--json")
    error = json.loads(done.stdout)["error"]
    assert done.returncode == error["exit_code"] == 1
    assert error["message"].startswith("KeyError: 'a defect' (a defect of dcd-deploy; please report it")


def test_without_a_command_there_is_help():
    done = run_here()
    assert (done.returncode, done.stderr) == (0, "")
    assert "export" in done.stdout


def test_shells_complete_options():
    assert "--install-completion" in run_here("--help").stdout
    environment = os.environ | {
        "_DCD_DEPLOY_COMPLETE": "complete_bash",
        "COMP_WORDS": "dcd-deploy export --op",
        "COMP_CWORD": "2",
    }
    done = subprocess.run(COMMAND, capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.split() == ["--opset"], done.stderr


OF_THE_COMMAND_LINE = {
    "dcd_deploy",
    "typer",
    "rich",
    "pygments",
    "markdown_it",
    "mdurl",
    "shellingham",
    "annotated_doc",
    "attr",
}


@pytest.mark.parametrize(
    ("code", "packages", "most"),
    [
        ("import dcd_deploy.runtimes", {"dcd_deploy", "numpy"}, 26),
        ("from dcd_deploy.cli import run\ntry: run(['--help'])\nexcept SystemExit: pass", OF_THE_COMMAND_LINE, 40),
    ],
)
def test_help_and_the_runtimes_load_little(code, packages, most):
    """What takes time is what is loaded: no torch, no runtime, nothing that a command does not need to describe itself.

    Times are no test: a slow hour would fail it. ``python -X importtime`` shows them.
    """
    shows = "print(*__import__('sys').modules, file=__import__('sys').__stdout__)"
    program = f"import sys\nsys.stdout = sys.stderr\n{code}\n{shows}"
    at_start, loaded = (
        set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
        for code in (shows, program)
    )
    assert {name.split(".")[0] for name in loaded - at_start} - sys.stdlib_module_names <= packages
    assert 0 < len([name for name in loaded if name.startswith("dcd_deploy")]) <= most


def test_names_with_spaces_and_upper_case_suffixes(tmp_path, small_checkpoint):
    folder = tmp_path / "my networks"
    folder.mkdir()
    held = shutil.copy(small_checkpoint, folder / "best one.PTH")
    done = run_here("export", held, "--out", folder, "--name", "my net", *QUICK, "--json")
    assert done.returncode == 0, done.stderr
    (made,) = json.loads(done.stdout)["files"]
    assert made["path"] == str(folder / "my net.onnx")
    upper = shutil.copy(made["path"], folder / "MY NET.ONNX")
    assert "self-check" in run_here("verify", upper).stdout
    assert run_here("inspect", upper).returncode == 0
    assert run_here("predict", upper, DIGITS / "seven.png", "--top", "1").returncode == 0
    quick = ["--baseline", "none", "--min-runs", "1", "--min-seconds", "0", "--rounds", "1", "--no-memory"]
    saved = folder / "R.JSON"
    assert run_here("bench", upper, *quick, "--save", saved, "--quiet").returncode == 0
    assert run_here("report", saved).returncode == 0
    for name in (" net", "net ", ".net", "a/b"):
        refused(run_here("export", held, "--out", folder / "no", "--name", name, *QUICK), 8, "expected a --name")
    assert not (folder / "no").exists()


def test_quiet_and_json_are_of_every_command():
    for command in commands.COMMANDS:
        names = {entry.name for entry in entries(command)}
        assert {"json", "quiet", "show_config"} <= names
    assert VERBOSE in entries(commands.export)


@pytest.mark.parametrize("command", commands.COMMANDS, ids=lambda command: command.__name__)
def test_every_result_has_a_renderer(command):
    kinds = re.findall(r"\w+", command.__annotations__["return"].removeprefix("list"))
    assert set(kinds) <= set(SHOW)


def test_every_renderer_is_there():
    for name in (*SHOW.values(), *PLAIN.values()):
        module, _, function = name.partition(":")
        assert callable(getattr(importlib.import_module(f"dcd_deploy.reports.{module}"), function))
