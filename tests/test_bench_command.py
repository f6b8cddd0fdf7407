"""The benchmark's commands as a user types them."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from command_line import COMMAND, dcd_deploy, run_here

from dcd_deploy.benchmarks.results import read_result
from dcd_deploy.errors import BenchError, InputFileError, ResultFileError, UnknownNameError

SHORT = ["--min-runs", "8", "--min-seconds", "0", "--rounds", "1", "--no-memory"]


@pytest.fixture(scope="module")
def saved(digits_export, tmp_path_factory):
    """A result in all forms, and what was printed."""
    folder = tmp_path_factory.mktemp("saved")
    files = [folder / f"result{suffix}" for suffix in (".json", ".html", ".md", ".csv")]
    saves = [part for file in files for part in ("--save", file)]
    done = dcd_deploy("bench", digits_export.artifact.path, *SHORT, *saves)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_a_result_in_all_forms(saved, digits_export):
    folder, done = saved
    result = read_result(folder / "result.json")
    ratio = result.trials[0].ratios["static twin"].median
    assert f"ratio {ratio:.3f}" in done.stdout
    assert f"{ratio:.3f}" in (folder / "result.md").read_text()
    assert len((folder / "result.csv").read_text().splitlines()) == 3
    assert "static twin" in (folder / "result.html").read_text(encoding="utf-8")


def test_a_saved_result_is_shown_as_it_was(saved):
    folder, done = saved
    assert run_here("report", folder / "result.json").stdout == done.stdout
    assert json.loads(run_here("report", folder / "result.json", "--json").stdout)["schema"] == 4


def test_a_profile_on_the_page(saved, digits_export):
    folder, _ = saved
    profile = folder / "profile.json"
    profile.write_text(run_here("profile", digits_export.artifact.path, "--runs", "3", "--json").stdout)
    page = folder / "with-profile.html"
    assert run_here("report", folder / "result.json", "--profile", profile, "--save", page).returncode == 0
    text = page.read_text(encoding="utf-8")
    assert "features.3.conv.0" in text
    assert "features.3.conv.0" not in (folder / "result.html").read_text(encoding="utf-8")
    done = run_here("report", folder / "result.json", "--profile", folder / "result.json", "--save", page)
    assert done.returncode == ResultFileError.exit_code
    assert "expected a 'dcd-deploy profile' document" in done.stderr
    assert page.read_text(encoding="utf-8") == text, "the page that was there stays"


def test_two_results_compared(saved):
    folder, _ = saved
    done = run_here("compare", folder / "result.json", folder / "result.json")
    assert done.returncode == 0
    assert "1.000 (" in done.stdout


def test_some_trials_fail_and_the_others_are_shown_and_saved(digits_export, tmp_path):
    (tmp_path / "noise.onnx").write_bytes(b"noise")
    save = tmp_path / "result.json"
    options = [*SHORT, "--baseline", "none"]
    done = dcd_deploy("bench", tmp_path / "noise.onnx", digits_export.artifact.path, *options, "--save", save)
    assert done.returncode == BenchError.exit_code
    assert "1 of 2 trials could not be measured" in done.stderr
    assert "digits.onnx" in done.stdout
    result = read_result(save)
    assert [failure.name for failure in result.failures] == ["noise.onnx"]
    assert len(result.trials) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["bench", "MODEL", "--save", "x.pdf"], UnknownNameError.exit_code, "unknown kind of report '.pdf'"),
        (["report", "MODEL"], ResultFileError.exit_code, "expected a JSON document"),
        (["report", "missing.json"], InputFileError.exit_code, "there is no such file"),
        (["compare", "MODEL", "MODEL"], ResultFileError.exit_code, "expected a JSON document"),
    ],
)
def test_bad_input(digits_export, arguments, code, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = {"MODEL": digits_export.artifact.path}
    done = run_here(*(places.get(argument, argument) for argument in arguments))
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr


def workers(model: Path) -> list[str]:
    """The workers that a command marked with this model started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            parent = (process / "environ").read_bytes()
        except OSError:
            continue
        if "benchmarks.worker" in command and str(model).encode() in parent:
            found.append(command)
    return found


def test_an_interrupted_benchmark_leaves_no_worker(digits_export):
    model = digits_export.artifact.path
    command = [*COMMAND, "bench", str(model), "--min-seconds", "60"]
    marked = {**os.environ, "MARK": str(model)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=marked) as process:
        until = time.monotonic() + 60
        while not workers(model) and time.monotonic() < until:
            time.sleep(0.1)
        assert workers(model), "the worker was never seen"
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in said
    assert workers(model) == []
