"""The commands on phones, whose runners are stand-ins that print what real ones print."""

import json

import pytest
from adb_phone import PhoneSide
from command_line import dcd_deploy
from phones import BENCHMARK_MODEL, QUICK, RUNNER, make_root, script

from dcd_deploy.benchmarks.results import read_result


@pytest.mark.exhaustive
def test_the_command_saves_a_result_like_any_other(phone_side, tmp_path, onnx_pair, perf_test):
    saved = [tmp_path / f"result.{suffix}" for suffix in ("json", "md", "csv")]
    options = [option for path in saved for option in ("--save", path)]
    done = dcd_deploy("bench", onnx_pair[0], "--device", "adb", "--runner", perf_test, *QUICK, *options)
    assert done.returncode == 0, done.stderr
    assert "onnxruntime_perf_test" in done.stdout
    result = read_result(saved[0])
    assert list(result.environments) == ["adb"]
    assert result.environments["adb"].python is None
    assert all(path.stat().st_size for path in saved)
    assert "digits.onnx" in dcd_deploy("report", saved[0]).stdout


def test_the_command_lists_phones(phone_side):
    done = dcd_deploy("devices", "adb", "--json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["devices"]
    assert found["facts"]["environment"]["cpu"].startswith("Example Test Phone")
    assert "Cortex-X1" in dcd_deploy("devices", f"adb:{phone_side.serial}").stdout


@pytest.mark.exhaustive
def test_each_failure_has_its_exit_code(phone_side, adb_server, tmp_path, tflite_pair, onnx_pair, perf_test):
    def code(*words):
        done = dcd_deploy("bench", *words, *QUICK)
        assert done.stderr.count("error:") == 1, done.stderr
        return done.returncode

    assert code(tflite_pair[0], "--device", "adb:none", "--runner", BENCHMARK_MODEL) == 17
    assert code(onnx_pair[0], "--device", "adb", "--runner", BENCHMARK_MODEL) == 20
    nonsense = script(tmp_path / "benchmark_model", f"{RUNNER}echo nonsense")
    assert code(tflite_pair[0], "--device", "adb", "--runner", nonsense) == 22
    assert code(onnx_pair[0], "--runner", perf_test) == 8, "without a phone"
    assert code(onnx_pair[0], "--device", "adb", "--runner", perf_test, "--python", "python3") == 8
    phone_side.dies_at = "results.csv"
    assert code(onnx_pair[0], "--device", "adb", "--runner", perf_test) == 21
    adb_server.plug_in(PhoneSide(make_root(tmp_path / "a"), state="unauthorized"))
    assert code(tflite_pair[0], "--device", f"adb:{adb_server.phones[-1].serial}", "--runner", BENCHMARK_MODEL) == 18


@pytest.mark.exhaustive
def test_phones_of_a_fleet(phone_side, adb_server, tmp_path, onnx_pair, tflite_pair, perf_test):
    other = adb_server.plug_in(PhoneSide(make_root(tmp_path / "other"), "Other Phone"))
    fleet = tmp_path / "devices.toml"
    fleet.write_text(
        f"""[devices.one]
device = "adb:{phone_side.serial}"
runner = "{perf_test},{BENCHMARK_MODEL}"
[devices.two]
device = "adb:{other.serial}"
runner = "{perf_test},{BENCHMARK_MODEL}"
"""
    )
    saved = tmp_path / "result.json"
    done = dcd_deploy("bench", onnx_pair[0], tflite_pair[0], "--fleet", fleet, *QUICK, "--save", saved)
    assert done.returncode == 0, done.stderr
    result = read_result(saved)
    assert set(result.environments) == {"one", "two"}
    assert len(result.trials) == 4
