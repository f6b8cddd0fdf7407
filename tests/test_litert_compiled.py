"""Kernels by FULLY_CONNECTED with a computed weight: exported, opened by CompiledModel, and right everywhere else."""

import gc
import json
import subprocess
import sys
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DIGITS_OPTIONS
from deployed import OnChannelsLast
from foreign_networks import NETWORKS, calibrated
from mixture_layers import MixedKernels
from test_export_module import answers, assert_right, unseen
from test_tflite_interpreters import LEGACY, ROOT
from torch import nn

import dcd_deploy
from dcd_deploy import commands
from dcd_deploy.artifacts import LITERT_COMPILED
from dcd_deploy.benchmarks.environment import read_environment
from dcd_deploy.benchmarks.litert_profiler import ProfiledLiteRt
from dcd_deploy.devices.answers import Survey
from dcd_deploy.devices.packages import check
from dcd_deploy.emulation import inside
from dcd_deploy.errors import (
    DeviceLackError,
    MissingDependencyError,
    ModelFileError,
    OptionError,
    UnknownNameError,
    VerificationError,
)
from dcd_deploy.export.deployable import deployable
from dcd_deploy.export.tflite import build as build_tflite
from dcd_deploy.export.tflite.convert import to_tflite
from dcd_deploy.lowering.channels_last.parts import Conv
from dcd_deploy.models.random_weights import calibrated_network, save_checkpoint
from dcd_deploy.models.spec import NetworkSpec
from dcd_deploy.runtimes import litert_compiled, open_model, self_check
from dcd_deploy.runtimes.choice import SlowRuntimeWarning
from dcd_deploy.runtimes.litert_compiled import FLAGS, HOW_TO_SET, LiteRtCompiledSession, lacking

STAGES = ["deploy form", "TFLite, plain kernels", "TFLite, XNNPACK", "TFLite, CompiledModel"]
FULLY_CONNECTED = "fully_connected"
OTHERS = ("litert", "litert-plain")


@pytest.fixture
def images():
    return np.random.default_rng(3).normal(0, 1.2, (3, 3, 32, 32)).astype(np.float32)


def assert_near(found, wanted):
    assert np.abs(found - wanted).max() <= 5e-5 * np.ptp(wanted)


# The gate


def test_every_way_to_run_it_is_verified(digits_compiled):
    assert [one.stage for one in digits_compiled.built.report.comparisons] == STAGES
    assert all(one.passed for one in digits_compiled.built.report.comparisons)
    assert {FULLY_CONNECTED, "branch"} == set(digits_compiled.built.lowering.values())
    assert digits_compiled.artifact.card.runtime == LITERT_COMPILED
    assert json.loads(digits_compiled.artifact.sidecar_path.read_text())["runtime"] == LITERT_COMPILED


@pytest.mark.exhaustive
def test_a_network_of_full_size(tmp_path):
    spec = NetworkSpec("mobilenetv2_dcd", 1000, 0.5)
    checkpoint = save_checkpoint(tmp_path / "model.pth.tar", calibrated_network(spec, 224), spec.arch)
    result = commands.export(checkpoint, to="tflite", target=LITERT_COMPILED, out=tmp_path, name="full")
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


@pytest.mark.parametrize("stage", STAGES[1:])
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
        (NETWORKS["two inputs"], {}),  # two outputs of another rank each, and an input beside the picture
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


# Where the flag cannot be set


def no_such_module(name):
    raise ImportError(f"No module named '{name}'")


def without_compiled_model(monkeypatch):
    honest = litert_compiled.require

    def require(name):
        if name == "ai_edge_litert.compiled_model":
            raise MissingDependencyError(f"No module named '{name}'")
        return honest(name)

    monkeypatch.setattr(litert_compiled, "require", require)


def another_version(monkeypatch, version):
    monkeypatch.setattr(litert_compiled, "installed_version", lambda _: version)


def without_options(monkeypatch):
    monkeypatch.delattr("ai_edge_litert.compiled_model.CpuOptions")


def on_an_old_core(monkeypatch):
    """A Raspberry Pi 4's."""
    core = ROOT / "tests" / "stand_ins" / "cortex-a72.cpuinfo"
    monkeypatch.setattr(litert_compiled, "CPUINFO", core)


