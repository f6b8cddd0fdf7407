"""The parts of ARM emulation by themselves: cores, programs, package sources, the cache folder."""

import pytest

from dcd_deploy import commands
from dcd_deploy.benchmarks.counts import Counts
from dcd_deploy.emulation import plugin, programs, root
from dcd_deploy.emulation.cores import CORES, core_named
from dcd_deploy.emulation.executorch import COMPILER
from dcd_deploy.emulation.plugin import COLUMNS, read_counts
from dcd_deploy.emulation.programs import MAKING, check_counts, check_programs, qemu_version
from dcd_deploy.emulation.root import apt_sources, codename
from dcd_deploy.errors import DeviceAnswerError, DeviceLackError, OptionError, OutputError, UnknownNameError
from dcd_deploy.made_once import made_once


def test_counts_that_do_not_parse():
    good = Counts(*range(1, 10))
    header = " ".join(["line", *COLUMNS, "threads"])
    numbers = " ".join(map(str, range(1, 10)))
    assert read_counts(f"{header}\nrun {numbers} 1\ntick {numbers} 1\n") == [("run", good), ("tick", good)]
    bad = (
        "",
        "line",
        f"{header}\nrun {numbers}",
        f"{header}\nwalk {numbers} 1",
        f"{header}\nrun {numbers} 1 1",
        f"{header}\nrun -{numbers} 1",
        f"{header}\nrun {numbers} ١",
        f"{header}\nrun {'9' * 25}{numbers} 1",
    )
    for text in bad:
        with pytest.raises(DeviceAnswerError):
            read_counts(text)
    with pytest.raises(DeviceAnswerError, match="one thread"):
        read_counts(f"{header}\nrun {numbers} 2")


@pytest.mark.parametrize("core", CORES.values(), ids=CORES)
def test_a_core_describes_itself_as_linux_does(core):
    fields = dict(line.split("\t: ") for line in core.cpuinfo().splitlines() if line)
    assert fields["CPU implementer"] == "0x41"
    assert int(fields["CPU part"], 16) == core.part
    features = fields["Features"].split()
    assert "asimd" in features
    assert ("asimddp" in features) == (core.name in ("cortex-a76", "i8mm"))
    assert ("i8mm" in features) == (core.name == "i8mm")


def test_names_of_cores():
    assert commands.emulated_core("arm64-emulated") == core_named("cortex-a76")
    assert commands.emulated_core("arm64-emulated:i8mm").qemu == "max,sme=off,sve-max-vq=1"  # never plain max
    with pytest.raises(UnknownNameError, match="did you mean 'cortex-a76'"):
        commands.emulated_core("arm64-emulated:cortex-a77")
    with pytest.raises(UnknownNameError, match="did you mean"):
        commands.emulated_core("arm64-emulate")
    with pytest.raises(OptionError, match=r"arm64-emulated\[:core\] alone, found 'local'"):
        commands.emulated_core("local")


def test_programs_that_are_missing_are_named_with_their_packages(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceLackError, match=r"qemu-aarch64, .*apt-get install qemu-user mmdebstrap apt gcc") as error:
        check_programs(["qemu-aarch64", "mmdebstrap", "apt-get", "gcc"])
    assert error.value.exit_code == 20
    with pytest.raises(DeviceLackError, match="qemu-user"):
        commands.setup_emulated()
    with pytest.raises(DeviceLackError, match="qemu-user"):  # not root's Debian: --install cannot help
        commands.setup_emulated(install=True)
    assert {*MAKING, COMPILER} == set(programs.PACKAGES)


