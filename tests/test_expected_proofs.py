"""Proofs that are put off: what is expected of a layer is proved before anything is built of it."""

from importlib import import_module

import pytest
import torch
from dynamic_layers import Decomposed, OtherwiseWhenLarge, ScaledAfterTheSum, lively
from mixture_layers import MixedKernels
from torch import nn

from dcd_deploy import commands
from dcd_deploy.export import pipeline
from dcd_deploy.export.build_config import BuildConfig
from dcd_deploy.export.formats import build_formats
from dcd_deploy.lowering import dynamic_layers
from dcd_deploy.lowering.capture import capture, capture_expecting
from dcd_deploy.lowering.network import network_of
from dcd_deploy.samples import InputSpec
from dcd_deploy.tuning.lowering_file import TunedLowering, write_lowering

EXAMPLE = torch.rand(1, 8, 9, 8)


@pytest.fixture
def proofs(monkeypatch):
    """How many layers were proved."""
    done = []

    def counted(*given):
        done.append(given)
        return prove(*given)

    prove = dynamic_layers.prove
    monkeypatch.setattr(dynamic_layers, "prove", counted)
    return done


def network(*layers):
    return network_of(lively(nn.Sequential(*layers)), EXAMPLE)


def alike():
    return [Decomposed(C=8, K=8) for _ in range(3)]


def test_one_layer_of_each_kind_is_proved_at_once_and_the_others_when_asked(proofs):
    found = capture_expecting(network(*alike(), MixedKernels(C=8, K=8), MixedKernels(C=8, K=8)))
    assert len(proofs) == 2
    proved = found.proved()
    assert len(proofs) == 5
    assert proved.graph is found.graph
    assert proved.outstanding is None
    assert proved.proved() is proved
    assert list(proved.operators) == ["0", "1", "2", "3", "4"]
    assert len(proofs) == 5


def test_it_finds_what_is_found_without(proofs):
    made = network(*alike(), ScaledAfterTheSum(C=8, K=8), Decomposed(C=8, K=8, gate="third", plus_query=False))
    expecting, at_once = capture_expecting(made).proved(), capture(made)
    assert expecting.operators.keys() == at_once.operators.keys()
    assert expecting.refused == at_once.refused
    assert expecting.refused.keys() == {"3"}
    x = torch.rand(2, 8, 9, 8, dtype=torch.float64)
    for one, other in zip(expecting.graph.module(x), at_once.graph.module(x), strict=True):
        assert torch.equal(one, other)


def test_where_the_first_of_a_kind_is_refused_each_is_proved_at_once(proofs):
    found = capture_expecting(network(ScaledAfterTheSum(C=8, K=8), *alike()))
    assert len(proofs) == 4
    assert found.refused.keys() == {"0"}
    assert found.proved().graph is found.graph
    assert len(proofs) == 4


def test_what_the_example_does_not_show_the_proof_does():
    torch.manual_seed(0)
    found = capture_expecting(network(Decomposed(C=8, K=8), OtherwiseWhenLarge(C=8, K=8)))
    assert "1" in found.operators, "it was expected to be as the others"
    proved = found.proved()
    assert proved.operators.keys() == {"0"}
    assert found.proved().operators.keys() == {"0"}, "the second time too"
    assert "computes something else" in proved.refused["1"].reason
    assert proved.outstanding is None
    assert any("'1' is exported as ordinary operators" in note for note in proved.graph.notes)


def two():
    torch.manual_seed(0)
    return lively(nn.Sequential(Decomposed(C=8, K=8), OtherwiseWhenLarge(C=8, K=8))).float()


def test_tuned_lowerings_are_held_against_what_is_proved(monkeypatch, tmp_path):
    """By the command, which would take a layer that is only expected for one that has no row."""
    seen = []
    monkeypatch.setattr(pipeline, "exporter", object)
    monkeypatch.setattr(
        import_module("dcd_deploy.commands.export"), "check_tuned", lambda tuned, title, captured: seen.append(captured)
    )
    (tmp_path / "mine.py").write_text("from test_expected_proofs import two", encoding="utf-8")
    torch.save(two().state_dict(), tmp_path / "mine.pt")
    tuned = TunedLowering(
        "onnxruntime-x86", "onnx", "Sequential", ((8, 9, 8),), "onnxruntime", "1", "local", "cpu", 1, {"0": "kernel"}
    )
    write_lowering(tmp_path / "tuned.json", tuned)
    commands.export(
        tmp_path / "mine.pt",
        network=f"{tmp_path / 'mine.py'}:two",
        input_shape=(8, 9, 8),
        lowering=tmp_path / "tuned.json",
        foreign_lowering=True,
        out=tmp_path,
    )
    assert [each.operators.keys() for each in seen] == [{"0"}]


def test_nothing_is_built_of_what_is_not_proved():
    found = capture_expecting(network(*alike()))
    config = BuildConfig(None, inputs=(InputSpec("input", (8, 9, 8)),), alone="output")
    with pytest.raises(AssertionError, match="not proved"):
        build_formats(found, config, ["onnx"])
    assert build_formats(found.proved(), config, ["onnx"])["onnx"].report.passed
