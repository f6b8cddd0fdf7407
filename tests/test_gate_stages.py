"""A fault in a stage of the export stops it: lowering, folds, the captured graph, simplification."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from onnx import numpy_helper

from dcd_deploy import commands
from dcd_deploy.dynamic.canonical import CanonicalLayer
from dcd_deploy.dynamic.folds import affine, scaled, with_norm, without_gains
from dcd_deploy.dynamic.operator import LowRank
from dcd_deploy.errors import VerificationError
from dcd_deploy.export import checked_reference, pipeline
from dcd_deploy.export.onnx import make as make_onnx
from dcd_deploy.lowering.capture import capture
from dcd_deploy.lowering.deploy import lower
from dcd_deploy.lowering.passes import fold_norms, substitute


def in_a_lowering(monkeypatch):
    def lowered_wrongly(*arguments):
        deploy = lower(*arguments)
        weights = [weight for name, weight in deploy.module.named_parameters() if name.endswith("phi.weight")]
        weights[len(weights) // 2].data.mul_(1 + 1e-6)
        return deploy

    monkeypatch.setattr(checked_reference, "lower", lowered_wrongly)


def in_the_folds(monkeypatch):
    monkeypatch.setattr(fold_norms, "with_norm", lambda operator, s, t: with_norm(operator, s * (1 + 1e-6), t))


def in_the_static_folds(monkeypatch):
    monkeypatch.setattr(fold_norms, "affine", lambda norm: [(1 + 1e-6) * values for values in affine(norm)])


def in_the_gains(monkeypatch):
    def without(operator):
        folded = without_gains(operator)
        return replace(
            folded, terms=tuple(scaled(t, torch.tensor([1 + 1e-6], dtype=torch.float64)) for t in folded.terms)
        )

    monkeypatch.setattr(substitute, "without_gains", without)


def in_the_captured_graph(monkeypatch):
    def captured_wrongly(*arguments):
        found = capture(*arguments)
        layers = found.graph.layers()
        path = list(layers)[len(layers) // 2]
        (node,) = (node for node in found.graph.nodes if node.target == path)
        operator = layers[path].operator
        low_rank = operator.term(LowRank)
        wrong = replace(low_rank, project=low_rank.project * (1 + 1e-6))
        terms = tuple(wrong if term is low_rank else term for term in operator.terms)
        found.graph.replace_module(node, CanonicalLayer(replace(operator, terms=terms)))
        return found

    monkeypatch.setattr(pipeline, "capture", captured_wrongly)


@pytest.mark.parametrize(
    "fault", [in_a_lowering, in_the_folds, in_the_static_folds, in_the_gains, in_the_captured_graph]
)
def test_a_fault_of_a_millionth_stops_the_export(monkeypatch, tmp_path, small_checkpoint, fault):
    fault(monkeypatch)
    with pytest.raises(VerificationError, match="deploy form, inputs one by one: expected outputs within 1.0e-09"):
        commands.export(small_checkpoint, input_size=32, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_fault_in_the_simplification_stops_the_export(monkeypatch, tmp_path, small_checkpoint):
    honest = make_onnx.simplify

    def simplified_wrongly(*arguments):
        model = honest(*arguments)
        tensor = next(t for t in model.graph.initializer if t.name.endswith("attention.phi.weight"))
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.01), tensor.name))
        return model

    (tmp_path / "there.onnx").write_bytes(b"an earlier export")
    monkeypatch.setattr(make_onnx, "simplify", simplified_wrongly)
    with pytest.raises(VerificationError, match="ONNX simplified") as caught:
        commands.export(small_checkpoint, input_size=32, out=tmp_path, name="there")
    assert [c.passed for c in caught.value.report.comparisons] == [True, True, True, False]
    assert [path.name for path in tmp_path.iterdir()] == ["there.onnx"]
    assert (tmp_path / "there.onnx").read_bytes() == b"an earlier export"
