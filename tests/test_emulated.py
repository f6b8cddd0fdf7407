"""Emulated ARM for real: the aarch64 runtimes on the bundled network, checked and counted, and faults refused."""

import json
import re
from dataclasses import replace

import numpy as np
import onnx
import pytest
from command_line import dcd_deploy
from onnx import numpy_helper

from dcd_deploy import commands
from dcd_deploy.benchmarks.results import read_result, write_result
from dcd_deploy.devices import counting as work
from dcd_deploy.emulation import guest as guest_module
from dcd_deploy.emulation import layers, plugin, programs
from dcd_deploy.emulation.cores import core_named
from dcd_deploy.emulation.counting import count_models
from dcd_deploy.emulation.session import emulated_model
from dcd_deploy.errors import (
    DeviceAnswerError,
    DeviceLackError,
    UnknownNameError,
    VerificationError,
)
from dcd_deploy.export.noise import snr_db
from dcd_deploy.runtimes import open_model
from dcd_deploy.samples import verification_inputs

LIMIT = 1e-4
REPEATABLE = 1e-3


pytestmark = pytest.mark.usefixtures("emulation")


@pytest.fixture(scope="session")
def files(digits_export, digits_tflite):
    return {"onnx": digits_export.artifact.path, "tflite": digits_tflite.artifact.path}


@pytest.fixture(scope="session")
def planted(files, tmp_path_factory):
    """The ONNX file with one of its weight tensors off by 1 %."""
    model = onnx.load(files["onnx"])
    tensor = next(each for each in model.graph.initializer if each.name.endswith("attention.phi.weight"))
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.01), tensor.name))
    path = tmp_path_factory.mktemp("planted") / "planted.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("core", ["cortex-a53", pytest.param("i8mm", marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_a_core_computes_what_this_machine_does(files, format, core):
    here = open_model(files[format])
    images = verification_inputs(here.described().preprocessing)
    wanted = here.run(images)
    with emulated_model(files[format], core_named(core)) as there:
        found = there.run(images)
        assert there.described() == here.described()
        assert there.session.version == here.session.version
    assert np.abs(found - wanted).max() <= LIMIT * np.ptp(wanted)
    assert not np.array_equal(found, wanted)  # another order of sums: it is not this machine's runtime


@pytest.mark.exhaustive
@pytest.mark.parametrize("core", ["cortex-a53", "cortex-a76"])
def test_a_core_runs_what_is_made_for_compiled_model(core, digits_compiled, digits_checkpoint):
    """By CompiledModel, with the flag: right, and fewer passes over the map than without it."""
    path, device = digits_compiled.artifact.path, f"arm64-emulated:{core}"
    (comparison,) = commands.verify(path, checkpoint=digits_checkpoint, device=device).comparisons
    assert comparison.stage == f"model file on emulated {core}"
    assert comparison.relative <= LIMIT
    result = commands.bench(path, device=device, runtime="litert,litert-compiled")
    assert [trial.runtime for trial in result.counts.trials] == ["litert", "litert-compiled"]
    ratios = [trial.ratio(trial.models[1], "instructions") for trial in result.counts.trials]
    assert 1 < ratios[1] < ratios[0]
    (usual,) = commands.bench(path, device=device, baseline="none").counts.trials
    assert usual.runtime == "litert-compiled"


@pytest.mark.exhaustive
def test_the_command_line_on_a_core_says_nothing_of_the_librarys(digits_compiled):
    done = dcd_deploy("verify", digits_compiled.artifact.path, "--device", "arm64-emulated:cortex-a53")
    assert done.returncode == 0, done.stderr
    assert "start litert-compiled on emulated cortex-a53" in done.stderr
    assert not re.search(r"^(INFO|WARNING|ERROR)\b", done.stdout + done.stderr, re.MULTILINE)


def test_verified_against_the_checkpoint(files, digits_checkpoint):
    device = "arm64-emulated:cortex-a76"
    report = commands.verify(files["tflite"], checkpoint=digits_checkpoint, device=device)
    (comparison,) = report.comparisons
    assert comparison.stage == "model file on emulated cortex-a76"
    assert comparison.relative <= LIMIT


@pytest.mark.exhaustive
@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_half_precision_on_a_core_that_has_it_and_on_one_that_has_not(format, digits_half, files, held_out):
    """Near the float32 file on both; on the first less is to be done. XNNPACK computes in float32 on the second."""
    import digits

    path, images = digits_half[format].artifact.path, digits.normalised(held_out[0][:16])
    wanted = np.concatenate([open_model(files[format]).run(image[None]) for image in images]).astype(np.float64)
    assert commands.verify(path, device="arm64-emulated:cortex-a76").passed
    for core, least in (("cortex-a53", 55), ("cortex-a76", 40)):
        with emulated_model(path, core_named(core)) as there:
            found = np.concatenate([there.run(image[None]) for image in images])
        assert snr_db(found, wanted) >= least
    half, single = (count_models(each, runs=1).models[0].counts for each in (path, files[format]))
    assert half.fmla < 0.85 * single.fmla
    if format == "tflite":
        assert half.instructions < 0.85 * single.instructions


