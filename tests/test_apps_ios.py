"""The sample for iOS, as far as there is one here: its syntax, by a parser of Swift, and its data."""

import json
import re
from importlib.util import find_spec

import pytest
from apps import made

from dcd_deploy.bundle.sample import TEMPLATES

SWIFT = sorted((TEMPLATES / "ios").rglob("*.swift"))
needs_parser = pytest.mark.skipif(
    not all(find_spec(name) for name in ("tree_sitter", "tree_sitter_swift")),
    reason="needs tree-sitter-swift",
)


def faults(text):
    """Return the places that a parser of Swift cannot read."""
    import tree_sitter
    import tree_sitter_swift

    tree = tree_sitter.Parser(tree_sitter.Language(tree_sitter_swift.language())).parse(text.encode())
    waiting, found = [tree.root_node], []
    while waiting:
        node = waiting.pop()
        if node.is_error or node.is_missing:
            found.append(node.start_point)
        waiting.extend(node.children)
    return found


@needs_parser
@pytest.mark.parametrize("path", SWIFT, ids=lambda path: path.stem)
def test_syntax(path):
    assert faults(path.read_text("utf-8")) == []


@needs_parser
@pytest.mark.parametrize("path", SWIFT, ids=lambda path: path.stem)
def test_a_bracket_that_is_missing_is_seen(path):
    assert faults(path.read_text("utf-8").rstrip().removesuffix("}").removesuffix(")")) != []


def test_the_package_has_its_data(onnx_file, tmp_path):
    folder = made(onnx_file, "ios", tmp_path / "app")
    data = folder / "Sources/Classifier/Bundle"
    manifest = json.loads((data / "manifest.json").read_text())
    assert {*manifest["sha256"], "manifest.json"} == {path.name for path in data.iterdir()}
    assert {path.relative_to(folder) for path in folder.rglob("*.swift")} == {
        path.relative_to(TEMPLATES / "ios") for path in SWIFT
    }
    readme = (folder / "README.md").read_text("utf-8")
    assert "What was not run: all of it" in readme
    assert not re.search(r"@[A-Z_]+@", readme)
