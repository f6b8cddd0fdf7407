"""How a benchmark reads: in the terminal, as Markdown and as CSV."""

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import benching
import pytest
from page_outline import Outline

from dcd_deploy.benchmarks.results import Machine
from dcd_deploy.benchmarks.statistics import Ratio
from dcd_deploy.network_names import published, title
from dcd_deploy.reports import wording
from dcd_deploy.reports.bench import show_bench
from dcd_deploy.reports.html.page import bench_page
from dcd_deploy.reports.html.plotting import apart
from dcd_deploy.reports.markdown import bench_markdown, text
from dcd_deploy.reports.table import COLUMNS, RAW_COLUMNS, bench_csv
from dcd_deploy.reports.terminal import console

CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


def printed(result, capsys) -> str:
    show_bench(console(), result)
    return capsys.readouterr().out


def test_the_terminal_shows_trials_ratios_remarks_and_failures(realistic, capsys):
    shown = printed(realistic, capsys)
    assert shown.startswith("model  "), "several trials begin with one table of all"
    assert "onnxruntime 1.32.0, 1 thread, batch 1, on CPU 0; times in ms\n" in shown
    assert re.search(
        r"^ratio 1\.\d{3} \(95 % interval 1\.\d+ to 1\.\d+, 60 pairs\) over static twin$", shown, re.MULTILINE
    )
    assert "pairs) over last-release/mobilenetv2_dcd_x0.5_224.onnx\n" in shown
    assert "static twin\nnoise: other processes" in shown, "a remark stands with its trial"
    assert "not measured: deploy/resnet18_dcd_224.tflite on LiteRT, 4 threads: expected" in shown
    assert shown.splitlines()[-1].startswith("AMD EPYC")


def test_one_trial_needs_no_summary(realistic, capsys):
    shown = printed(replace(realistic, trials=realistic.trials[:1]), capsys)
    assert shown.startswith("onnxruntime 1.32.0")


def test_hostile_names_steer_no_terminal(hostile, capsys):
    assert not CONTROLS.search(printed(hostile, capsys))


def test_headlines(realistic):
    first, rest = realistic.trials[0], realistic.trials
    assert re.fullmatch(
        r"MobileNetV2-DCD ×0\.5 takes 1\.\d\d times as long as its static twin on this machine",
        wording.headline(replace(realistic, trials=(first,))),
    )
    several = r"The 2 models take 1\.\d\d to 1\.\d\d times as long as their static twins on this machine"
    assert re.fullmatch(several, wording.headline(realistic))
    alone = replace(first, timings=first.timings[:1], ratios={})
    assert wording.headline(replace(realistic, trials=(alone,))).startswith("MobileNetV2-DCD ×0.5 takes 4.")
    assert wording.headline(replace(realistic, trials=())) == "Nothing could be measured"
    twin = rest[0].timings[1].name
    same = replace(first, ratios={twin: Ratio(1.001, 0.99, 1.01, 0.95, 60)})
    assert "as long, within what can be measured, as its static twin" in wording.headline(
        replace(realistic, trials=(same,))
    )


def test_trials_are_told_apart(realistic):
    first = realistic.trials[0]
    renamed = replace(first.timings[0], name="half.onnx")
    other = replace(first, timings=(renamed, *first.timings[1:]))
    both = replace(realistic, trials=(first, other))
    assert [wording.trial_name(both, t) for t in both.trials] == ["mobilenetv2_dcd_x0.5_224.onnx", "half.onnx"]
    assert [wording.trial_name(realistic, t) for t in realistic.trials][::2] == [
        "MobileNetV2-DCD ×0.5",
        "ResNet-18-DCD",
    ]
    assert apart(both, other) == ["onnxruntime"]
    two = replace(both, trials=(first, replace(other, threads=2, batch=8)))
    assert apart(two, two.trials[1]) == ["onnxruntime", "2 threads", "batch 8"]
    assert wording.trial_name(two, first) == "MobileNetV2-DCD ×0.5"


