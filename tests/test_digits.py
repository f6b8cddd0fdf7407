"""The bundled trained networks, end to end: the exported file has exactly the checkpoint's held-out accuracy."""

import json

import digits
import numpy as np
import pytest
import torch
from conftest import DIGITS, DIGITS_OPTIONS

from dcd_deploy import commands
from dcd_deploy.models.checkpoint import read_checkpoint
from dcd_deploy.models.fit import fit, load_network
from dcd_deploy.runtimes import open_model
from dcd_deploy.samples import verification_inputs

REQUIRED = 97.0
LARGEST_FILE = 3_000_000


def accuracy(logits, labels) -> float:
    return 100 * float((np.asarray(logits).argmax(1) == labels).mean())


def train_form(name):
    checkpoint = read_checkpoint(DIGITS / name)
    return checkpoint, load_network(checkpoint, fit(checkpoint))


@pytest.mark.parametrize(("name", "arch"), [("dcd.pth.tar", "mobilenetv2_dcd"), ("static.pth.tar", "mobilenetv2")])
def test_the_trained_checkpoints(name, arch, held_out):
    images, labels = held_out
    checkpoint, network = train_form(name)
    assert (DIGITS / name).stat().st_size <= LARGEST_FILE
    assert checkpoint.info["arch"] == arch
    with torch.inference_mode():
        found = accuracy(network(torch.from_numpy(digits.normalised(images)).double()), labels)
    assert found == pytest.approx(checkpoint.info["best_prec1"])
    assert found >= REQUIRED
    content = torch.load(DIGITS / name, weights_only=True)
    assert content.keys() == {"epoch", "arch", "state_dict", "best_prec1", "optimizer"}
    assert all(key.startswith("module.") for key in content["state_dict"])


def test_the_exported_model_is_as_accurate(digits_export, held_out):
    images, labels = held_out
    checkpoint, network = train_form("dcd.pth.tar")
    with torch.inference_mode():
        trained = network(torch.from_numpy(digits.normalised(images)).double()).numpy()
    exported = open_model(digits_export.artifact.path).run(digits.normalised(images))
    assert accuracy(exported, labels) == pytest.approx(checkpoint.info["best_prec1"])
    assert (exported.argmax(1) == trained.argmax(1)).all()
    assert np.abs(exported - trained).max() <= 5e-5 * np.ptp(trained)


def test_pictures_through_the_models_own_preprocessing(digits_export, held_out):
    images, labels = held_out
    model = open_model(digits_export.artifact.path)
    answers = [model.predict(image, top=1)[0] for image in images]
    assert accuracy(np.eye(10)[[answer.index for answer in answers]], labels) == pytest.approx(
        read_checkpoint(DIGITS / "dcd.pth.tar").info["best_prec1"]
    )
    assert all(answer.label == digits.LABELS[answer.index] for answer in answers)


def test_the_trained_static_network_exports_too(tmp_path, held_out):
    images, labels = held_out
    result = commands.export(DIGITS / "static.pth.tar", out=tmp_path, labels=digits.LABELS, **DIGITS_OPTIONS)
    assert result.artifact.card.arch == "mobilenetv2"
    assert result.built.report.sensitivity is None
    logits = open_model(result.artifact.path).run(digits.normalised(images))
    assert accuracy(logits, labels) == pytest.approx(read_checkpoint(DIGITS / "static.pth.tar").info["best_prec1"])


def trained_phi_variation(export):
    """Return how far each layer's fc_phi moves from its mean over the verification inputs, relative to its size.

    The report's Φ includes the identity of "+ q", which is as large and never moves.
    """
    _, network = train_form("dcd.pth.tar")
    images = torch.from_numpy(verification_inputs(export.artifact.card.preprocessing)).double()
    found = {}

    def note(path):
        def hook(_module, _inputs, values):
            found[path] = float((values - values.mean(0)).norm(dim=1).max() / values.norm(dim=1).mean())

        return hook

    for path, module in network.named_modules():
        if path.endswith("fc_phi"):
            module.register_forward_hook(note(path))
    with torch.no_grad():
        network(images)
    assert len(found) == 33
    return found


def test_every_layer_of_the_dynamic_network_is_alive(digits_export):
    sensitivity = json.loads(digits_export.artifact.sidecar_path.read_text())["verification"]["sensitivity"]
    assert sensitivity["variation"].keys() == sensitivity["frozen"].keys() == {"phi", "scale"}
    assert len(sensitivity["variation"]["phi"]) == 33
    assert min(trained_phi_variation(digits_export).values()) > 0.05
    assert min(sensitivity["variation"]["scale"].values()) > 1e-3
    assert min(sensitivity["frozen"].values()) > 0.1


def test_the_bundled_picture(digits_export):
    answers = commands.predict(digits_export.artifact.path, DIGITS / "seven.png")
    assert answers[0].label == "seven"
