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
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.ao.quantization import QuantWrapper, convert, get_default_qat_qconfig, prepare_qat

from dcd_deploy.errors import CheckpointError, InputFileError, OptionError
from dcd_deploy.models.checkpoint import read_checkpoint
from dcd_deploy.models.pickled_values import Foreign, PickleError
from dcd_deploy.models.pickles import read_pickle

STATE = {f"layer{i}.weight": torch.arange(4.0).reshape(2, 2) + i for i in range(5)}


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


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrap", [lambda net: net, lambda net: {"model": net, "epoch": 3}], ids=["bare", "in a dict"])
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source")
def test_a_whole_network_is_refused_by_its_class(tmp_path, wrap, zipped):
    path = tmp_path / "net.pt"
    torch.save(wrap(torch.nn.Sequential(torch.nn.Linear(2, 2))), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="wants to load 'torch.nn.modules.container.Sequential', which is not a"):
        read_checkpoint(path)


class Weights(dict):
    """A mapping of the user's own, which only its own code can read."""


def test_weights_that_need_code_are_refused(tmp_path):
    path = tmp_path / "net.pt"
    torch.save({"state_dict": Weights(STATE)}, path)
    with pytest.raises(CheckpointError, match="wants to load '.*Weights', which is not a weight and is never executed"):
        read_checkpoint(path)


