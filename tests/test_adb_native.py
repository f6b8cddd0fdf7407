"""Trials on phones by runners made for them, end to end; the runners are stand-ins that print what real ones print."""

import shutil
import signal
import threading
from pathlib import Path

import pytest
from command_line import dcd_deploy, refused
from phones import BENCHMARK_MODEL, QUICK, RUNNER, left_on, script, until

from dcd_deploy.benchmarks.bench import BenchConfig, bench, case
from dcd_deploy.benchmarks.machine import CoreKind
from dcd_deploy.benchmarks.measure import MeasureConfig
from dcd_deploy.benchmarks.worker import network_name
from dcd_deploy.devices.adb.client import Adb, chosen
from dcd_deploy.devices.adb.files import DescribedFile, common_batch, described
from dcd_deploy.devices.adb.native import NativePhone
from dcd_deploy.devices.adb.phone import Phone
from dcd_deploy.devices.target import read_fleet
from dcd_deploy.errors import (
    BenchError,
    DeviceAnswerError,
    DeviceLackError,
    DeviceLostError,
    InputFileError,
    OptionError,
)
from dcd_deploy.runtimes.model import open_model

SHORT = BenchConfig(MeasureConfig(min_runs=20, min_seconds=0.0, rounds=3, warmup_seconds=0.0), time_limit=60.0)


@pytest.fixture
def opened(phone_side):
    def open_phone(*runners):
        client = Adb.found()
        return NativePhone("adb", Phone(client, chosen(client.listed(), None)), runners)

    return open_phone


def test_what_a_phone_is(opened):
    with opened(BENCHMARK_MODEL) as device:
        facts = device.describe()
    found = facts.environment
    assert found.cpu == "Example Test Phone, EX1000, 2×Cortex-X1 + 2×Cortex-A55"
    assert found.features == ("asimd", "asimdhp", "asimddp")
    assert found.system.startswith("Android 14, Linux ")
    assert (found.cores, found.memory_mb, found.load, found.python) == (4, 7474, 0.42, None)
    assert (found.governor, found.clock_mhz, found.temperature_c) == ("sched_pixel", 1200.0, 38.5)
    assert list(found.packages) == ["benchmark_model"]
    assert "in the phone's shell" in facts.notes[0]
    assert facts.cores == (CoreKind((2, 3), "Cortex-X1", 2850.0, 1024), CoreKind((0, 1), "Cortex-A55", 1800.0, 250))
    assert facts.free_mb > 0


def test_a_phone_that_tells_little(opened, phone_side):
    for folder in ("proc", "sys"):
        shutil.rmtree(phone_side.root / folder)
    script(phone_side.root / "bin" / "getprop", "true")
    script(phone_side.root / "bin" / "dumpsys", "exit 1")
    found = opened().describe().environment
    assert (found.cpu, found.cores, found.governor, found.temperature_c) == ("an unknown phone", 1, None, None)


def test_a_phone_that_lies(opened, phone_side):
    evil = "\\033]0;owned\\007\\n== prop:ro.product.cpu.abi\\nmips\\n" + "A" * 5000
    script(phone_side.root / "bin" / "getprop", f"printf '{evil}'")
    (phone_side.root / "proc" / "cpuinfo").write_text(
        "processor : 99999999999\nprocessor : -1\n\n" * 100 + "\x1b[31m" * 99
    )
    (phone_side.root / "proc" / "meminfo").write_text("MemTotal: 9999999999999999999999 kB\n")
    (phone_side.root / "proc" / "loadavg").write_text("nan inf\n")
    found = opened().describe().environment
    texts = [found.cpu, found.system, found.governor, *found.notes]
    assert all(text.isprintable() and len(text) < 1000 for text in texts)
    assert (found.memory_mb, found.load) == (None, None)


