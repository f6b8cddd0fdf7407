"""A checkpoint in several files: by their index, by their folder, damaged."""

import json

import pytest
import torch
from held import STATE
from safetensors.torch import save_file

from dcd_deploy.errors import CheckpointError, InputFileError
from dcd_deploy.models.checkpoint import read_checkpoint


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
