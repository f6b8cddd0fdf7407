"""The command line as people meet it: what it prints where, and how it ends."""

import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import DIGITS

from dcd_deploy import __version__
from dcd_deploy.errors import INTERRUPTED, exit_codes

COMMAND = [sys.executable, "-m", "dcd_deploy"]
QUICK = ["--input-size", "32"]


def dcd_deploy(*arguments, **options):
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    environment.pop("COLUMNS", None)  # the test runner's own
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=300,
        **options,
    )


def refused(done, code, *words):
    """Assert one clear line on standard error, the exit code, no traceback."""
    errors = [line for line in done.stderr.splitlines() if line.startswith("dcd-deploy: error: ")]
    assert done.returncode == code, done.stderr
    assert len(errors) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in errors[0]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


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
    for words in (
        "as traced",
        "simplified",
        "HardSigmoid",
        "passes at",
        "moved (median)",
        "next: dcd-deploy bench",
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
    for words in ("1×3×32×32", "logits", "HardSigmoid", "opset 18", "zero, one, two", "sha256"):
        assert words in done.stdout
    done = dcd_deploy("inspect", digits_checkpoint, "--input-size", "32")
    for words in (
        "mobilenetv2_dcd ×0.25, fc_squeeze 8, 10 classes, with dropout",
        "features.17.conv.6",
        "static twin",
        "best_prec1",
    ):
        assert words in done.stdout


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
        assert isinstance(json.loads(dcd_deploy(*command, "--json").stdout), dict)
    assert isinstance(json.loads(dcd_deploy("predict", model, DIGITS / "seven.png", "--json").stdout), list)
    done = dcd_deploy("export", tmp_path / "none.pth", "--json")
    assert json.loads(done.stdout)["error"]["exit_code"] == done.returncode == 3


def test_quiet(tmp_path, small_checkpoint):
    done = dcd_deploy("export", small_checkpoint, "--out", tmp_path, *QUICK, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(contents(tmp_path)) == 2


def test_version_and_help():
    assert dcd_deploy("--version").stdout == f"dcd-deploy {__version__}\n"
    for command in ("export", "verify", "inspect", "bench", "sweep", "compare", "report", "predict", "devices"):
        assert dcd_deploy(command, "--help").returncode == 0
    assert dcd_deploy("exprot").returncode == 2


def test_every_exit_code_is_its_own():
    codes = exit_codes()
    assert len(codes) == 21
    assert not {0, 1, 2, INTERRUPTED} & codes.keys()


class Hostile:
    def __reduce__(self):
        return os.system, ("echo executed",)


def hostile(path, state):
    path.write_bytes(pickle.dumps({"state_dict": Hostile()}, protocol=2))


BAD_CHECKPOINTS = {
    "missing": (lambda path, state: None, 3, ["there is no such file", "check the path"]),
    "empty": (lambda path, state: path.touch(), 3, ["the file is empty"]),
    "folder": (lambda path, state: path.mkdir(), 3, ["this is not a file"]),
    "text": (lambda path, state: path.write_text("hello"), 4, ["expected a checkpoint"]),
    "truncated": (lambda path, state: path.write_bytes(state.read_bytes()[:90_000]), 4, ["damaged or cut off"]),
    "hostile": (hostile, 4, ["posix.system", "never executed"]),
    "another network": (
        lambda path, state: torch.save({"encoder.weight": torch.ones(3)}, path),
        5,
        ["is of no known network", "mobilenetv2_dcd"],
    ),
}


@pytest.mark.parametrize(("make", "code", "words"), BAD_CHECKPOINTS.values(), ids=BAD_CHECKPOINTS)
def test_bad_checkpoints(tmp_path, small_checkpoint, make, code, words):
    checkpoint, out = tmp_path / "net.pth.tar", tmp_path / "out"
    out.mkdir()
    (out / "resnet10_dcd_32.onnx").write_bytes(b"an earlier export")
    make(checkpoint, small_checkpoint)
    before = contents(out)
    refused(dcd_deploy("export", checkpoint, "--out", out, *QUICK), code, *words)
    refused(dcd_deploy("inspect", checkpoint), code, *words)
    assert contents(out) == before


def test_values_that_are_no_numbers(tmp_path, small_network):
    state = {key: value.clone() for key, value in small_network.state_dict().items()}
    state["layer1.0.conv1.conv.weight"][0, 0, 0, 0] = float("nan")
    torch.save(state, tmp_path / "net.pth")
    refused(
        dcd_deploy("export", tmp_path / "net.pth", "--out", tmp_path / "out"),
        6,
        "1 of 36864 NaN",
        "layer1.0.conv1.conv.weight",
    )
    assert not (tmp_path / "out").exists()


BAD_OPTIONS = {
    "format": (["--to", "onx"], 7, ["unknown format 'onx': did you mean 'onnx'?"]),
    "architecture": (["--arch", "resnet10-dcd"], 7, ["did you mean 'resnet10_dcd'?"]),
    "lowering": (["--lowering", "kernal"], 7, ["did you mean 'kernel'?"]),
    "another architecture": (
        ["--arch", "resnet18_dcd"],
        5,
        ["does not fit resnet18_dcd", "tensors are those of resnet10_dcd"],
    ),
    "input too small": (["--input-size", "31"], 8, ["at least 32×32, found 31×31"]),
    "input size no number": (["--input-size", "big"], 8, ["expected --input-size as a side or HEIGHTxWIDTH"]),
    "batch": (["--batch", "many"], 8, ["expected --batch as a number or 'dynamic', found 'many'"]),
    "no batch": (["--batch", "0"], 8, ["at least 1"]),
    "opset": (["--opset", "9"], 8, ["15..26"]),
    "mean": (["--mean", "0.5"], 8, ["expected --mean as three numbers"]),
    "std": (["--std", "0,1,1"], 8, ["expected positive --std"]),
    "resize": (["--resize", "20"], 8, ["expected --resize of at least"]),
    "no resize": (["--resize", "0"], 8, ["expected --resize as a whole number"]),
    "no width": (["--width-mult", "0"], 8, ["expected --width-mult as a number, more than 0"]),
    "input too large": (["--input-size", "99999"], 8, ["at most 4096×4096"]),
    "tolerance": (["--tolerance", "7"], 8, ["expected a --tolerance between 0 and 1"]),
    "tight tolerance": (["--tolerance", "1e-12"], 9, ["it would pass at"]),
    "name": (["--name", "../escaped"], 8, ["expected a --name of letters"]),
    "labels": (["--labels", DIGITS / "train.py"], 8, ["expected 10 labels"]),
    "no labels": (["--labels", DIGITS / "none.txt"], 3, ["expected a file of labels"]),
    "labels no text": (["--labels", DIGITS / "seven.png"], 3, ["UTF-8"]),
    "samples": (["--samples", DIGITS / "labels.txt"], 3, [".npy"]),
}


@pytest.mark.parametrize(("options", "code", "words"), BAD_OPTIONS.values(), ids=BAD_OPTIONS)
def test_bad_options(tmp_path, small_checkpoint, options, code, words):
    options = options if "--input-size" in options else [*QUICK, *options]
    refused(dcd_deploy("export", small_checkpoint, "--out", tmp_path / "out", *options), code, *words)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "escaped.onnx").exists()


def test_inspect_lists_every_key_that_differs(tmp_path, small_network):
    state = small_network.state_dict() | {"extra.weight": torch.ones(2)}
    missing = [key for key in state if key.startswith("layer4.0.conv2.fc")]
    torch.save({key: value for key, value in state.items() if key not in missing}, tmp_path / "net.pth")
    done = dcd_deploy("inspect", tmp_path / "net.pth")
    refused(done, 5, "nearest is resnet10_dcd")
    listed = [line.split() for line in done.stdout.splitlines()]
    assert all(["missing", key] in listed for key in missing)
    assert ["unexpected", "extra.weight"] in listed
    assert "dcd-deploy inspect" not in done.stderr, "it is what was run"


def test_export_lists_ten_keys_and_sends_to_inspect(tmp_path, small_network):
    torch.save({key: v for key, v in small_network.state_dict().items() if "bn" not in key}, tmp_path / "net.pth")
    done = dcd_deploy("export", tmp_path / "net.pth", "--out", tmp_path)
    refused(done, 5, "nearest is resnet10_dcd", f"'dcd-deploy inspect {tmp_path}/net.pth' lists them all")
    assert sum(line.startswith("missing") for line in done.stdout.splitlines()) == 10
    assert "more; 'dcd-deploy inspect' lists them all" in done.stdout


def test_a_folder_that_cannot_be_written(tmp_path, small_checkpoint):
    (tmp_path / "file").write_text("not a folder")
    for out in (tmp_path / "file", tmp_path / "file" / "below", "/proc/none"):
        done = dcd_deploy("export", small_checkpoint, "--out", out, *QUICK)
        refused(done, 10, f"expected to write into '{out}'")
        assert "trace to ONNX" not in done.stderr, "it should be refused before the long work"


@pytest.fixture
def full_disk(tmp_path):
    """A real file system of 1 MB with an earlier export on it; else a limit on the size of files."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False
        ).returncode
        == 0
    )
    (disk / "resnet10_dcd_32.onnx").write_bytes(b"an earlier export")
    limit = None if mounted else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
    yield disk, limit
    if mounted:
        subprocess.run(["umount", disk], check=True)


def test_a_full_disk(full_disk, small_checkpoint):
    disk, limit = full_disk
    before = contents(disk)
    refused(
        dcd_deploy("export", small_checkpoint, "--out", disk, *QUICK, preexec_fn=limit),
        10,
        "expected to write into",
        "make room",
    )
    assert contents(disk) == before
    assert [path.name for path in disk.iterdir()] == ["resnet10_dcd_32.onnx"]


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stage", ["read checkpoint", "reference outputs", "trace to ONNX", "simplify"])
def test_interrupted(tmp_path, digits_checkpoint, stage, signal_number):
    (tmp_path / "net.onnx").write_bytes(b"an earlier export")
    before = contents(tmp_path)
    command = [*COMMAND, "export", digits_checkpoint, "--out", tmp_path, "--name", "net", *QUICK]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=0) as process:
        seen = ""
        while stage not in seen:
            seen += process.stderr.read(1)
        time.sleep(0.05)
        process.send_signal(signal_number)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED, errors
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("dcd-deploy: error: interrupted")
    assert output == ""
    assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def test_interrupted_while_it_loads(digits_checkpoint):
    """From the first line of ours on there is one line, and 130, whatever is being imported."""
    code = "import sys; from dcd_deploy.__main__ import main; print('!', flush=True); main()"
    for i in range(16):
        command = [sys.executable, "-c", code, "inspect", digits_checkpoint, "--input-size", "32"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            process.stdout.readline()
            time.sleep(0.005 + 0.025 * i)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors.count("\n")) == (INTERRUPTED, 1), errors
        assert errors.startswith("dcd-deploy: error: interrupted")


def test_an_interruption_where_python_can_raise_none():
    """It ends the command, and Python's own lines about it ("Exception ignored in ...") do not come before ours."""
    code = """
import signal
from dcd_deploy.interruption import heeded, leave_interrupted, listen

class Late:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

listen()
try:
    with heeded():
        Late()
except KeyboardInterrupt:
    leave_interrupted()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        INTERRUPTED,
        "dcd-deploy: error: interrupted; nothing was left half-written\n",
    )


def test_an_interruption_that_a_library_swallowed():
    code = """
import signal, sys
from dcd_deploy import cli, commands

def swallow(*args, **kwargs):
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        END

commands.inspect = swallow
sys.argv[1:] = ["inspect", "x"]
cli.main()
"""
    for end in ("pass", "raise RecursionError"):
        done = subprocess.run(
            [sys.executable, "-c", code.replace("END", end)], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (INTERRUPTED, ""), done.stderr
        assert done.stderr.startswith("dcd-deploy: error: interrupted")


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


def test_a_defect_of_ours_is_one_line_too(small_checkpoint, tmp_path):
    code = (
        "import sys; from dcd_deploy import cli, commands; commands.inspect = lambda *a, **k: 1 / 0; "
        "sys.argv[1:] = ['inspect', 'x']; cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    refused(done, 1, "ZeroDivisionError", "DCD_DEPLOY_TRACEBACK=1")
    traced = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"DCD_DEPLOY_TRACEBACK": "1"},
    )
    assert "Traceback" in traced.stderr


def test_control_characters_of_a_file_do_not_reach_the_terminal(tmp_path, small_network):
    torch.save(small_network.state_dict() | {"\x1b[31mred\x1b]0;title\x07": torch.ones(1)}, tmp_path / "net.pth")
    done = dcd_deploy("inspect", tmp_path / "net.pth")
    refused(done, 5, r"\x1b[31mred")
    assert "\x1b" not in done.stdout + done.stderr


def test_output_that_nobody_reads_or_that_has_no_room(digits_export):
    path = str(digits_export.artifact.path)
    closed = subprocess.run(
        f"{sys.executable} -m dcd_deploy.cli inspect {path} | true",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in closed.stderr
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*COMMAND, "inspect", path], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 10, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_a_reader_that_left_is_no_error(digits_checkpoint, as_json):
    reading, writing = os.pipe()
    os.close(reading)
    command = [*COMMAND, "inspect", digits_checkpoint, "--input-size", "32", *as_json]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_nobody_follows_the_progress(digits_export):
    reading, writing = os.pipe()
    os.close(reading)
    command = [*COMMAND, "verify", digits_export.files[0].artifact.path]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=writing, text=True, check=False)
    os.close(writing)
    assert done.returncode == 0
    assert "self-check on" in done.stdout


def test_costs_and_the_refusals_of_tune(tmp_path, digits_checkpoint):
    done = dcd_deploy("costs", digits_checkpoint, "--target", "litert", "--json", *QUICK)
    told = json.loads(done.stdout)
    assert (done.returncode, told["target"], told["input"]) == (0, "litert", [32, 32])
    assert all(shape["taken"] in {form["form"] for form in shape["forms"]} for shape in told["shapes"])
    refused(dcd_deploy("costs", digits_checkpoint, "--target", "portable", *QUICK), 8, "one runtime", "'portable'")
    tune = ("tune", digits_checkpoint, "--target", "litert", *QUICK)
    refused(dcd_deploy(*tune, "--out", tmp_path / "tuned.txt"), 8, "ends in .json", "--out")
    refused(dcd_deploy(*tune, "--device", "ssh://nowhere.invalid"), 17, "no host of that name")
    (tmp_path / "tuned.json").write_text('{"kind": "dcd-deploy lowering", "schema": 1, "input": [Infinity, 1]}')
    damaged = dcd_deploy("export", digits_checkpoint, "--lowering", tmp_path / "tuned.json", "--out", tmp_path, *QUICK)
    refused(damaged, 23, "dcd-deploy tune", "tune again")
    assert [path.name for path in tmp_path.iterdir()] == ["tuned.json"]


def test_tune_interrupted(tmp_path, digits_checkpoint):
    """While it measures: it ends at once, and leaves neither a lowering nor a folder of layers."""
    command = [*COMMAND, "tune", digits_checkpoint, "--target", "onnxruntime-x86", "--out", tmp_path / "t.json", *QUICK]
    folders = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ | folders) as process:
        seen = b""
        while b"measure in turns" not in seen:
            character = process.stderr.read(1)
            assert character, seen
            seen += character
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=60)[1]
    assert process.returncode == INTERRUPTED
    assert b"interrupted; nothing was left half-written" in rest
    left = [path.name for path in tmp_path.iterdir()]
    assert not [name for name in left if name == "t.json" or "dcd-deploy" in name]
