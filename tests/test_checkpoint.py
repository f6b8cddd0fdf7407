"""Reading checkpoints: every container, nothing executed, every kind of damage named."""

import argparse
import io
import os
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dcd_deploy.errors import CheckpointError, InputFileError, WeightValueError
from dcd_deploy.models.checkpoint import read_checkpoint
from dcd_deploy.models.fit import fit, load_network


@pytest.fixture
def state(small_network):
    return {
        key: value.float() if value.is_floating_point() else value for key, value in small_network.state_dict().items()
    }


def prefixed(state, prefix="module."):
    return OrderedDict((prefix + key, value) for key, value in state.items())


CONTAINERS = {
    "authors' dict": lambda s: {
        "epoch": 9,
        "arch": "x",
        "state_dict": prefixed(s),
        "best_prec1": 70.0,
        "optimizer": {},
    },
    "bare state_dict": lambda s: s,
    "bare, DataParallel": prefixed,
    "compiled, DataParallel": lambda s: prefixed(prefixed(s, "_orig_mod.")),
    "{'model': …}": lambda s: {"model": s, "args": argparse.Namespace(lr=0.1)},
    "{'model': {'state_dict': …}}": lambda s: {"model": {"state_dict": s, "epoch": 1}},
    "numpy accuracy": lambda s: {"state_dict": s, "best_prec1": np.float64(70.5)},
}


@pytest.mark.parametrize("wrap", CONTAINERS.values(), ids=CONTAINERS)
@pytest.mark.parametrize("name", ["model_best.pth.tar", "net.pt", "net.pth"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_containers(tmp_path, state, wrap, name, zipped):
    path = tmp_path / name
    torch.save(wrap(state), path, _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(path).state_dict
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], value) for key, value in state.items())


def test_safetensors(tmp_path, state):
    path = tmp_path / "net.safetensors"
    save_file(prefixed(state), path)
    assert read_checkpoint(path).state_dict.keys() == state.keys()


def test_what_the_file_says_of_itself(tmp_path, state):
    path = tmp_path / "net.pth.tar"
    torch.save({"arch": "resnet10_dcd", "epoch": 3, "best_prec1": torch.tensor(71.5), "state_dict": state}, path)
    checkpoint = read_checkpoint(path)
    assert checkpoint.info == {"arch": "resnet10_dcd", "epoch": 3, "best_prec1": 71.5}
    assert len(checkpoint.sha256) == 64


def test_counters_are_no_weights(tmp_path, state):
    path = tmp_path / "net.pth"
    torch.save(
        state | {"total_ops": torch.ones(1), "layer1.0.total_params": torch.ones(1), "n_averaged": torch.ones(1)}, path
    )
    assert read_checkpoint(path).state_dict.keys() == state.keys()


def test_weights_in_dicts_within_dicts(tmp_path, state):
    other = {key: value + 1 for key, value in state.items()}
    path = tmp_path / "net.pth"
    torch.save({"checkpoint": {"net": {"params": state, "step": 3}, "optimizer": {"x": state["conv1.weight"]}}}, path)
    read = read_checkpoint(path)
    assert torch.equal(read.state_dict["conv1.weight"], state["conv1.weight"])
    assert "'checkpoint.net.params' of a dict" in read.source
    torch.save({"model": {"weights": state}, "ema": {"module": other, "decay": 0.99}}, path)
    assert torch.equal(read_checkpoint(path).state_dict["conv1.weight"], state["conv1.weight"])
    assert torch.equal(read_checkpoint(path, ema=True).state_dict["conv1.weight"], other["conv1.weight"])
    torch.save({"checkpoint": {"generator": state, "critic": other}}, path)
    with pytest.raises(CheckpointError, match="expected the weights under"):
        read_checkpoint(path)


def test_averaged_copy_only_when_asked_for(tmp_path, state):
    path = tmp_path / "net.pth"
    averaged = {key: value * 0 + 1 if value.is_floating_point() else value for key, value in state.items()}
    averaged["n_averaged"] = torch.tensor(7)
    torch.save({"state_dict": state, "ema": averaged}, path)
    assert torch.equal(read_checkpoint(path).state_dict["conv1.weight"], state["conv1.weight"])
    assert read_checkpoint(path, ema=True).state_dict["conv1.weight"].unique() == 1
    assert read_checkpoint(path).has_average
    torch.save({"state_dict": state}, path)
    with pytest.raises(CheckpointError, match="averaged .EMA. copy under state_dict_ema or .* found 'state_dict'"):
        read_checkpoint(path, ema=True)


def test_other_precisions_are_read_exactly(tmp_path, small_network):
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        path = tmp_path / "net.pth"
        state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in small_network.state_dict().items()}
        torch.save(state, path)
        checkpoint = read_checkpoint(path)
        weight = load_network(checkpoint, fit(checkpoint)).get_parameter("conv1.weight")
        assert weight.dtype == torch.float64
        assert torch.equal(weight, state["conv1.weight"].double())


