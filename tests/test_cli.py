"""The command line as people meet it: what it prints where."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import QUICK, contents, dcd_deploy, run_here
from conftest import DIGITS

from dcd_deploy import __version__
from dcd_deploy.errors import INTERRUPTED, exit_codes


def test_export_verify_predict_inspect(tmp_path, digits_checkpoint):
    """The main path, with one command each."""
    options = [
        "--input-size",
        "32",
        "--resize",
        "32",
        "--mean",
        ".5,.5,.5",
        "--std",
        ".5,.5,.5",
        "--labels",
        DIGITS / "labels.txt",
    ]
    done = dcd_deploy("export", digits_checkpoint, "--out", tmp_path, *options)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) <= 10, done.stdout
    for words in (
        "mobilenetv2_dcd ×0.25",
        "ONNX: 614 nodes, 2.59 MB",
        "1.22 M multiply-adds for one input (as trained 1.32 M)",
        "of the outputs' range from the trained network's, limit 5.0e-05, on 4 generated pictures",
        "order of computation: branch in 27 layers, kernel in 6 layers",
        "assumed, since no tensor tells: BatchNorm eps 1e-05 (--bn-eps)",
        "wrote ",
        "next: dcd-deploy bench",
        "dcd-deploy verify",
    ):
        assert words in done.stdout
    assert "trace to ONNX" in done.stderr
    model = tmp_path / "mobilenetv2_dcd_x0.25_32.onnx"
    assert sorted(contents(tmp_path)) == [model.name, f"{model.name}.json"]

    done = dcd_deploy("verify", model, "--checkpoint", digits_checkpoint)
    assert (done.returncode, "ok" in done.stdout) == (0, True)
    done = dcd_deploy("verify", model)
    assert (done.returncode, "self-check on 2 samples" in done.stdout) == (0, True)
    done = dcd_deploy("predict", model, DIGITS / "seven.png", "--top", "2")
    assert done.stdout.splitlines()[1].startswith("seven")
    assert len(done.stdout.strip().splitlines()) == 3
    done = dcd_deploy("inspect", model)
    for words in ("1×3×32×32", "logits", "Clip", "opset 18", "zero, one, two", "sha256"):
        assert words in done.stdout
    done = dcd_deploy("inspect", digits_checkpoint, "--input-size", "32")
    for words in (
        "mobilenetv2_dcd ×0.25, fc_squeeze 8, 10 classes, with dropout",
        "features.17.conv.6",
        "static twin",
        "best_prec1",
    ):
        assert words in done.stdout


@pytest.mark.exhaustive
def test_an_export_says_all_if_asked(tmp_path, small_checkpoint):
    """The weights' motion once, whatever the number of formats; each graph and all comparisons."""
    done = run_here(
        "export", small_checkpoint, "--out", tmp_path, *QUICK, "--to", "onnx,tflite", "--with-baseline", "-v"
    )
    assert done.returncode == 0, done.stderr
    for words in ("as traced", "simplified", "HardSigmoid", "passes at", "TFLite, XNNPACK", "static twin"):
        assert words in done.stdout
    assert done.stdout.count("moved (median)") == 1
    model = next(tmp_path.glob("*_32.onnx"))
    for options, times in (([], 0), (["--verbose"], 1)):
        done = run_here("verify", model, "--checkpoint", small_checkpoint, *options)
        assert done.stdout.count("moved (median)") == times


def test_inspect_shows_progress(small_checkpoint):
    done = run_here("inspect", small_checkpoint)
    assert "recognise and count the network" in done.stderr
    assert run_here("inspect", small_checkpoint, "--quiet").stderr == ""


def test_json_is_one_object_on_standard_output(tmp_path, small_checkpoint):
    done = dcd_deploy("export", small_checkpoint, "--out", tmp_path, *QUICK, "--json")
    answer = json.loads(done.stdout)
    assert answer.keys() == {"files", "seconds"}
    (found,) = answer["files"]
    assert found["path"] == str(tmp_path / "resnet10_dcd_32.onnx")
    assert found["verification"]["passed"] is True
    assert all("smallest_tolerance" in comparison for comparison in found["verification"]["comparisons"])
    assert json.loads(Path(found["sidecar"]).read_text())["checkpoint_sha256"] == found["checkpoint_sha256"]
    model = found["path"]
    for command in (
        ["verify", model],
        ["inspect", model],
        ["inspect", small_checkpoint],
        ["bench", model, "--baseline", "none", "--min-seconds", "0"],
    ):
        assert isinstance(json.loads(run_here(*command, "--json").stdout), dict)
    told = json.loads(run_here("predict", model, DIGITS / "seven.png", "--json", "--top", "2").stdout)
    assert [set(each) for each in told["predictions"]] == [{"index", "label", "probability"}] * 2
    done = dcd_deploy("export", tmp_path / "none.pth", "--json")
    assert json.loads(done.stdout)["error"]["exit_code"] == done.returncode == 3


@pytest.mark.exhaustive
def test_quiet(tmp_path, small_checkpoint):
    done = dcd_deploy("export", small_checkpoint, "--out", tmp_path, *QUICK, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(contents(tmp_path)) == 2


def test_version_and_help():
    assert dcd_deploy("--version").stdout == f"dcd-deploy {__version__}\n"
    for command in ("export", "verify", "inspect", "bench", "sweep", "compare", "report", "predict", "devices"):
        assert run_here(command, "--help").returncode == 0
    assert dcd_deploy("exprot").returncode == 2


def test_every_exit_code_is_its_own():
    codes = exit_codes()
    assert len(codes) == 24
    assert not {0, 1, INTERRUPTED} & codes.keys()


@pytest.mark.parametrize("module", ["dcd_deploy", "dcd_deploy.cli"])
def test_both_modules_run(module):
    done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"dcd-deploy {__version__}\n"


def test_the_threads_of_torch_wait_without_spinning():
    code = """
import atexit, os, sys
from dcd_deploy.cli import main
atexit.register(lambda: print(os.environ["OMP_WAIT_POLICY"]))
sys.argv[1:] = ["--version"]
main()
"""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split()[-1] == "PASSIVE"
