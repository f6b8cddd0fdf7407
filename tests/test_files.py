"""Writing whole or not at all, whatever fails on the way and whenever."""

import signal
from pathlib import Path

import pytest

from dcd_deploy.errors import OptionError, OutputError
from dcd_deploy.files import check_names, staging

NAMES = ("a", "b", "c")


@pytest.fixture
def folder(tmp_path):
    """Two of three files are there from before."""
    for name in NAMES[:2]:
        (tmp_path / name).write_text("old")
    return tmp_path


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def stage(folder, error=None):
    with staging(folder) as place:
        for name in NAMES:
            (place / name).write_text("new")
        if error is not None:
            raise error


def test_all_move(folder):
    stage(folder)
    assert contents(folder) == dict.fromkeys(NAMES, "new")
    assert len(list(folder.iterdir())) == 3, "the hidden folder is gone"


def test_a_folder_in_the_way(folder):
    (folder / "c").mkdir()
    with pytest.raises(OutputError, match="there is a folder of that name; nothing was changed"):
        stage(folder)
    assert contents(folder) == {"a": "old", "b": "old"}
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b", "c"]


def fail_at(monkeypatch, failing, error, before=lambda: None):
    honest = Path.replace

    def replace(self, target):
        if target.name == failing and self.read_text() == "new":
            before()
            raise error
        return honest(self, target)

    monkeypatch.setattr(Path, "replace", replace)


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "copies"])
@pytest.mark.parametrize("failing", NAMES)
def test_a_move_that_fails_leaves_everything_as_it_was(folder, monkeypatch, failing, links):
    fail_at(monkeypatch, failing, OSError(5, "Input/output error"))
    if not links:
        monkeypatch.setattr("os.link", lambda *a, **k: (_ for _ in ()).throw(PermissionError(1, "no hard links")))
    with pytest.raises(OutputError, match="Input/output error; nothing was changed"):
        stage(folder)
    assert contents(folder) == {"a": "old", "b": "old"}
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_waits_until_all_have_moved(folder, monkeypatch, number):
    honest, before = Path.replace, signal.getsignal(number)

    def replace(self, target):
        if target.name == "b":
            signal.raise_signal(number)
        return honest(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    signal.signal(number, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            stage(folder)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)
    assert contents(folder) == dict.fromkeys(NAMES, "new")
    assert len(list(folder.iterdir())) == 3


def test_a_symbolic_link_is_replaced_and_restored_itself(folder, monkeypatch):
    (folder / "elsewhere").mkdir()
    (folder / "a").unlink()
    (folder / "a").symlink_to(folder / "elsewhere")
    fail_at(monkeypatch, "b", OSError(28, "No space left on device"))
    with pytest.raises(OutputError):
        stage(folder)
    assert (folder / "a").is_symlink()
    monkeypatch.undo()
    stage(folder)
    assert not (folder / "a").is_symlink()


def test_names_that_no_file_system_takes(tmp_path):
    check_names([tmp_path / ("x" * 255), tmp_path / ("ä" * 127)])
    for name in ("x" * 256, "ä" * 128):
        with pytest.raises(OptionError, match="longer than 255 bytes, as file systems take it, found 256 of"):
            check_names([tmp_path / "a", tmp_path / name])


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "stop"])
@pytest.mark.parametrize("moves", [False, True], ids=["while files are made", "as they move"])
def test_folders_that_were_made_for_it_go_again(tmp_path, monkeypatch, error, moves):
    (tmp_path / "there").mkdir()
    if moves:
        fail_at(monkeypatch, "b", error)
    with pytest.raises((OutputError, KeyboardInterrupt)):
        stage(tmp_path / "there" / "new" / "newer", None if moves else error)
    assert list((tmp_path / "there").iterdir()) == [], "what was there before stays"


def test_a_folder_that_cannot_be_made_leaves_none_of_those_above_it(tmp_path):
    with pytest.raises(OutputError, match="name too long"), staging(tmp_path / "new" / ("x" * 256)):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_somebody_else_put_something_into_stays(tmp_path, monkeypatch):
    fail_at(monkeypatch, "b", OSError(28, "No space left on device"), (tmp_path / "a" / "theirs").touch)
    with pytest.raises(OutputError):
        stage(tmp_path / "a" / "b")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["theirs"]


def test_folders_stay_where_it_ends_well(tmp_path):
    stage(tmp_path / "new" / "newer")
    assert contents(tmp_path / "new" / "newer") == dict.fromkeys(NAMES, "new")
