"""ExecuTorch programs on emulated cores, by the aarch64 wheel's own libraries."""

import numpy as np
import pytest
from pte_network import SMALL

from dcd_deploy import commands
from dcd_deploy.emulation import executorch, programs
from dcd_deploy.emulation.cores import core_named
from dcd_deploy.emulation.counting import count_models
from dcd_deploy.emulation.root import installed_root
from dcd_deploy.emulation.session import emulated_model
from dcd_deploy.errors import DeviceLackError, VerificationError
from dcd_deploy.runtimes import open_model

LIMIT = 5e-5
pytestmark = pytest.mark.usefixtures("emulation")


@pytest.fixture
def altered_source(monkeypatch, tmp_path):
    """Another source of the library, and another place for what is made of it."""

    def alter(old, new):
        text = executorch.SOURCE.read_text(encoding="utf-8")
        assert old in text
        source = tmp_path / "executorch.cpp"
        source.write_text(text.replace(old, new), encoding="utf-8")
        monkeypatch.setattr(executorch, "SOURCE", source)
        monkeypatch.setattr(executorch, "cache_folder", lambda: tmp_path)

    return alter


@pytest.mark.exhaustive  # as ``test_verify_and_a_planted_fault`` does on one of them
@pytest.mark.parametrize("core", ["cortex-a53", "cortex-a76"])
def test_a_core_computes_what_this_machine_does(core):
    here = open_model(SMALL)
    images = np.random.default_rng(0).standard_normal(here.session.inputs[0].torch_shape, np.float32)
    wanted = here.run(images)
    with emulated_model(SMALL, core_named(core)) as there:
        found = there.run(images)
        assert there.session.version == here.session.version
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= LIMIT * np.ptp(wanted)


@pytest.mark.exhaustive
def test_verify_and_a_planted_fault(altered_source):
    device = "arm64-emulated:cortex-a76"
    assert commands.verify(SMALL, device=device).passed
    altered_source("tensor.nbytes());\n}", "tensor.nbytes());\n  into[0] *= 1.01f;\n}")
    with pytest.raises(VerificationError):
        commands.verify(SMALL, device=device)


@pytest.mark.exhaustive  # as the counts of the other formats
def test_counts_are_exactly_repeatable():
    trial = count_models(SMALL, [("again", SMALL)])
    first, second = (model.counts for model in trial.models)
    assert first.instructions == second.instructions > 10_000
    assert first.fmla > 0
    assert all(model.spread < 1e-3 for model in trial.models)


def test_a_missing_compiler_is_told(altered_source, monkeypatch):
    altered_source("// Opens a program", "// Another text, so that it is compiled; opens a program")
    monkeypatch.setattr(programs, "_missing", list)
    with pytest.raises(DeviceLackError, match=r"apt-get install g\+\+-aarch64-linux-gnu"):
        executorch.compiled_library(installed_root())
