"""The numbers of a checkpoint's tensors: those of eight bits, and those that lie in the file once for many."""

import itertools

import pytest
import torch
from safetensors.torch import save_file

from dcd_deploy.errors import CheckpointError, WeightValueError
from dcd_deploy.models.checkpoint import read_checkpoint
from dcd_deploy.models.fit import fit, load_network
from dcd_deploy.models.pickled_values import Storage, StoredTensor
from dcd_deploy.models.torch_files import MOST_EXPANDED, DamagedError, ExpandedError, tensor


def number_of_eight_bits(byte, exponent_bits, bias, *, fnuz):
    """Return the number that a byte of sign, exponent and mantissa stands for; None of those that are none."""
    mantissa_bits = 7 - exponent_bits
    exponent, mantissa = byte % 128 >> mantissa_bits, byte % (1 << mantissa_bits)
    largest = exponent == (1 << exponent_bits) - 1
    if byte == 128 if fnuz else largest and (exponent_bits == 5 or mantissa == (1 << mantissa_bits) - 1):
        return None
    share = mantissa / (1 << mantissa_bits)
    size = share * 2.0 ** (1 - bias) if exponent == 0 else (1 + share) * 2.0 ** (exponent - bias)
    return -size if byte >= 128 else size


FLOAT8 = {
    torch.float8_e4m3fn: lambda byte: number_of_eight_bits(byte, 4, 7, fnuz=False),
    torch.float8_e4m3fnuz: lambda byte: number_of_eight_bits(byte, 4, 8, fnuz=True),
    torch.float8_e5m2: lambda byte: number_of_eight_bits(byte, 5, 15, fnuz=False),
    torch.float8_e5m2fnuz: lambda byte: number_of_eight_bits(byte, 5, 16, fnuz=True),
    torch.float8_e8m0fnu: lambda byte: None if byte == 255 else 2.0 ** (byte - 127),
}
FOUR = list(FLOAT8)[:4]  # that have a sign, and that safetensors has


@pytest.mark.parametrize(
    ("save", "dtype"),
    [*itertools.product([torch.save], FLOAT8), *itertools.product([save_file], FOUR)],
    ids=lambda given: getattr(given, "__name__", str(given)),  # not where it lies in one process
)
def test_every_number_of_eight_bits_is_read_exactly(tmp_path, save, dtype):
    numbers = {byte: number for byte in range(256) if (number := FLOAT8[dtype](byte)) is not None}
    state = {"a": torch.tensor(list(numbers), dtype=torch.uint8).view(dtype), "b": torch.ones(2)}
    save(state, tmp_path / "net")
    found = read_checkpoint(tmp_path / "net")
    assert found.state_dict["a"].tolist() == list(numbers.values())
    name = str(dtype).removeprefix("torch.")
    assert found.notes == (f"tensors of {name} (1) are taken as float32, which has the same numbers",)


@pytest.mark.parametrize("dtype", FOUR, ids=str)
def test_weights_of_eight_bits_are_loaded_and_those_that_are_no_numbers_refused(tmp_path, small_network, dtype):
    path = tmp_path / "net.pth"
    state = {k: v.to(dtype) if k == "conv1.weight" else v for k, v in small_network.state_dict().items()}
    torch.save(state, path)
    checkpoint = read_checkpoint(path)
    weight = load_network(checkpoint, fit(checkpoint)).get_parameter("conv1.weight")
    assert torch.equal(weight, state["conv1.weight"].double())
    state["conv1.weight"].view(torch.uint8)[0, 0, 0, 0] = 128 if "fnuz" in str(dtype) else 127
    torch.save(state, path)
    checkpoint = read_checkpoint(path)
    with pytest.raises(WeightValueError, match=r"1 of \d+ NaN or infinite in 'conv1.weight'"):
        load_network(checkpoint, fit(checkpoint))


STRIDED = {
    "expanded": torch.full((1,), 0.5).expand(8),
    "expanded rows": torch.arange(4.0)[:, None].expand(4, 3),
    "a number for all": torch.tensor(0.5).expand(2, 3),
    "windows that overlap": torch.arange(8.0).unfold(0, 4, 1),
    "transposed": torch.arange(6.0).view(2, 3).t(),
    "every second": torch.arange(9.0)[1::2],
    "expanded from the middle": torch.arange(9.0)[8:].expand(5),
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", STRIDED)
def test_strides_are_followed(tmp_path, kind, zipped):
    torch.save({"a": STRIDED[kind], "b": torch.ones(2)}, tmp_path / "net", _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(tmp_path / "net").state_dict["a"]
    assert torch.equal(found, STRIDED[kind])


def run_of(numbers):
    """Return the reader of a storage with these numbers."""
    content = bytearray(torch.tensor(numbers).numpy().tobytes())
    return lambda storage, size: content


@pytest.mark.parametrize(
    ("offset", "shape", "stride"), [(3, (8,), (0,)), (0, (8,), (1,)), (1, (2, 2), (2, 0)), (0, (2, 5), (0, 1))]
)
def test_memory_outside_of_the_storage_is_refused(offset, shape, stride):
    storage = Storage("0", "torch.FloatStorage", 3)
    with pytest.raises(DamagedError, match="claims shape .*, but the file holds less than that"):
        tensor(StoredTensor(storage, offset, shape, stride), run_of([1.0, 2.0, 3.0]))


@pytest.mark.parametrize("shape", [(MOST_EXPANDED + 1,), (1 << 40, 1 << 40), (1 << 47,) * 60])
def test_a_small_file_makes_no_huge_tensor(shape):
    storage = Storage("0", "torch.FloatStorage", 1)
    with pytest.raises(ExpandedError, match="expanded from at most 1 numbers in the file"):
        tensor(StoredTensor(storage, 0, shape, (0,) * len(shape)), run_of([1.0]))


def test_nor_do_many_expanded_tensors_together(tmp_path):
    each = torch.ones(1).expand(MOST_EXPANDED // 2)
    torch.save({"a": each, "b": each}, tmp_path / "net")
    assert len(read_checkpoint(tmp_path / "net").state_dict) == 2
    torch.save({"a": each, "b": each, "c": torch.ones(1).expand(2)}, tmp_path / "net")
    with pytest.raises(CheckpointError, match=r"'c' in '.*net': with others, .* save .contiguous\(\) tensors"):
        read_checkpoint(tmp_path / "net")
