"""What comes from a device: checked in form, in size and in its numbers."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from dcd_deploy import errors
from dcd_deploy.benchmarks.measure import MeasureConfig
from dcd_deploy.benchmarks.worker import TIME, Request, respond
from dcd_deploy.devices.answers import parse, read_answer, read_error, read_survey
from dcd_deploy.devices.runner.cache import FileCache
from dcd_deploy.devices.runner.server import survey
from dcd_deploy.errors import (
    BenchError,
    DeviceAnswerError,
    DeviceLackError,
)


@pytest.fixture(scope="module")
def answered(digits_export):
    """A request, the hashes of its models, and a good answer as it comes over the line."""
    path = digits_export.artifact.path
    models = {"a": str(path), "b": str(path.with_name("digits-static.onnx"))}
    config = MeasureConfig(warmup_runs=1, warmup_seconds=0, min_runs=8, min_seconds=0, rounds=2)
    request = Request(TIME, models, "onnxruntime", 1, None, None, config)
    answer = respond(asdict(request))["answer"]
    hashes = {name: hashlib.sha256(Path(file).read_bytes()).hexdigest() for name, file in models.items()}
    return request, hashes, json.dumps(answer)


def test_a_good_answer(answered):
    request, hashes, text = answered
    answer = read_answer(parse(text.encode()), request, hashes, "pi")
    assert set(answer.samples) == {"a", "b"}
    assert answer.batch == 1


REMOVED = object()
WRONG_ANSWERS = [
    ("runtime", "litert"),
    ("runtime", REMOVED),
    ("version", 1),
    ("batch", 0),
    ("batch", 10**9),
    ("batch", True),
    ("cpus", [0]),
    ("cpus", "0"),
    ("more", 1),
    ("hashes/a", "0" * 64),
    ("hashes/../../etc/passwd", "x"),
    ("networks/a", ["x"]),
    ("samples/a", REMOVED),
    ("samples/c", {}),
    ("samples/a/blocks_ms/0/0", -1.0),
    ("samples/a/blocks_ms/0/0", 0),
    ("samples/a/blocks_ms/0/0", "1"),
    ("samples/a/blocks_ms/0/0", 10**400),
    ("samples/a/blocks_ms/0", []),
    ("samples/a/blocks_ms/0", [1.0]),
    ("samples/a/blocks_ms", []),
    ("samples/a/rounds/0", 7),
    ("samples/a/rounds/0", -1),
    ("samples/a/rounds", []),
    ("samples/a/load_ms", []),
    ("samples/a/load_ms", [None]),
    ("machine/clock_mhz_before", "fast"),
    ("machine", None),
    ("peak_mb", -1.0),
    ("idle_mb", 1e30),
]


@pytest.mark.parametrize(("pointer", "value"), WRONG_ANSWERS)
def test_a_wrong_answer_is_refused(answered, pointer, value):
    request, hashes, text = answered
    content = json.loads(text)
    *path, last = [pointer] if "etc" in pointer else pointer.split("/")
    place = content
    for part in path:
        place = place[int(part) if isinstance(place, list) else part]
    last = int(last) if isinstance(place, list) else last
    if value is REMOVED:
        del place[last]
    else:
        place[last] = value
    with pytest.raises(DeviceAnswerError, match="expected an answer of our runner from pi, found another"):
        read_answer(content, request, hashes, "pi")


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"1", b'{"a": NaN}', b"\xff", b"[" * 100_000, b'{"a": ' + b"1" * 5000 + b"}"]
)
def test_what_is_no_message(line):
    with pytest.raises(ValueError, match=".*"):
        parse(line)


def test_texts_lose_what_could_steer_a_terminal_and_all_beyond_a_length():
    found = parse(json.dumps({"a\x1b": ["red\x1b[31m\u202e\n", "x" * 10_000], "n": {"k": "\x00"}}).encode())
    assert found == {"a ": ["red [31m  ", "x" * 500], "n": {"k": " "}}


def test_a_survey(tmp_path):
    good = json.loads(json.dumps(survey(FileCache(tmp_path))))
    assert read_survey(good, "pi").environment.cores >= 1
    for part, value in (("free_mb", "much"), ("cores", [{"cpus": [0]}]), ("environment", {}), ("library", None)):
        with pytest.raises(DeviceAnswerError):
            read_survey({**good, part: value}, "pi")
    with pytest.raises(DeviceAnswerError, match="1 to 4096 cores"):
        read_survey({**good, "environment": {**good["environment"], "cores": 10**9}}, "pi")


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("ModelFileError", errors.ModelFileError),
        ("MissingDependencyError", DeviceLackError),
        ("difflib", BenchError),
        ("INTERRUPTED", BenchError),
        ("__builtins__", BenchError),
    ],
)
def test_an_error_from_there_is_one_of_ours(kind, error):
    found = read_error({"kind": kind, "message": "it failed"}, "pi")
    assert type(found) is error
    assert "on pi: it failed" in str(found)
    with pytest.raises(DeviceAnswerError):
        raise read_error({"kind": kind}, "pi")
