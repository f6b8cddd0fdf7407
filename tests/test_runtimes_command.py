"""``dcd-deploy runtimes``: each runtime's answer, and what is said of those that crash, hang, refuse or are wrong."""

import csv
import json
import shutil

import pytest
from command_line import run_here
from faked_runtimes import FAKES, QUICK, fake_one_that_is_right, fake_runtimes

from dcd_deploy import commands
from dcd_deploy.benchmarks import runtimes as benchmark
from dcd_deploy.benchmarks.runtime_results import HERE
from dcd_deploy.errors import BenchError, MissingDependencyError, ModelFileError, OptionError, UnknownNameError
from dcd_deploy.runtimes.environments import KNOWN

pytestmark = pytest.mark.usefixtures("own_cache")

SAID = {
    "crashing": "crashed (SIGSEGV), opening digits.onnx",
    "hanging": "did not end within 5 s, opening digits.onnx",
    "lacking": "importing the package: ModuleNotFoundError: No module named 'a_package_that_nobody_has'",
    "refusing": "opening digits.onnx: RuntimeError: no such operator: Split; ask for another file",
    "cut": "expected output 'logits' of shape (1, 10), found (1, 3)",
}


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    fake_runtimes(tmp_path, monkeypatch)


def test_a_file_in_the_runtimes_of_this_environment(onnx_file):
    result = commands.runtimes(onnx_file, runtime="onnxruntime,onnx_reference", blocks=3)
    ours, reference = result.rows
    assert (ours.runtime, reference.runtime) == ("onnxruntime", "onnx_reference")  # what is timed comes first
    for row in result.rows:
        assert (row.status, row.place, row.failure, row.remark) == ("right", HERE, None, None)
        assert row.version
        assert row.relative_error < 5e-6
    assert reference.cpu is None
    for times in (ours.cpu, ours.wall):
        assert times.model_ms > 0
        assert times.static_ms > 0
        assert times.ratio.low <= times.ratio.median <= times.ratio.high
        assert times.ratio.pairs == 3
    assert result.quickest is ours
    assert result.baseline == "static twin"


def test_the_twin_is_made_where_there_is_none(onnx_file, tmp_path):
    alone = shutil.copy(onnx_file, tmp_path / "alone.onnx")
    row = commands.runtimes(alone, runtime="onnxruntime", blocks=1).rows[0]
    assert row.cpu.static_ms is not None
    row = commands.runtimes(alone, runtime="onnxruntime", blocks=1, baseline="none").rows[0]
    assert (row.cpu.static_ms, row.cpu.ratio) == (None, None)


@pytest.mark.exhaustive
def test_a_tflite_file_with_its_partitions(tflite_pair):
    (row,) = commands.runtimes(tflite_pair[0], blocks=2).rows
    assert (row.runtime, row.status, row.partitions, row.left_out) == ("litert", "right", 1, ())
    assert row.cpu.ratio is not None


def test_what_goes_wrong_is_in_its_row_and_the_others_are_kept(onnx_file, fakes):
    with pytest.raises(BenchError) as error:
        commands.runtimes(onnx_file, runtime=["onnxruntime", *FAKES], blocks=1, time_limit=5)
    rows = {row.runtime: row for row in error.value.result.rows}
    assert rows["onnxruntime"].status == rows["old"].status == "right"
    assert rows["old"].version == "0.9.1"
    assert rows["old"].remark == "older than 1.0, the oldest version that files were checked on"
    for name, words in SAID.items():
        assert rows[name].status == "failed"
        assert words in rows[name].failure
        assert f"{name}: " in str(error.value)
        assert rows[name].version == (None if name == "lacking" else "1.5")
    for name in ("off", "not_a_number"):
        assert (rows[name].status, rows[name].failure) == ("wrong", None)
        assert not rows[name].relative_error <= 5e-5
    assert error.value.result.quickest.runtime in ("onnxruntime", "old")


def test_what_is_not_installed(onnx_file):
    row = next(row for row in commands.runtimes(onnx_file, blocks=1).rows if row.runtime == "tract")
    assert (row.status, row.failure) == ("not installed", "install it with `setup` tract")
    with pytest.raises(BenchError, match="tract: install it with"):
        commands.runtimes(onnx_file, runtime="onnxruntime,tract", blocks=1)


def test_the_list_without_a_file(fakes, monkeypatch):
    monkeypatch.delitem(KNOWN, "executorch")  # its package takes seven seconds to import; tests/test_executorch.py
    with pytest.raises(BenchError) as error:
        commands.runtimes()
    rows = {row.runtime: row for row in error.value.result.rows}
    assert rows["onnxruntime"].status == rows["crashing"].status == "loads"
    assert rows["lacking"].status == "failed"
    assert rows["tract"].status == "not installed"


