"""The sample for iOS, as far as there is one here: its syntax and self-check, by a parser of Swift, and its data.

SWIFTC names a compiler, where there is one: then the plain Swift is compiled, with stand-ins for Apple's frameworks and
for onnxruntime (``tests/ios``), and run.
"""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from apps import ALTERATIONS, LARGE, altered, made, needs, odd_picture, pillow_crop, told

from dcd_deploy.bundle.golden import TOLERANCE, ppm
from dcd_deploy.bundle.sample import TEMPLATES
from dcd_deploy.runtimes.pictures import read_picture

HERE = Path(__file__).parent
SWIFTC = os.environ.get("SWIFTC")
needs_swift = pytest.mark.skipif(not SWIFTC, reason="needs a compiler of Swift, which SWIFTC names")
DATA = Path("Sources/Classifier/Bundle")

SWIFT = sorted((TEMPLATES / "ios").rglob("*.swift"))
CLASSIFIER = TEMPLATES / "ios/Sources/Classifier/Classifier.swift"
needs_parser = needs(all(find_spec(name) for name in ("tree_sitter", "tree_sitter_swift")), "tree-sitter-swift")
JSON_TYPES = {
    "Int": int,
    "Double": float | int,
    "String": str,
    "[Int]": list,
    "[Double]": list,
    "[String: String]": dict,
    "Tensor": dict,
    "Output": dict,
}


@pytest.fixture(scope="module")
def folder(onnx_file, tmp_path_factory):
    return made(onnx_file, "ios", tmp_path_factory.mktemp("ios") / "app")


def nodes(text):
    """Yield the nodes of the tree of a Swift text."""
    import tree_sitter
    import tree_sitter_swift

    tree = tree_sitter.Parser(tree_sitter.Language(tree_sitter_swift.language())).parse(text.encode())
    waiting = [tree.root_node]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(node.children))


def faults(text):
    """Return the places that a parser of Swift cannot read."""
    return [node.start_point for node in nodes(text) if node.is_error or node.is_missing]


def declared(text, kind, name):
    """Return the text of a declaration, such as the function `selfCheck`."""
    (found,) = [
        node
        for node in nodes(text)
        if node.type == kind and (named := node.child_by_field_name("name")) and named.text.decode() == name
    ]
    return found.text.decode()


@needs_parser
@pytest.mark.parametrize("path", SWIFT, ids=lambda path: path.stem)
def test_syntax(path):
    assert faults(path.read_text("utf-8")) == []


@needs_parser
@pytest.mark.parametrize("path", SWIFT, ids=lambda path: path.stem)
def test_a_bracket_that_is_missing_is_seen(path):
    assert faults(path.read_text("utf-8").rstrip().removesuffix("}").removesuffix(")")) != []


def lacking(text):
    """Return the steps of the self-check that a Swift text does not take."""
    check, worst = declared(text, "function_declaration", "selfCheck"), declared(text, "function_declaration", "worst")
    (opening,) = [node.text.decode() for node in nodes(text) if node.type == "init_declaration"]
    steps = {
        "every file's hash": (
            opening,
            r"for \(name, wanted\) in manifest\.sha256 \{\s+guard try sha256\(read\(name\)\) == wanted",
        ),
        "a line for each class": (opening, r"guard labels\.count == manifest\.output\.classes else"),
        "the golden input": (
            check,
            r'worst\(runner\.run\(floats\("golden-input.bin"\)\), floats\("golden-output.bin"\)\)',
        ),
        "the picture": (check, r"let logits = try runner\.run\(preprocess\(ownPicture\(\), settings\)\)"),
        "its logits": (check, r'worst\(logits, floats\("picture-logits.bin"\)\)'),
        "the tolerance": (check, r"errors\.allSatisfy\(\{ \$0 / manifest\.range <= manifest\.tolerance \}\) else"),
        "what is no number": (worst, r"contains \{ \$0\.isNaN \} \? \.nan"),
    }
    fails = "throw SelfCheckFailed"
    return [step for step, (part, pattern) in steps.items() if not (re.search(pattern, part) and fails in part)]


@needs_parser
def test_the_self_check_takes_every_step():
    text = CLASSIFIER.read_text("utf-8")
    assert lacking(text) == []
    assert lacking(text.replace("== wanted", "!= wanted")) == ["every file's hash"]
    assert lacking(text.replace("picture-logits", "golden-output")) == ["its logits"]
    assert lacking(text.replace("<= manifest.tolerance", "<= 1")) == ["the tolerance"]


