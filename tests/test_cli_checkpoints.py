"""The options of checkpoints on the command line, and what the reports say of them."""

import json

import pytest
import torch
from command_line import QUICK, refused, run_here
from conftest import DIGITS_OPTIONS
from held import MOBILE, network_of

from dcd_deploy import commands
from dcd_deploy.errors import VerificationError


@pytest.fixture(scope="module")
def state():
    return {key: value.float() for key, value in network_of(MOBILE).state_dict().items()}


@pytest.fixture
def lightning(tmp_path, state):
    path = tmp_path / "last.ckpt"
    content = {"state_dict": {f"model.{key}": value for key, value in state.items()}, "hyper_parameters": {"lr": 0.1}}
    torch.save(content, path)
    return path


def test_inspect_says_what_was_done_and_assumed(lightning, state):
    done = run_here("inspect", lightning, *QUICK, "--stem-stride", "1")
    assert done.returncode == 0, done.stderr
    assert f"checkpoint: prefix 'model.' taken from {len(state)} keys" in done.stdout
    assert "assumed, since no tensor tells: BatchNorm eps 1e-05 (--bn-eps); gate relu6(v + 3) / 3" in done.stdout
    assert "strides of the stages 1,2,2,2,1,2,1 (--last-stride, --strides)" in done.stdout
    shown = json.loads(run_here("inspect", lightning, *QUICK, "--json", "--bn-eps", "1e-3").stdout)
    assert shown["notes"][0].startswith("prefix 'model.'")
    assert shown["network"]["spec"]["bn_eps"] == 1e-3
    assert not any("eps" in line for line in shown["assumed"])
    assert not any("input_size" in line for line in shown["assumed"])
    assert "; input 224×224 (--input-size)\n" in run_here("inspect", lightning).stdout


@pytest.mark.exhaustive
def test_what_is_assumed_of_pictures_is_in_the_file(tmp_path, digits_checkpoint):
    card = commands.export(digits_checkpoint, out=tmp_path).artifact.card
    assert card.assumed[-3:] == (
        "input 224×224 (`input_size`)",
        "mean and deviation of ImageNet (`mean`, `std`)",
        "short side 256 before the crop (`resize`)",
    )
    card = commands.export(digits_checkpoint, out=tmp_path, **DIGITS_OPTIONS).artifact.card
    assert not any("`input_size`" in line or "ImageNet" in line or "crop" in line for line in card.assumed)


def test_prefix_and_drop(tmp_path, state):
    path = tmp_path / "net.pth"
    torch.save({f"left.{key}": value for key, value in state.items()} | {"left.more": torch.ones(1)}, path)
    refused(run_here("inspect", path, *QUICK), 5, "1 unexpected: more", "--drop more", "--network FILE.py:")
    done = run_here("inspect", path, *QUICK, "--prefix", "left", "--drop", "more")
    assert done.returncode == 0, done.stderr
    assert "checkpoint: taken: the " in done.stdout
    assert "checkpoint: dropped as asked: 1 keys that begin with 'more'" in done.stdout
    refused(run_here("costs", path, "--target", "litert", "--prefix", "right"), 8, "'left.' (")


@pytest.mark.parametrize(
    ("option", "value", "code", "words"),
    [
        ("--bn-eps", "-1", 8, "expected --bn-eps as a number"),
        ("--gate", "relu", 7, "unknown gate 'relu'"),
        ("--strides", "1,x", 8, "expected --strides as whole numbers"),
        ("--strides", "1,2", 8, "expected --strides of 8 numbers"),
        ("--last-stride", "0", 8, "expected --last-stride as a whole number"),
    ],
)
def test_options_that_no_network_has(lightning, option, value, code, words):
    refused(run_here("inspect", lightning, *QUICK, option, value), code, words)


@pytest.mark.exhaustive
def test_what_a_file_was_made_with_is_verified_with(tmp_path, digits_checkpoint):
    """The gate compares with the network that was asked for, then and later."""
    held = tmp_path / "last.ckpt"
    state = torch.load(digits_checkpoint, weights_only=True)["state_dict"]
    torch.save({"state_dict": {f"model.{key.removeprefix('module.')}": value for key, value in state.items()}}, held)
    result = commands.export(held, out=tmp_path, name="net", bn_eps=1e-3, **DIGITS_OPTIONS)
    assert result.checkpoint_notes == (f"prefix 'model.' taken from {len(state)} keys",)
    assert not any("eps" in line for line in result.built.report.assumed)
    path = result.artifact.path
    sidecar = json.loads(path.with_name("net.onnx.json").read_text())
    assert sidecar["spec"]["bn_eps"] == 1e-3
    assert tuple(sidecar["checkpoint_notes"]) == result.checkpoint_notes
    report = commands.verify(path, checkpoint=held)
    assert report.passed
    assert "BatchNorm eps 0.001 (`bn_eps`)" in report.assumed
    assert report.notes == result.checkpoint_notes
    with pytest.raises(VerificationError):
        commands.verify(path, checkpoint=held, bn_eps=1e-5)
