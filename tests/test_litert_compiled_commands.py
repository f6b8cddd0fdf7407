"""Every command on a file for CompiledModel: right, in that runtime, and without a word of the library's."""

import json
import re
import subprocess
import sys

import pytest
from boards import FAST
from command_line import QUICK, dcd_deploy
from conftest import DIGITS
from tuning_subjects import layers_of, registry_subject

from dcd_deploy import commands
from dcd_deploy.artifacts import LITERT_COMPILED
from dcd_deploy.benchmarks.measure import MeasureConfig
from dcd_deploy.benchmarks.process import WORKER, Here
from dcd_deploy.lowering.targets import target_for
from dcd_deploy.models.spec import NetworkSpec
from dcd_deploy.progress import silent
from dcd_deploy.tuning.runtimes import processor, version_of
from dcd_deploy.tuning.tune import TuneConfig, tune

SHORT = ("--min-runs", "8", "--min-seconds", "0", "--rounds", "1", "--no-memory")
REMARK = re.compile(r"^(INFO|WARNING|ERROR|E0000|W0000)\b", re.MULTILINE)
UNTRIED = """
import sys
import dcd_deploy.runtimes.litert_compiled as litert_compiled
from dcd_deploy.cli import main
litert_compiled.TRIED = ("9.9",)
main()
"""
NOTE = (
    "dcd-deploy: note: 'digits.tflite' is right in litert, but slower: it was made for litert-compiled; expected "
    "ai-edge-litert 9.9, whose CompiledModel takes XNNPACK's flags as they were tried, found 2.3.0; run: pip install "
    "'ai-edge-litert==9.9.*'"
)


@pytest.fixture(scope="module")
def file(digits_compiled):
    return digits_compiled.artifact.path


def quiet(done):
    """Assert that a command went well, and that nothing but our own words came; return its output."""
    assert done.returncode == 0, done.stderr
    for said in (done.stdout, done.stderr):
        assert not REMARK.search(said), said
        assert "Traceback" not in said
    return done.stdout


def test_predict(file):
    said = quiet(done := dcd_deploy("predict", file, DIGITS / "seven.png", "--top", "1"))
    assert said.splitlines()[1].split()[:2] == ["seven", "7"]
    assert done.stderr == ""


def test_verify(file, digits_checkpoint):
    assert quiet(dcd_deploy("verify", file)).rstrip().endswith("ok")
    said = quiet(dcd_deploy("verify", file, "--checkpoint", digits_checkpoint))
    assert re.search(r"^model file +singly .* ok *$", said, re.MULTILINE)


def test_bench_beside_the_static_twin_in_the_same_runtime(file):
    told = json.loads(quiet(dcd_deploy("bench", file, *SHORT, "--json")))
    (trial,) = told["trials"]
    assert trial["runtime"] == LITERT_COMPILED
    assert [timing["name"] for timing in trial["timings"]] == ["digits.tflite", "static twin"]
    assert trial["ratios"]["static twin"]["median"] > 1
    said = quiet(dcd_deploy("bench", file, *SHORT, "--runtime", "litert,litert-compiled"))
    assert re.findall(r"^digits.tflite +(\S+)", said, re.MULTILINE) == ["litert", LITERT_COMPILED]


def test_memory_of_it_is_measured_in_that_runtime(file):
    result = commands.bench(file, baseline="none", **FAST | {"memory": True})
    (trial,) = result.trials
    assert trial.runtime == LITERT_COMPILED
    assert trial.timings[0].memory.peak_mb > trial.timings[0].memory.own_mb > 0


def test_profile_knows_its_layers(file, digits_compiled):
    told = json.loads(quiet(dcd_deploy("profile", file, "--json")))
    assert told["runtime"] == "ai-edge-litert CompiledModel"
    assert {node["part"] for node in told["nodes"]} == {"static", "dynamic", "layout"}
    assert all(node["layer"] for node in told["nodes"])
    applied = {node["layer"] for node in told["nodes"] if node["name"].endswith("applied/fullyconnected")}
    assert applied == {layer for layer, name in digits_compiled.built.lowering.items() if name == "fully_connected"}
    quiet(dcd_deploy("profile", file))


def test_inspect_says_how_to_set_the_flag(file, tflite_pair):
    said = quiet(dcd_deploy("inspect", file))
    assert "made for CompiledModel with XNNPACK's flag DYNAMIC_FULLY_CONNECTED" in said
    for language in ("Python", "Kotlin", "C++", "Swift", "C, the delegate"):
        assert f"  {language}: " in said
    told = json.loads(quiet(dcd_deploy("inspect", file, "--json")))
    assert "xnnpack_flags=11" in told["flag"]["Python"]
    assert told["card"]["runtime"] == LITERT_COMPILED
    left = {one["operator"] for one in told["delegation"]["left_out"]}
    assert left == {"FULLY_CONNECTED"}, "as an interpreter without the flag takes it"
    assert "DYNAMIC_FULLY_CONNECTED" not in quiet(dcd_deploy("inspect", tflite_pair[0]))
    assert json.loads(quiet(dcd_deploy("inspect", tflite_pair[0], "--json")))["flag"] == {}