class Hostile:
    """Pickles into a call of os.system."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_a_hostile_pickle_is_not_executed(tmp_path):
    path, witness = tmp_path / "net.pth.tar", tmp_path / "executed"
    content = {"state_dict": Hostile(f"touch {witness}")}
    refusal = "it wants to load 'posix.system', which is not a weight and is never executed"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=refusal):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(CheckpointError, match=refusal):
        read_checkpoint(path)
    for protocol in (3, 4, 5):  # which torch.save never writes, and remarks on
        path.write_bytes(pickle.dumps(content, protocol=protocol))
        with pytest.raises(CheckpointError, match=refusal):  # a warning would be an error of its own here
            read_checkpoint(path)
    assert not witness.exists()
    pickle.loads(pickle.dumps(content))  # the file would have done it
    assert witness.exists()


def test_missing_and_empty(tmp_path):
    with pytest.raises(InputFileError, match="expected a checkpoint .* but there is no such file"):
        read_checkpoint(tmp_path / "none.pth")
    (tmp_path / "empty.pth").touch()
    with pytest.raises(InputFileError, match="the file is empty"):
        read_checkpoint(tmp_path / "empty.pth")
    with pytest.raises(InputFileError, match="this is not a file"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated(tmp_path, small_checkpoint, share):
    whole = small_checkpoint.read_bytes()
    path = tmp_path / "cut.pth.tar"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match=r"damaged or cut off( \(Py\w+ failed reading [\w :]+\); |; )") as caught:
        read_checkpoint(path)
    assert "miniz" not in str(caught.value)


def test_truncated_safetensors(tmp_path, state):
    path = tmp_path / "net.safetensors"
    save_file(state, path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="expected a safetensors file"):
        read_checkpoint(path)


def zip_of_nothing():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "nothing")
    return buffer.getvalue()


def npz():
    buffer = io.BytesIO()
    np.savez(buffer, images=np.zeros(3))
    return buffer.getvalue()


OTHER_FILES = {
    "text": (b"hello world, this is text\n" * 10, "found a text; give the PyTorch checkpoint"),
    "sidecar": (b'{\n  "arch": "mobilenetv2_dcd"\n}\n', "found JSON, such as a model's sidecar"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(99), "found a picture; give the PyTorch checkpoint"),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(99), "found a picture"),
    "npy": (b"\x93NUMPY\x01\x00" + bytes(99), "found an array of numpy"),
    "npz": (npz(), "found arrays of numpy; give the PyTorch checkpoint"),
    "tflite": (b"\x1c\0\0\0TFL3" + bytes(99), "found probably a TFLite model; .* that it came from"),
    "ort": (b"\x1c\0\0\0ORTM" + bytes(99), "found probably an ONNX model saved as .ort"),
    "pte": (b"\x1c\0\0\0ET12" + bytes(99), "found probably an ExecuTorch program"),
    "html": (b"<!DOCTYPE html><html><body>404</body></html>", "an HTML page"),
    "lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer"),
    "other zip": (zip_of_nothing(), "damaged or cut off"),
    "a list": (pickle.dumps([1, 2, 3]), "it is none, or is damaged|found list"),
    "random bytes": (np.random.default_rng(0).bytes(4096), "it is none, or is damaged"),
}


@pytest.mark.parametrize(("content", "message"), OTHER_FILES.values(), ids=OTHER_FILES)
def test_other_files(tmp_path, content, message):
    path = tmp_path / "net.pth.tar"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(path)


def test_an_onnx_model_is_named_as_such(digits_export):
    with pytest.raises(CheckpointError, match="probably an ONNX model"):
        read_checkpoint(digits_export.artifact.path)


def test_a_torchscript_program_is_named_as_such(tmp_path):
    path = tmp_path / "net.pt"
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(CheckpointError, match="TorchScript"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "content", [{}, {"epoch": 3}, {"state_dict": {}}, {"state_dict": {"a": 1}}, {1: torch.ones(1)}]
)
def test_no_weights_inside(tmp_path, content):
    path = tmp_path / "net.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="expected the weights under state_dict or model"):
        read_checkpoint(path)


def test_a_tensor_that_claims_more_than_the_file_holds(tmp_path, state):
    path = tmp_path / "net.pth"
    torch.save(state | {"conv1.weight": torch.zeros(1).expand(10**12)}, path)
    with pytest.raises(CheckpointError, match="claims shape"):
        read_checkpoint(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers(tmp_path, state, value):
    path = tmp_path / "net.pth"
    broken = state["layer1.0.conv1.fc_phi.weight"].clone()
    broken[0, 0] = value
    torch.save(state | {"layer1.0.conv1.fc_phi.weight": broken}, path)
    checkpoint = read_checkpoint(path)
    with pytest.raises(WeightValueError, match=r"1 of \d+ NaN or infinite in 'layer1.0.conv1.fc_phi.weight'"):
        load_network(checkpoint, fit(checkpoint))


def test_a_negative_variance(tmp_path, state):
    path = tmp_path / "net.pth"
    torch.save(state | {"bn1.running_var": -state["bn1.running_var"]}, path)
    checkpoint = read_checkpoint(path)
    with pytest.raises(WeightValueError, match="expected variances in 'bn1.running_var'"):
        load_network(checkpoint, fit(checkpoint))
