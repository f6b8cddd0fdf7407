"""What lies beside the weights is left alone, pickles made to harm are refused at once, shards are read."""

import argparse
import collections
import datetime as dt
import decimal
import enum
import io
import json
import os
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from held import STATE

from dcd_deploy.errors import CheckpointError, OptionError
from dcd_deploy.models.checkpoint import read_checkpoint
from dcd_deploy.models.pickled_values import Foreign
from dcd_deploy.models.pickles import read_pickle


class Colour(enum.Enum):
    RED = 1


class Settings:
    """A class of the user's own module."""

    def __init__(self):
        self.path, self.inner = Path("/data"), {"deep": [Colour.RED]}


class Slotted:
    __slots__ = ("value",)

    def __init__(self):
        self.value = 3


def optimizer():
    made = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.9)
    return made, torch.optim.lr_scheduler.MultiStepLR(made, [30, 60])


BESIDE = {
    "Namespace with a Path": argparse.Namespace(data=Path("/data"), lr=0.1),
    "numpy scalars": [np.dtype(kind).type(1) for kind in "?bBhHiIlLefd"] + [np.str_("x")],
    "numpy arrays": [np.arange(10.0), np.array(["a"]), np.array([None, 1], dtype=object), np.zeros(3, "f4,i2")],
    "RNG states": [
        random.getstate(),
        np.random.RandomState(0).get_state(),
        torch.get_rng_state(),
        np.random.default_rng(0),
    ],
    "dates": [dt.datetime(2021, 5, 3), dt.timedelta(3), dt.UTC],
    "containers": [collections.defaultdict(list, a=[1]), collections.Counter([3]), collections.deque([1]), {"a"}],
    "more containers": [frozenset({1}), {(1, 2): 3, None: 4, 2.5: 6}, bytearray(b"x"), 1 + 2j, range(3), slice(1)],
    "decimal, enum": [decimal.Decimal("0.1"), Colour.RED, type(None), int],
    "functions by name": [os.system, len, json.dumps],
    "own classes": [Settings(), Slotted()],
    "optimizer and scheduler": optimizer(),
    "types of torch": [torch.float16, torch.device("cpu"), torch.Size([1, 3]), torch.strided],
    "tensors of all kinds": [torch.ones(2, dtype=torch.complex64), torch.ones(2).to_sparse(), torch.ones(1).bfloat16()],
    "nothing": None,
}


@pytest.mark.parametrize("beside", BESIDE.values(), ids=BESIDE)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_what_lies_beside_the_weights_is_left_alone(tmp_path, beside, zipped):
    path = tmp_path / "net.pth.tar"
    content = {"beside": beside, "state_dict": {f"module.{key}": value for key, value in STATE.items()}}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(path).state_dict
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[key], value) for key, value in STATE.items())


def test_every_protocol_is_read_alike():
    content = {"a": [1, -2, 2**70, 2.5, "ü", b"x", True, None], "b": ((), (1,), (1, 2), (1, 2, 3), tuple(range(9)))}
    for protocol in range(6):
        assert read_pickle(io.BytesIO(pickle.dumps(content, protocol)))["b"] == content["b"]
        assert read_pickle(io.BytesIO(pickle.dumps(content["a"], protocol)))[:5] == content["a"][:5]
        assert isinstance(read_pickle(io.BytesIO(pickle.dumps(Settings(), protocol))), Foreign)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_torch_save_with_other_protocols(tmp_path, protocol):
    path = tmp_path / "net.pth"
    torch.save({"state_dict": STATE, "beside": BESIDE["own classes"]}, path, pickle_protocol=protocol)
    found = read_checkpoint(path).state_dict
    assert all(torch.equal(found[key], value) for key, value in STATE.items())


def test_numpy_accuracy_is_shown(tmp_path):
    path = tmp_path / "net.pth"
    torch.save({"state_dict": STATE, "best_prec1": np.float64(70.5), "epoch": np.int64(3), "arch": "a" * 1000}, path)
    info = read_checkpoint(path).info
    assert (info["best_prec1"], info["epoch"]) == (70.5, 3)
    assert info["arch"].endswith("(1000 characters)")


def test_entries_that_are_no_tensors_are_left_out_and_said(tmp_path):
    path = tmp_path / "net.pth"
    torch.save(STATE | {"head._extra_state": None, "version": 3}, path)
    checkpoint = read_checkpoint(path)
    assert checkpoint.state_dict.keys() == STATE.keys()
    assert checkpoint.notes == ("left out, being no tensors: head._extra_state, version",)


def test_parts_saved_apart(tmp_path):
    path = tmp_path / "net.pth"
    torch.save({"backbone": STATE, "head": {"fc.weight": torch.ones(1)}, "optimizer": {"state": {}}}, path)
    assert read_checkpoint(path).state_dict.keys() == {*(f"backbone.{key}" for key in STATE), "head.fc.weight"}
    torch.save({"generator": STATE, "step": 3}, path)
    assert read_checkpoint(path).state_dict.keys() == STATE.keys()


def test_prefix_and_drop(tmp_path):
    path = tmp_path / "net.pth"
    torch.save({f"left.{k}": v for k, v in STATE.items()} | {"right.layer0.weight": torch.ones(1)}, path)
    checkpoint = read_checkpoint(path, prefix="left", drop=["layer0.", "layer1"])
    assert checkpoint.state_dict.keys() == {"layer2.weight", "layer3.weight", "layer4.weight"}
    assert checkpoint.notes == (
        "taken: the 5 keys behind the prefix 'left.'; the other 1 keys were left out",
        "dropped as asked: 1 keys that begin with 'layer0.'",
        "dropped as asked: 1 keys that begin with 'layer1'",
    )
    with pytest.raises(OptionError, match=r"`prefix` .* found 'middle.'; .* with 'left.' \(5\), 'right.' \(1\)"):
        read_checkpoint(path, prefix="middle.")
    assert len(read_checkpoint(path, drop=["layer3."]).state_dict) == len(STATE)  # behind a prefix, too
    with pytest.raises(OptionError, match="`drop` with which keys begin, found 'aux.'"):
        read_checkpoint(path, drop=["aux."])


def test_what_torch_compile_puts_between(tmp_path):
    path = tmp_path / "net.pth"
    torch.save({f"module.backbone._orig_mod.{k}": v for k, v in STATE.items()}, path)
    assert read_checkpoint(path).state_dict.keys() == {f"backbone.{key}" for key in STATE}
    torch.save(STATE | {"_orig_mod.layer0.weight": torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match="expected one tensor for 'layer0.weight' .* found two"):
        read_checkpoint(path)