def test_a_planted_fault_is_refused(files, planted, digits_checkpoint):
    device = "arm64-emulated:cortex-a72"
    assert commands.verify(files["onnx"], device=device).passed
    with pytest.raises(VerificationError, match="model file on emulated cortex-a72, .*expected outputs within 5.0e-05"):
        commands.verify(planted, checkpoint=digits_checkpoint, device=device)
    done = dcd_deploy("verify", planted, "--device", device)
    assert done.returncode == VerificationError.exit_code
    assert "does not compute what was trained" in done.stderr


@pytest.fixture(scope="session")
def counted(files):
    """Both formats beside their twins on a core, each counted in two processes."""
    found = {}
    for format, path in files.items():
        twin = path.with_name(f"digits-static.{format}")
        found[format] = [count_models(path, [("static twin", twin)], "cortex-a76") for _ in range(2)]
    return found


@pytest.mark.exhaustive
@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_counts_are_repeatable(counted, format):
    first, second = counted[format]
    for before, after in zip(first.models, second.models, strict=True):
        assert before.spread <= REPEATABLE
        assert before.counts.fmla == after.counts.fmla
        for name in ("instructions", "bytes_loaded", "bytes_stored", "l1_misses", "l2_misses", "traffic_bytes"):
            values = [getattr(each.counts, name) for each in (before, after)]
            assert values[0] == pytest.approx(values[1], rel=REPEATABLE), name


@pytest.mark.exhaustive
@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_counts_are_of_the_network(counted, format, files, digits_export):
    """The multiply-adds of the file are there, four in an instruction; the dynamic one needs more of everything."""
    trial = counted[format][0]
    dynamic, static = (model.counts for model in trial.models)
    assert 1 / 4 <= dynamic.fmla / digits_export.built.finished.macs <= 4
    assert dynamic.dot == dynamic.mmla == 0 < dynamic.fmla < dynamic.instructions  # float32
    for name in ("instructions", "fmla", "bytes_loaded", "l2_misses", "traffic_bytes"):
        assert getattr(dynamic, name) > getattr(static, name), name
        assert trial.ratio(trial.models[1], name) == getattr(dynamic, name) / getattr(static, name)
    assert trial.ratio(trial.models[1], "dot") is None
    # of the weights, 2.5 MB, no cache of 512 KiB keeps anything until the next run
    assert dynamic.l2_misses * 64 > 0.9 * files["tflite"].stat().st_size


@pytest.mark.exhaustive
def test_a_core_gets_its_own_kernels(files, counted):
    """LiteRT looks at the core: what it runs on an in-order one is not what it runs on a Cortex-A76."""
    other, one = count_models(files["tflite"], core="cortex-a53", runs=1), counted["tflite"][0]
    assert abs(other.models[0].counts.instructions / one.models[0].counts.instructions - 1) > 0.05


@pytest.mark.exhaustive
def test_the_command_line_counts_and_never_shows_a_time(files):
    done = dcd_deploy("bench", files["tflite"], "--device", "arm64-emulated:cortex-a72", "--baseline", "none")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^instructions +[\d.]+ M$", done.stdout, re.MULTILINE)
    assert "cortex-a72 has 32 KiB of L1 data cache in 2 ways" in done.stdout
    assert not re.search(r"\d ?(ms|s|µs)\b", done.stdout)
    done = dcd_deploy("bench", files["tflite"], "--device", "arm64-emulated:cortex-a72", "--json", "-q")
    content = json.loads(done.stdout)
    assert (content["kind"], content["trials"], content["environments"]) == ("dcd-deploy bench", [], {})
    (trial,) = content["counts"]["trials"]
    assert trial["ratios"]["static twin"]["traffic_bytes"] > 1
    assert content["counts"]["assumptions"]
    assert not re.search(r"\"[a-z_]*(_ms|_s|seconds|latency)\"", json.dumps(content["counts"]))