def test_an_export_is_as_quiet(small_checkpoint, tmp_path):
    command = ["export", small_checkpoint, "--to", "tflite", "--target", LITERT_COMPILED, "--out", tmp_path, *QUICK]
    said = quiet(dcd_deploy(*command, "--lowering", "fully_connected", "-v"))
    assert re.search(r"^TFLite, CompiledModel .* ok *$", said, re.MULTILINE)
    assert re.search(r"fully_connected in 9 layers$", said, re.MULTILINE)


def test_the_worker_says_nothing(file):
    config = {"min_runs": 4, "min_seconds": 0, "rounds": 2, "warmup_seconds": 0}
    request = {"task": "time", "models": {"a": str(file)}, "runtime": LITERT_COMPILED, "threads": 1, "batch": None}
    given = json.dumps(request | {"cpus": None, "config": config})
    done = subprocess.run(WORKER, input=given, capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["answer"]["runtime"] == LITERT_COMPILED
    assert done.stderr == ""


def test_a_workers_last_words_are_its_own(file):
    """The traceback, and not that a library is unloaded."""
    script = (
        "import sys\nfrom dcd_deploy.benchmarks import worker\nfrom dcd_deploy.runtimes import open_model\n"
        f"def respond(_):\n    model = open_model({str(file)!r})\n    raise KeyError('a defect')\n"
        "worker.respond = respond\nworker.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], input="{}", capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("KeyError: 'a defect'")


DEFECT = """
import sys
from dcd_deploy.cli import main
from dcd_deploy.runtimes import model

def softmax(logits):
    raise KeyError("a defect")

model.softmax = softmax
main()
"""


def test_a_defect_of_the_command_line_is_not_hidden(file):
    command = [sys.executable, "-c", DEFECT, "predict", str(file), str(DIGITS / "seven.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "a defect" in done.stderr
    assert not REMARK.search(done.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "FILE", DIGITS / "seven.png"),
        ("verify", "FILE"),
        ("bench", "FILE", *SHORT),
        ("profile", "FILE"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_note_where_the_flag_cannot_be_set(arguments, file):
    command = [str(file) if word == "FILE" else str(word) for word in arguments]
    done = subprocess.run([sys.executable, "-c", UNTRIED, *command], capture_output=True, text=True, check=False)
    quiet(done)
    assert [line for line in done.stderr.splitlines() if "note" in line or "Warning" in line] == [NOTE]
    for line in done.stdout.splitlines():
        assert LITERT_COMPILED not in line.replace(f"for {LITERT_COMPILED}", "")  # what it was made for may be said
        assert "CompiledModel" not in line


def test_costs(digits_checkpoint):
    told = json.loads(quiet(dcd_deploy("costs", digits_checkpoint, "--target", LITERT_COMPILED, "--json", *QUICK)))
    assert told["target"] == LITERT_COMPILED
    assert "fully_connected" in {shape["taken"] for shape in told["shapes"]}
    costs = {each["lowering"]: each["extra"] for each in told["shapes"][0]["lowerings"]}
    assert costs["fully_connected"] < costs["kernel"], "a pass over the map less"


def test_other_targets_and_batches_do_not_know_it():
    for other in ("litert", "portable"):
        assert "fully_connected" not in target_for(other, "tflite").lowerings
    assert "fully_connected" in target_for(LITERT_COMPILED, "tflite").for_batch(1).lowerings
    for batch in (2, None):
        assert "fully_connected" not in target_for(LITERT_COMPILED, "tflite").for_batch(batch).lowerings


def test_tune_measures_in_that_runtime(tmp_path, monkeypatch):
    target = target_for(LITERT_COMPILED, "tflite")
    few = MeasureConfig(runs=3, dropped=1, warmup_runs=1, warmup_seconds=0.0, min_runs=8, min_seconds=0.0, rounds=2)
    network = registry_subject(NetworkSpec("mobilenetv2_dcd", 10, 0.1, 8), 32, most=1)
    monkeypatch.setattr("dcd_deploy.tuning.tune.decided", lambda _: True)  # so few runs leave most of it open
    result = tune(network, TuneConfig(target, measure=few, cache=tmp_path), Here(), silent)
    assert (result.lowering.target, result.lowering.runtime) == (LITERT_COMPILED, LITERT_COMPILED)
    assert {"fully_connected", "branch", "static"} <= set(result.shapes[0].median_us)
    environment = Here().environment()
    result.lowering.check_place(version_of(LITERT_COMPILED, environment), processor(environment))
    assert set(result.lowering.layers) == set(layers_of(network.groups))
