"""How counts read beside times and by themselves: never as a time, with what they rest on, in every form."""

import csv
import io
import json
import re
import shutil
from dataclasses import replace

import benching
import pytest
from page_outline import Outline, classes, figures, opened
from test_reports import CONTROLS, printed

from dcd_deploy.benchmarks.compare import compare_results
from dcd_deploy.errors import IncomparableError
from dcd_deploy.reports import wording
from dcd_deploy.reports.bench import across_devices
from dcd_deploy.reports.compare import show_comparison
from dcd_deploy.reports.counts import across_cores, counts_headline
from dcd_deploy.reports.html.page import bench_page, write_page
from dcd_deploy.reports.markdown import bench_markdown
from dcd_deploy.reports.table import COLUMNS, bench_csv
from dcd_deploy.reports.terminal import console

TIME = re.compile(r"\d ?(ms|s|µs)\b|milliseconds|median_ms")
BASIS = ("QEMU 7.2.22; each count is the median of 3 runs", "counted, not timed", "misses are of a model")


@pytest.fixture(scope="module")
def both():
    return benching.counted()


@pytest.fixture(scope="module")
def alone():
    return benching.counted_alone()


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    """However narrow the one is in which the tests run."""
    monkeypatch.setenv("COLUMNS", "200")


def test_the_terminal_shows_counts_below_the_times(both, capsys):
    shown = printed(both, capsys)
    times, counts = shown.split("instructions, and times as many as the static twin\n")
    assert times == printed(benching.realistic(), capsys) + "\n", "what is timed reads as ever"
    assert not TIME.search(counts)
    assert re.search(r"^mobilenetv2_dcd_x0.5_224.onnx .* 301 M, 1.253 × +602 M, 1.253 ×$", counts, re.MULTILINE)
    assert "\ncortex-a76, onnxruntime 1.32.0, 1 thread, batch 1, per run\n" in counts
    assert "\nkitchen (cortex-a53), onnxruntime 1.32.0" in counts
    assert re.search(r"^instructions +301 M +240 M +1.253$", counts, re.MULTILINE)
    assert re.search(r"^traffic beyond L2, modelled +289 MB +230 MB +1.253$", counts, re.MULTILINE)
    assert "DOT" not in counts, "a row of nothing is left out"
    assert "! lost.onnx on onnxruntime, kitchen: it ended under emulation\n" in counts
    assert all(text in counts for text in BASIS)


def test_counts_alone(alone, capsys):
    shown = printed(alone, capsys)
    assert shown.startswith("cortex-a76, onnxruntime 1.32.0, 1 thread")
    for text in (shown, bench_markdown(alone), " ".join(Outline(bench_page(alone)).text)):
        assert not TIME.search(text)
        assert all(part in text.replace("\\", "") for part in BASIS)
    assert all("@" in str(figure) and not TIME.search(json.dumps(figure)) for figure in figures(bench_page(alone)))
    assert wording.headline(
        alone
    ) == "MobileNetV2-DCD ×0.5 needs 1.25 times as many instructions as its static twin on 2 " + ("emulated cores")


def test_headlines(both, alone):
    assert wording.headline(both) == wording.headline(benching.realistic()), "times come first"
    (first, _) = both.counts.trials
    model = replace(first, models=first.models[:1], ratios={})
    assert counts_headline([model]) == "MobileNetV2-DCD ×0.5 needs 301 M instructions on an emulated cortex-a76"
    assert counts_headline([model, model]).endswith("needs the instructions below on an emulated cortex-a76")
    nothing = replace(alone, counts=replace(alone.counts, trials=()))
    assert wording.headline(nothing) == "Nothing could be measured"
    assert "#counts" not in bench_page(nothing)


def test_emulated_cores_are_no_devices_that_were_timed(both):
    assert wording.devices(both) == []
    pi = replace(both, environments=both.environments | {"pi": benching.ENVIRONMENT})
    columns, rows = across_devices(pi)
    assert columns == ("model", "runtime", "local", "pi")
    assert not any(row[0] == "lost.onnx" for row in rows)
    columns, rows = across_cores(both.counts)
    assert columns == ("model", "runtime", "cortex-a76", "kitchen (cortex-a53)")
    assert len(rows) == 1


def test_markdown(both):
    shown = bench_markdown(both)
    assert shown.startswith(bench_markdown(benching.realistic()).partition("## Not measured")[0])
    part = shown.partition("## Counted on emulated ARM cores")[2].partition("\n## ")[0]
    assert part.count("\n### ") == 2
    assert "| instructions | 301 M | 240 M | 1.253 |" in part
    assert not TIME.search(part)


