"""What a device keeps of what it was sent: by its hash, whole, and nowhere else."""

import hashlib
import io
import os
import subprocess

import pytest

from dcd_deploy.devices.runner.cache import FileCache


def reader(content, step=7):
    stream = io.BytesIO(content)
    return lambda most: stream.read(min(most, step))


def named(content):
    return f"{hashlib.sha256(content).hexdigest()}.onnx"


def test_the_cache_keeps_what_its_name_says(tmp_path):
    cache, content = FileCache(tmp_path / "a" / "b"), b"model" * 100
    cache.put(named(content), len(content), reader(content))
    assert cache.has(named(content))
    assert cache.path(named(content)).read_bytes() == content
    assert (cache.folder.stat().st_mode & 0o077) == 0, "it is nobody else's to read"
    with pytest.raises(ValueError, match="damaged on the way"):
        cache.put(named(b"other"), len(content), reader(content))
    with pytest.raises(EOFError):
        cache.put(named(b"third"), 1000, reader(b"short"))
    assert [path.name for path in cache.folder.iterdir()] == [named(content)]
    cache.remove()
    assert not cache.folder.exists()


@pytest.mark.parametrize(
    "name", ["../x.onnx", "/etc/passwd", "x", "", 64 * "0" + ".exe", 64 * "0" + ".onnx\n", "a/" + 64 * "0"]
)
def test_no_name_leads_out_of_the_cache(tmp_path, name):
    with pytest.raises(ValueError, match="expected a SHA-256"):
        FileCache(tmp_path).path(name)


def test_a_file_that_cannot_be_kept_is_read_to_its_end_all_the_same(tmp_path):
    (tmp_path / "file").touch()
    cache, stream = FileCache(tmp_path / "file" / "cache"), io.BytesIO(b"model and more")
    with pytest.raises(OSError, match="Not a directory"):
        cache.put(named(b"model"), 5, stream.read)
    assert stream.read() == b" and more"


def test_what_was_cut_off_is_tidied_up(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    for pid in (gone.pid, os.getpid()):
        (tmp_path / f".{named(b'x')}.{pid}").touch()
    FileCache(tmp_path).tidy()
    assert [path.name.rpartition(".")[2] for path in tmp_path.iterdir()] == [str(os.getpid())]
