"""How results of several devices read."""

from dataclasses import replace

import benching
import pytest

from dcd_deploy.reports.bench import across_devices
from dcd_deploy.reports.html.page import bench_page
from dcd_deploy.reports.wording import summary_columns, trial_title


@pytest.fixture(scope="module")
def two_devices():
    here = benching.realistic()
    there = tuple(replace(trial, device="pi4") for trial in here.trials[:2])
    lost = replace(
        here.failures[0], device="pi4", name=here.trials[2].timings[0].name, runtime="onnxruntime", threads=1
    )
    environments = here.environments | {"pi4": replace(benching.ENVIRONMENT, cpu="Raspberry Pi 4", notes=("a note",))}
    return replace(here, environments=environments, trials=(*here.trials, *there), failures=(lost,))


def test_models_against_devices(two_devices):
    columns, rows = across_devices(two_devices)
    assert columns == ("model", "runtime", "local", "pi4")
    assert len(rows) == 4
    assert rows[0][2] == rows[0][3]
    assert rows[0][2].startswith("4.")
    assert " × (" in rows[0][2]
    assert [row[3] for row in rows[2:]] == ["not measured", "–"]


def test_the_device_is_named_where_there_is_more_than_one(two_devices):
    assert summary_columns(two_devices)[0] == "device"
    assert summary_columns(benching.realistic())[0] == "model"
    assert trial_title(two_devices.trials[-1]).startswith("pi4, LiteRT")
    page = bench_page(two_devices)
    assert "Models and devices" in page
    assert "Raspberry Pi 4" in page
    assert "a note" in page
    assert "Models and devices" not in bench_page(benching.realistic())
