"""What holds on Linux, macOS and Windows: encodings that are said, newlines that are said, calls that not all have."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import platformdirs
import platformdirs.macos
import platformdirs.unix
import platformdirs.windows
import pytest
from command_line import COMMAND

from dcd_deploy.made_once import cache_folder

ROOT = Path(__file__).parent.parent
FILES = sorted(path for part in ("dcd_deploy", "scripts", "examples") for path in (ROOT / part).rglob("*.py"))
ON_POSIX_ALONE = {"fcntl", "grp", "pwd", "pty", "resource", "termios", "tty"}
CALLS_ON_POSIX = {"sched_setaffinity", "sched_getaffinity", "geteuid", "killpg", "getloadavg", "setsid", "fork"}
SIGNALS_ON_POSIX = {"SIGHUP", "SIGKILL", "SIGQUIT"}
ON_DEVICES = ("devices/", "emulation/")  # what runs on boards and phones, or reaches them, needs Linux or macOS


def mode_of(call, place):
    given = [word.value for word in call.keywords if word.arg == "mode"] + list(call.args[place : place + 1])
    return str(given[0].value) if given and isinstance(given[0], ast.Constant) else "r"


def lacks(call):  # noqa: PLR0911
    """Return what a call that reads or writes text does not say, or nothing."""
    said = {word.arg for word in call.keywords}
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if None in said:
        return ""
    if name in ("run", "Popen", "check_output") and {"text", "universal_newlines"} & said and "encoding" not in said:
        return "encoding"
    if name in ("read_text", "write_text") and isinstance(call.func, ast.Attribute):
        return "" if "encoding" in said or call.func.attr not in ("read_text", "write_text") else "encoding"
    opens = {"fdopen": 1, "TemporaryFile": 0, "NamedTemporaryFile": 0}
    if name == "open":
        method = isinstance(call.func, ast.Attribute)
        if method and isinstance(call.func.value, ast.Name) and call.func.value.id in ("os", "tarfile", "image_module"):
            return ""
        opens["open"] = 0 if method else 1
    if name not in opens or "b" in (mode := mode_of(call, opens[name])):
        return ""
    if name in ("TemporaryFile", "NamedTemporaryFile") and mode == "r":
        return ""  # bytes, by default
    return "" if "encoding" in said else "encoding"


def found_in(source):
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return [f"line {call.lineno}: {what}" for call in calls if (what := lacks(call))]


OTHER_OPENS = {"archive.open(", "Image.open(", "RUNTIMES[", "].open("}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_texts_are_read_and_written_in_an_encoding_that_is_said(path):
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines()
    amiss = [each for each in found_in(source) if not _other(lines[int(each.split()[1][:-1]) - 1])]
    assert not amiss, path


def _other(line):
    return any(other in line for other in OTHER_OPENS)


@pytest.mark.parametrize(
    ("code", "fine"),
    [
        ("path.read_text()", False),
        ("path.read_text(encoding='utf-8')", True),
        ("path.write_text(text)", False),
        ("open('x')", False),
        ("open('x', 'rb')", True),
        ("path.open('w')", False),
        ("path.open('wb')", True),
        ("path.open('w', newline='', encoding='utf-8')", True),
        ("os.fdopen(1, 'w')", False),
        ("tempfile.TemporaryFile('w+')", False),
        ("tempfile.TemporaryFile()", True),
        ("subprocess.run(command, text=True)", False),
        ("subprocess.run(command)", True),
    ],
)
def test_the_check_of_encodings_sees(code, fine):
    assert bool(found_in(code)) is not fine


def bare_uses(tree):
    """Yield imports and calls that Windows or macOS lack, where nothing around them asks whether they are there."""
    for node in guarded(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else [node.module]
            yield from (name for name in names if name in ON_POSIX_ALONE)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "os" and node.attr in CALLS_ON_POSIX:
                yield node.attr
            if node.value.id == "signal" and node.attr in SIGNALS_ON_POSIX:
                yield node.attr


def guarded(node):
    """Walk over what no ``try`` and no question with ``hasattr`` guards."""
    for child in ast.iter_child_nodes(node):
        asks = isinstance(child, ast.If | ast.IfExp) and "hasattr" in ast.unparse(child.test)
        asks = asks or (isinstance(child, ast.FunctionDef) and "not hasattr(os, " in ast.unparse(child))
        suppressed = isinstance(child, ast.With) and "suppress(ImportError" in ast.unparse(child.items[0])
        if not asks and not suppressed and not isinstance(child, ast.Try):
            yield child
            yield from guarded(child)


def test_what_not_all_systems_have_is_asked_for():
    package = ROOT / "dcd_deploy"
    found = {
        f"{path.relative_to(package)}: {use}"
        for path in sorted(package.rglob("*.py"))
        if not str(path.relative_to(package)).replace(os.sep, "/").startswith(ON_DEVICES)
        for use in bare_uses(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert not found


def test_the_check_of_systems_sees():
    assert list(bare_uses(ast.parse("import fcntl\nos.geteuid()\nsignal.SIGKILL"))) == ["fcntl", "geteuid", "SIGKILL"]
    assert not list(bare_uses(ast.parse("if hasattr(os, 'geteuid'):\n    os.geteuid()")))


ELSEWHERE = """
import os, signal, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name in ("fcntl", "grp", "termios", "resource", "pty", "tty"):
            raise ModuleNotFoundError("No module named %r" % name, name=name)
