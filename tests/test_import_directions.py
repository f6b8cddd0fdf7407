"""Who may import whom, as docs/design.md lists the rooms: only from those above."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "dcd_deploy"
# room → the rooms that it may import from, besides itself
ALLOWED = {
    "errors": set(),
    "stages": set(),
    "fields": {"errors"},
    "interruption": {"errors", "stages"},
    "made_once": {"errors", "stages"},
    "optional": {"errors"},
    "own_process": set(),
    "progress": set(),
    "settings_kept": set(),
    "files": {"errors", "stages"},
    "native_output": set(),
    "artifacts": {"errors", "files"},
    "card_json": {"errors", "fields", "files", "artifacts"},
    "samples": {"errors", "files", "artifacts"},
    "dynamic": {"errors"},
    "network_names": set(),
    "models": {"errors", "fields", "optional", "files", "network_names", "settings_kept"},
    "lowering": {"errors", "dynamic"},
    "runtimes": {
        "errors",
        "made_once",
        "optional",
        "own_process",
        "progress",
        "files",
        "native_output",
        "artifacts",
        "card_json",
        "samples",
    },
}
ALLOWED["labelled_images"] = {"errors", "optional", "files", "artifacts", "samples", "runtimes"}
ALLOWED["export"] = {
    "labelled_images",
    "network_names",
    "errors",
    "optional",
    "own_process",
    "progress",
    "files",
    "native_output",
    "artifacts",
    "card_json",
    "samples",
    "dynamic",
    "models",
    "lowering",
    "runtimes",
}
ALLOWED["benchmarks"] = {
    "errors",
    "optional",
    "progress",
    "files",
    "native_output",
    "artifacts",
    "card_json",
    "network_names",
    "runtimes",
}
ALLOWED["evaluation"] = {*ALLOWED["export"], "export", "benchmarks", "fields"}
ALLOWED["emulation"] = {*ALLOWED["benchmarks"], "benchmarks", "stages", "made_once"}
ALLOWED["devices"] = {*ALLOWED["emulation"], "emulation"}
ALLOWED["tuning"] = set(ALLOWED) - {"devices", "emulation"}
# modules that stand on more than their room does
MORE = {
    "benchmarks/cases": {"export", "models"},
    "benchmarks/sweep": {"export", "models"},
    "__main__": {"export"},  # an export begins its other process before the rest is loaded
}
ALLOWED["bundle"] = {*ALLOWED["runtimes"], "runtimes"}
ALLOWED["commands"] = set(ALLOWED)
ALLOWED["reports"] = set(ALLOWED) - {"commands"}
ALLOWED["config"] = {"errors", "commands"}
ALLOWED["reports"] |= {"config"}
ALLOWED["cli"] = set(ALLOWED)
ALLOWED["__main__"] = {"cli", "interruption"}
OFFERED = {"export", "commands"}  # by the package itself, loaded when they are asked for
HEAVY = {
    "torch",
    "onnx",
    "onnxsim",
    "onnxscript",
    "safetensors",
    "litert_torch",
    "ai_edge_litert",
    "executorch",
    "plotly",
}
MAY_BE_HEAVY = {"dynamic", "lowering", "models", "export", "tuning"}
SAMPLES = PACKAGE / "bundle" / "templates"  # text that is copied, and runs elsewhere
OTHERS = PACKAGE / "runtimes" / "others"  # each is loaded by its path, in an environment and process of its own


def room_of(module: str) -> str:
    return [*module.split("."), "__init__"][1]


def is_for_types_alone(node: ast.AST) -> bool:
    """Whether what stands below ``node`` is never run: ``if TYPE_CHECKING:`` without an ``else``."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not node.orelse


def run_nodes(tree: ast.AST):
    for node in ast.iter_child_nodes(tree):
        if not is_for_types_alone(node):
            yield node
            yield from run_nodes(node)


