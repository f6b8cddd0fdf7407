"""What works with the base install alone, without any extra, and what is said of the rest."""

import json
import subprocess
import sys

import numpy as np
import pytest
from command_line import without
from conftest import DIGITS

from dcd_deploy.errors import InputFileError
from dcd_deploy.runtimes.pictures import read_picture

MISSING = ["torch", "PIL", "onnx", "onnxscript", "onnxsim", "ai_edge_litert", "litert_torch", "plotly"]


def test_inspect_and_predict_of_an_onnx_file_need_the_base_install_alone(digits_export, tmp_path):
    """And say what another package would add."""

    def run(*words):
        command = [sys.executable, "-m", "dcd_deploy", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    environment = without(tmp_path, *MISSING)

    model = digits_export.artifact.path
    done = run("inspect", model)
    assert done.returncode == 0, done.stderr
    assert "pip install onnx" in done.stdout
    assert all(words in done.stdout for words in ("logits", "1×3×32×32", "sha256"))
    assert json.loads(run("inspect", model, "--json").stdout)["graph"] is None
    picture = DIGITS / "seven.png"
    done = run("predict", model, picture)
    assert (done.returncode, done.stderr.count("\n")) == (11, 1)
    assert "pip install 'dcd-deploy[image]'" in done.stderr
    assert ".npy" in done.stderr
    np.save(tmp_path / "seven.npy", read_picture(picture))
    done = run("predict", model, tmp_path / "seven.npy", "--top", "1", "--json")
    assert json.loads(done.stdout)["predictions"][0]["index"] == 7
    np.savez(tmp_path / "set.npz", images=np.zeros((2, 3, 32, 32), np.float32), labels=np.arange(2))
    done = run("evaluate", model, "--data", tmp_path / "set.npz", "--jobs", "1", "--json")
    assert json.loads(done.stdout)["images"] == 2, done.stderr
    done = run("evaluate", model, "--data", tmp_path / "set.npz", "--checkpoint", DIGITS / "dcd.pth.tar")
    assert (done.returncode, "'dcd-deploy[export]'" in done.stderr) == (11, True)


@pytest.mark.parametrize("made", ["grey", "float", "pickle", "text", "huge"])
def test_arrays_that_are_no_pictures(tmp_path, made):
    path = tmp_path / "picture.npy"
    if made == "text":
        path.write_text("hello")
    elif made == "huge":
        header = "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 1000000, 3), }"
        path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + b"\0" * 99)
    else:
        arrays = {"grey": np.zeros((4, 4), np.uint8), "float": np.zeros((4, 4, 3)), "pickle": np.array([{}], object)}
        np.save(path, arrays[made], allow_pickle=True)
    with pytest.raises(InputFileError) as refusal:
        read_picture(path)
    assert "picture.npy" in refusal.value.expected