def pretend(tmp_path, monkeypatch, name, script):
    """Put a program in front of the real one: what it does is pretended, as this machine has one version only."""
    (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


@pytest.mark.parametrize("version", ["9.0.0", "10.1.2", "4.1.0"])
def test_a_qemu_whose_plugins_are_others_is_refused(tmp_path, monkeypatch, version):
    pretend(tmp_path, monkeypatch, "qemu-aarch64", f"echo 'qemu-aarch64 version {version} (Debian 1:{version})'")
    assert qemu_version() == version
    with pytest.raises(DeviceLackError, match=f"QEMU 4.2 to 8, found {version}"):
        plugin.compiled_plugin()


def test_a_qemu_without_a_version_is_refused(tmp_path, monkeypatch):
    pretend(tmp_path, monkeypatch, "qemu-aarch64", "echo something else")
    with pytest.raises(DeviceLackError, match="found 'something else'"):
        qemu_version()


def test_versions_that_are_accepted():
    for version in ("4.2", "7.2.22", "8.2.1"):
        check_counts(version)


def test_a_root_that_is_not_there_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DeviceLackError, match="dcd-deploy setup-emulated"):
        root.installed_root()
    assert not any(tmp_path.iterdir())


def test_a_set_up_that_fails_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pretend(tmp_path, monkeypatch, "mmdebstrap", "echo half of it; echo no such suite >&2; exit 25")
    with pytest.raises(DeviceLackError, match="mmdebstrap to succeed, .*code 25: half of it / no such suite"):
        commands.setup_emulated()
    assert [path.name for path in tmp_path.glob("cache/dcd-deploy/arm64/*")] == []
    assert [path.name for path in tmp_path.glob("cache/dcd-deploy/arm64/.*")] == []


def test_made_once(tmp_path):
    made = []

    def make(path):
        made.append(path)
        path.mkdir()
        (path / "content").write_text("whole")

    assert made_once(tmp_path / "thing", make) == made_once(tmp_path / "thing", make)
    assert len(made) == 1
    assert (tmp_path / "thing" / "content").read_text() == "whole"

    def interrupted(path):
        make(path)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made_once(tmp_path / "other", interrupted)
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="XDG_CACHE_HOME"):
        made_once(tmp_path / "file" / "thing", make)


def test_sources_of_the_same_release_only(tmp_path):
    listed = tmp_path / "sources.list.d"
    listed.mkdir()
    (tmp_path / "sources.list").write_text(
        "# deb http://example.org/debian bookworm main\n"
        "deb [signed-by=/usr/share/keyrings/a.gpg] http://example.org/debian bookworm main contrib # a remark\n"
        "deb-src http://example.org/debian bookworm main\n"
        "deb http://vendor.example.org apt main\n"
        "deb [arch=amd64] http://example.org/only bookworm main\n"
    )
    (listed / "debian.sources").write_text(
        "Types: deb deb-src\nURIs: http://example.org/debian\nSuites: bookworm-updates bookworm-security\n"
        "Components: main\nSigned-By: /usr/share/keyrings/b.gpg\n\n"
        "Types: deb\nURIs: http://example.org/off\nSuites: bookworm\nComponents: main\nEnabled: no\n\n"
        "Types: deb\nURIs: http://example.org/amd\nSuites: bookworm\nComponents: main\nArchitectures: amd64\n"
    )
    (listed / "node.list").write_text("deb http://vendor.example.org nodistro main\n")
    (listed / "broken.save").write_text("deb http://example.org/debian bookworm main\n")
    assert apt_sources("bookworm", tmp_path) == [
        "deb [signed-by=/usr/share/keyrings/a.gpg] http://example.org/debian bookworm main",
        "deb [signed-by=/usr/share/keyrings/b.gpg] http://example.org/debian bookworm-updates main",
        "deb [signed-by=/usr/share/keyrings/b.gpg] http://example.org/debian bookworm-security main",
    ]
    with pytest.raises(DeviceLackError, match="sources of 'trixie'"):
        apt_sources("trixie", tmp_path)


def test_a_system_without_a_name(tmp_path):
    (tmp_path / "os-release").write_text('NAME="Debian"\nVERSION_CODENAME=bookworm\n')
    assert codename(tmp_path / "os-release") == "bookworm"
    with pytest.raises(DeviceLackError, match="Debian or Ubuntu"):
        codename(tmp_path / "nothing")