def test_onnx_and_tflite_beside_their_twins(opened, phone_side, perf_test, onnx_pair, tflite_pair):
    cases = [case(onnx_pair[0], "onnxruntime", onnx_pair[1]), case(tflite_pair[0], "litert", tflite_pair[1])]
    with opened(perf_test, BENCHMARK_MODEL) as device:
        result = bench(cases, SHORT, place=device)
    assert list(result.environments) == ["adb"]
    for trial, files in zip(result.trials, (onnx_pair, tflite_pair), strict=True):
        ratio = trial.ratios["static twin"]
        assert ratio.median == pytest.approx(files[0].stat().st_size / files[1].stat().st_size, rel=0.01)
        assert (trial.device, trial.cpus, trial.batch) == ("adb", (2, 3), 1)
        assert [timing.network for timing in trial.timings] == ["mobilenetv2_dcd ×0.25", "mobilenetv2 ×0.25"]
    one, other = result.trials
    assert one.runtime_version.startswith("onnxruntime_perf_test ")
    assert one.runtime_version.endswith("a sample: a run")
    assert other.runtime_version.endswith("a sample: the median of one start's runs")
    assert {len(block) for block in one.timings[0].samples.blocks_ms} == {4}
    started = [command for command in phone_side.commands if "results.csv" in command and "taskset" in command]
    assert "taskset c " in started[0], "the big cores"
    assert not [name for name in left_on(phone_side) if "run-" in name]


@pytest.mark.exhaustive
def test_nothing_is_sent_twice(opened, phone_side, onnx_pair, perf_test):
    for _ in range(2):
        with opened(perf_test) as device:
            bench([case(onnx_pair[0], "onnxruntime", onnx_pair[1])], SHORT, place=device)
    assert phone_side.received == sum(path.stat().st_size for path in (*onnx_pair, perf_test))
    device.clean()
    assert left_on(phone_side) == []


def test_cores_that_are_named(opened, perf_test, onnx_pair):
    config = BenchConfig(SHORT.measure, cpus=(0, 3))
    with opened(perf_test) as device:
        assert bench([case(onnx_pair[0], "onnxruntime")], config, place=device).trials[0].cpus == (0, 3)
        with pytest.raises(OptionError, match="expected `cpus` among 0, 1, 2, 3"):
            bench([case(onnx_pair[0], "onnxruntime")], BenchConfig(SHORT.measure, cpus=(7,)), place=device)


def test_what_a_model_is_is_known_without_opening_it(tflite_pair, onnx_pair, tmp_path):
    for path in (*tflite_pair, *onnx_pair):
        model = open_model(path, threads=1)
        assert described(path) == DescribedFile(network_name(model.card), model.session.inputs[0].torch_shape)
    models = {"a": DescribedFile(None, (None, 3, 8, 8)), "b": DescribedFile(None, (1, 3, 8, 8))}
    assert common_batch(models, None) == 1
    with pytest.raises(OptionError, match="expected a file of batch 2 for a runner"):
        common_batch({"a": models["a"]}, 2)
    with pytest.raises(OptionError, match="expected models with the same input"):
        common_batch(models | {"c": DescribedFile(None, (1, 3, 9, 9))}, None)


def test_no_runner_for_such_files(opened, onnx_pair):
    with opened(BENCHMARK_MODEL) as device, pytest.raises(DeviceLackError, match="give onnxruntime_perf_test"):
        bench([case(onnx_pair[0], "onnxruntime")], SHORT, place=device)


@pytest.mark.exhaustive
def test_a_runtime_whose_flag_no_runner_sets(opened, phone_side, digits_compiled):
    """What a phone's runner cannot do it says; by the interpreter's kernels the file can be timed there."""
    path = digits_compiled.artifact.path
    with opened(BENCHMARK_MODEL) as device:
        with pytest.raises(
            DeviceLackError, match="found litert-compiled, whose flag it cannot set; choose `runtime` litert"
        ):
            bench([case(path, "litert-compiled")], SHORT, place=device)
        (trial,) = bench([case(path, "litert")], SHORT, place=device).trials
    assert trial.runtime == "litert"
    done = dcd_deploy("bench", path, "--device", "adb", "--runner", BENCHMARK_MODEL, "--baseline", "none", *QUICK)
    refused(done, DeviceLackError.exit_code, "whose flag it cannot set", "--runtime litert")
    assert left_on(phone_side) == []