def test_the_command_line(onnx_file, fakes, tmp_path):
    saved = [tmp_path / f"result.{kind}" for kind in ("json", "html", "md", "csv")]
    options = [word for path in saved for word in ("--save", path)]
    done = run_here("runtimes", onnx_file, "--runtime", "onnxruntime,crashing,tract", "--blocks", 2, *options)
    assert done.returncode == BenchError.exit_code
    assert "The quickest that is right here: onnxruntime" in done.stdout
    assert "tract is not installed: install it with --setup tract" in done.stdout
    assert "crashed (SIGSEGV)" in done.stderr
    content = json.loads(saved[0].read_text(encoding="utf-8"))
    assert [row["status"] for row in content["rows"]] == ["right", "failed", "not installed"]
    for path in saved[1:3]:
        assert "crashed (SIGSEGV)" in path.read_text(encoding="utf-8")
    rows = list(csv.DictReader(saved[3].read_text(encoding="utf-8").splitlines()))
    assert float(rows[0]["cpu_ratio_low"]) <= float(rows[0]["cpu_ratio"]) <= float(rows[0]["cpu_ratio_high"])
    assert rows[1]["failure"] == "crashed (SIGSEGV), opening digits.onnx; ask for another file"
    done = run_here("runtimes", onnx_file, "--runtime", "onnxruntime", "--blocks", 1, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["rows"][0]["cpu"]["ratio"]["median"] > 0


def test_the_page_is_safe(onnx_file, fakes, tmp_path):
    (tmp_path / "refusing.py").write_text(
        "def version(): return '<script>1</script>'\ndef opened(*a): raise ValueError('<b>')\n", encoding="utf-8"
    )
    page = tmp_path / "page.html"
    assert run_here("runtimes", onnx_file, "--runtime", "refusing", "--save", page).returncode == BenchError.exit_code
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<b>" not in text
    assert "script-src &#39;none&#39;" in text


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"runtime": "onnx"}, UnknownNameError, "did you mean 'onnxruntime'"),
        ({"runtime": "openvin"}, UnknownNameError, "did you mean 'openvino'"),
        ({"setup": "onnxruntime"}, UnknownNameError, "unknown runtime to set up 'onnxruntime'"),
        ({"blocks": 0}, OptionError, "`blocks` as a whole number"),
        ({"threads": 5000}, OptionError, "at least one thread"),
    ],
)
def test_bad_options(onnx_file, arguments, error, words):
    with pytest.raises(error, match=words):
        commands.runtimes(onnx_file, **arguments)


def test_bad_files(onnx_file, tmp_path):
    (tmp_path / "model.mnn").write_bytes(b"x")
    with pytest.raises(UnknownNameError, match=r"kind of model file '.mnn'\. Known: .onnx, .ort, .tflite, .pte"):
        commands.runtimes(tmp_path / "model.mnn", setup="tract")
    (tmp_path / "damaged.onnx").write_bytes(onnx_file.read_bytes()[:5000])
    with pytest.raises(ModelFileError):
        commands.runtimes(tmp_path / "damaged.onnx", baseline="none")
    with pytest.raises(OptionError, match="a model file with `baseline`"):
        commands.runtimes(baseline="none")
    with pytest.raises(BenchError, match="it reads '.tflite' files"):
        commands.runtimes(onnx_file, runtime="litert", blocks=1)


@pytest.fixture
def beside(fakes, tmp_path, monkeypatch):
    fake_one_that_is_right(tmp_path, monkeypatch)


def test_bench_times_every_runtime_by_one_loop(onnx_file, beside):
    result = commands.bench(onnx_file, runtime="onnxruntime,beside", **QUICK)
    ours, other = result.trials
    assert (other.runtime, other.runtime_version) == ("beside", "1.5")
    for name in ("role", "name", "sha256", "network"):
        assert [getattr(one, name) for one in ours.timings] == [getattr(one, name) for one in other.timings]
    for one in other.timings:
        assert len(one.samples.load_ms) == 2  # opened anew in each round
        assert len(one.samples.blocks_ms) >= 2
        assert {len(block) for block in one.samples.blocks_ms} == {4}
        assert one.memory.peak_mb > one.memory.own_mb > 0
    assert list(other.ratios) == ["static twin"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("off", "'digits.onnx' to compute in off what was trained, within .* found an error of [0-9.]+e-0[234]"),
        ("not_a_number", "an error of nan"),
        ("crashing", "crashing: crashed .SIGSEGV., opening digits.onnx"),
    ],
)
def test_bench_times_no_runtime_that_is_wrong_and_keeps_the_others(onnx_file, beside, name, words):
    with pytest.raises(BenchError, match=words) as error:
        commands.bench(onnx_file, runtime=f"beside,{name}", memory=False, **QUICK)
    assert [trial.runtime for trial in error.value.result.trials] == ["beside"]
    assert [failed.runtime for failed in error.value.result.failures] == [name]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"runtime": "opencv4"}, MissingDependencyError, "'dcd-deploy runtimes' installs it, with `setup` opencv4"),
        ({"runtime": "onnx_reference"}, UnknownNameError, "runtime 'onnx_reference'.*Known: .*openvino"),
        ({"runtime": "beside", "batch": 4}, OptionError, "`batch` 1 with `runtime` beside"),
        ({"runtime": "beside", "device": "ssh://pi@board"}, OptionError, "timed on this machine alone"),
    ],
)
def test_what_bench_cannot_time_in_other_runtimes(onnx_file, beside, arguments, error, words):
    with pytest.raises(error, match=words):
        commands.bench(onnx_file, **arguments, **QUICK)


@pytest.mark.parametrize(
    ("version", "numbers"), [("1.26.0rc1", (1, 26, 1)), ("1.0.20261020, pnnx 2", (1, 0, 20261020)), ("unknown", ())]
)
def test_versions_are_compared_by_their_numbers(version, numbers):
    assert benchmark._numbers(version)[:2] == numbers[:2]
