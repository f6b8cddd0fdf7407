"""A process of its own for a runtime: whatever ends it, the caller goes on and says so."""

import os
import signal
import time

import numpy as np
import pytest

from dcd_deploy.errors import ModelFileError, OptionError, UnknownNameError
from dcd_deploy.native_output import output_to_stderr
from dcd_deploy.progress import silent
from dcd_deploy.runtimes import isolated, open_model
from dcd_deploy.runtimes.isolated import Isolated, isolated_model


def crash(number):
    os.write(2, b"what it said last\n")
    os.kill(os.getpid(), number)


def ask_for_memory():
    raise MemoryError


def refuse():
    raise OptionError("expected less, found more")


def refuse_a_name():
    raise UnknownNameError("kind", "x", ("a", "b"))


def stages(text, progress=silent):
    with progress(f"{text} 1"):
        pass
    with progress(f"{text} 2"):
        os.write(1, b"a runtime prints\n")
        print("and so does Python")  # noqa: T201
    return text


@pytest.fixture
def other(tmp_path):
    with Isolated(tmp_path / "m.onnx", 20.0) as running:
        yield running


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGKILL])
def test_a_crash_is_told(other, number):
    with pytest.raises(ModelFileError, match=rf"crashed its process with {number.name}; its last words: what it said"):
        other.call(crash, number)
    with pytest.raises(ModelFileError, match="crashed its process"):
        other.call(stages, "again")


def test_what_never_ends_is_ended(tmp_path):
    start = time.monotonic()
    with Isolated(tmp_path / "m.onnx", 0.5) as other, pytest.raises(ModelFileError, match=r"no answer within 0\.5 s"):
        other.call(time.sleep, 60)
    assert time.monotonic() - start < 20


def test_memory_that_there_is_not(other):
    with pytest.raises(ModelFileError, match="asks for more memory than there is"):
        other.call(ask_for_memory)


def test_memory_is_bounded(other):
    """Half of the machine's is the most; and the limit is what stops it."""
    assert 0 < other.call(limit) <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    with pytest.raises(ModelFileError, match="asks for more memory"):
        other.call(np.ones, 1 << 40, np.float64)


def limit():
    import resource

    return resource.getrlimit(resource.RLIMIT_DATA)[0]


def test_an_error_of_ours_is_what_it_was(other):
    with pytest.raises(OptionError, match="expected less, found more"):
        other.call(refuse)
    with pytest.raises(UnknownNameError, match="unknown kind 'x'") as caught:
        other.call(refuse_a_name)
    assert caught.value.exit_code == 7
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        other.call(divmod, 1, 0)
    assert other.call(stages, "it goes on") == "it goes on"


def test_stages_are_shown_here(other, capfd):
    seen = []

    def progress(text):
        seen.append(text)
        return silent(text)

    with output_to_stderr():
        assert other.call(stages, "stage", progress=progress) == "stage"
    assert seen == ["stage 1", "stage 2"]
    assert capfd.readouterr() == ("", ""), "what it prints is no answer, and no remark"


def test_a_model_answers_as_it_does_here(onnx_pair, tflite_pair):
    x = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
    for file in (onnx_pair[0], tflite_pair[0]):
        here = open_model(file, threads=1)
        with isolated_model(file, threads=1) as there:
            assert there.card == here.card
            assert there.session.inputs == here.session.inputs
            assert there.session.runtime == here.session.runtime
            assert np.array_equal(there.run(x), here.run(x))
            assert not hasattr(there.session, "interpreter")


def test_a_name_in_the_folder_at_hand_is_not_what_is_imported(tmp_path, monkeypatch):
    """The other process takes what this one has, not what lies where the user happens to be."""
    (tmp_path / "pickle.py").write_text("raise SystemExit('taken')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with Isolated(tmp_path / "m.onnx") as other:
        assert other.call(stages, "ours") == "ours"


def test_nothing_is_left_behind(tmp_path):
    with Isolated(tmp_path / "m.onnx") as other:
        pid = other._process.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert isolated.TIME_LIMIT <= 60
