"""What runs on devices: whole, of Python 3.9, the same bytes each time."""

import ast
import io
import sys
import zipfile
from pathlib import Path

import pytest
from test_import_directions import run_nodes

from dcd_deploy.devices import bundle

PACKAGE = Path(bundle.__file__).parent.parent


def test_the_bundle_has_all_that_it_imports_and_nothing_more():
    """From the server and the worker on; what it takes from elsewhere is of the standard library, or the runtimes'.

    Imports for types alone are none, as they are never run.
    """
    reached, new = set(), ["devices/runner/server", "benchmarks/worker"]
    while new:
        module = new.pop()
        if module in reached:
            continue
        reached.add(module)
        parts = module.split("/")
        new += ["/".join([*parts[:i], "__init__"]) for i in range(len(parts))]
        for node in run_nodes(ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                place, _, rest = name.partition(".")
                if place == "dcd_deploy" and (PACKAGE / f"{rest.replace('.', '/')}.py").exists() and rest:
                    new.append(rest.replace(".", "/"))
                elif place == "dcd_deploy" and (PACKAGE / rest.replace(".", "/") / "__init__.py").exists():
                    new.append(f"{rest.replace('.', '/')}/__init__".lstrip("/"))
                elif place != "dcd_deploy":
                    assert place in {*sys.stdlib_module_names, "numpy"}, (module, name)
    assert reached == set(bundle.MODULES)


@pytest.mark.parametrize("module", bundle.MODULES)
def test_what_runs_there_is_python_3_9(module):
    tree = ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"), feature_version=(3, 9))
    said = [getattr(node, field, None) for node in ast.walk(tree) for field in ("annotation", "returns")]
    annotations = {id(part) for one in said if one is not None for part in ast.walk(one)}  # never evaluated
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            words = {keyword.arg for keyword in node.keywords}
            assert not (name == "zip" and "strict" in words), "zip(strict=) came with 3.10"
            assert name not in ("hashlib.file_digest", "itertools.pairwise"), name
            assert not (name.endswith("dataclass") and words & {"slots", "kw_only"}), "dataclass(slots=) came with 3.10"
            if name == "isinstance":
                assert not isinstance(node.args[1], ast.BinOp), "isinstance(x, A | B) came with 3.10"
        if isinstance(node, ast.Subscript) and id(node) not in annotations:
            unions = [part for part in ast.walk(node.slice) if isinstance(part, ast.BinOp)]
            types = [part for part in unions if isinstance(part.left, ast.Name | ast.Attribute)]
            assert not any(isinstance(part.op, ast.BitOr) for part in types), "X[A | B] came with 3.10"
        if isinstance(node, ast.ImportFrom):
            assert not {alias.name for alias in node.names} & {"UTC", "Self", "tomllib", "StrEnum", "TypeAlias"}


def test_the_bundle_is_the_same_bytes_each_time_and_small():
    again = bundle.runner_bundle.__wrapped__()
    assert again == bundle.runner_bundle()
    assert len(again) < 100_000
    with zipfile.ZipFile(io.BytesIO(again)) as archive:
        assert archive.testzip() is None
