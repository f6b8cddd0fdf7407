"""A benchmark as a page that a browser really opens: complete, safe, whole or not at all."""

import re
import sys
from dataclasses import replace

import benching
import pytest
from jinja2 import UndefinedError
from page_outline import CHROMIUM, Outline, classes, figures, opened

from dcd_deploy.errors import MissingDependencyError, OutputError
from dcd_deploy.reports.html import jinja
from dcd_deploy.reports.html.page import bench_page, write_page
from dcd_deploy.reports.html.plotting import label
from dcd_deploy.reports.html.profile import LayerTime, Profile
from dcd_deploy.reports.html.trials import latencies
from dcd_deploy.reports.save import check_save

PROFILE = Profile("MobileNetV2-DCD ×0.5", tuple(LayerTime(f"features.{i}", 0.1, 0.05, 0.01) for i in range(70)))


EVIL = Profile(benching.HOSTILE, (LayerTime(benching.HOSTILE, 1.0, 0.5, 0.0),))


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


@pytest.mark.long
@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium, which make test-long installs")
@pytest.mark.parametrize("theme", [pytest.param("light", marks=pytest.mark.exhaustive), "dark"])
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


@pytest.mark.exhaustive  # ``test_the_policy_stops_what_gets_past_the_escaping`` is long
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
