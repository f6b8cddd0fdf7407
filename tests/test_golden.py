"""The published forward pass, reproduced: train form and deploy form in float64, ONNX in float32."""

import functools

import numpy as np
import pytest
import torch
from deployed import LOWERINGS, captured, lowered, sized
from golden_cases import LAYERS, NETWORKS, load_case, load_module
from lowering_cases import published
from torch import nn

from dcd_deploy.dynamic.shape import MapSize
from dcd_deploy.export.onnx.portable import portable
from dcd_deploy.export.onnx.simplify import simplify
from dcd_deploy.export.onnx.trace import to_onnx
from dcd_deploy.lowering.deploy import lower
from dcd_deploy.lowering.targets import LITERT, LITERT_COMPILED, ONNXRUNTIME_X86, PORTABLE_ONNX, TARGETS
from dcd_deploy.models.dynamic import DynamicLinear
from dcd_deploy.runtimes.onnxruntime import OnnxRuntimeSession

FLOAT64, FLOAT32 = 1e-9, 5e-5


def run(module: nn.Module, images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return module(torch.from_numpy(images).double()).numpy()


@pytest.mark.parametrize("name", [*NETWORKS, *LAYERS])
def test_train_form(name):
    case, module = load_module(name)
    assert case.error(run(module, case.input)) <= FLOAT64


@pytest.mark.parametrize("name", [*NETWORKS, *LAYERS])
def test_a_perturbed_weight_shows(name):
    case, module = load_module(name)
    with torch.no_grad():
        next(module.parameters()).mul_(1 + 1e-6)
    assert case.error(run(module, case.input)) > FLOAT64


def size_of(case) -> MapSize:
    return sized(torch.from_numpy(case.input), torch.from_numpy(case.output))


@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize("name", [name for name in LAYERS if not name.startswith("dycls")])
def test_lowerings_of_layers(name, lowering):
    case, layer = load_module(name)
    deploy = lowered(published(layer), lowering, size_of(case))
    assert case.error(run(deploy, case.input)) <= FLOAT64
    alone = np.concatenate([run(deploy, image[None]) for image in case.input])
    assert case.error(alone) <= FLOAT64


def test_lowerings_of_the_classifier():
    case, layer = load_module("dycls_320_10")
    assert isinstance(layer, DynamicLinear)
    tried = []
    for lowering in LOWERINGS:
        deploy = lowered(published(layer), lowering, size_of(case))
        if deploy is None:
            continue
        tried.append(lowering)
        assert case.error(run(deploy, case.input)) <= FLOAT64
        assert case.error(np.concatenate([run(deploy, row[None]) for row in case.input])) <= FLOAT64
    assert {"channels_first branch", "channels_last branch"} <= set(tried)


CHOICES = [pytest.param(target, "auto", id=f"{target.name} {target.format} auto") for target in TARGETS]
CHOICES += [
    pytest.param(target, lowering, id=f"{target.name} {target.format} {lowering}", marks=pytest.mark.exhaustive)
    for target in (ONNXRUNTIME_X86, LITERT, LITERT_COMPILED)
    for lowering in target.lowerings
]  # of each by itself test_lowerings_of_layers says as much in less time


@functools.cache
def captured_case(name):
    """A golden case and its network, captured once for all that lowers it."""
    case, network = load_module(name)
    return case, captured(network, *case.input.shape[2:])


@pytest.fixture(scope="module", params=NETWORKS)
def network_case(request):
    return captured_case(request.param)


@pytest.mark.parametrize(("target", "choice"), CHOICES)
def test_deploy_form(network_case, target, choice):
    case, network = network_case
    lowered = lower(network, target, choice)
    deploy = lowered.module
    if lowered.batch is None:
        assert case.error(run(deploy, case.input)) <= FLOAT64
    alone = np.concatenate([run(deploy, image[None]) for image in case.input])
    assert case.error(alone) <= FLOAT64
    assert not any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in deploy.modules())


MOST_NODES = {  # of the finished graph: a node more is a cost that somebody has to argue for
    ("mobilenetv2_dcd_w0.1_10c_64px", "onnxruntime-x86"): 627,
    ("mobilenetv2_dcd_w0.1_10c_64px", "portable"): 626,
    ("mobilenetv2_dcd_w1.0", "onnxruntime-x86"): 668,
    ("mobilenetv2_dcd_w1.0", "portable"): 645,
    ("resnet18_dcd", "onnxruntime-x86"): 304,
    ("resnet18_dcd", "portable"): 329,
}
MOST_DIGITS = {"onnx": 614, "tflite": 454}


TARGETS_OF_ONNX = {target.name: target for target in (ONNXRUNTIME_X86, PORTABLE_ONNX)}
SHOWN_BY_OTHERS = {("mobilenetv2_dcd_w1.0", "portable"), ("resnet18_dcd", "onnxruntime-x86")}


@pytest.mark.parametrize(
    ("name", "target"),
    [pytest.param(*case, marks=[pytest.mark.exhaustive] * (case in SHOWN_BY_OTHERS)) for case in MOST_NODES],
)
def test_onnx(name, target):
    target = TARGETS_OF_ONNX[target]
    case, network = captured_case(name)
    traced = to_onnx(lower(network, target).module, *case.input.shape[2:])
    simplified = simplify(traced.tidied)
    finished = portable(simplified) if target is PORTABLE_ONNX else simplified
    for model in (traced.raw, finished):
        session = OnnxRuntimeSession(model.SerializeToString())
        outputs = np.concatenate([session.run(image[None]) for image in case.input])
        assert case.error(outputs) <= FLOAT32
    assert len(finished.graph.node) <= MOST_NODES[name, target.name]


def test_the_bundled_files_have_no_node_more(digits_export, digits_tflite):
    for export, most in ((digits_export, MOST_DIGITS["onnx"]), (digits_tflite, MOST_DIGITS["tflite"])):
        assert export.built.finished.nodes <= most


def test_cases_are_unlike_each_other():
    """A case whose two inputs gave one output could not show a kernel of one sample applied to the other."""
    for name in NETWORKS:
        case = load_case(name)
        assert np.abs(case.output[0] - case.output[1]).max() > 0.1 * np.ptp(case.output)
