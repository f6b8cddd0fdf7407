"""Tuning and the cost model on the command line: what they print, refuse and leave behind."""

import json
import os
import signal
import subprocess
import time

from command_line import COMMAND, QUICK, refused, run_here

from dcd_deploy.errors import INTERRUPTED


def test_costs_and_the_refusals_of_tune(tmp_path, digits_checkpoint):
    done = run_here("costs", digits_checkpoint, "--target", "litert", "--json", *QUICK)
    told = json.loads(done.stdout)
    assert (done.returncode, told["target"], told["inputs"]) == (0, "litert", [[3, 32, 32]])
    assert all(shape["taken"] in {one["lowering"] for one in shape["lowerings"]} for shape in told["shapes"])
    refused(run_here("costs", digits_checkpoint, "--target", "portable", *QUICK), 8, "one runtime", "'portable'")
    tune = ("tune", digits_checkpoint, "--target", "litert", *QUICK)
    refused(run_here(*tune, "--out", tmp_path / "tuned.txt"), 8, "ends in .json", "--out")
    refused(run_here(*tune, "--device", "ssh://nowhere.invalid"), 17, "no host of that name")
    (tmp_path / "tuned.json").write_text('{"kind": "dcd-deploy lowering", "schema": 1, "input": [Infinity, 1]}')
    damaged = run_here("export", digits_checkpoint, "--lowering", tmp_path / "tuned.json", "--out", tmp_path, *QUICK)
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
