"""Checkpoints that are no weights alone are refused in one line: whole networks, own code, pickles made to harm."""

import io
import re
import time

import pytest
import torch
from held import STATE
from torch import nn
from torch.ao.quantization import QuantWrapper, convert, get_default_qat_qconfig, prepare_qat

from dcd_deploy.errors import CheckpointError
from dcd_deploy.models.checkpoint import read_checkpoint
from dcd_deploy.models.pickled_values import PickleError
from dcd_deploy.models.pickles import read_pickle


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
    "float4_e2m1fn_x2": lambda: torch.ones(2, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
    "bits8": lambda: torch.ones(2, dtype=torch.uint8).view(torch.bits8),
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
