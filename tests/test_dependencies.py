"""Every package that the code imports is declared in pyproject.toml, where those who need it install it."""

import ast
import functools
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcd_deploy.optional import EXTRA_OF, FORMATS

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FOLDERS = ("scripts", "examples", "tests")
OWN = {"dcd_deploy", *(path.stem for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))}
BY_REQUIRE = {"require", "check_installed", "import_module"}  # of dcd_deploy.optional, and importlib's
DISTRIBUTION = {
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "ort_flatbuffers_py": "onnxruntime",
}  # where the name is another than the module's


def distribution(module: str) -> str:
    """Return the normalised name of what is to be installed for a module."""
    package = module.partition(".")[0]
    return re.sub(r"[-_.]+", "-", DISTRIBUTION.get(package, package)).lower()


def declared(*extras: str) -> set[str]:
    """Return what the base install and those extras bring, by name."""
    wanted = [*PROJECT["dependencies"], *(line for e in extras for line in PROJECT["optional-dependencies"][e])]
    return {re.split(r"[^\w.-]", line, maxsplit=1)[0].lower().replace("_", "-") for line in wanted}


def imported(text: str) -> Iterator[str]:
    """Yield all foreign modules that the code imports, at its head or later, by a statement or by name."""
    for node in ast.walk(ast.parse(text)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            names = [node.args[0].value] if called in BY_REQUIRE else []
        yield from (name for name in names if name.partition(".")[0] not in {*sys.stdlib_module_names, *OWN})


def undeclared(folder: str, *extras: str) -> list[str]:
    known = declared(*extras)
    return [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for name in imported(path.read_text(encoding="utf-8"))
        if distribution(name) not in known and not str(path.relative_to(ROOT)).startswith(IN_OTHER_ENVIRONMENTS)
    ]


# What runs in an environment of its own: each of the other runtimes; what a bundle brings into an app.
IN_OTHER_ENVIRONMENTS = ("dcd_deploy/runtimes/others/", "dcd_deploy/bundle/templates/")
FOR_USERS = tuple(name for name in PROJECT["optional-dependencies"] if name not in ("examples", "docs", "dev"))


def test_what_the_package_imports():
    assert undeclared("dcd_deploy", *FOR_USERS) == []


@pytest.mark.parametrize(("folder", "more"), [("examples", "examples"), ("scripts", "dev")])
def test_what_is_around_it(folder, more):
    assert undeclared(folder, *FOR_USERS, more) == []


@pytest.mark.parametrize(("module", "extra"), EXTRA_OF.items())
def test_an_error_names_the_extra_that_brings_the_module(module, extra):
    assert distribution(module) in declared(*([extra] if extra else []))


def test_what_makes_a_file_is_in_an_extra():
    assert {name for names in FORMATS.values() for name in names} <= set(EXTRA_OF)


def test_the_command_line_needs_the_base_alone():
    """What reports and the command line import at their heads is there without any extra."""
    for folder in ("reports", "cli", "commands"):
        for path in (ROOT / "dcd_deploy" / folder).glob("*.py"):
            head = ast.Module(
                [
                    n
                    for n in ast.parse(path.read_text(encoding="utf-8")).body
                    if isinstance(n, ast.Import | ast.ImportFrom)
                ],
                [],
            )
            assert {distribution(name) for name in imported(ast.unparse(head))} <= declared(), path


def test_what_reading_a_tflite_file_imports():
    for name in ("file", "metadata"):
        text = (ROOT / "dcd_deploy" / "export" / "tflite" / f"{name}.py").read_text("utf-8")
        found = set(map(distribution, imported(text)))
        assert "flatbuffers" in found
        assert found <= declared("tflite")


# extra → where its way begins. What is imported at the heads of all modules on it has to be there; what a function
# brings in, or asks for by name, is for another format or runtime.
WAYS = {
    "export": (
        "export.pipeline",
        "export.ahead",
        "export.onnx.make",
        "export.onnx.build",
        "export.onnx.file",
        "export.twin",
        "tuning.tune",
        "benchmarks.sweep",
    ),
    "tflite-export": ("export.pipeline", "export.tflite.make", "export.tflite.build", "export.twin", "tuning.tune"),
    "tflite": ("export.tflite.summary", "benchmarks.profile_litert", "runtimes.litert"),
    "image": ("runtimes.preprocessing",),
    "report": ("reports.html.page",),
    None: ("cli", "commands", "runtimes.model", "benchmarks.bench", "devices.fleet", "export.onnx.summary", "config"),
}


@functools.cache
def head_of(module: str) -> ast.Module:
    """Return the imports that run when one of our modules is imported, without those for types alone."""
    path = ROOT / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    statements = ast.parse(path.read_text(encoding="utf-8")).body
    return ast.Module([one for one in statements if isinstance(one, ast.Import | ast.ImportFrom)], [])


def on_the_way(start: str) -> dict[str, set[str]]:
    """Return the foreign modules that each of our modules imports, from ``start`` on through all that it imports."""
    reached: dict[str, set[str]] = {}
    left = [f"dcd_deploy.{start}"]
    while left:
        module = left.pop()
        if module in reached:
            continue
        head = head_of(module)
        reached[module] = set(imported(ast.unparse(head)))
        left.append(module.rpartition(".")[0] or module)  # the package's own head runs first
        for node in head.body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dcd_deploy"):
                inner = [f"{node.module}.{alias.name}" for alias in node.names]
                left += [node.module, *(one for one in inner if is_module(one))]
    return reached


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").exists()


def lacking(start: str, extra: str | None) -> list[str]:
    known = declared(*([extra] if extra else []))
    return [
        f"{module}: {name}"
        for module, names in on_the_way(start).items()
        for name in names
        if distribution(name) not in known
    ]


@pytest.mark.parametrize(("extra", "start"), [(extra, start) for extra, starts in WAYS.items() for start in starts])
def test_an_extra_brings_all_that_its_way_imports(extra, start):
    assert lacking(start, extra) == []


def test_what_an_extra_does_not_bring_is_seen():
    """Through several files, and not where a function imports it."""
    assert "dcd_deploy.export.onnx.naming: onnx_ir" in lacking("export.onnx.make", "tflite-export")
    assert "dcd_deploy.export.tflite.convert: torch" in lacking("export.tflite.make", "tflite")
    assert not any("onnx" in one for one in lacking("export.formats", None))


@pytest.mark.parametrize(
    "text",
    [
        "import nobody_declared_me",
        "def f():\n    from nobody_declared_me.part import x",
        "require('nobody_declared_me.part')",
    ],
)
def test_what_is_not_declared_is_seen(text):
    (found,) = imported(text)
    assert distribution(found) == "nobody-declared-me"
    assert distribution(found) not in declared(*PROJECT["optional-dependencies"])


def not_carried(patterns: dict[str, list[str]]) -> set[str]:
    """Return the files beside the code, by name, that no pattern of setuptools' package-data takes into the wheel."""
    package = ROOT / "dcd_deploy"
    beside = {path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    taken = (path for name, globs in patterns.items() for one in globs for path in _of(name).glob(one))
    return {str(path.relative_to(package)) for path in beside - set(taken)}


def _of(package: str) -> Path:
    return ROOT / package.replace(".", "/")


def test_the_wheel_carries_every_file_beside_the_code():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]
    assert not_carried(patterns) == set()
    del patterns["dcd_deploy.reports.html"]
    assert "reports/html/templates/page.css" in not_carried(patterns)


def told_by_make(makefile: Path) -> str:
    """Return what recipes of a makefile see of a variable that containers often set."""
    rule = 'told: ; @echo "$${PYTHONDONTWRITEBYTECODE-nothing}"'
    command = ["make", "--silent", "--no-print-directory", "--file", makefile, "--eval", rule, "told"]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "MAKEFLAGS": ""}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def test_what_python_compiled_is_kept(tmp_path):
    """Packages are installed without being compiled; else every process would compile torch anew, which takes 5 s."""
    (tmp_path / "Makefile").write_text("", encoding="utf-8")
    assert told_by_make(ROOT / "Makefile") == "nothing"
    assert told_by_make(tmp_path / "Makefile") == "1"
