"""The way of a checkpoint through the package crosses each room once: no step of an export is taken twice."""

import sys
from collections import Counter

import numpy as np
import pytest

from dcd_deploy import commands
from dcd_deploy.export import checked_reference, pipeline
from dcd_deploy.export.onnx import trace
from dcd_deploy.lowering import capture, deploy
from dcd_deploy.models import checkpoint, fit

pytestmark = pytest.mark.long
STEPS = (
    (checkpoint, "read_checkpoint"),
    (fit, "fit_checkpoint"),
    (fit, "load_network"),
    (capture, "capture"),
    (capture, "dynamic_layers"),
    (deploy, "lower"),
    (checked_reference, "reference_for"),
    (trace, "trace_onnx"),
    (pipeline, "export_network"),
)


@pytest.fixture
def steps(monkeypatch):
    """How often each step is taken, wherever it is called from."""
    taken = Counter()
    for home, name in STEPS:
        step = getattr(home, name)

        def counted(*given, step=step, name=name, **named):
            taken[name] += 1
            return step(*given, **named)

        for module in list(sys.modules.values()):
            if getattr(module, "__name__", "").startswith("dcd_deploy") and vars(module).get(name) is step:
                monkeypatch.setattr(module, name, counted)
    return taken


def test_each_step_is_taken_once(small_checkpoint, tmp_path, steps):
    made = commands.export(small_checkpoint, out=tmp_path, input_size=32, with_baseline=False)
    assert steps == {name: 1 for _, name in STEPS}
    checkpoint.read_checkpoint(small_checkpoint)
    assert steps["read_checkpoint"] == 2, "a second time would be counted"
    assert np.isfinite(list(made.built.report.output_ranges.values())).all()
