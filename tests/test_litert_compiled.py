"""Kernels by FULLY_CONNECTED with a computed weight: exported, opened by CompiledModel, and right everywhere else."""

import gc
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import DIGITS_OPTIONS, PHOTOGRAPHS
from deployed import OnChannelsLast
from foreign_networks import NETWORKS, calibrated
from mixture_layers import MixedKernels
from right_answers import answers, assert_near, assert_right, unseen
from test_tflite_interpreters import ROOT
from torch import nn

import dcd_deploy
from dcd_deploy import commands
from dcd_deploy.artifacts import LITERT_COMPILED
from dcd_deploy.benchmarks.litert_profiler import ProfiledLiteRt
from dcd_deploy.emulation import inside
from dcd_deploy.errors import (
    ModelFileError,
    OptionError,
    UnknownNameError,
    VerificationError,
)
from dcd_deploy.export.deployable import deployable
from dcd_deploy.export.tflite import build as build_tflite
from dcd_deploy.export.tflite.convert import to_tflite
from dcd_deploy.lowering.channels_last.parts import Conv
from dcd_deploy.runtimes import litert_compiled, open_model, self_check
from dcd_deploy.runtimes.litert_compiled import FLAGS, HOW_TO_SET, LiteRtCompiledSession

STAGES = ["deploy form", "TFLite, plain kernels", "TFLite, XNNPACK", "TFLite, CompiledModel"]
FULLY_CONNECTED = "fully_connected"
OTHERS = ("litert", "litert-plain")


# The gate


def test_every_way_to_run_it_is_verified(digits_compiled):
    assert [one.stage for one in digits_compiled.built.report.comparisons] == STAGES
    assert all(one.passed for one in digits_compiled.built.report.comparisons)
    assert {FULLY_CONNECTED, "branch"} == set(digits_compiled.built.lowering.values())
    assert digits_compiled.artifact.card.runtime == LITERT_COMPILED
    assert json.loads(digits_compiled.artifact.sidecar_path.read_text())["runtime"] == LITERT_COMPILED


@pytest.mark.exhaustive
def test_a_network_of_full_size(tmp_path):
    """Trained weights: random ones may amplify rounding beyond the tolerance, on one processor and not on another."""
    checkpoint = PHOTOGRAPHS / "dcd.pth.tar"
    result = commands.export(checkpoint, to="tflite", target=LITERT_COMPILED, input_size=224, out=tmp_path, name="full")
    assert [one.stage for one in result.built.report.comparisons] == STAGES
    assert list(result.built.lowering.values()).count(FULLY_CONNECTED) > 8
    assert self_check(open_model(result.artifact.path)).passed