def test_a_runner_of_another_architecture(opened, phone_side, tmp_path):
    program = tmp_path / "benchmark_model"
    program.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(11) + (183).to_bytes(2, "little") + b"Inference timings in us")
    with pytest.raises(DeviceLackError, match=r"for the phone's x86_64, found 'benchmark_model', which is for arm64"):
        opened(program)
    assert phone_side.received == 0


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("echo hello; echo world", DeviceAnswerError, "the first lines of what it said: hello / world"),
        ("true", DeviceAnswerError, "what it said: nothing"),
        ("printf '\\033[31mred\\007\\n'", DeviceAnswerError, r"what it said: \[31mred"),
        (
            "echo 'cannot link executable' >&2; exit 1",
            BenchError,
            "exit code 1; its last words: cannot link executable",
        ),
        ("kill -SEGV $$", BenchError, "exit code 139"),
        (
            "while true; do echo aaaaaaaaaaaaaaaaaaaaaaaa; done",
            DeviceAnswerError,
            "without end",
        ),
        ("sleep 100", BenchError, "to be done in time"),
    ],
)
def test_runners_that_misbehave_leave_nothing(opened, phone_side, tmp_path, tflite_pair, text, kind, message):
    program = script(tmp_path / "benchmark_model", RUNNER + text)
    config = BenchConfig(SHORT.measure, time_limit=60.0 if kind is DeviceAnswerError else 2.0)  # to say so much, too
    with opened(program) as device, pytest.raises(kind, match=message) as caught:
        bench([case(tflite_pair[0], "litert", tflite_pair[1])], config, place=device)
    assert str(caught.value).isprintable()
    assert left_on(phone_side) == []


@pytest.mark.exhaustive
def test_a_connection_that_breaks_keeps_what_was_measured(
    opened, phone_side, adb_server, perf_test, onnx_pair, tflite_pair
):
    cases = [case(onnx_pair[0], "onnxruntime", onnx_pair[1]), case(tflite_pair[0], "litert", tflite_pair[1])]
    device = opened(perf_test, BENCHMARK_MODEL)
    phone_side.dies_at = "Inference timings in us: Init"
    with device, pytest.raises(DeviceLostError, match="1 of 2 trials could not be measured") as caught:
        bench(cases, SHORT, place=device)
    assert caught.value.exit_code == 21
    assert [trial.runtime for trial in caught.value.result.trials] == ["onnxruntime"]
    assert [failure.runtime for failure in caught.value.result.failures] == ["litert"]


def test_no_space_leaves_nothing(opened, phone_side, perf_test, onnx_pair):
    phone_side.room = 100_000
    with opened(perf_test) as device, pytest.raises(DeviceLackError, match="no space left"):
        bench([case(onnx_pair[0], "onnxruntime", onnx_pair[1])], SHORT, place=device)
    assert left_on(phone_side) == []


def test_an_interruption_ends_the_runner_on_the_phone(opened, phone_side, tmp_path, tflite_pair):
    program = script(tmp_path / "benchmark_model", f"{RUNNER}echo $$ >{phone_side.root}/started; sleep 100")

    def interrupt():
        until((phone_side.root / "started").exists)
        signal.raise_signal(signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with opened(program) as device, pytest.raises(KeyboardInterrupt):
        bench([case(tflite_pair[0], "litert")], SHORT, place=device)
    thread.join()
    pid = int((phone_side.root / "started").read_text())
    until(lambda: not Path(f"/proc/{pid}").exists())
    assert left_on(phone_side) == []


def test_what_is_for_phones_alone(tmp_path):
    fleet = tmp_path / "devices.toml"
    fleet.write_text('[devices.board]\ndevice = "ssh://board"\nrunner = "x"\n')
    with pytest.raises(InputFileError, match="expected runner with a phone alone"):
        read_fleet(fleet)
