"""How a benchmark reads: in the terminal, as Markdown, as CSV and as a page that a browser really opens."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import benching
import pytest
from jinja2 import UndefinedError

from dcd_deploy.benchmarks.results import Machine
from dcd_deploy.benchmarks.statistics import Ratio
from dcd_deploy.errors import MissingDependencyError, OutputError
from dcd_deploy.network_names import published, title
from dcd_deploy.reports import wording
from dcd_deploy.reports.bench import show_bench
from dcd_deploy.reports.html import jinja
from dcd_deploy.reports.html.page import bench_page, write_page
from dcd_deploy.reports.html.plotting import apart, label
from dcd_deploy.reports.html.profile import LayerTime, Profile
from dcd_deploy.reports.html.trials import latencies
from dcd_deploy.reports.markdown import bench_markdown, text
from dcd_deploy.reports.save import check_save
from dcd_deploy.reports.table import COLUMNS, RAW_COLUMNS, bench_csv
from dcd_deploy.reports.terminal import console

CHROMIUM = shutil.which("chromium")
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --virtual-time-budget=8000 --enable-logging=stderr --dump-dom"""
PROFILE = Profile("MobileNetV2-DCD ×0.5", tuple(LayerTime(f"features.{i}", 0.1, 0.05, 0.01) for i in range(70)))
EVIL = Profile(benching.HOSTILE, (LayerTime(benching.HOSTILE, 1.0, 0.5, 0.0),))
CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


@pytest.fixture(scope="module")
def realistic():
    return benching.realistic()


@pytest.fixture(scope="module")
def hostile():
    return benching.hostile()


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


def test_templates_escape_what_they_hold(tmp_path, monkeypatch):
    (tmp_path / "made.html").write_text('<p title="{{ title }}">{{ text }}{{ own | safe }}</p>', encoding="utf-8")
    monkeypatch.setattr(jinja, "FOLDER", tmp_path)
    made = jinja._environment.__wrapped__().get_template("made.html")
    texts = {"title": '"><script>', "text": "<b>&\x1b", "own": "<i>x</i>"}
    assert made.render(texts) == '<p title="&#34;&gt;&lt;script&gt;">&lt;b&gt;&amp;\\x1b<i>x</i></p>'
    del texts["text"]
    with pytest.raises(UndefinedError, match="'text' is undefined"):
        made.render(texts)


def test_labels_of_plots_are_escaped_and_short():
    assert label("a" * 100, 11) == "aaaaa…aaaaa"
    assert label("<a href='javascript:x'>") == "&lt;a href='javascript:x'&gt;"


def figures(page):
    return json.loads(re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)[1])


def test_one_slow_run_does_not_blur_the_others(realistic):
    """The plot must say of the others what the box says, whatever the slowest run took."""

    def widths(trial):
        return [violin["bandwidth"] for violin in latencies(trial).data]

    trial = realistic.trials[0]
    ours = trial.timings[0]
    blocks = ((*ours.samples.blocks_ms[0][:-1], 1000.0), *ours.samples.blocks_ms[1:])
    slow = replace(ours, samples=replace(ours.samples, blocks_ms=blocks))
    one_slow = replace(trial, timings=(slow, *trial.timings[1:]))
    assert widths(one_slow) == pytest.approx(widths(trial), rel=0.05)
    assert 0 < widths(trial)[0] < ours.latency.mad_ms
    violin = latencies(one_slow).data[0]
    assert violin["span"][1] < 1000 < violin["x"][-1] + 1


@pytest.mark.parametrize("which", [benching.realistic, benching.hostile])
def test_plotly_knows_every_property_of_the_figures(which):
    graph_objects = pytest.importorskip("plotly.graph_objects")
    drawn = figures(bench_page(which(), profiles=[PROFILE, EVIL]))
    assert len(drawn) >= 5

    def painted(value):  # the page's script does the same
        if isinstance(value, dict):
            return {key: painted(item) for key, item in value.items()}
        if isinstance(value, list):
            return [painted(item) for item in value]
        return "#123456" if isinstance(value, str) and re.fullmatch(r"@[a-z0-9-]+", value) else value

    for figure in drawn:
        graph_objects.Figure(painted(figure))


