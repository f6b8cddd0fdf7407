"""The deploy form of a module for somebody else's exporter: ordinary operators of torch, whoever reads them."""

import sys
import warnings
from importlib import import_module

import numpy as np
import pytest
import torch
from foreign_networks import DYNAMIC_LAYERS, NETWORKS, Grey
from torch import nn

import dcd_deploy
from dcd_deploy.errors import CaptureError, DcdDeployError
from dcd_deploy.lowering.network import network_of

FLOAT32 = 5e-5
# What the deploy form of a foreign network may consist of: layers of torch and functions of torch, none of ours.
TORCHS = ("aten", "prims", "<built-in function getitem>")


@pytest.fixture(scope="module")
def made():
    """Return each network's module, example and deploy form, once."""
    forms = {}

    def get(name):
        if name not in forms:
            module, example = NETWORKS[name]()
            forms[name] = module, example, dcd_deploy.deploy_form(module, example)
        return forms[name]

    return get


def outputs_of(module, inputs):
    """Return what the user's own module gives in float64, in the order of its names."""
    network = network_of(module, inputs)
    return [value.numpy() for value in network.run(*(x.double() for x in inputs))]


def flat(outputs):
    values = outputs if isinstance(outputs, tuple | list) else (outputs,)
    return [np.asarray(value) for value in values]


def check(found, wanted):
    """Compare float32 outputs with those of float64, over their range."""
    for one, other in zip(flat(found), wanted, strict=True):
        assert one.shape == other.shape
        spread = np.ptp(other) or np.abs(other).max()  # of a single number, itself
        assert np.abs(one - other).max() <= FLOAT32 * spread


@pytest.mark.parametrize("name", NETWORKS)
def test_it_computes_what_the_module_does(made, name):
    module, example, form = made(name)
    assert not form.training
    assert {p.dtype for p in form.parameters()} == {torch.float32}
    other = tuple(torch.randn_like(x) for x in example)
    for inputs in (example, other):
        with torch.no_grad():
            check(form(*inputs), outputs_of(module, inputs))


@pytest.mark.parametrize("name", NETWORKS)
def test_torch_export_takes_it(made, name):
    module, example, form = made(name)
    program = torch.export.export(form, example)
    called = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert all(one.startswith(TORCHS) for one in called), called
    with torch.no_grad():
        check(program.module()(*example), outputs_of(module, example))


@pytest.mark.parametrize("name", NETWORKS)
def test_torch_jit_takes_it(made, name):
    module, example, form = made(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, that it is to be replaced
        traced = torch.jit.trace(form, example)
    with torch.no_grad():
        check(traced(*example), outputs_of(module, example))


@pytest.mark.parametrize("name", NETWORKS)
def test_openvino_takes_it(made, monkeypatch, name):
    """Through its own PyTorch front end, and it computes the same on this processor."""
    monkeypatch.setitem(sys.modules, "openvino_telemetry", None)  # nothing is sent from a test
    openvino = import_module("openvino")
    module, example, form = made(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converted = openvino.convert_model(form, example_input=example)
    compiled = openvino.Core().compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    answer = compiled([x.numpy() for x in example])
    check([answer[i] for i in range(len(compiled.outputs))], outputs_of(module, example))


def test_a_planted_fault_would_be_seen(made):
    """One percent on one weight is more than the checks allow."""
    module, example, form = made("grey")
    weight = max(form.parameters(), key=torch.Tensor.numel)
    kept = weight.detach().clone()
    try:
        with torch.no_grad():
            weight *= 1.01
            found = form(*example)
    finally:
        weight.data = kept
    with pytest.raises(AssertionError):
        check(found, outputs_of(module, example))


def test_no_norm_is_left_that_could_be_folded(made):
    for name in DYNAMIC_LAYERS:
        _, _, form = made(name)
        norms = [m for m in form.modules() if isinstance(m, nn.BatchNorm2d)]
        # the shared layer is followed by a norm of its own at each call, folded into a copy each
        assert not norms, name


def test_the_users_own_module_stays_as_it_is():
    module, example = NETWORKS["grey"]()
    module.train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    dcd_deploy.deploy_form(module, example)
    assert module.training
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


@pytest.mark.parametrize("target", ["onnxruntime-x86", "onnxruntime-arm", "portable"])
def test_every_target_that_is_channels_first(target):
    module, example = NETWORKS["segmenter"]()
    with torch.no_grad():
        check(dcd_deploy.deploy_form(module, example, target)(*example), outputs_of(module, example))


def test_what_it_refuses():
    module, example = NETWORKS["grey"]()
    with pytest.raises(DcdDeployError, match="litert"):
        dcd_deploy.deploy_form(module, example, "litert")
    with pytest.raises(CaptureError, match="channels"):
        dcd_deploy.deploy_form(Grey(), torch.randn(1, 3, 45, 61))
    with pytest.raises(CaptureError, match=r"torch\.nn\.Module"):
        dcd_deploy.deploy_form(lambda x: x, example)