def imports(nodes, path: Path):
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: absolute imports only"
            yield from (
                [f"dcd_deploy.{alias.name}" for alias in node.names] if node.module == "dcd_deploy" else [node.module]
            )


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if SAMPLES not in path.parents)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    allowed = ALLOWED.get(room, set()) | MORE.get(path.relative_to(PACKAGE).with_suffix("").as_posix(), set())
    for name in imports(ast.walk(tree), path):
        if name.split(".")[0] == "dcd_deploy":
            other = room_of(name)
            known = other in ALLOWED
            offered = room == "__init__" and other in OFFERED
            assert not known or offered or other == room or other in allowed, f"{path} must not import {name}"
    for name in imports(run_nodes(tree), path):
        assert name.split(".")[0] not in HEAVY or room in MAY_BE_HEAVY or path.parent == OTHERS, f"no {name} in {path}"


@pytest.mark.parametrize(
    ("code", "loaded"),
    [
        ("import torch", ["torch"]),
        ("def f():\n    from torch import nn", ["torch"]),
        ("if TYPE_CHECKING:\n    import torch", []),
        ("if TYPE_CHECKING:\n    import a\nelse:\n    import torch", ["a", "torch"]),
        ("if not TYPE_CHECKING:\n    import torch", ["torch"]),
    ],
)
def test_imports_for_types_alone_load_nothing(code, loaded):
    assert list(imports(run_nodes(ast.parse(code)), Path("planted.py"))) == loaded


def test_nobody_imports_another_runtime():
    allowed = {f"dcd_deploy.runtimes.others.{name}" for name in ("last_words", "process")}  # which are none
    for path in MODULES:
        names = set(imports(ast.walk(ast.parse(path.read_text(encoding="utf-8"))), path))
        assert {name for name in names if name.startswith("dcd_deploy.runtimes.others.")} <= allowed, path


def test_every_room_is_listed():
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES} - {"__init__"}
    assert rooms == set(ALLOWED)


def test_the_design_lists_every_room():
    listed = (PACKAGE.parent / "docs" / "design.md").read_text(encoding="utf-8").partition("## Where things live")[2]
    words = set(re.findall(r"\w+", listed.partition("\n## ")[0]))
    assert set(ALLOWED) <= words, set(ALLOWED) - words


@pytest.mark.parametrize("path", [path for path in MODULES if path.name == "__init__.py"], ids=str)
def test_a_room_lists_only_files_that_it_has(path):
    lists = re.findall(r"^([a-z_0-9/]+(?:, [a-z_0-9/]+)*)  +\S", path.read_text(encoding="utf-8"), re.MULTILINE)
    for name in ", ".join(lists).split(", ") if lists else ():
        assert (path.parent / f"{name}.py").exists() or (path.parent / name).is_dir(), name


def twice(texts):
    """Return the names that more than one class has, of all the texts."""
    classes = [node.name for text in texts for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)]
    return {name for name in classes if classes.count(name) > 1}


def test_no_two_classes_have_one_name():
    assert not twice(path.read_text(encoding="utf-8") for path in MODULES)
    assert twice(["class One: ...", "class One: ..."]) == {"One"}


def too_long(paths):
    return {path.name for path in paths if path.read_bytes().count(b"\n") > 300}


def test_no_module_and_no_file_of_the_tests_is_over_300_lines(tmp_path):
    tests = Path(__file__).parent
    data = {tests / "golden", *tests.rglob("__pycache__")}
    ours = [path for path in tests.rglob("*") if path.is_file() and not data & set(path.parents)]
    assert Path(__file__) in ours
    assert not too_long([*MODULES, *ours])
    (tmp_path / "long.py").write_text("pass\n" * 301)
    (tmp_path / "whole.py").write_text("pass\n" * 300)
    assert too_long(tmp_path.iterdir()) == {"long.py"}


def test_no_cycle():
    for room, others in ALLOWED.items():
        assert all(room not in ALLOWED[other] or other == room for other in others - {room}), room


def test_loading_the_command_line_loads_nothing_heavy():
    """``dcd-deploy --version`` and ``predict`` must not pay for torch."""
    code = "import sys, dcd_deploy.cli; print(sorted({'torch', 'onnx', 'onnxruntime', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