def test_csv(both):
    rows = list(csv.DictReader(io.StringIO(bench_csv(both), newline="")))
    times, counts = ([row for row in rows if row["measured"] == kind] for kind in ("times", "counts"))
    assert len(rows) == len(times) + len(counts)
    assert len(counts) == 4
    assert [row["trial"] for row in counts] == ["4", "4", "5", "5"]
    filled = {name for row in counts for name in COLUMNS if row[name]}
    assert not any(re.search(r"_ms$|memory|^ratio|verdicts|cpus", name) for name in filled)
    assert not any(row["instructions"] for row in times)
    trial = both.counts.trials[0]
    assert int(counts[0]["traffic_bytes"]) == trial.models[0].traffic_bytes
    assert float(counts[1]["traffic_bytes_ratio"]) == trial.ratio(trial.models[1], "traffic_bytes")
    assert counts[0]["instructions_ratio"] == counts[1]["dot_ratio"] == ""
    assert counts[2]["device"] == "kitchen"
    assert counts[2]["core"] == "cortex-a53"


def test_the_page_has_tables_and_bars(both):
    page = bench_page(both)
    outline = Outline(page)
    ids = [attributes["id"] for _, attributes in outline.elements if "id" in attributes]
    assert {"counts", "counts-1", "counts-2"} <= set(ids)
    assert len(ids) == len(set(ids))
    drawn = [figure for figure in figures(page) if "times as many" in json.dumps(figure)]
    assert len(drawn) == 2
    assert drawn[0]["data"][0]["x"] == pytest.approx([1.2532] * 7, abs=1e-3), "no bar where the twin has none"
    section = page.partition('id="counts"')[2].partition("</section>")[0]
    assert not TIME.search(section)
    assert all(text in section for text in BASIS)


def test_plotly_knows_the_bars(both):
    graph_objects = pytest.importorskip("plotly.graph_objects")
    for figure in figures(bench_page(replace(both, trials=()))):
        graph_objects.Figure(json.loads(re.sub(r'"@[a-z0-9-]+"', '"#123456"', json.dumps(figure))))


@pytest.mark.exhaustive
@pytest.mark.long
@pytest.mark.skipif(not shutil.which("chromium"), reason="needs Chromium, which make test-long installs")
def test_a_browser_draws_the_counts(alone, tmp_path):
    write_page(tmp_path / "page.html", alone)
    outline, said = opened(tmp_path / "page.html", tmp_path / "browser")
    assert said == ""
    assert classes(outline, "js-plotly-plot") == 2
    assert classes(outline, "bars") == 2
    assert not TIME.search(" ".join(outline.text))


def test_hostile_names_among_the_counts(capsys):
    found = benching.hostile()
    shown = printed(found, capsys)
    assert "per run" in shown
    assert not CONTROLS.search(shown)
    show_comparison(console(), compare_results(found, found))
    assert not CONTROLS.search(capsys.readouterr().out)


def later(result, **changes):
    """The same counts of another time: a quarter more instructions, and changes in what they rest on."""
    trials = []
    for trial in result.counts.trials:
        first, *others = trial.models
        more = benching.counted_model(first.role, first.name, first.counts.instructions * 5 // 4, first.network)
        made = benching.count_trial(trial.device, trial.core, trial.runtime, trial.runtime_version, [more, *others])
        trials.append(made)
    return replace(result, counts=replace(result.counts, **{"trials": tuple(trials)} | changes))


def test_counts_are_compared(both, alone, capsys):
    found = compare_results(both, later(both))
    assert found.changes
    assert len(found.counts) == 4
    assert [change.change.instructions for change in found.counts] == pytest.approx([1.25, 1, 1.25, 1])
    assert found.remark is None
    found = compare_results(alone, later(alone))
    assert found.changes == ()
    show_comparison(console(), found)
    shown = capsys.readouterr().out
    assert re.search(r"^kitchen \(cortex-a53\) .*onnx.* 602 M +752 M +1.250 ", shown, re.MULTILINE)
    assert not TIME.search(shown)


@pytest.mark.parametrize(("first", "second"), [("counted", "realistic"), ("realistic", "counted")])
def test_counts_of_one_result_alone(first, second, capsys):
    found = compare_results(getattr(benching, first)(), getattr(benching, second)())
    assert found.counts == ()
    show_comparison(console(), found)
    which = "first" if first == "counted" else "second"
    assert f"! counts are in the {which} result alone: times are compared, counts are not" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"qemu": "8.0.0"}, r"QEMU of the counts \(7.2.22 and 8.0.0\)"),
        ({"assumptions": ("another cache",)}, "assumptions of the counts"),
    ],
)
def test_counts_of_other_programs_are_not_compared_unless_told(both, changes, message):
    other = later(both, **changes)
    with pytest.raises(IncomparableError, match=message):
        compare_results(both, other)
    assert compare_results(both, other, different=True).counts


def test_counts_of_another_runtime_or_of_nothing_in_common(alone):
    other = [replace(trial, runtime_version="1.33.0") for trial in alone.counts.trials]
    with pytest.raises(IncomparableError, match=r"onnxruntime of the counts \(1.32.0 and 1.33.0\)"):
        compare_results(alone, replace(alone, counts=replace(alone.counts, trials=tuple(other))))
    batch = [replace(trial, batch=4) for trial in alone.counts.trials]
    with pytest.raises(IncomparableError, match="with a trial in common"):
        compare_results(alone, replace(alone, counts=replace(alone.counts, trials=tuple(batch))))