KINDS = {
    "sparse": lambda: torch.ones(2, 2).to_sparse(),
    "ComplexFloatStorage": lambda: torch.ones(2, dtype=torch.complex64),
    "meta": lambda: torch.empty(2, device="meta"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")  # quantised and meta tensors are remarked upon by torch
def test_tensors_that_are_no_plain_numbers(tmp_path, kind):
    path = tmp_path / "net.pt"
    torch.save(STATE | {"odd": KINDS[kind]()}, path)
    with pytest.raises(CheckpointError, match=f"expected plain real tensors in .*, found a {kind}.* tensor at 'odd'"):
        read_checkpoint(path)


@pytest.fixture
def prepared():
    """A network prepared for quantisation-aware training."""
    network = QuantWrapper(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    network.qconfig = get_default_qat_qconfig("fbgemm")
    prepare_qat(network.train(), inplace=True)(torch.randn(2, 3, 8, 8))
    return network


@pytest.mark.filterwarnings("ignore")  # torch's own about where its quantisation moves
def test_quantised_networks_are_called_so(tmp_path, prepared):
    path = tmp_path / "net.pt"
    torch.save(prepared.state_dict(), path)
    with pytest.raises(CheckpointError, match=r"found a network that is quantised.*`precision` int8") as refusal:
        read_checkpoint(path)
    drop = re.findall(r"`drop` (\w+)", str(refusal.value))
    assert set(drop) == {"activation_post_process", "weight_fake_quant"}
    assert set(read_checkpoint(path, drop=drop).state_dict) == {
        f"module.{key}" for key in prepared.module.state_dict() if not any(part in key for part in drop)
    }
    scales = {"a.scale": torch.ones(()), "a.zero_point": torch.ones(())}
    for state in (convert(prepared.eval()).state_dict(), STATE | scales):
        torch.save(state, path)
        with pytest.raises(CheckpointError, match="found a network that is quantised, or was trained for it, with '"):
            read_checkpoint(path)
    torch.save(STATE | {"a.scale": torch.ones(())}, path)
    assert "a.scale" in read_checkpoint(path).state_dict, "a scale alone is a weight like another"


def doubled():
    """A dict whose key is a pair of itself twice, sixty times over: its hash takes for ever."""
    steps = b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(60))
    return b"\x80\x02})q\x00" + steps + b"K\x01s."


HOSTILE = {
    "hash bomb": doubled(),
    "deep nesting": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
    "deep tuples": b"\x80\x02)" + b"\x85" * 300_000 + b".",
    "cut off": b"\x80\x02}q",
    "empty stack": b"\x80\x02a.",
    "no mark": b"\x80\x02t.",
    "text of 2**62 bytes": b"\x80\x04\x8d" + (2**62).to_bytes(8, "little") + b"x.",
    "unknown memo": b"\x80\x02hA.",
    "huge memo index": b"I1\np" + b"9" * 4000 + b"\n.",
    "rebuilds itself": b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\nq\x00h\x00h\x00)\x87R.",
    "shape of text": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(U\x01xK\x00U\x01xU\x01xtR.",
    "lone surrogate": b"\x80\x02X\x03\x00\x00\x00\xed\xa0\x80.",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_pickles_made_to_harm_are_refused_at_once(tmp_path, content):
    path = tmp_path / "net.pt"
    path.write_bytes(content)
    start = time.perf_counter()
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert time.perf_counter() - start < 5
    assert len(str(caught.value)) < 600


def test_long_and_unprintable_names_are_cut(tmp_path):
    path = tmp_path / "net.pt"
    torch.save(STATE | {"a" * 10_000: torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match=r"aaa… \(10000 characters\)") as caught:
        read_checkpoint(path)
    assert len(str(caught.value)) < 500
    torch.save(STATE | {"a\x1b[2J": torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match=r"printable characters .* 'a\\x1b\[2J'"):
        read_checkpoint(path)


def test_a_pickle_without_end():
    with pytest.raises(PickleError):
        read_pickle(io.BytesIO(b"\x80\x02" + b"N" * 100))


def shards(folder, **changes):
    keys = list(STATE)
    parts = {"model-00001-of-00002.safetensors": keys[:2], "model-00002-of-00002.safetensors": keys[2:]}
    for name, names in parts.items():
        save_file({key: STATE[key] for key in names}, folder / name)
    mapping = {key: name for name, names in parts.items() for key in names} | changes
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 80}, "weight_map": mapping}))
    return index


def test_shards_by_their_index(tmp_path):
    index = shards(tmp_path)
    for path in (index, tmp_path):
        checkpoint = read_checkpoint(path)
        assert checkpoint.state_dict.keys() == STATE.keys()
        assert all(torch.equal(checkpoint.state_dict[key], value) for key, value in STATE.items())
        assert checkpoint.size_bytes == sum(file.stat().st_size for file in tmp_path.iterdir())
    before = checkpoint.sha256
    save_file({key: STATE[key] + 1 for key in list(STATE)[:2]}, tmp_path / "model-00001-of-00002.safetensors")
    assert read_checkpoint(index).sha256 != before
    with pytest.raises(CheckpointError, match="averaged .EMA. copy"):
        read_checkpoint(index, ema=True)


@pytest.mark.parametrize(
    "name",
    ["../x.safetensors", "/etc/x.safetensors", "a/b.safetensors", "..\\x.safetensors", "x.bin", ".safetensors", "", 3],
)
def test_no_shard_lies_elsewhere(tmp_path, name):
    (tmp_path / "inside").mkdir()
    save_file(STATE, tmp_path / "x.safetensors")
    index = shards(tmp_path / "inside", **{"layer0.weight": name})
    with pytest.raises(CheckpointError, match="is no plain name of a safetensors file beside it"):
        read_checkpoint(index)


def test_damaged_shards(tmp_path):
    index = shards(tmp_path, more="model-00002-of-00002.safetensors")
    with pytest.raises(CheckpointError, match="found 1 others or missing: more"):
        read_checkpoint(index)
    index = shards(tmp_path, more="model-00003-of-00003.safetensors")
    with pytest.raises(InputFileError, match="expected a shard of 'model.safetensors.index.json'"):
        read_checkpoint(index)
    for content in ("[", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {}}', "[" * 100_000):
        index.write_text(content)
        with pytest.raises(CheckpointError, match="expected an index of shards"):
            read_checkpoint(index)


def test_a_folder_with_several_files(tmp_path):
    for name in "ab":
        save_file(STATE, tmp_path / f"{name}.safetensors")
    with pytest.raises(InputFileError, match="it is a folder with a.safetensors, b.safetensors: name one"):
        read_checkpoint(tmp_path)
    (tmp_path / "b.safetensors").unlink()
    assert read_checkpoint(tmp_path).path.name == "a.safetensors"


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
