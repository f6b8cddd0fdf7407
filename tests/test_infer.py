"""Which network a checkpoint holds follows from its tensors; what does not fit is listed exactly."""

from pathlib import Path

import pytest
import torch

from dcd_deploy.errors import CheckpointMismatchError, OptionError, UnknownNameError
from dcd_deploy.models.checkpoint import Checkpoint
from dcd_deploy.models.fit import compare, fit
from dcd_deploy.models.infer import SpecOverrides
from dcd_deploy.models.registry import ARCHS, build
from dcd_deploy.models.spec import NetworkSpec

WIDTHS_AND_SQUEEZES = [(0.1, 8), (0.25, 8), (0.35, 8), (0.5, 8), (0.75, 16), (1.0, 16), (1.0, 4), (1.4, 16)]
SPECS = [NetworkSpec("mobilenetv2_dcd", 1000, w, s, d) for w, s in WIDTHS_AND_SQUEEZES for d in (0.0, 0.1)]
SPECS += [NetworkSpec("mobilenetv2", 10, w) for w in (0.5, 1.0)]
SPECS += [NetworkSpec(arch, classes) for arch in ARCHS if arch.startswith("resnet") for classes in (10, 1000)]


def checkpoint_of(spec: NetworkSpec, **changes: torch.Tensor | None) -> Checkpoint:
    """Return a checkpoint of tensors that take no memory; ``changes`` replace or (None) remove keys."""
    with torch.device("meta"):
        state = build(spec).state_dict() | changes
    return Checkpoint(Path("net.pth"), "0" * 64, {k: v for k, v in state.items() if v is not None}, "test")


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.describe()} {spec.num_classes} {spec.dropout}")
def test_every_network_is_recognised(spec):
    assert fit(checkpoint_of(spec)) == spec


def test_unusual_width_and_squeeze_give_the_same_network():
    spec = NetworkSpec("mobilenetv2_dcd", 17, 0.62, 11)
    found = fit(checkpoint_of(spec))
    assert compare(checkpoint_of(spec).state_dict, found).fits
    assert found.num_classes == 17


def test_counters_may_be_missing():
    spec = NetworkSpec("resnet10_dcd", 10)
    without = {key: None for key in checkpoint_of(spec).state_dict if key.endswith("num_batches_tracked")}
    assert fit(checkpoint_of(spec, **without)) == spec


def test_overrides():
    spec = NetworkSpec("mobilenetv2_dcd", 10, 0.35, 8)
    assert fit(checkpoint_of(spec), SpecOverrides(width_mult=0.36)).width_mult == 0.36
    assert fit(checkpoint_of(spec), SpecOverrides(arch="mobilenetv2_dcd")) == spec
    with pytest.raises(
        CheckpointMismatchError, match="does not fit resnet18_dcd.*tensors are those of mobilenetv2_dcd ×0.35"
    ):
        fit(checkpoint_of(spec), SpecOverrides(arch="resnet18_dcd"))
    with pytest.raises(CheckpointMismatchError, match="wrongly shaped: classifier.0.fc_scale.weight"):
        fit(checkpoint_of(spec), SpecOverrides(num_classes=11))
    with pytest.raises(UnknownNameError, match="did you mean 'resnet18_dcd'"):
        fit(checkpoint_of(spec), SpecOverrides(arch="resnet18dcd"))


def test_exact_lists_of_what_differs():
    changes = {
        "layer1.0.conv1.fc_phi.weight": None,
        "extra.weight": torch.ones(1),
        "layer2.0.bn1.weight": torch.ones(3),
    }
    with pytest.raises(CheckpointMismatchError) as caught:
        fit(checkpoint_of(NetworkSpec("resnet18_dcd", 10), **changes))
    mismatch = caught.value.mismatch
    assert mismatch.spec.arch == "resnet18_dcd"
    assert mismatch.missing == ("layer1.0.conv1.fc_phi.weight",)
    assert mismatch.unexpected == ("extra.weight",)
    assert mismatch.wrong_shape == {"layer2.0.bn1.weight": ((128,), (3,))}
    message = str(caught.value)
    for part in (
        "nearest is resnet18_dcd",
        "1 missing",
        "1 unexpected",
        "expected (128,), found (3,)",
        "inspect net.pth",
    ):
        assert part in message
    assert "\n" not in message


def test_a_linear_head_has_any_name():
    """torchvision's ResNet-18 has the twin's keys but for its classifier."""
    checkpoint = checkpoint_of(NetworkSpec("resnet18", 10))
    head = {name: checkpoint.state_dict[f"classifier.0.{name}"] for name in ("weight", "bias")}
    changes = {f"classifier.0.{name}": None for name in head} | {f"fc.{name}": value for name, value in head.items()}
    assert fit(checkpoint_of(NetworkSpec("resnet18", 10), **changes)) == NetworkSpec("resnet18", 10)


def test_a_foreign_network_gets_its_nearest():
    """A block with one convolution of another name, and one module more, is no ResNet that is known."""
    moved = checkpoint_of(NetworkSpec("resnet18")).state_dict["layer2.0.conv2.weight"]
    changes = {"layer2.0.conv2.weight": None, "layer2.0.reduce.weight": moved, "layer2.0.se.weight": torch.ones(4, 4)}
    with pytest.raises(CheckpointMismatchError) as caught:
        fit(checkpoint_of(NetworkSpec("resnet18"), **changes))
    mismatch = caught.value.mismatch
    assert (mismatch.spec.arch, mismatch.missing) == ("resnet18", ("layer2.0.conv2.weight",))
    assert mismatch.unexpected == ("layer2.0.reduce.weight", "layer2.0.se.weight")


def test_tensors_of_nothing_known():
    checkpoint = Checkpoint(Path("net.pth"), "", {"encoder.weight": torch.ones(2, 2)}, "test")
    message = (
        "is of no known network .it holds no dynamic layer of a kind known here.: .* mobilenetv2_dcd, .*resnet152, "
        "found encoder.weight and no key of any"
    )
    with pytest.raises(CheckpointMismatchError, match=message) as caught:
        fit(checkpoint)
    assert "nearest" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("width_mult", 0),
        ("width_mult", -1.0),
        ("width_mult", float("nan")),
        ("fc_squeeze", 0),
        ("fc_squeeze", 8.5),
        ("num_classes", 0),
        ("num_classes", "10"),
        ("dropout", -0.1),
        ("dropout", 2),
    ],
)
def test_what_no_network_has_is_refused(name, value):
    with pytest.raises(OptionError, match=f"expected `{name}` as a .*number, .* found"):
        SpecOverrides(**{name: value})
    assert SpecOverrides(dropout=0).dropout == 0
