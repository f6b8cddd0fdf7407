"""The published forward pass, reproduced: train form and deploy form in float64, ONNX in float32."""

import numpy as np
import pytest
import torch
from forms import FORMS, SPELLINGS
from golden_cases import LAYERS, NETWORKS, load_case, load_module
from torch import nn

from dcd_deploy.export.simplify import simplify
from dcd_deploy.export.to_onnx import to_onnx
from dcd_deploy.models.deploy.fold import fold_dynamic
from dcd_deploy.models.deploy.network import to_deploy
from dcd_deploy.models.deploy.targets import LITERT, ONNXRUNTIME_X86, PORTABLE_ONNX, TARGETS
from dcd_deploy.models.dynamic import DynamicLinear
from dcd_deploy.models.sizes import MapSize
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


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", [name for name in LAYERS if not name.startswith("dycls")])
def test_layer_forms(name, form):
    case, layer = load_module(name)
    size = MapSize(*case.input.shape[2:], *case.output.shape[2:])
    deploy = FORMS[form](fold_dynamic(layer), size)
    assert case.error(run(deploy, case.input)) <= FLOAT64
    alone = np.concatenate([run(deploy, image[None]) for image in case.input])
    assert case.error(alone) <= FLOAT64


def test_classifier_form():
    case, layer = load_module("dycls_320_10")
    assert isinstance(layer, DynamicLinear)
    folded = fold_dynamic(layer)
    assert case.error(run(SPELLINGS["channels_first"].dynamic_classifier(folded), case.input)) <= FLOAT64
    features = case.input[:, None, None]  # (N, 1, 1, C)
    assert case.error(run(SPELLINGS["channels_last"].dynamic_classifier(folded), features)) <= FLOAT64


LOWERINGS = [(target, "auto") for target in TARGETS]
LOWERINGS += [(target, form) for target in (ONNXRUNTIME_X86, LITERT) for form in target.spelling.forms]


@pytest.mark.parametrize(
    ("target", "lowering"), LOWERINGS, ids=[f"{t.name} {t.format} {lowering}" for t, lowering in LOWERINGS]
)
@pytest.mark.parametrize("name", NETWORKS)
def test_deploy_form(name, target, lowering):
    case, network = load_module(name)
    deploy = to_deploy(network, *case.input.shape[2:], lowering, target)
    assert case.error(run(deploy, case.input)) <= FLOAT64
    assert not any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in deploy.modules())


@pytest.mark.parametrize("target", [ONNXRUNTIME_X86, PORTABLE_ONNX], ids=lambda target: target.name)
@pytest.mark.parametrize("name", NETWORKS)
def test_onnx(name, target):
    case, network = load_module(name)
    traced = to_onnx(to_deploy(network, *case.input.shape[2:], target=target), *case.input.shape[2:])
    simplified = simplify(traced.tidied, case.input[:1], FLOAT32 * float(np.ptp(case.output)))
    for model in (traced.raw, simplified):
        session = OnnxRuntimeSession(model.SerializeToString())
        outputs = np.concatenate([session.run(image[None]) for image in case.input])
        assert case.error(outputs) <= FLOAT32
    assert len(simplified.graph.node) <= 700


def test_cases_are_unlike_each_other():
    """A case whose two inputs gave one output could not show a kernel of one sample applied to the other."""
    for name in NETWORKS:
        case = load_case(name)
        assert np.abs(case.output[0] - case.output[1]).max() > 0.1 * np.ptp(case.output)