for name in ("fcntl", "grp", "termios", "resource"):
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Block())
for name in ("sched_getaffinity", "sched_setaffinity", "geteuid", "killpg", "getloadavg", "setsid"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGHUP", "SIGKILL", "SIGQUIT"):
    if hasattr(signal, name):
        delattr(signal, name)
"""


@pytest.fixture
def windows(tmp_path):
    """Run the command line where what Windows lacks is not there."""
    (tmp_path / "sitecustomize.py").write_text(ELSEWHERE, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}

    def run(*arguments):
        command = [*COMMAND, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, check=False, timeout=300)

    return run


QUICKLY = ("--min-runs", "10", "--min-seconds", "0.1", "--rounds", "1")


@pytest.mark.exhaustive
def test_the_commands_run_where_windows_is_emulated(windows, onnx_pair):
    file, _ = onnx_pair
    for command in (["--help"], ["inspect", file], ["verify", file], ["bench", file, *QUICKLY], ["profile", file]):
        done = windows(*command)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr


def test_cores_cannot_be_chosen_there_and_that_is_said(windows, onnx_pair):
    done = windows("bench", onnx_pair[0], "--cpus", "0", *QUICKLY)
    assert done.returncode == 8, done.stderr
    assert "--cpus" in done.stderr.splitlines()[-1]


def test_phones_and_boards_are_refused_in_words(windows):
    done = windows("devices")
    assert done.returncode != 1, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("system", "folder"),
    [
        (platformdirs.unix.Unix, ".cache/dcd-deploy/tune"),
        (platformdirs.macos.MacOS, "Library/Caches/dcd-deploy/tune"),
        (platformdirs.windows.Windows, "dcd-deploy/Cache/tune"),
    ],
)
def test_the_cache_is_where_the_system_has_it(system, folder, tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(platformdirs.windows, "get_win_folder", lambda _: str(tmp_path))  # %LOCALAPPDATA%
    monkeypatch.setattr(platformdirs, "PlatformDirs", system)
    assert cache_folder("tune") == tmp_path / folder
    assert not any(tmp_path.iterdir())


def test_what_devices_run_is_python_3_9():
    from dcd_deploy.devices.bundle import MODULES

    for module in MODULES:
        source = (ROOT / "dcd_deploy" / f"{module}.py").read_text(encoding="utf-8")
        ast.parse(source, feature_version=(3, 9))
        assert "\nmatch " not in source
    assert sys.version_info >= (3, 11)
