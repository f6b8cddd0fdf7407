"""The documentation's promises: links lead somewhere, what is made from the program is up to date, commands run."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import commands_page
import figures
import front_page
import pytest
import torch
import tour
from command_line import dcd_deploy as command

from dcd_deploy import commands, optional
from dcd_deploy.errors import DcdDeployError
from dcd_deploy.reports.terminal import spelled
from dcd_deploy.runtimes.onnxruntime import X86_ALONE, advice

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SITE = sorted((ROOT / "docs").glob("*.md"))
PAGES = [*SITE, *(ROOT / name for name in ("README.md", "CONTRIBUTING.md"))]
BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
DIGITS = ROOT / "examples" / "digits" / "dcd.pth.tar"


def test_the_design_names_only_files_that_there_are():
    ours = [path.as_posix() for part in ("dcd_deploy", "scripts", "tests") for path in (ROOT / part).rglob("*.py")]
    for page in ("design.md", "extending.md"):
        for name in re.findall(r"`([a-z0-9_/]+\.py)`", (ROOT / "docs" / page).read_text(encoding="utf-8")):
            assert any(path.endswith(f"/{name}") for path in ours), f"{page}: {name}"


def slug(heading: str) -> str:
    """The anchor of a heading, as the site has it."""
    plain = re.sub(r"[`*]", "", heading).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def anchors(page: Path) -> set[str]:
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


def dead_links(page: Path, text: str) -> list[str]:
    """What the links of a page name and is not there; addresses elsewhere are not followed."""
    dead = []
    for link in LINK.findall(BLOCK.sub("", text)):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if re.match(r"[a-z]+:", link):
            continue
        if not target.is_file() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    assert dead_links(page, page.read_text(encoding="utf-8")) == []


def test_a_dead_link_is_seen():
    page = ROOT / "docs" / "index.md"
    assert dead_links(page, "[a](gone.md), [b](verify.md#gone), [c](verify.md#what-is-compared)") == [
        "gone.md",
        "verify.md#gone",
    ]


@pytest.mark.parametrize("page", SITE, ids=lambda page: page.name)
def test_pages_of_the_site_link_within_it(page):
    """Nothing beside docs/ is part of the site."""
    assert not [link for link in LINK.findall(page.read_text(encoding="utf-8")) if link.startswith("..")]


def test_readme_is_two_screens_and_begins_with_the_two_commands():
    assert len(README.splitlines()) <= 100
    first = BLOCK.search(README)[0]
    assert [line.split()[:2] for line in first.splitlines()[1:-1]] == [["make", "demo"], ["make", "test"]]
    assert README.index(first) < 100


def test_the_command_reference_is_the_programs_own():
    """To mend: python scripts/commands_page.py."""
    assert commands_page.PAGE.read_text(encoding="utf-8") == commands_page.page()


@pytest.mark.parametrize("name", figures.ALL)
def test_figures_show_what_the_tables_say(name):
    """To mend: python scripts/figures.py."""
    assert (figures.FIGURES / name).read_text(encoding="utf-8") == figures.ALL[name]()


def test_readme_quotes_the_tables():
    """To mend: python scripts/front_page.py. The decision's figures too are those of docs/performance.md."""
    assert f"<!-- front: begin -->\n{front_page.table()}\n<!-- front: end -->" in README
    performance = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    for released in ("2.3 to 2.5 times", "3.0 to 3.4 times", "1.8 to 2.1 times"):
        assert released in README
        assert released in performance
    for runtime, ratio in (("onnxruntime", "0.82"), ("litert", "0.68")):
        assert re.search(rf"^\| mobilenetv2_dcd_x0.5 \| ×0.75 \| {runtime} \|.* {ratio} \(", performance, re.MULTILINE)
        assert ratio in README
    speed = performance.partition("<!-- speed: begin -->")[2]
    threads = dict(re.findall(r"^\| mobilenetv2_dcd_x1.0 \| litert \| (\d \| \d) .* (\d.\d\d) \(", speed, re.MULTILINE))
    assert threads["2 | 1"] == "1.54"
    assert threads["1 | 8"] == "1.25"


def test_the_map_of_the_code_has_every_place():
    design = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    lines = re.findall(r"^  (\w.*)$", design.partition("```\ndcd_deploy/\n")[2].partition("```")[0], re.MULTILINE)
    shown = {name for line in lines for name in re.findall(r"\w+", re.split(r" {2,}|\.py", line)[0])}
    code = [path for path in (ROOT / "dcd_deploy").iterdir() if path.suffix in ("", ".py")]
    assert shown == {path.stem for path in code if not path.stem.startswith("__")}