@pytest.mark.exhaustive
def test_times_and_counts_are_one_result(files, tmp_path):
    """This machine is timed, a core counts; what a folder keeps is not done again, and all reports have both."""
    fleet = tmp_path / "devices.toml"
    fleet.write_text('[devices.desk]\ndevice = "local"\n[devices.pi3]\ndevice = "arm64-emulated:cortex-a53"\n')
    out, saved = tmp_path / "out", [tmp_path / f"r{suffix}" for suffix in (".json", ".html", ".md", ".csv")]
    save = [word for path in saved for word in ("--save", path)]
    briefly = ["--min-runs", "6", "--min-seconds", "0", "--rounds", "1", "--no-memory"]
    command = ["bench", files["tflite"], *briefly, "--threads", "1", "--fleet", fleet, "--out", out, *save]
    done = dcd_deploy(*command)
    assert done.returncode == 0, done.stderr
    result = read_result(saved[0])
    assert [trial.device for trial in result.trials] == ["local"]
    assert result.counts.cores == {"pi3": "cortex-a53"}
    (trial,) = result.counts.trials
    assert trial.ratio(trial.models[1], "instructions") > 1
    assert [model.network for model in trial.models] == ["mobilenetv2_dcd ×0.25", "mobilenetv2 ×0.25"]
    assert re.search(r"^instructions +[\d.]+ M +[\d.]+ k +[\d.]+$", done.stdout, re.MULTILINE)
    for path in saved[1:]:
        assert "pi3" in path.read_text(encoding="utf-8"), path.suffix
    assert read_result(out / "result.json") == result
    assert sorted(path.name[:4] for path in (out / "trials").iterdir()) == ["loca", "pi3-"]
    again = dcd_deploy(*command)
    assert again.stdout == done.stdout
    assert "count " not in again.stderr, "nothing is left to count"
    assert dcd_deploy("report", saved[0]).stdout == done.stdout
    compared = dcd_deploy("compare", saved[0], out / "result.json")
    assert "counts, after / before" in compared.stdout


@pytest.mark.parametrize(
    "change",
    [
        lambda section: replace(section, qemu="4.2.0"),
        lambda section: replace(section, assumptions=("another cache",)),
        lambda section: replace(section, trials=()),
        lambda section: replace(section, trials=(replace(section.trials[0], runtime_version="0.1"),)),
        lambda section: replace(
            section, trials=(replace(section.trials[0], models=(other_file(section.trials[0].models[0]),)),)
        ),
    ],
)
def test_what_other_programs_or_files_counted_is_counted_anew(files, kept_count, change, monkeypatch):
    out, path, result = kept_count
    said = []
    monkeypatch.setattr(work, "count_trial", lambda *_: said.append("counted") or result.counts.trials[0])
    options = {"device": "arm64-emulated:cortex-a53", "baseline": "none", "out": out}
    write_result(path, result)
    assert commands.bench(files["tflite"], **options) == result
    assert said == []
    write_result(path, replace(result, counts=change(result.counts)))
    assert commands.bench(files["tflite"], **options) == result
    assert said == ["counted"]


def other_file(model):
    return replace(model, sha256="0" * 64)


@pytest.fixture(scope="module")
def kept_count(files, tmp_path_factory):
    """A folder with one kept trial, its file, and the result."""
    out = tmp_path_factory.mktemp("kept")
    result = commands.bench(files["tflite"], device="arm64-emulated:cortex-a53", baseline="none", out=out)
    (path,) = (out / "trials").iterdir()
    return out, path, result


def test_a_machine_without_qemu_keeps_its_times(files, monkeypatch):
    """What can be timed is; the trials of the core say what is missing."""

    def none_there(_):
        raise DeviceLackError("emulating ARM needs qemu-aarch64, not found on this machine")

    monkeypatch.setattr(programs, "check_programs", none_there)
    monkeypatch.setattr(guest_module, "check_programs", none_there)
    monkeypatch.setattr(plugin, "qemu_version", lambda: none_there(None))
    options = {"min_runs": 6, "min_seconds": 0, "rounds": 1, "memory": False}
    with pytest.raises(DeviceLackError, match="1 of 2 trials could not be measured: emulating ARM") as error:
        commands.bench(files["tflite"], baseline="none", device=("local", "arm64-emulated"), **options)
    result = error.value.result
    assert len(result.trials) == 1
    assert result.counts.qemu is None
    assert result.counts.trials == ()
    assert [failure.device for failure in result.failures] == ["arm64-emulated:cortex-a76"]


@pytest.mark.exhaustive
def test_counts_by_layer(files):
    found = commands.count_layers(files["onnx"], device="arm64-emulated:cortex-a76")
    total = found.total()
    assert total.fmla == found.whole.fmla
    assert 0.8 < total.instructions / found.whole.instructions < 1.05  # the rest is between the 500 small nodes
    layers = found.by_layer()
    assert len(layers) > 50
    assert not any(layer == "" for layer in layers)
    assert found.by_part()["static"].fmla > found.by_part()["dynamic"].fmla > 0
    assert sum(counts.fmla for parts in layers.values() for counts in parts.values()) == total.fmla


def test_counts_that_do_not_fit_the_profile_are_refused(files):
    events, ticks = layers._profiled(files["onnx"], core_named("cortex-a72"))
    found = layers.node_counts(events, ticks)
    assert len(found) == len(events)
    assert layers.node_counts(events, ticks[2:]) == found  # how many readings come first does not matter
    half = len(ticks) // 2
    for wrong in (ticks[:half] + ticks[half + 1 :], ticks[:half], [], ticks[::-1]):
        with pytest.raises(DeviceAnswerError, match="one way to bring"):
            layers.node_counts(events, wrong)
    with pytest.raises(UnknownNameError, match="by layer '.tflite'"):
        commands.count_layers(files["tflite"])