LACKS = [
    (without_compiled_model, "No module named 'ai_edge_litert.compiled_model'"),
    (partial(another_version, version="2.4.0"), r"ai-edge-litert 2\.2 or 2\.3, .* found 2\.4\.0; run: pip install"),
    (partial(another_version, version="2.30.1"), r"found 2\.30\.1"),
    (partial(another_version, version="1.4.0"), r"found 1\.4\.0"),
    (partial(another_version, version="unknown"), "found unknown"),
    (without_options, "whose CompiledModel takes XNNPACK's flags"),
    (on_an_old_core, r"atomic instructions .*libLiteRtWebGpuAccelerator\.so'.* move that file away"),
]


@pytest.mark.parametrize(("lack", "words"), LACKS)
def test_without_the_flag_it_is_right_and_says_so(lack, words, digits_compiled, images, monkeypatch):
    wanted = open_model(digits_compiled.artifact.path).run(images)
    lack(monkeypatch)
    with pytest.warns(SlowRuntimeWarning, match=f"'digits.tflite' is right in litert, but slower: .*{words}") as said:
        model = open_model(digits_compiled.artifact.path)
    assert [Path(each.filename) for each in said] == [Path(__file__)]
    assert model.session.runtime == "ai-edge-litert"
    assert_near(model.run(images), wanted)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_near(open_model(digits_compiled.artifact.path, runtime="litert").run(images), wanted)
    with pytest.raises(MissingDependencyError, match=words):
        open_model(digits_compiled.artifact.path, runtime=LITERT_COMPILED)


def test_a_new_core_and_other_machines_lack_nothing(tmp_path, monkeypatch):
    assert lacking() is None
    new = tmp_path / "cpuinfo"
    new.write_text("processor : 0\nFeatures\t: fp asimd atomics\n\nprocessor : 1\nFeatures\t: fp asimd atomics\n")
    for path in (new, tmp_path / "none"):
        monkeypatch.setattr(litert_compiled, "CPUINFO", path)
        assert lacking() is None
    on_an_old_core(monkeypatch)
    monkeypatch.setattr(litert_compiled, "GPU_LIBRARY", "moved-away.so")
    assert lacking() is None


def test_without_xnnpack_it_is_right(digits_compiled, images):
    plain = open_model(digits_compiled.artifact.path, runtime="litert-plain")
    assert "DELEGATE" not in {op["op_name"] for op in plain.session.interpreter._get_ops_details()}
    assert_near(plain.run(images), open_model(digits_compiled.artifact.path).run(images))


def test_the_old_interpreter_runs_it_and_says_so(digits_compiled, images, tmp_path):
    assert LEGACY.exists(), "the environment of tflite-runtime is missing: run the tests with `make test-long`"
    np.save(tmp_path / "images.npy", images)
    command = [LEGACY, ROOT / "tests" / "legacy_reader.py", digits_compiled.artifact.path, tmp_path / "images.npy"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert (answer["runtime"], answer["passed"]) == ("tflite-runtime", True)
    assert answer["classes"] == open_model(digits_compiled.artifact.path).run(images).argmax(1).tolist()
    assert done.stderr.count("SlowRuntimeWarning: 'digits.tflite' is right in litert, but slower") == 1
    assert "Traceback" not in done.stderr


def test_a_board_whose_interpreter_is_the_old_one():
    """Before anything is sent: tflite-runtime has no CompiledModel."""
    packages = {"numpy": "1.26.4", "tflite-runtime": "2.14.0"}
    found = Survey(replace(read_environment(), packages=packages), (), 1000, "glibc 2.36")
    check("litert", found, "ssh://board")
    with pytest.raises(DeviceLackError, match="expected ai-edge-litert on ssh://board, found none"):
        check(LITERT_COMPILED, found, "ssh://board")


def test_a_runtime_that_nobody_knows(digits_compiled, images, tmp_path):
    built, card = digits_compiled.built, digits_compiled.artifact.card
    path = tmp_path / "later.tflite"
    path.write_bytes(built.content(replace(card, runtime="litert\x1b[2Jnext")))
    with pytest.warns(SlowRuntimeWarning, match=r"made for litert\\x1b\[2Jnext; this version of dcd-deploy knows"):
        model = open_model(path)
    assert_near(model.run(images), open_model(digits_compiled.artifact.path).run(images))
    path.write_bytes(built.content(replace(card, runtime=3)))
    with pytest.raises(ModelFileError, match="expected text, found int"):
        open_model(path)


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
