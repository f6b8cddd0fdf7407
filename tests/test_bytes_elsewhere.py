"""Pictures as raw bytes in runtimes that are not ours: MNN is told that they are bytes, ncnn takes none."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dcd_deploy import commands
from dcd_deploy.errors import BenchError
from dcd_deploy.runtimes.others import process
from dcd_deploy.runtimes.others.worker import module_of


def converted(command):
    Path(command[command.index("--MNNModel") + 1]).touch()


def test_mnn_is_told_the_type(monkeypatch):
    """A stand-in for its package; the real one was tried by hand."""
    given = []
    expr = SimpleNamespace(
        float="float",
        uint8="byte",
        NCHW="NCHW",
        const=lambda values, shape, layout, kind: given.append((values.dtype.name, kind)),
    )
    manager, module = SimpleNamespace(set_hint=lambda *_: None), SimpleNamespace(forward=lambda _: [])
    nn = SimpleNamespace(create_runtime_manager=lambda _: manager, load_module_from_file=lambda *_, **__: module)
    monkeypatch.setitem(sys.modules, "MNN", SimpleNamespace(expr=expr, nn=nn))
    monkeypatch.setitem(sys.modules, "_tools", SimpleNamespace(mnnconvert=converted))
    run = module_of(process.WORKER.with_name("mnn.py")).opened("any.onnx", {"picture": [1], "gain": [1]}, ["y"], 1)
    run({"picture": np.zeros(1, np.uint8), "gain": np.zeros(1, np.float32)})
    assert given == [("uint8", "byte"), ("float32", "float")]


@pytest.fixture(scope="module")
def of_bytes(digits_checkpoint, tmp_path_factory):
    out = tmp_path_factory.mktemp("bytes")
    return commands.export(digits_checkpoint, input_size=32, input_="uint8", out=out).artifact.path


@pytest.mark.exhaustive
@pytest.mark.usefixtures("own_cache")
def test_ncnn_takes_none_and_says_so(of_bytes):
    with pytest.raises(BenchError, match="ncnn: it takes no pictures as raw bytes; export another file"):
        commands.runtimes(of_bytes, runtime="ncnn", baseline="none", blocks=1)