def test_its_own_test_is_the_self_check():
    text = (TEMPLATES / "ios/Tests/ClassifierTests/ClassifierTests.swift").read_text("utf-8")
    (allowed,) = re.findall(
        r"let error = try await classifier\.selfCheck\(\)\s+XCTAssertLessThanOrEqual\(error, (\S+)\)", text
    )
    assert float(allowed) == TOLERANCE


@needs_parser
@pytest.mark.parametrize(
    ("source", "name", "file"),
    [("Classifier", "Manifest", "manifest.json"), ("Preprocessing", "Settings", "preprocessing.json")],
)
def test_the_json_files_are_as_they_are_decoded(folder, source, name, file):
    data = folder / "Sources/Classifier"
    text = declared((data / f"{source}.swift").read_text("utf-8"), "class_declaration", name)
    wanted = re.findall(r"^ {4,8}(?:public )?let (\w+): (\S.*)$", text, re.MULTILINE)
    nested = {"name": "input", "shape": "input", "classes": "output"} if name == "Manifest" else {}
    decoded = json.loads((data / "Bundle" / file).read_text())
    assert len(wanted) >= 6
    for key, kind in wanted:
        assert isinstance((decoded[nested[key]] if key in nested else decoded)[key], JSON_TYPES[kind]), key


def test_the_package_has_its_data(folder):
    data = folder / DATA
    manifest = json.loads((data / "manifest.json").read_text())
    assert {*manifest["sha256"], "manifest.json"} == {path.name for path in data.iterdir()}
    assert manifest["tolerance"] == TOLERANCE
    assert {path.relative_to(folder) for path in folder.rglob("*.swift")} == {
        path.relative_to(TEMPLATES / "ios") for path in SWIFT
    }
    readme = (folder / "README.md").read_text("utf-8")
    assert "**What was not run.**" in readme
    assert "nothing was started on an iPhone" in " ".join(readme.split())
    assert not re.search(r"@[A-Z_]+@", readme)


def run(*command, **environment):
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=600, check=False, env=os.environ | environment
    )


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The plain Swift of the sample, and the tests' own program."""
    root, mine = tmp_path_factory.mktemp("swift"), HERE / "ios"
    module = ["-emit-module", "-emit-module-path", root / "CryptoKit.swiftmodule", "-module-name", "CryptoKit"]
    objects = root / "CryptoKit.o"
    sources = [CLASSIFIER, CLASSIFIER.with_name("Preprocessing.swift"), mine / "StandIns.swift", mine / "main.swift"]
    for command in (
        [*module, "-parse-as-library", "-emit-object", mine / "CryptoKit.swift", "-o", objects],
        ["-I", root, *sources, objects, "-o", root / "sample"],
    ):
        done = run(SWIFTC, "-O", *command)
        assert done.returncode == 0, done.stderr
        assert f"{TEMPLATES}/" not in done.stderr, done.stderr
    return root / "sample"


@needs_swift
@pytest.mark.parametrize("sizes", [tuple(LARGE.values()), (32, 32, 32), (480, 480, 501)])
def test_it_resizes_as_pillow(compiled, tmp_path, sizes):
    path = odd_picture(tmp_path / "odd.png")
    (tmp_path / "odd.ppm").write_bytes(ppm(read_picture(path)))
    crop = dict(zip(("height", "width", "resize"), sizes, strict=True))
    settings = json.dumps(crop | {"mean": [0.5] * 3, "std": [0.5] * 3, "layout": "nchw"})
    done = run(compiled, "pixels", tmp_path / "odd.ppm", settings)
    assert (done.returncode, done.stderr) == (0, "")
    wanted = pillow_crop(path, crop)
    assert np.abs(np.reshape(list(map(int, done.stdout.split())), wanted.shape) - wanted.astype(int)).max() <= 1


def checked(compiled, data, pixels):
    pixels.write_bytes(ppm(read_picture(data / "picture.png")))
    return run(compiled, "check", data, sys.executable, HERE / "run_model.py", PICTURE=str(pixels))


@needs_swift
def test_the_check_passes(compiled, folder, tmp_path):
    done = checked(compiled, folder / DATA, tmp_path / "picture.ppm")
    assert done.returncode == 0, done.stderr
    assert float(re.match(r"self-check passed: error (\S+) of", done.stdout)[1]) <= TOLERANCE
    assert len(done.stdout.splitlines()[1].split(",")) == 3


@needs_swift
@pytest.mark.parametrize("what", sorted(set(ALTERATIONS) - {"a corrupt model and its hash"}))
def test_an_altered_bundle_fails(compiled, folder, tmp_path, what):
    done = checked(compiled, altered(folder / DATA, tmp_path / "other", what), tmp_path / "picture.ppm")
    assert done.returncode == 1
    assert re.match(told(what), done.stderr), done.stderr