@pytest.mark.long
def test_the_commands_of_readme_run(tmp_path):
    """As they stand, on a checkpoint of the size that they are shown for; the benchmark is made short."""
    tour.make_checkpoint(tmp_path / "model_best.pth.tar")
    block = README.partition("<!-- commands: begin -->")[2].partition("<!-- commands: end -->")[0]
    lines = re.findall(r"^\$ (.*)$", block, re.MULTILINE)
    assert lines == list(tour.FIRST)
    for line in lines:
        words = shlex.split(line)[1:]
        short = ["--min-runs", "20", "--min-seconds", "0.1", "--rounds", "1"] if words[0] == "bench" else []
        done = command(*words, *short, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        shown = block.partition(f"$ {line}\n")[2].partition("\n\n")[0].strip("`\n")
        assert shape(tour.excerpt(done.stdout)) == shape(shown)


def shape(text: str) -> list[str]:
    """Lines without their numbers, and without the width of their columns."""
    return [re.sub(r"[\d.e–()-]+| +", " ", line).split()[:3] for line in text.splitlines()]


def quoted() -> list[str]:
    """The errors that the page about trouble quotes."""
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    return re.findall(r"^> `(.*)`$", text, re.MULTILINE)


@pytest.fixture(scope="module")
def trouble(tmp_path_factory):
    """A word of each quoted error → what makes it, in a folder with checkpoints as people bring them."""
    folder = tmp_path_factory.mktemp("trouble")
    weights = torch.load(DIGITS, weights_only=False)["state_dict"]
    first, dynamic = "module.features.0.1.running_mean", "module.features.4.conv.0.fc_scale.weight"
    torch.save({"state_dict": {k: w for k, w in weights.items() if k != dynamic}}, folder / "mine.pt")
    broken = weights[first].clone()
    broken[0] = float("nan")
    (folder / "nan").mkdir()
    torch.save({"state_dict": weights | {first: broken}}, folder / "nan" / "mine.pt")
    torch.save(torch.nn.Linear(3, 4), folder / "whole.pt")

    def export(name):
        commands.export(folder / name, out=folder, input_size=32)

    def wrong_eps():
        model = commands.export(DIGITS, out=folder, input_size=32, name="digits").artifact.path
        commands.verify(model, checkpoint=DIGITS, bn_eps=1e-2)

    return {
        "is no known network": lambda: export("mine.pt"),
        "expected finite weights": lambda: export("nan/mine.pt"),
        "wants to load": lambda: export("whole.pt"),
        "expected outputs within": wrong_eps,
        "made for onnxruntime on x86": lambda: _raise(advice(X86_ALONE)),
        "this needs the package": lambda: _raise(str(optional._missing("litert_torch", "…"))),
    }


def _raise(words):
    raise DcdDeployError(words)


ELSEWHERE = {  # what is said in these tests
    "the weights of … are not those of": "test_own_network_page",
    "whose blocks have other channels": "test_x86_processors",
    "for ARM: its weights have 8 bits": "test_saturation",
}


@pytest.mark.parametrize("said", quoted())
def test_quoted_errors_are_said(said, trouble):
    for words in (words for words in ELSEWHERE if words in said):
        assert words in (ROOT / "tests" / f"{ELSEWHERE[words]}.py").read_text(encoding="utf-8")
        return
    (cause,) = [cause for words, cause in trouble.items() if words in said]
    with pytest.raises(DcdDeployError) as refusal:
        cause()
    message = re.sub(r"'[^']*/([\w.]+)'", r"'\1'", spelled(str(refusal.value)))
    parts = [re.escape(part) for part in said.split("…")]
    assert re.search(".*".join(parts), message), message


@pytest.mark.skipif(not importlib.util.find_spec("mkdocs"), reason="the extra 'docs' is not installed")
def test_the_site_is_built_strictly_and_loads_nothing_from_elsewhere(tmp_path):
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pages = [path.read_text(encoding="utf-8") for path in tmp_path.glob("*.html")]
    assert len(pages) > len(list((ROOT / "docs").glob("*.md")))  # and the one for what is not found
    for page in pages:
        loaded = re.findall(r"<(?:link|script|img|iframe)\b[^>]*?\b(?:src|href)=\"([^\"]*)", page)
        assert loaded
        assert not [address for address in loaded if re.match(r"(https?:)?//", address)]
    assert all(
        word in (tmp_path / "python.html").read_text("utf-8") for word in ("export_module", "open_model", "bench")
    )
