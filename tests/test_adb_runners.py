"""What runners made for phones print: golden samples in their formats, and everything that is not one.

The programs themselves cannot be had from package registries; the samples are written in the formats that their
sources and users show.
"""

import re
from pathlib import Path, PurePosixPath

import pytest

from dcd_deploy.benchmarks.measure import MeasureConfig
from dcd_deploy.devices.adb.files import check_runs_on, machine
from dcd_deploy.devices.adb.known_runners import BenchmarkModel, PerfTest
from dcd_deploy.devices.adb.runner import Effort, Output, Start, kind_of, measure_starts, turns_of
from dcd_deploy.errors import DeviceLackError

GOLDEN = Path(__file__).parent / "golden" / "runners"
TFLITE, ONNX = BenchmarkModel(), PerfTest()
MODEL = PurePosixPath("/data/local/tmp/dcd-deploy/files/0b1c.tflite")


def effort(runs=2, warmup_runs=1, **others):
    return Effort(runs, 0.25, warmup_runs, 0.0, 60.0, **others)


def golden(name: str) -> str:
    return (GOLDEN / name).read_text(encoding="utf-8")


def test_benchmark_model_prints_a_mean():
    output = Output(golden("benchmark_model.txt"))
    assert TFLITE.parse(output, effort(10)) == Start(41.733, 27.302, 12 * 22.6045, (22.0473,))
    assert TFLITE.sample(output) == "the mean of one start's runs"


def test_newer_benchmark_model_prints_a_median():
    output = Output(golden("benchmark_model_percentiles.txt"))
    start = TFLITE.parse(output, effort(10))
    assert (start.runs_ms, start.first_ms) == ((141.253,), 1041.765)
    assert TFLITE.sample(output) == "the median of one start's runs"


@pytest.mark.parametrize("prefix", ["", "07-14 13:14:52.098 22838 22838 I tflite  : ", "\x1b[32mINFO\x1b[0m "])
def test_whatever_stands_before_its_lines(prefix):
    text = golden("benchmark_model.txt").replace("INFO: ", prefix)
    assert TFLITE.parse(Output(text.replace("\n", "\r\n")), effort(10)).runs_ms == (22.0473,)


def test_equal_runs_are_printed_in_another_way():
    text = re.sub(r"count=12 first=219.*", "count=12 curr=22047(all same)", golden("benchmark_model.txt"))
    assert TFLITE.parse(Output(text.replace("22047.3", "22047")), effort(10)).runs_ms == (22.047,)


def test_perf_test_writes_each_run():
    output = Output(golden("perf_test.txt"), golden("perf_test.csv"))
    start = ONNX.parse(output, effort(warmup_runs=2))
    assert (start.load_ms, start.first_ms) == (14.3211, 12.0)
    assert start.warmup_ms == pytest.approx(11.0201 + 10.2011)
    assert start.runs_ms == pytest.approx((10.0612, 9.8011, 9.8342, 9.8123, 10.0588, 9.9112))
    assert ONNX.sample(output) == "a run"


def test_newer_perf_test_says_it_in_other_words():
    written = "files,0.0005,271122432,11,0\nfiles,0.0003,271122432,11,1\n"
    assert ONNX.parse(Output(golden("perf_test_newer.txt"), written), effort()).runs_ms == pytest.approx((0.3,))


def test_an_old_perf_test_writes_nanoseconds():
    written = re.sub(r"0\.(\d{7}),", lambda m: f"{int(m[1]) * 100},", golden("perf_test.csv"))
    start = ONNX.parse(Output(golden("perf_test.txt"), written), effort(warmup_runs=2))
    assert start.runs_ms[0] == pytest.approx(10.0612)


@pytest.mark.parametrize(
    ("pattern", "new"),
    [
        (r".*Inference timings.*\n", ""),
        (r"(.*Inference timings.*\n)", r"\1\1"),
        (r"INFO: count=12 first=219.*\n", ""),
        (r"count=12 first=219", "count=3 first=219"),  # fewer runs than were asked for
        (r"avg=22047\.3", "avg=2204.73"),  # what it says twice does not agree
        (r"avg=22604\.5", "avg=122604.5"),
        (r"22047\.3", "99999.0"),  # a mean above the maximum
        (r"(Inference \(avg\)): 22047\.3", r"\1: nan"),
        (r"First inference: 27302", "First inference: 0"),
        (r"(?s).+", ""),
        (r"(?s).+", "Segmentation fault"),
        (r"(?s).+", "\x00\x1b]0;owned\x07" * 1000),
    ],
)
def test_what_benchmark_model_would_not_say(pattern, new):
    text = re.sub(pattern, new, golden("benchmark_model.txt"))
    assert text != golden("benchmark_model.txt")
    with pytest.raises(
        ValueError, match=r"lines 'count|lines 'Inf|that is not that of|runs in place of|a first run of 0"
    ):
        TFLITE.parse(Output(text), effort(10))


