"""Which cores are fast, and whether they were throttled: from trees as Linux has them."""

from dataclasses import replace

import benching
import pytest

from dcd_deploy.benchmarks import machine as cores
from dcd_deploy.benchmarks import machine as throttling
from dcd_deploy.benchmarks.environment import EMULATED, read_environment
from dcd_deploy.benchmarks.machine import (
    CoreKind,
    Machine,
    Throttling,
    big_cores,
    core_kinds,
    model_name,
    temperature_c,
)
from dcd_deploy.benchmarks.verdicts import PLACE, THROTTLED, verdicts


def tree(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")


@pytest.fixture
def big_little(tmp_path, monkeypatch):
    """A board with four small and two big cores, as its kernel describes it."""
    files, info = {}, []
    for cpu, part in enumerate([*4 * ["0xd03"], *2 * ["0xd08"]]):
        files[f"cpu{cpu}/cpu_capacity"] = "1024" if part == "0xd08" else "485"
        files[f"cpu{cpu}/cpufreq/cpuinfo_max_freq"] = "1800000" if part == "0xd08" else "1416000"
        info.append(f"processor\t: {cpu}\nCPU implementer\t: 0x41\nCPU part\t: {part}\n")
    tree(tmp_path, files | {"cpuinfo": "\n".join(info)})
    monkeypatch.setattr(cores, "CPUS", tmp_path)
    monkeypatch.setattr(cores, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(cores, "core_ids", lambda: [0, 1, 2, 3, 4, 5])
    return tmp_path


def test_the_big_cores(big_little):
    big, little = core_kinds()
    assert big == CoreKind((4, 5), "Cortex-A72", 1800.0, 1024)
    assert little == CoreKind((0, 1, 2, 3), "Cortex-A53", 1416.0, 485)
    assert big_cores(core_kinds()) == (4, 5)


def test_cores_that_are_alike_are_all_taken():
    assert big_cores([CoreKind((0, 1), "x", 2000.0, None)]) is None
    assert big_cores([CoreKind((0,), "x", 2000.0, None), CoreKind((1,), "x", 1990.0, None)]) is None
    assert big_cores([CoreKind((0,), "x", None, None), CoreKind((1,), "y", None, None)]) is None
    three = [
        CoreKind((7,), "prime", None, 1024),
        CoreKind((4, 5, 6), "big", None, 950),
        CoreKind((0, 1), "small", None, 300),
    ]
    assert big_cores(three) == (4, 5, 6, 7)
    assert model_name({"CPU implementer": "0x61", "CPU part": "0x022"}) == "ARM 0x61/0x022"
    assert model_name({}) == ""


@pytest.fixture
def thermal(tmp_path, monkeypatch):
    monkeypatch.setattr(throttling, "CPUS", tmp_path / "cpu")
    monkeypatch.setattr(throttling, "THERMAL", tmp_path / "thermal")
    monkeypatch.setattr(throttling, "FIRMWARE", tmp_path / "get_throttled")
    return tmp_path


def test_nothing_tells_whether_it_was_throttled(thermal):
    assert Throttling.now().until(Throttling.now()) is None
    assert temperature_c() is None


COUNT = "cpu/cpu0/thermal_throttle/core_throttle_count"


@pytest.mark.parametrize(
    ("before", "after", "throttled"),
    [
        (
            {COUNT: "3"},
            {COUNT: "3"},
            False,
        ),
        (
            {COUNT: "3"},
            {COUNT: "4"},
            True,
        ),
        ({"thermal/cooling_device0/type": "thermal-cpufreq-0", "thermal/cooling_device0/cur_state": "0"}, {}, False),
        (
            {"thermal/cooling_device0/type": "thermal-cpufreq-0", "thermal/cooling_device0/cur_state": "0"},
            {"thermal/cooling_device0/cur_state": "2"},
            True,
        ),
        (
            {"thermal/cooling_device0/type": "pwm-fan", "thermal/cooling_device0/cur_state": "3", "get_throttled": "0"},
            {},
            False,
        ),
        ({"get_throttled": "0"}, {"get_throttled": "60000"}, True),
        ({"get_throttled": "60000"}, {"get_throttled": "60000"}, False),
        ({"get_throttled": "0"}, {"get_throttled": "60006"}, True),
        ({"get_throttled": "0"}, {"get_throttled": "50005"}, True),
    ],
)
def test_it_was_throttled(thermal, before, after, throttled):
    tree(thermal, before)
    then = Throttling.now()
    tree(thermal, after)
    assert then.until(Throttling.now()) is throttled


def test_the_hottest_zone(thermal):
    tree(
        thermal,
        {
            "thermal/thermal_zone0/temp": "41200",
            "thermal/thermal_zone1/temp": "55800",
            "thermal/thermal_zone2/temp": "-1",
        },
    )
    assert temperature_c() == 55.8


def test_what_a_device_did_is_a_remark():
    timings, here = benching.realistic().trials[0].timings, benching.ENVIRONMENT
    hot = Machine(temperature_c_before=61.0, temperature_c_after=84.0, throttled=True)
    (found,) = (v for v in verdicts(timings, {}, hot, here) if v.kind == THROTTLED)
    assert "at 61 °C before and 84 °C after" in found.text
    for throttled in (None, False):
        assert THROTTLED not in {v.kind for v in verdicts(timings, {}, replace(hot, throttled=throttled), here)}
    emulated = replace(here, notes=(EMULATED,))
    assert [v.text for v in verdicts(timings, {}, hot, emulated) if v.kind == PLACE] == [EMULATED]
    assert read_environment().notes == (), "these tests run on a real processor"
