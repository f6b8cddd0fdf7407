"""Files for CompiledModel where XNNPACK is missing, or where its flags say something else: right, and told."""

from io import StringIO
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console
from right_answers import assert_near

from dcd_deploy.export.tflite.summary import summarise_tflite
from dcd_deploy.reports.inspect import show_tflite_file
from dcd_deploy.runtimes import litert, open_model
from dcd_deploy.runtimes.litert_compiled import DYNAMIC_FULLY_CONNECTED, FLAGS, LiteRtCompiledSession
from dcd_deploy.runtimes.nodes import delegation


@pytest.fixture
def without_xnnpack(monkeypatch):
    """An interpreter built without XNNPACK: what it takes by default is nothing."""
    real = litert.interpreter_module()
    plain = real.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    resolvers = SimpleNamespace(AUTO=plain, BUILTIN_WITHOUT_DEFAULT_DELEGATES=plain)
    build = SimpleNamespace(__name__=real.__name__, Interpreter=real.Interpreter, OpResolverType=resolvers)
    return lambda: monkeypatch.setattr(litert, "interpreter_module", lambda: build)


def test_a_build_without_xnnpack_is_right(digits_compiled, images, without_xnnpack):
    path = digits_compiled.artifact.path
    wanted, usual = open_model(path).run(images), open_model(path, runtime="litert")
    assert delegation(usual.session).taken > 0
    without_xnnpack()
    model = open_model(path, runtime="litert")
    assert (delegation(model.session).partitions, delegation(model.session).taken) == (0, 0)
    assert_near(model.run(images), wanted)


def test_inspect_says_that_nothing_is_taken(digits_compiled, without_xnnpack):
    without_xnnpack()
    summary, said = summarise_tflite(digits_compiled.artifact.path), StringIO()
    show_tflite_file(Console(file=said, width=200), summary)
    assert f"XNNPACK takes 0 of {summary.graph.nodes} operators, in 0 partitions" in said.getvalue()


@pytest.mark.parametrize("flags", [0, FLAGS - DYNAMIC_FULLY_CONNECTED, DYNAMIC_FULLY_CONNECTED])
def test_whatever_the_flags_mean_it_is_right(flags, digits_compiled, images):
    """Those of a later version whose numbers are others, or of a build that takes no computed kernels."""
    path = digits_compiled.artifact.path
    wanted = open_model(path).run(images)
    session = LiteRtCompiledSession(path, 1, flags)
    assert_near(np.concatenate([session.run(images[i : i + 1]) for i in range(len(images))]), wanted)