class Outline(HTMLParser):
    """The elements of a page, and what stands in them."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.text, self.open = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.text.append(data)


def test_the_page_is_complete_and_refers_to_nothing(realistic):
    page = bench_page(realistic, profiles=[PROFILE], command="dcd-deploy bench deploy/*.onnx")
    outline = Outline(page)
    for _, attributes in outline.elements:
        assert "src" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("href", "#").startswith("#")
    said = " ".join(outline.text)
    for part in ("Start-up", "Accuracy and time", "second-hand", "Where the time goes", "deploy/*.onnx", "rounds 3"):
        assert part in said
    plots = [attributes for _, attributes in outline.elements if attributes.get("class") == "plot"]
    assert len(plots) == len(figures(page)) == 13
    assert all(plot["role"] == "img" and len(plot["aria-label"]) > 20 for plot in plots)
    ids = [attributes["id"] for _, attributes in outline.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    policy = next(a["content"] for _, a in outline.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "connect-src 'none'" in policy
    assert "'unsafe-inline'" not in policy.split(";")[1]


def test_hostile_names_are_no_elements(hostile, realistic):
    page = bench_page(hostile, profiles=[EVIL], command=benching.HOSTILE)
    tags = [tag for tag, _ in Outline(page).elements]
    assert "img" not in tags
    assert tags.count("script") == [tag for tag, _ in Outline(bench_page(realistic)).elements].count("script") == 3
    assert benching.HOSTILE in " ".join(Outline(page).text)


def test_a_page_of_failures_only(realistic):
    page = bench_page(replace(realistic, trials=()))
    assert "Nothing could be measured." in page
    assert figures(page) == []


def test_a_page_whole_or_not_at_all(realistic, tmp_path, monkeypatch):
    write_page(tmp_path / "page.html", realistic)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError):
        write_page(tmp_path / "folder", realistic)
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(MissingDependencyError, match=r"dcd-deploy\[report\]"):
        write_page(tmp_path / "none.html", realistic)


@pytest.mark.parametrize(
    ("command", "suffix"), [("bench", "html"), ("evaluate", "html"), ("evaluate", "svg"), ("runtimes", "html")]
)
def test_a_page_without_what_makes_it_is_refused_before_the_work(command, suffix, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingDependencyError, match=r"'jinja2'.*dcd-deploy\[report\]"):
        check_save([tmp_path / f"page.{suffix}"], command)
    check_save([tmp_path / "page.json"], command)


def opened(path, folder, *flags) -> tuple[Outline, str]:
    """Open a page in a browser; return what it became, and what the browser's console said."""
    command = [CHROMIUM, *FLAGS.split(), *flags, f"--user-data-dir={folder}", path.as_uri()]
    environment = {key: value for key, value in os.environ.items() if key != "DISPLAY"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=environment)
    return Outline(done.stdout), "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def classes(outline, name):
    return sum(name in (attributes.get("class") or "").split() for _, attributes in outline.elements)


@pytest.mark.long
@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium, which make test-long installs")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_browser_draws_the_page(realistic, tmp_path, theme):
    write_page(tmp_path / "page.html", realistic, profiles=[PROFILE])
    flags = ["--blink-settings=preferredColorScheme=0"] if theme == "dark" else []
    outline, said = opened(tmp_path / "page.html", tmp_path / "browser", *flags)
    assert said == ""
    assert classes(outline, "js-plotly-plot") == 13
    assert classes(outline, "main-svg") >= 13
    assert classes(outline, "violins") == 9
    assert classes(outline, "scatter") >= 5 + 5
    assert classes(outline, "bars") >= 3
    styles = " ".join(attributes.get("style") or "" for _, attributes in outline.elements)
    assert ("rgb(98, 180, 245)" if theme == "dark" else "rgb(11, 95, 165)") in styles, "the theme's colours"


@pytest.mark.long
@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium, which make test-long installs")
def test_a_browser_shows_hostile_names_as_text(hostile, tmp_path):
    write_page(tmp_path / "page.html", hostile, profiles=[EVIL], command=benching.HOSTILE)
    outline, said = opened(tmp_path / "page.html", tmp_path / "browser")
    assert said == ""
    tags = [tag for tag, _ in outline.elements]
    assert "img" not in tags
    assert tags.count("script") == 3
    assert not any(name.startswith("on") for _, attributes in outline.elements for name in attributes)
    shown = "".join(outline.text)
    assert "owned" not in shown.split("takes")[0].replace(benching.HOSTILE, ""), "the title is as it was written"
    assert shown.count("<script>") > 10, "in headings, tables and plots alike"


@pytest.mark.long
@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium, which make test-long installs")
def test_the_policy_stops_what_gets_past_the_escaping(realistic, tmp_path):
    page = bench_page(realistic).replace("</main>", "<script>document.title='owned'</script></main>")
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    outline, said = opened(tmp_path / "page.html", tmp_path / "browser")
    assert "Content Security Policy" in said
    assert "owned" not in " ".join(outline.text)