class Mixtures(nn.Module):
    """DY-Conv of every kind: with groups, pointwise, with a stride."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, 2, 1)
        self.grouped = MixedKernels(groups=2)
        self.pointwise = MixedKernels(C=8, K=12, kernel=1, padding=0)
        self.strided = MixedKernels(C=12, K=8, stride=2)

    def forward(self, x):
        y = torch.relu(self.grouped(self.stem(x)))
        return self.strided(torch.relu(self.pointwise(y))).mean((2, 3))


def mixtures():
    torch.manual_seed(0)
    example = torch.randn(1, 3, 40, 28)
    return calibrated(Mixtures(), example), (example,)


@pytest.mark.parametrize(
    "stage", [*(pytest.param(each, marks=pytest.mark.exhaustive) for each in STAGES[1:-1]), STAGES[-1]]
)
def test_a_difference_in_one_of_them_alone_is_refused(stage, tmp_path, monkeypatch):
    honest = build_tflite.STAGES[stage]

    def wrong(model):
        session = honest(model)
        run_all = session.run_all
        session.run_all = lambda inputs: tuple(values * np.float32(1.001) for values in run_all(inputs))
        return session

    monkeypatch.setitem(build_tflite.STAGES, stage, wrong)
    module, example = mixtures()
    words = f"{stage}, inputs one by one: expected outputs within"
    with pytest.raises(VerificationError, match=words):
        dcd_deploy.export_module(module, example, to="tflite", target=LITERT_COMPILED, out=tmp_path / "out", name="m")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("make", "lowered"),
    [
        (mixtures, {"pointwise": True, "strided": True, "grouped": False}),
        (NETWORKS["segmenter"], {"merge.layer": True}),  # two outputs, a map each
        pytest.param(
            NETWORKS["two inputs"], {}, marks=pytest.mark.exhaustive
        ),  # two outputs of another rank each, and an input beside the picture
    ],
)
def test_your_own_networks(make, lowered, tmp_path):
    module, example = make()
    layers = dict.fromkeys((path for path, wanted in lowered.items() if wanted), FULLY_CONNECTED)
    result = dcd_deploy.export_module(module, example, to="tflite", target=LITERT_COMPILED, out=tmp_path, name="m")
    assert {path: result.built.lowering[path] == FULLY_CONNECTED for path in lowered} == lowered
    assert (result.artifact.card.runtime == LITERT_COMPILED) == bool(layers)
    inputs = unseen(example, 3)
    wanted = answers(module, inputs)
    for runtime in (LITERT_COMPILED, *OTHERS):
        model = open_model(result.artifact.path, threads=1, runtime=runtime)
        assert [tensor.name for tensor in model.session.outputs] == list(wanted)
        assert_right(model.run_all(*inputs), wanted)


@pytest.mark.exhaustive
def test_two_samples_at_once_get_other_lowerings(digits_checkpoint, digits_compiled, images, tmp_path):
    result = commands.export(
        digits_checkpoint, to="tflite", target=LITERT_COMPILED, batch=2, out=tmp_path, **DIGITS_OPTIONS
    )
    assert FULLY_CONNECTED not in result.built.lowering.values()
    assert result.artifact.card.runtime is None
    assert STAGES[3] not in {one.stage for one in result.built.report.comparisons}
    model = open_model(result.artifact.path)
    assert not isinstance(model.session, LiteRtCompiledSession)
    wanted = open_model(digits_compiled.artifact.path).run(images)
    assert_near(model.run(images), wanted)
    assert_near(open_model(result.artifact.path, runtime=LITERT_COMPILED).run(images), wanted)


@pytest.mark.parametrize(
    "options", [{"target": LITERT_COMPILED, "batch": 2}, {"target": "litert"}, {"target": "portable"}, {}]
)
def test_where_the_lowering_does_not_serve(options, digits_checkpoint, tmp_path):
    with pytest.raises(
        OptionError, match="`target` litert-compiled, and `batch` 1, for the lowering 'fully_connected'"
    ):
        commands.export(
            digits_checkpoint, to="tflite", lowering=FULLY_CONNECTED, out=tmp_path, **DIGITS_OPTIONS, **options
        )
    with pytest.raises(OptionError, match="litert-compiled with `to` tflite, found `to` onnx"):
        commands.export(digits_checkpoint, to="onnx", target=LITERT_COMPILED, out=tmp_path, **DIGITS_OPTIONS)
    assert list(tmp_path.iterdir()) == []


# Opened with the flag


def test_it_is_opened_by_what_it_was_made_for(digits_compiled, digits_tflite, images):
    path = digits_compiled.artifact.path
    model = open_model(path)
    assert model.session.runtime == "ai-edge-litert CompiledModel"
    wanted = model.run(images)
    assert np.abs(wanted[0] - wanted[1]).max() > 1e-2 * np.ptp(wanted)
    assert np.array_equal(model.run(images), wanted)
    for other in (open_model(path, runtime=name) for name in OTHERS):
        assert other.session.runtime == "ai-edge-litert"
        assert_near(other.run(images), wanted)
    assert_near(open_model(path, threads=2).run(images), wanted)
    assert_near(open_model(digits_tflite.artifact.path, runtime=LITERT_COMPILED).run(images), wanted)
    assert not isinstance(open_model(digits_tflite.artifact.path).session, LiteRtCompiledSession)
    with pytest.raises(UnknownNameError, match="did you mean 'litert-compiled'"):
        open_model(path, runtime="litert-compile")


def test_a_run_outlives_its_session(digits_compiled, images):
    """As the worker keeps it, which times a model that it has closed the door of."""
    model = open_model(digits_compiled.artifact.path, threads=1)
    run, made = model.session.prepare(images[:1]), model.session._made
    del model
    gc.collect()
    run()
    ((_, answer),) = made.answers.items()
    assert_near(answer.read(10, np.float32), open_model(digits_compiled.artifact.path).run(images[:1])[0])


def test_inputs_that_it_does_not_take(digits_compiled):
    model = open_model(digits_compiled.artifact.path)
    with pytest.raises(ModelFileError, match="cannot run on an input of shape"):
        model.run(np.zeros((1, 3, 31, 32), np.float32))
    with pytest.raises(ModelFileError):
        model.run_all(*[np.zeros((1, 3, 32, 32), np.float32)] * 2)


def test_the_flags_are_what_we_take_them_for(digits_compiled, images):
    """XNNPACK itself says which operators it took: with the flag those with a computed weight too."""
    assert inside.COMPILED_FLAGS == FLAGS
    labels = {}
    for flags in (FLAGS, FLAGS - litert_compiled.DYNAMIC_FULLY_CONNECTED, None):
        profiled = ProfiledLiteRt(digits_compiled.artifact.path, [images[:1].transpose(0, 2, 3, 1)], 1, flags)
        labels[flags] = [(one.label, one.index) for one in profiled.profile()]
        profiled.close()
    layers = list(digits_compiled.built.lowering.values()).count(FULLY_CONNECTED)
    taken = {flags: sum("Dynamic Fully Connected" in label for label, _ in each) for flags, each in labels.items()}
    left = {flags: sum(index is not None for _, index in each) for flags, each in labels.items()}
    assert list(taken.values()) == [layers, 0, 0]
    assert list(left.values()) == [0, layers, layers]


def test_what_python_is_told_to_write(digits_compiled, images):
    """The line of ``inspect``, run as it stands."""
    names = vars(__import__("ai_edge_litert.compiled_model", fromlist=["CompiledModel"]))
    model = eval(HOW_TO_SET["Python"], dict(names), {"path": str(digits_compiled.artifact.path)})
    entries, found = model.create_input_buffers(0), model.create_output_buffers(0)
    entries[0].write(images[:1].transpose(0, 2, 3, 1))
    model.run_by_index(0, entries, found)
    assert_near(found[0].read(10, np.float32), open_model(digits_compiled.artifact.path).run(images[:1])[0])


def test_the_page_says_what_inspect_says():
    page = (ROOT / "docs" / "litert-compiled.md").read_text().replace("\\|", "|")
    for language, line in HOW_TO_SET.items():
        assert line.removeprefix("TfLiteXNNPackDelegateOptions.") in page, language
    assert f"The value is {FLAGS}" in page


def test_damaged_files(digits_compiled, tmp_path):
    """Cut, or with bytes of the graph turned: words or outputs, and no crash of the process."""
    whole = digits_compiled.artifact.path.read_bytes()
    draw = np.random.default_rng(0)
    contents = [whole[: len(whole) * part // 4] for part in (1, 2, 3)] + [b"", b"TFL3" * 100]
    for _ in range(20):
        changed = bytearray(whole)
        for place in draw.integers(0, 4000, 3):
            changed[place] ^= int(draw.integers(1, 256))
        contents.append(bytes(changed))
    for number, content in enumerate(contents):
        (tmp_path / f"{number:02}.tflite").write_bytes(content)
    script = (
        "import sys\nfrom dcd_deploy.errors import DcdDeployError\nfrom dcd_deploy.runtimes import open_model\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n        print(path, open_model(path, runtime='litert-compiled').session.runtime)\n"
        "    except DcdDeployError as error:\n        print(path, type(error).__name__, error)\n"
    )
    paths = sorted(map(str, tmp_path.iterdir()))
    done = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == paths
    assert all(line.split()[1] in ("ModelFileError", "InputFileError") for line in lines[:5])


def test_a_file_of_another_tool(tmp_path):
    path = tmp_path / "foreign.tflite"
    path.write_bytes(to_tflite(deployable(OnChannelsLast(Conv(nn.Conv2d(3, 4, 1)))), 5, 6))
    values = np.random.default_rng(0).normal(size=(2, 3, 5, 6)).astype(np.float32)
    found = open_model(path, runtime=LITERT_COMPILED).run(values)
    assert_near(found, open_model(path).run(values))