@pytest.mark.parametrize(
    ("pattern", "new"),
    [
        (r"Session creation.*\n", ""),
        (r"Average inference.*\n", ""),
        (r"10\.0875 ms", "10.2 ms"),  # not the average of what it wrote
        (r"requests: 8", "requests: 9"),
        (r"files,0\.0098011.*\n", ""),  # a run is missing
        (r",98,7\n", ",98,8\n"),
        (r"files,0\.0110201", "files,-0.0110201"),
        (r"files,0\.0099112", "files,inf"),
        (r"(?s)files.*", ""),
        (r"(?s).+", ""),
    ],
)
def test_what_perf_test_would_not_say(pattern, new):
    whole = golden("perf_test.txt") + "\0" + golden("perf_test.csv")
    changed = re.sub(pattern, new, whole)
    assert changed != whole
    said, _, written = changed.partition("\0")
    with pytest.raises(ValueError, match=r"times '|that is not that of|runs in (its result file in )?place of"):
        ONNX.parse(Output(said, written), effort())


def test_what_they_are_asked_for():
    words = TFLITE.words(MODEL, effort(10, 5, threads=2))
    assert [f"--graph={MODEL}", "--num_threads=2", "--use_xnnpack=true", "--num_runs=10"] == words[:4]
    assert "--use_xnnpack=false" in TFLITE.words(MODEL, effort(plain=True))
    words = ONNX.words(MODEL, effort(10, 5, threads=2))
    assert words[-2:] == [str(MODEL), "results.csv"]
    assert words[words.index("-r") + 1] == "15"
    assert words[words.index("-x") + 1] == "2"
    assert words[words.index("-o") + 1] == "99"
    assert "2" in ONNX.words(MODEL, effort(plain=True))[words.index("-o") :]


def elf(number, order=1):
    return b"\x7fELF\x02" + bytes([order]) + bytes(12) + number.to_bytes(2, "little" if order == 1 else "big")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (elf(183), "arm64"),
        (elf(40), "armeabi"),
        (elf(62), "x86_64"),
        (elf(183, 2), "arm64"),
        (elf(8), "machine 8"),
        (b"#!/system/bin/sh\n", None),
    ],
)
def test_which_machine_a_program_is_for(tmp_path, content, found):
    (tmp_path / "program").write_bytes(content)
    assert machine(tmp_path / "program") == found


@pytest.mark.parametrize(
    "content", [b"", b"MZ", elf(62)[:10], b"\x7fELF\x02\x07" + bytes(20), b"PK\x03\x04" + bytes(40)]
)
def test_what_is_no_program(tmp_path, content):
    (tmp_path / "program").write_bytes(content)
    with pytest.raises(DeviceLackError, match="which is none"):
        machine(tmp_path / "program")


def test_a_program_for_another_machine(tmp_path):
    path = tmp_path / "benchmark_model"
    path.write_bytes(elf(62))
    with pytest.raises(DeviceLackError, match=r"the phone's arm64-v8a, found .*, which is for x86_64"):
        check_runs_on(path, "arm64-v8a")
    check_runs_on(path, "x86_64")
    path.write_bytes(elf(40))
    check_runs_on(path, "arm64-v8a")


def test_a_runner_is_known_by_what_it_prints(tmp_path):
    path = tmp_path / "anything"
    path.write_bytes(bytes((1 << 20) - 10) + TFLITE.mark)  # across the border of two blocks
    assert kind_of(path, (ONNX, TFLITE)) is TFLITE
    path.write_bytes(bytes(100) + ONNX.mark)
    assert kind_of(path, (ONNX, TFLITE)) is ONNX
    path.write_bytes(bytes(100))
    with pytest.raises(DeviceLackError, match="prints the times of neither"):
        kind_of(path, (ONNX, TFLITE))


def test_starts_take_turns_after_one_that_is_not_counted():
    order = []

    def run(name, ms):
        def start(asked: Effort) -> Start:
            order.append((name, asked.runs, asked.warmup_runs, asked.threads))
            return Start(1.0, 2.0, 3.0, (ms,))

        return start

    config = MeasureConfig(min_runs=12, min_seconds=0.6, rounds=3, warmup_runs=5, warmup_seconds=0.05)
    found = measure_starts({"a": run("a", 10.0), "b": run("b", 1.0)}, config, effort(threads=2), lambda: 9.0)
    assert [name for name, *_ in order] == list("ab" + "ab" + "ba" + "ab")
    assert order[2:4] == [("a", 10, 5, 2), ("b", 100, 50, 2)], "as many runs as fill the time"
    for samples in found.values():
        assert (len(samples.blocks_ms), samples.rounds) == (3, (0, 1, 2))


def test_how_many_turns():
    assert turns_of(MeasureConfig()) == 20
    assert turns_of(MeasureConfig(min_runs=1, rounds=1)) == 1
    assert turns_of(MeasureConfig(rounds=30)) == 30
