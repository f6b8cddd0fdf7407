"""The network that a command is about: of a known checkpoint, or of a user's own Python file."""

import pytest
import torch

from dcd_deploy.commands.network import trained_network
from dcd_deploy.commands.values import parse_shape
from dcd_deploy.errors import CaptureError, CheckpointError, NetworkError, OptionError, WeightValueError

CODE = """
import torch

class Net(torch.nn.Module):
    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(1, 4, 3, 2)
        self.norm = torch.nn.BatchNorm2d(4)
        self.head = torch.nn.Linear(4, classes)

    def forward(self, x):
        y = torch.relu(self.norm(self.first(x)))
        return {"scores": self.head(y.mean((2, 3))), "map": y}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "own_net.py"
    path.write_text(CODE)
    return path


@pytest.fixture
def weights(tmp_path, file):
    torch.manual_seed(0)
    space = {}
    exec(CODE, space)
    path = tmp_path / "own.pt"
    torch.save({"state_dict": space["Net"](5).state_dict()}, path)
    return path


def own(weights, file, **options):
    given = {"network": f"{file}:Net", "network_args": {"classes": 5}, "input_shape": "1,9,11"} | options
    return trained_network(weights, **given)


def test_a_users_network_gets_the_weights_and_an_example(weights, file):
    found = own(weights, file)
    assert (found.title, found.spec, found.size) == ("Net", None, (9, 11))
    assert found.network.outputs == ("scores", "map")
    assert found.network.examples[0].shape == (1, 1, 9, 11)
    assert not found.network.module.training
    state = torch.load(weights, weights_only=True)["state_dict"]
    made = found.network.module.state_dict()
    assert all(torch.equal(made[key], value.to(made[key].dtype)) for key, value in state.items())
    assert made["head.weight"].dtype == torch.float64


def test_a_known_network_needs_no_file(small_checkpoint):
    found = trained_network(small_checkpoint, input_size=64)
    assert found.spec is not None
    assert found.title == found.spec.describe()
    assert found.network.outputs == ("logits",)
    assert found.size == (64, 64)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"input_shape": None}, ("input_shape", "network")),
        ({"input_shape": "9,,11"}, ("input_shape",)),
        ({"input_size": 64}, ("input_shape", "network", "input_size")),
        ({"input_size": "224"}, ("input_shape", "network", "input_size")),
        ({"input_size": (48, 64)}, ("input_shape", "network", "input_size")),
        ({"arch": "resnet18"}, ("arch", "gate", "network", "network_args")),
        ({"network": None}, ("network_args", "network")),
        ({"network": None, "network_args": None}, ("input_shape", "network")),
    ],
)
def test_options_that_do_not_belong_together_are_refused(weights, file, options, named):
    with pytest.raises(OptionError) as caught:
        own(weights, file, **options)
    assert caught.value.parameters == named


def test_weights_of_another_network_are_refused(weights, file):
    with pytest.raises(NetworkError, match=r"wrongly shaped: .*head.weight \(expected \(3, 4\), found \(5, 4\)\)"):
        own(weights, file, network_args=None)


def test_an_example_that_does_not_fit_is_refused(weights, file):
    with pytest.raises(CaptureError, match="does not run on an example of shape"):
        own(weights, file, input_shape=(3, 9, 11))


def test_weights_that_are_no_numbers_are_refused(weights, file, tmp_path):
    state = torch.load(weights, weights_only=True)["state_dict"]
    state["head.bias"][1] = float("nan")
    torch.save(state, tmp_path / "nan.pt")
    with pytest.raises(WeightValueError, match=r"head\.bias"):
        own(tmp_path / "nan.pt", file)


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def test_the_checkpoint_is_read_and_never_run(weights, file, tmp_path, capfd):
    torch.save({"weights": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError):
        own(tmp_path / "evil.pt", file)
    assert "executed" not in capfd.readouterr().out


@pytest.mark.parametrize("text", ["", "3,4,5,6,7,8", "3,", "3,-4,5", "3,0,5", "a,b,c", "1000,99999,9999", 7, None, ()])
def test_shapes_that_are_none(text):
    with pytest.raises(OptionError, match="`input_shape`"):
        parse_shape(text)


def test_shapes():
    assert parse_shape("3, 224,192") == parse_shape([3, 224, 192]) == (3, 224, 192)
    assert parse_shape("16") == (16,)
    assert parse_shape((1, 256)) == (1, 256)
    assert parse_shape("3,8,32,32") == (3, 8, 32, 32)
