"""TFLite files that cannot be made, opened or read: each refused in words."""

import numpy as np
import pytest
import torch
from deployed import OnChannelsLast
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dcd_deploy import commands
from dcd_deploy.errors import (
    ExportError,
    InputFileError,
    MissingDependencyError,
    ModelFileError,
    OptionError,
    UnknownNameError,
)
from dcd_deploy.export.deployable import deployable
from dcd_deploy.export.tflite.convert import to_tflite
from dcd_deploy.lowering.channels_last.parts import Conv
from dcd_deploy.runtimes import litert, open_model
from dcd_deploy.runtimes.flatbuffer import read_texts


def test_a_converter_that_is_not_installed(monkeypatch, small_checkpoint, tmp_path):
    monkeypatch.setattr("dcd_deploy.optional.find_spec", lambda name: None if name == "litert_torch" else object())
    with pytest.raises(
        MissingDependencyError, match=r"needs the package 'litert_torch'.*'dcd-deploy\[tflite-export\]'"
    ):
        commands.export(small_checkpoint, to="tflite", input_size=32, out=tmp_path)


def test_an_interpreter_that_is_not_installed(monkeypatch, digits_tflite):
    monkeypatch.setattr("dcd_deploy.optional.import_module", missing)
    with pytest.raises(MissingDependencyError, match=r"'ai_edge_litert'.*'dcd-deploy\[tflite\]'"):
        open_model(digits_tflite.artifact.path)


def missing(name):
    raise ImportError(f"No module named '{name}'")


def test_an_operator_that_the_converter_refuses():
    class Refused(nn.Module):
        def forward(self, x):
            return torch.linalg.eigvals(x).real

    network = nn.Sequential()
    network.add_module("stem", OnChannelsLast(nn.Sequential(Conv(nn.Conv2d(3, 4, 1)))))
    network.add_module("spectrum", OnChannelsLast(Refused()))
    with pytest.raises(
        ExportError, match=r"refused the network for \w+ in 'spectrum.module': .*; write it in other"
    ) as caught:
        to_tflite(deployable(network), 4, 4)
    assert "\n" not in str(caught.value)
    assert "linalg_eig" in str(caught.value)


def test_an_interpreter_too_old_for_the_file(monkeypatch, digits_tflite):
    class Old:
        OpResolverType = litert.interpreter_module().OpResolverType

        @staticmethod
        def Interpreter(**_):  # noqa: N802
            raise ValueError("Didn't find op for builtin opcode 'BATCH_MATMUL' version '9'. An older version might be")

    Old.__name__ = "tflite_runtime.interpreter"
    monkeypatch.setattr(litert, "interpreter_module", lambda: Old)
    with pytest.raises(
        ModelFileError, match=r"tflite-runtime says: Didn't find op.*the file needs TFLite 2\.\d+\.\d+ or later"
    ):
        open_model(digits_tflite.artifact.path)


def test_options_that_tflite_has_no_words_for(small_checkpoint, tmp_path):
    with pytest.raises(OptionError, match="expected a `batch` number for TFLite"):
        commands.export(small_checkpoint, to="tflite", input_size=32, batch=None, out=tmp_path)
    with pytest.raises(UnknownNameError, match="unknown layout 'nhcw': did you mean 'nhwc'"):
        commands.export(small_checkpoint, to="tflite", input_size=32, layout="nhcw", out=tmp_path)
    with pytest.raises(UnknownNameError, match="unknown format 'tflight': did you mean 'tflite'"):
        commands.export(small_checkpoint, to="onnx,tflight", input_size=32, out=tmp_path)


def test_files_that_are_no_models(tmp_path, digits_tflite):
    with pytest.raises(InputFileError, match="no such file"):
        open_model(tmp_path / "none.tflite")
    whole = digits_tflite.artifact.path.read_bytes()
    for name, content in (("cut", whole[: len(whole) // 2]), ("noise", b"\x00" * 100), ("text", b"hello")):
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match="expected a TFLite model at"):
            open_model(path)


def test_a_foreign_file_runs_but_knows_nothing_of_itself(tmp_path):
    path = tmp_path / "foreign.tflite"
    path.write_bytes(to_tflite(deployable(OnChannelsLast(Conv(nn.Conv2d(3, 4, 1)))), 5, 6))
    model = open_model(path)
    assert model.card is None
    assert model.run(np.zeros((2, 3, 5, 6), np.float32)).shape == (2, 5, 6, 4)
    with pytest.raises(ModelFileError, match="it takes"):
        model.run(np.zeros((1, 3, 7, 6), np.float32))
    assert commands.inspect(path).card is None


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_damage_crashes_the_reader(digits_tflite, data):
    """Whatever the bytes, the reader returns texts or a ModelFileError."""
    content = bytearray(digits_tflite.artifact.path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 4000))] = data.draw(st.integers(0, 255))
    end = data.draw(st.sampled_from([len(content), len(content) // 3, 5000, 100, 9]))
    try:
        texts = read_texts(bytes(content[:end]), "damaged")
    except ModelFileError:
        return
    assert all(isinstance(text, str) for text in texts.values())
