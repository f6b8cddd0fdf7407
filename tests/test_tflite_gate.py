"""Faults planted in TFLite files, or in how they are made: the gate catches every one."""

import numpy as np
import pytest
import torch
from deployed import OnChannelsLast, deployed
from golden_cases import load_module
from torch import nn

from dcd_deploy import commands
from dcd_deploy.errors import VerificationError
from dcd_deploy.export.deployable import deployable
from dcd_deploy.export.tflite.convert import to_tflite
from dcd_deploy.export.tflite.file import TfliteModel
from dcd_deploy.lowering.channels_last.parts import Conv
from dcd_deploy.lowering.targets import PORTABLE_TFLITE
from dcd_deploy.runtimes.litert import LiteRtSession

FLOAT32 = 5e-5


@pytest.fixture(scope="module")
def converted():
    """A network in which every weight matters, as a TFLite model, with the golden outputs."""
    case, network = load_module("mobilenetv2_dcd_w0.1_10c_64px")
    size = case.input.shape[2:]
    return case, to_tflite(deployable(deployed(network, *size, target=PORTABLE_TFLITE).module), *size)


def outputs_with(content: bytes, change, images) -> np.ndarray:
    """Return what the model answers after ``change`` was made to its objects."""
    model = TfliteModel.from_bytes(content)
    change(model)
    session = LiteRtSession(model.to_bytes())
    return np.concatenate([session.run(image[None]) for image in images])


def convolutions(content: bytes, module: str) -> list[int]:
    """Return the places of the convolutions that ``module`` of the deploy form became."""
    model = TfliteModel.from_bytes(content)
    names = [model.graph.tensors[operator.outputs[0]].name.decode() for operator in model.graph.operators]
    kinds = [model.operator_name(operator) for operator in model.graph.operators]
    return [
        i for i, (name, kind) in enumerate(zip(names, kinds, strict=True)) if "CONV" in kind and f"_{module}" in name
    ]


def weight(model: TfliteModel, place: int, operand: int = 1):
    tensor = model.graph.tensors[model.graph.operators[place].inputs[operand]]
    buffer = model.root.buffers[tensor.buffer]
    return buffer, np.asarray(buffer.data, np.uint8).view(np.float32).copy().reshape(tensor.shape)


def store(buffer, values) -> None:
    buffer.data = np.ascontiguousarray(values, np.float32).view(np.uint8).ravel()


def test_without_a_fault_it_passes(converted):
    case, content = converted
    assert case.error(outputs_with(content, lambda model: None, case.input)) <= FLOAT32


@pytest.mark.parametrize("module", ["squeeze", "gate", "phi", "scale", "shift", "static", "query", "project", "conv"])
def test_one_weight_tensor_of_each_kind_scaled_by_one_percent(converted, module):
    case, content = converted
    places = convolutions(content, module)
    if module in ("static", "query") and not places:
        pytest.fail(f"no convolution was found for {module}")

    for place in {places[0], places[len(places) // 2], places[-1]}:

        def scale(model, place=place):
            buffer, values = weight(model, place)
            store(buffer, 1.01 * values)

        assert case.error(outputs_with(content, scale, case.input)) > FLOAT32, (module, place)


def test_phi_transposed_frozen_and_lambda_dropped(converted):
    case, content = converted

    def transpose(model, place):
        buffer, values = weight(model, place)
        latent = int(np.sqrt(values.shape[0]))
        store(buffer, values.reshape(latent, latent, -1).swapaxes(0, 1))

    def frozen(model, place):
        buffer, values = weight(model, place)
        store(buffer, 0 * values)

    for place in convolutions(content, "phi"):
        assert case.error(outputs_with(content, lambda m, p=place: transpose(m, p), case.input)) > FLOAT32
        assert case.error(outputs_with(content, lambda m, p=place: frozen(m, p), case.input)) > FLOAT32
    for place in convolutions(content, "scale"):
        assert case.error(outputs_with(content, lambda m, p=place: frozen(m, p), case.input)) > FLOAT32


def test_a_bias_lost(converted):
    case, content = converted

    def lost(model, place):
        buffer, values = weight(model, place, 2)
        store(buffer, 0 * values)

    for module in ("phi", "scale", "project", "query"):
        for place in convolutions(content, module)[::4]:
            _, values = weight(TfliteModel.from_bytes(content), place, 2)
            if np.any(values):
                found = outputs_with(content, lambda m, p=place: lost(m, p), case.input)
                assert case.error(found) > FLOAT32, (module, place)


def test_a_fault_in_the_conversion_stops_the_export(monkeypatch, tmp_path, small_checkpoint):
    from dcd_deploy.export.tflite import make as make_tflite

    honest = make_tflite.finish

    def wrongly(content, *names):
        model = TfliteModel.from_bytes(honest(content, *names))
        buffer, values = weight(model, convolutions(content, "phi")[0])
        store(buffer, 1.01 * values)
        return model.to_bytes()

    monkeypatch.setattr(make_tflite, "finish", wrongly)
    words = "TFLite, plain kernels, inputs one by one: expected outputs within 5.0e-05"
    with pytest.raises(VerificationError, match=words):
        commands.export(small_checkpoint, to="tflite", input_size=32, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_that_are_not_laid_out_in_a_row():
    """litert-torch would take one constant for another; our conversion lays them out first."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3 if i == 0 else 8, 8, 3, 1, 1) for i in range(12)]
    network = OnChannelsLast(nn.Sequential(*map(Conv, layers))).eval()
    assert not all(weight.is_contiguous() for weight in network.parameters())
    image = torch.randn(1, 3, 6, 5)
    with torch.inference_mode():
        wanted = network(image).permute(0, 2, 3, 1).numpy()  # as the file has its maps
    found = LiteRtSession(to_tflite(deployable(network), 6, 5)).run(image.numpy())
    assert np.abs(found - wanted).max() <= 1e-5