def test_what_could_not_be_read_is_left_out(realistic):
    assert wording.machine_line(Machine(None, None, None, 3.0)) == ""
    unknown = dict.fromkeys(("load", "governor", "clock_mhz", "memory_mb", "temperature_c"))
    assert "None" not in wording.environment_line(replace(realistic.environments["local"], **unknown))
    bare = replace(realistic.trials[0].timings[0], memory=None, network=None)
    lone = replace(realistic.trials[0], timings=(bare,), ratios={}, cpus=None)
    page = bench_page(replace(realistic, trials=(lone,)))
    assert "None" not in " ".join(Outline(page).text)


def test_intervals_keep_the_digits_that_tell_their_ends_apart():
    assert wording.interval(Ratio(1.382, 1.36, 1.4, 0.95, 60)) == "95 % interval 1.36 to 1.40"
    assert wording.span(Ratio(1.001, 0.998, 1.002, 0.95, 60)) == "0.998–1.002"


def test_published_accuracies_belong_to_the_released_networks():
    assert published("mobilenetv2_dcd ×0.5, fc_squeeze 8").top1 == 70.2
    assert "second-hand" in published("resnet18").source
    for unknown in ("mobilenetv2_dcd ×0.5, fc_squeeze 4", "mobilenetv2_dcd ×0.35", "resnet18_dcd ×2", "x", "", None):
        assert published(unknown) is None
    assert title("mobilenetv2_dcd ×1, fc_squeeze 16") == "MobileNetV2-DCD ×1.0"
    assert [title(name) for name in ("resnet18", "resnet50_dcd", "mine")] == ["ResNet-18", "ResNet-50-DCD", "mine"]


def test_markdown(realistic):
    shown = bench_markdown(realistic)
    assert shown.count("\n## ") == 6  # four trials, what failed, how
    tables = [block.splitlines() for block in shown.split("\n\n") if block.startswith("|")]
    assert len(tables) == 5
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table}) == 1, "as many cells in every row"
    assert "* noise\\: other processes" in shown


def test_markdown_takes_no_name_for_markup(hostile):
    shown = bench_markdown(hostile)
    assert not re.search(r"(?<!\\)[<>`\[\]]", shown)
    assert not CONTROLS.search(shown)
    assert text("a|b *c* @you #1 https://x") == r"a\|b \*c\* \@you \#1 https\://x"


@pytest.mark.parametrize("raw", [False, True])
def test_csv(realistic, raw):
    rows = list(csv.DictReader(io.StringIO(bench_csv(realistic, raw=raw), newline="")))
    assert list(rows[0]) == list(RAW_COLUMNS if raw else COLUMNS)
    timings = [(i, t) for i, trial in enumerate(realistic.trials) for t in trial.timings]
    if raw:
        expected = [(str(i), t.name, ms) for i, t in timings for block in t.samples.blocks_ms for ms in block]
        assert [(row["trial"], row["name"], float(row["ms"])) for row in rows] == expected
    else:
        assert [(row["trial"], row["name"], float(row["p99_ms"])) for row in rows] == [
            (str(i), t.name, t.latency.p99_ms) for i, t in timings
        ]
        assert rows[0]["ratio"] == ""
        assert float(rows[1]["ratio"]) == realistic.trials[0].ratios[rows[1]["name"]].median


def test_the_columns_are_documented():
    documented = (Path(__file__).parent.parent / "docs" / "bench-results.md").read_text(encoding="utf-8")
    for name, meaning in {**COLUMNS, **RAW_COLUMNS}.items():
        assert f"| `{name}` | {meaning} |" in documented


@pytest.mark.parametrize("raw", [False, True])
def test_csv_holds_no_formula(hostile, raw):
    rows = list(csv.reader(io.StringIO(bench_csv(hostile, raw=raw), newline="")))
    assert {len(row) for row in rows} == {len(rows[0])}
    cells = [cell for row in rows for cell in row]
    assert f"'{benching.FORMULA}" in cells
    assert not any(cell.startswith(tuple("=+-@")) or CONTROLS.search(cell) for cell in cells)
