"""The environments of other runtimes: made whole or not at all, pinned, and found first."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dcd_deploy import commands
from dcd_deploy.errors import MissingDependencyError
from dcd_deploy.export.runtime_needs import NEEDS
from dcd_deploy.runtimes import environments
from dcd_deploy.runtimes.environments import KNOWN, environment_folder, installable, python_of, set_up
from dcd_deploy.runtimes.others import process

pytestmark = pytest.mark.usefixtures("own_cache")


def test_an_environment_is_made_whole_or_not_at_all(monkeypatch):
    def run(name, command, variables=None):
        if "venv" in command:
            scripts = environments._python_in(Path(command[-1])).parent
            scripts.mkdir(parents=True)
            (scripts / "pip").write_text(f"#!{command[-1]}/bin/python", encoding="utf-8")
        if ending and "import" in command[-1]:
            raise ending[0]

    monkeypatch.setattr(environments, "_run", run)
    cache = environment_folder("tract").parent
    ending = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        set_up("tract")
    assert list(cache.iterdir()) == []
    ending = []
    assert set_up("tract") == environment_folder("tract")
    assert [path.name for path in cache.iterdir()] == [environment_folder("tract").name]
    script = environments._python_in(environment_folder("tract")).with_name("pip")
    assert script.read_text(encoding="utf-8") == f"#!{environment_folder('tract')}/bin/python"


def test_what_pip_says_and_the_others_are_made(monkeypatch):
    def run(command, **_):
        if "venv" in command:
            environments._python_in(Path(command[-1])).parent.mkdir(parents=True)
        bad = any("tract==" in word for word in command)
        return process.subprocess.CompletedProcess(command, int(bad), b"", b"ERROR: no\nnetwork" * bad)

    monkeypatch.setattr(environments.subprocess, "run", run)
    with pytest.raises(MissingDependencyError, match="ERROR: no network; check the network") as error:
        environments.set_up_all(["tract", "mnn"])
    assert "set up tract with tract==" in error.value.expected
    assert not environment_folder("tract").exists()
    assert environment_folder("mnn").exists()


def test_its_own_environment_comes_first():
    assert python_of("onnxruntime") == Path(sys.executable)
    python = environments._python_in(environment_folder("openvino"))
    python.parent.mkdir(parents=True)
    python.touch()
    assert python_of("openvino") == python


def test_a_package_on_the_path_of_this_process_alone_is_not_installed(monkeypatch, tmp_path):
    """Runtimes are asked in processes that look nowhere but in their environment."""
    (tmp_path / "here_alone.py").write_text("", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert environments.find_spec("here_alone") is not None
    assert not environments._has_alone("here_alone")
    assert environments._has_alone("onnxruntime")
    monkeypatch.setitem(KNOWN, "opencv", replace(KNOWN["opencv"], package="here_alone"))
    assert python_of("opencv") is None


def test_every_requirement_is_pinned():
    for name in installable():
        assert all("==" in package for package in (*KNOWN[name].requirements, *KNOWN[name].alone))
    assert {"openvino", "mnn", "ncnn", "tract", "opencv"} <= set(installable())


def test_the_oldest_versions_are_those_of_the_other_table():
    for name in set(KNOWN) & set(NEEDS):
        assert NEEDS[name].since.partition(",")[0] == KNOWN[name].since


@pytest.mark.long
def test_a_runtime_is_set_up_and_right(onnx_file, monkeypatch):
    monkeypatch.setenv("PIP_RETRIES", "0")
    try:
        result = commands.runtimes(onnx_file, setup="tract", runtime="tract", blocks=3)
    except MissingDependencyError as error:
        if "No matching distribution" in str(error):
            pytest.skip("no packages can be fetched here")
        raise
    (row,) = result.rows
    assert (row.status, row.version) == ("right", "0.23.9")
    assert row.place == str(environment_folder("tract"))
    assert row.cpu.ratio.median > 1
