"""What a kill leaves, and what the next run in that folder makes of it: the old set or the new one, and no litter."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import started

from dcd_deploy import stages
from dcd_deploy.files import check_writable, staging, write_whole
from dcd_deploy.stages import PREFIX, Stage, clear_leavings, stage_in

OLD, NEW = {"a": "old", "b": "old"}, {"a": "new", "b": "new", "c": "new"}


def contents(folder):
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir() if path.is_file()}


def hidden(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.fixture
def folder(tmp_path):
    for name, text in OLD.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


KILLED = """
import os, signal, sys
from pathlib import Path
from dcd_deploy.files import staging
moves, place = int(sys.argv[1]), Path(sys.argv[2])
honest, seen = Path.replace, []
def replace(self, target):
    if self.parent.name == "new":
        seen.append(target)
        if len(seen) > moves:
            os.kill(os.getpid(), signal.SIGKILL)
    return honest(self, target)
Path.replace = replace
with staging(place) as new:
    for name in "abc":
        (new / name).write_text("new", encoding="utf-8")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("moves", [0, 1, 2, 3])
def test_a_kill_between_two_moves(folder, moves):
    """Until the last has moved the next run brings back the old set; then the new one stays."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(moves), str(folder)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert bool(hidden(folder)) is (moves < 3)
    check_writable(folder)
    assert contents(folder) == (NEW if moves == 3 else OLD)
    assert not hidden(folder)


def test_a_kill_while_files_are_made(folder):
    code = "import os, sys; from pathlib import Path\nfrom dcd_deploy.files import staging\n"
    code += (
        f"with staging(Path({str(folder)!r})) as new:\n    (new / 'a').write_bytes(b'half'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert len(hidden(folder)) == 1
    write_whole(folder / "other", b"x")
    assert contents(folder) == OLD | {"other": "x"}
    assert not hidden(folder)


def test_what_a_live_process_makes_stays(folder):
    code = "import sys; from pathlib import Path\nfrom dcd_deploy.files import staging\n"
    code += (
        f"with staging(Path({str(folder)!r})) as new:\n    (new / 'a').write_bytes(b'new'); print(flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        write_whole(folder / "other", b"x")
        assert len(hidden(folder)) == 1
        process.communicate(b"\n")
    assert contents(folder) == {"a": "new", "b": "old", "other": "x"}
    assert not hidden(folder)


def test_two_stages_of_one_process(folder):
    with stage_in(folder) as first, stage_in(folder) as second:
        clear_leavings(folder)
        assert first.new.is_dir()
        assert second.new.is_dir()
    assert not hidden(folder)


def test_a_stage_that_was_put_there_by_somebody_else_reaches_nothing(folder):
    """Its names are plain, or it is removed without a look."""
    outside = folder / "outside"
    outside.write_text("safe", encoding="utf-8")
    inner = folder / "inner"
    planted = inner / f"{PREFIX}planted"
    (planted / "new").mkdir(parents=True)
    (planted / "new" / "left").touch()
    (planted / "moving").write_text(json.dumps(["left", "../outside", "..", 7]), encoding="utf-8")
    link = inner / f"{PREFIX}link"
    link.symlink_to(folder)
    clear_leavings(inner)
    assert outside.read_text(encoding="utf-8") == "safe"
    assert hidden(inner) == [link.name], "links are not followed"
    assert Stage(planted)._moving() == []


@pytest.mark.parametrize("journal", [b"", b"{", b"7", b"[" * 100_000, b"\xff"])
def test_a_journal_that_is_damaged(folder, journal):
    place = folder / f"{PREFIX}damaged"
    (place / "new").mkdir(parents=True)
    (place / "moving").write_bytes(journal)
    clear_leavings(folder)
    assert contents(folder) == OLD
    assert not hidden(folder)


def test_an_interruption_in_the_last_clean_up(folder, monkeypatch):
    honest = stages.shutil.rmtree

    def interrupted(place, **options):
        signal.raise_signal(signal.SIGINT)
        honest(place, **options)

    monkeypatch.setattr(stages.shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(folder / "a", b"new")
    assert not hidden(folder)


def test_systems_without_locks(folder, monkeypatch):
    """There the open file keeps a folder; here it shows that the way is walked."""
    monkeypatch.setattr(stages, "fcntl", None)
    with staging(folder) as new:
        (new / "a").write_text("new", encoding="utf-8")
        assert (new.parent / "held").is_file()
    assert contents(folder) == {"a": "new", "b": "old"}
    (folder / f"{PREFIX}left" / "new").mkdir(parents=True)
    clear_leavings(folder)
    assert not hidden(folder)


def test_a_sidecar_names_the_hash_of_its_model(digits_export):
    import hashlib

    artifact = digits_export.artifact
    said = json.loads(artifact.sidecar_path.read_text(encoding="utf-8"))
    assert said["sha256"] == hashlib.sha256(artifact.path.read_bytes()).hexdigest()


@pytest.mark.exhaustive
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_export_is_ended_at_any_moment(small_checkpoint, tmp_path, number):
    """At the end of each round the folder has a whole set, and after the last export nothing else."""
    out = tmp_path / "out"
    arguments = ("export", small_checkpoint, "--out", out, "--name", "m", "--input-size", "32", "-q")
    start = time.monotonic()
    with started(*arguments) as process:
        assert process.wait() == 0
    whole = time.monotonic() - start
    names = {path.name for path in out.iterdir()}
    for i in range(20):
        with started(*arguments) as process:
            until = time.monotonic() + whole * (0.6 + 0.02 * i)
            while process.poll() is None and time.monotonic() < until and not hidden(out):
                time.sleep(0.001)
            time.sleep(0.0005 * (i % 5))
            process.send_signal(number)
            process.wait()
        if number == signal.SIGINT:
            assert not hidden(out)
        check_writable(out)
        assert not hidden(out)
        assert_whole(out, names)
    with started(*arguments) as process:
        assert process.wait() == 0
    assert {path.name for path in out.iterdir()} == names


def assert_whole(out: Path, names):
    import hashlib

    assert {path.name for path in out.iterdir()} == names
    said = json.loads((out / "m.onnx.json").read_text(encoding="utf-8"))
    assert said["sha256"] == hashlib.sha256((out / "m.onnx").read_bytes()).hexdigest()
    assert os.path.getsize(out / "m.onnx") == said["size_bytes"]  # noqa: PTH202
