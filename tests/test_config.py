"""Defaults from dcd-deploy.toml: what counts, where it comes from, and what a file beside a checkpoint may not say."""

import json
import re
import shutil
from pathlib import Path

import pytest
from command_line import refused, run_here

from dcd_deploy.config import MOST_BYTES, NAME

COMMANDS_PAGE = Path(__file__).parent.parent / "docs" / "commands.md"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with a folder in which one works, and one with checkpoints."""
    (tmp_path / "work").mkdir()
    (tmp_path / "held").mkdir()
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def chosen(*words):
    """Option → (value, source)."""
    done = run_here(*words, "--show-config", "--json")
    assert done.returncode == 0, done.stderr
    return {
        found["option"]: (found["value"], found["source"]) for found in json.loads(done.stdout)["settings"]
    }, done.stderr


def test_the_command_line_counts_more_than_the_command_and_that_more_than_the_defaults(project):
    file = project / NAME
    file.write_text(
        '[defaults]\ninput-size = 64\ntarget = "litert"\nleaf = ["a.b"]\nmean = "0.5,0.5,0.5"\n'
        '[export]\ntarget = "onnxruntime-x86"\nwith_baseline = true\nopset = 20\n[bench]\nthreads = "1,2"\n'
    )
    found, _ = chosen("export", "none.pt", "--opset", "19")
    assert found["--opset"] == (19, "command line")
    assert found["--target"] == ("onnxruntime-x86", str(file))
    assert found["--input-size"] == ("64", str(file))
    assert found["--with-baseline"] == (True, str(file))
    assert found["--leaf"] == (["a.b"], str(file))
    assert found["--layout"] == ("nhwc", "default")
    assert found["--name"] == ("network and input size", "default")
    assert chosen("bench", "x.onnx")[0]["--threads"] == ("1,2", str(file))
    assert chosen("costs", "none.pt")[0]["--target"] == ("litert", str(file)), "a required option may come from it"


def test_it_is_what_runs(project, small_checkpoint):
    (project / NAME).write_text('[export]\ninput-size = 32\nout = "out"\nname = "net"\n')
    done = run_here("export", small_checkpoint, "--json")
    (made,) = json.loads(done.stdout)["files"]
    assert made["path"] == str(project / "out" / "net.onnx"), "a path is taken from the file's folder"


def test_without_a_project_only_the_working_directory_counts(project):
    (project / "pyproject.toml").unlink()
    (project / NAME).write_text("[export]\nopset = 20\n")
    assert chosen("export", "none.pt")[0]["--opset"] == (18, "default")
    (project / "work" / NAME).write_text("[export]\nopset = 21\n")
    assert chosen("export", "none.pt")[0]["--opset"][0] == 21


def test_beside_a_checkpoint(project, small_checkpoint):
    """It came with the checkpoint: what describes the network is taken, what runs, writes or reaches out is not."""
    (project / NAME).write_text("[export]\nopset = 20\n")
    held = shutil.copy(small_checkpoint, project / "held" / "net.pth")
    file = project / "held" / NAME
    (project / "held" / "labels.txt").write_text("a\n")
    file.write_text(
        '[export]\ninput-size = 32\nlabels = "labels.txt"\nnetwork = "evil.py:make"\nout = "/somewhere"\n'
        "tolerance = 0.9\n[verify]\ndevice = 'ssh://evil'\n[bench]\nrunner = 'evil'\nsetup = true\npython = 'evil'\n"
    )
    found, said = chosen("export", held)
    assert found["--input-size"] == ("32", str(file))
    assert found["--labels"] == (str(project / "held" / "labels.txt"), str(file))
    assert found["--opset"] == (18, "default"), "one file counts"
    for option in ("--network", "--out", "--tolerance"):
        assert found[option][1] == f"default; not taken from {file}"
    assert "not taken from" in said
    assert "--network, --out, --tolerance" in said
    found, _ = chosen("bench", held)
    assert {found[option][1] for option in ("--runner", "--setup", "--python")} == {f"default; not taken from {file}"}
    found, _ = chosen("verify", "net.onnx", "--checkpoint", held)
    assert found["--device"] == ("here", f"default; not taken from {file}")


def test_a_checkpoint_in_the_working_directory_brings_its_file_too(project):
    (project / "work" / NAME).write_text('[export]\nnetwork = "evil.py:make"\n')
    found, _ = chosen("export", "net.pth")
    assert found["--network"][0] is None


@pytest.mark.parametrize("path", ["../secret.txt", "/etc/passwd", "link.txt"])
def test_a_file_beside_a_checkpoint_names_no_other_place(project, path):
    (project / "held" / "link.txt").symlink_to("/etc/passwd")
    (project / "held" / NAME).write_text(f'[export]\nlabels = "{path}"\n')
    refused(run_here("export", project / "held" / "net.pth"), 8, "--labels", "within that folder")


DAMAGED = {
    "unknown option": ("[export]\nopsets = 18\n", 7, ["option of [export]", "did you mean 'opset'"]),
    "unknown table": ("[exports]\nopset = 18\n", 7, ["did you mean 'export'"]),
    "unknown in the defaults": ("[defaults]\nopsett = 18\n", 7, ["did you mean 'opset'"]),
    "an argument": ("[export]\ncheckpoint = 'x'\n", 7, ["'checkpoint'"]),
    "presentation": ("[export]\njson = true\n", 7, ["'json'"]),
    "text for a number": ("[export]\nopset = 'x'\n", 8, ["--opset", "a whole number", "'x'"]),
    "a switch for a number": ("[export]\nopset = true\n", 8, ["--opset"]),
    "a number for a switch": ("[export]\nema = 1\n", 8, ["--ema", "true or false"]),
    "a list for one": ("[export]\ntarget = ['a']\n", 8, ["--target"]),
    "no table": ("opset = 18\n", 3, ["[defaults]"]),
    "no TOML": ("[export\n", 3, [NAME]),
    "no text": (b"\xff\xfe", 3, [NAME]),
    "deep": (b"[a]\nb = " + b"[" * 20_000, 3, [NAME]),
    "large": (b"#" * (MOST_BYTES + 1), 3, ["bytes"]),
}


@pytest.mark.parametrize(("text", "code", "words"), DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("place", ["work", "held"])
def test_what_is_damaged_is_refused_in_one_line(project, place, text, code, words):
    (project / place / NAME).write_bytes(text.encode() if isinstance(text, str) else text)
    done = run_here("export", project / "held" / "net.pth")
    refused(done, code, *words)
    assert done.stderr.count("\n") == 1


def test_the_example_of_the_documentation(project):
    (example,) = re.findall(r"```toml\n(.*?)```", COMMANDS_PAGE.read_text("utf-8"), re.DOTALL)
    (project / NAME).write_text(example)
    found, _ = chosen("export", "none.pt")
    given = {option: value for option, (value, source) in found.items() if source == str(project / NAME)}
    assert given == {
        "--input-size": "192",
        "--target": "onnxruntime-x86",
        "--out": str(project / "deploy"),
        "--with-baseline": True,
    }


def test_show_config_as_a_table(project):
    (project / NAME).write_text("[export]\nopset = 20\n")
    done = run_here("export", "none.pt", "--show-config")
    assert [line.split() for line in done.stdout.splitlines() if "--opset" in line] == [
        ["--opset", "20", str(project / NAME)]
    ]
