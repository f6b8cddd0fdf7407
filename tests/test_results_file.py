"""The file of a benchmark's result: what is written is read again to the last bit; anything else is refused by name."""

import dataclasses
import functools
import json
import typing
from types import NoneType

import benching
import jsonschema
import pytest

from dcd_deploy.benchmarks import results as results_file
from dcd_deploy.benchmarks.results import SCHEMA, SCHEMA_FILE, BenchResult, read_result, write_result
from dcd_deploy.errors import InputFileError, OutputError, ResultFileError
from dcd_deploy.reports.json import to_json

DOCUMENT = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(DOCUMENT)
REMOVED = object()


@pytest.fixture(params=[benching.realistic, benching.hostile, benching.counted, benching.counted_alone])
def result(request):
    return request.param()


@functools.cache
def good():
    return to_json(benching.counted())


def changed(pointer, value):
    """Return a good document with one value changed."""
    document = json.loads(good())
    *path, last = [int(part) if part.isdigit() else part for part in pointer.split("/")]
    place = document
    for part in path:
        place = place[part]
    if value is REMOVED:
        del place[last]
    else:
        place[last] = value
    return document


def test_round_trip(result, tmp_path):
    path = tmp_path / "result.json"
    write_result(path, result)
    assert read_result(path) == result
    write_result(path, read_result(path))
    assert read_result(path) == result
    assert list(tmp_path.iterdir()) == [path]


def test_names_that_are_not_unicode(tmp_path):
    result = benching.realistic()
    failure = dataclasses.replace(result.failures[0], name="caf\udce9.onnx")  # a file name in another encoding
    write_result(tmp_path / "r.json", dataclasses.replace(result, failures=(failure,)))
    assert read_result(tmp_path / "r.json").failures == (failure,)


def test_what_the_command_line_prints_is_read_too(result, tmp_path):
    path = tmp_path / "printed.json"
    path.write_text(to_json(result), encoding="utf-8")
    assert read_result(path) == result


def test_a_result_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")
    bad = dataclasses.replace(
        benching.realistic(), environments={"local": dataclasses.replace(benching.ENVIRONMENT, load=float("nan"))}
    )
    with pytest.raises(ValueError, match="JSON compliant"):
        write_result(path, bad)
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError):
        write_result(tmp_path / "folder", benching.realistic())
    assert path.read_text() == "old"


def test_the_schema_describes_every_result(result):
    jsonschema.Draft202012Validator.check_schema(DOCUMENT)
    VALIDATOR.validate(json.loads(to_json(result)))


def test_the_schema_has_every_field_and_says_what_it_is():
    def check(kind, schema):
        hints = typing.get_type_hints(kind)
        assert list(schema["properties"]) == schema["required"] == [field.name for field in dataclasses.fields(kind)]
        for name, hint in hints.items():
            described = schema["properties"][name]
            for part in (hint, *typing.get_args(hint)):
                if dataclasses.is_dataclass(part):
                    assert f"#/$defs/{part.__name__}" in json.dumps(described)
                    check(part, DOCUMENT["$defs"][part.__name__])
            assert (NoneType in typing.get_args(hint)) == ('"null"' in json.dumps(described)), (kind, name)
            assert "description" in described or "$ref" in json.dumps(described), (kind, name)

    check(BenchResult, DOCUMENT)
    for name, schema in DOCUMENT["$defs"].items():
        assert schema["description"], name
        assert schema["additionalProperties"] is False


WRONG = [
    ("trials/0/threads", "two", "/trials/0/threads: expected a whole number, found 'two'"),
    ("trials/0/threads", True, "expected a whole number, found true"),
    ("trials/0/threads", 0, "at least one thread"),
    ("trials/0/cpus", 1, "/trials/0/cpus: expected a list, found 1"),
    ("trials/0/timings/0/role", "baseline", "'model' first"),
    ("trials/0/timings/0/name", None, "/trials/0/timings/0/name: expected a text, found null"),
    ("trials/0/timings/0/latency/median_ms", REMOVED, "expected the field 'median_ms'"),
    ("trials/0/timings/0/latency/median_ms", 0, "more than zero"),
    ("trials/0/timings/0/latency/median_ms", "1", "expected a finite number, found '1'"),
    ("trials/0/timings/0/samples/blocks_ms/3/1", None, "/samples/blocks_ms/3/1: expected a finite number, found null"),
    ("trials/0/timings/0/samples/blocks_ms/3", [], "an empty block"),
    ("trials/0/timings/0/samples/load_ms/0", -1, "times of at least zero"),
    ("trials/0/timings/0/samples/note", "x", "expected no other fields than load_ms"),
    ("trials/0/timings", [], "'model' first"),
    ("trials/0/ratios", [], "/trials/0/ratios: expected an object, found a list"),
    ("environments/local/packages/numpy", 2, "/environments/local/packages/numpy: expected a text"),
    ("environments/local", "here", "expected an object with the fields of a Environment"),
    ("config/runs", 6.5, "expected a whole number, found 6.5"),
    ("counts", REMOVED, "expected the field 'counts'"),
    ("counts", [], "expected an object with the fields of a CountSection"),
    ("counts/runs", 0, "/counts/runs: expected at least one run"),
    ("counts/qemu", 7, "/counts/qemu: expected a text"),
    ("counts/latency_ms", 1.0, "expected no other fields than qemu"),
    ("counts/trials/0/batch", 0, "/counts/trials/0/batch: expected a batch of one"),
    ("counts/trials/0/models", [], "'model' first"),
    ("counts/trials/0/models/1/role", "twin", "'model' first"),
    ("counts/trials/0/models/0/spread", -1, "/counts/trials/0/models/0/spread: expected at least zero"),
    ("counts/trials/0/models/0/counts/instructions", 0, "and an instruction"),
    ("counts/trials/0/models/0/counts/fmla", -1, "/counts/trials/0/models/0/counts: expected counts from 0"),
    ("counts/trials/0/models/0/counts/fmla", 1.5, "expected a whole number, found 1.5"),
    ("counts/trials/0/models/0/counts/dot", 10**400, "expected counts from 0 to 1e+18"),
    ("counts/trials/0/models/0/counts/l1_misses", REMOVED, "expected the field 'l1_misses'"),
    ("counts/trials/0/ratios/mobilenetv2_dcd_x0.5_224-static.onnx/fmla", "1", "expected a finite number"),
]
TWIN = "counts/trials/0/ratios/mobilenetv2_dcd_x0.5_224-static.onnx"
RATIOS = dataclasses.asdict(benching.counted().counts.trials[0].ratios["mobilenetv2_dcd_x0.5_224-static.onnx"])
INCONSISTENT = [  # which a schema cannot say
    ("trials/0/device", "elsewhere", "/trials/0/device: expected a name among the environments"),
    ("trials/0/ratios/stranger", {"median": 1, "low": 1, "high": 1, "confidence": 0.9, "pairs": 3}, "names of timings"),
    ("trials/0/ratios/mobilenetv2_dcd_x0.5_224-static.onnx/low", 9.0, "low ≤ median ≤ high"),
    ("trials/0/timings/0/samples/rounds", [0], "a number for each of 60 blocks"),
    ("trials/0/timings/1/name", "mobilenetv2_dcd_x0.5_224.onnx", "a different name for each"),
    ("trials/0/timings/0/latency/p90_ms", 10**400, "too large"),
    ("counts/qemu", None, "/counts/qemu: expected the version that counted"),
    ("counts/cores/local", "cortex-a76", "/counts/cores: expected no device that gave times, found 'local'"),
    ("counts/trials/0/device", "elsewhere", "/counts/trials/0/device: expected a device of the counts"),
    ("counts/trials/0/core", "cortex-a53", "/counts/trials/0/device: expected a device of the counts, with its core"),
    ("counts/trials/0/models/1/name", "mobilenetv2_dcd_x0.5_224.onnx", "a different name for each"),
    ("counts/trials/0/models/0/traffic_bytes", 64, "/counts/trials/0/models/0/traffic_bytes: expected 288743232"),
    (f"{TWIN}/instructions", 1.2, "expected the ratios of the counts"),
    (f"{TWIN}/dot", 1.0, "expected the ratios of the counts"),
    (f"{TWIN}/instructions", None, "expected the ratios of the counts"),
    ("counts/trials/0/ratios/stranger", RATIOS, "names of models after the first"),
]


@pytest.mark.parametrize(("pointer", "value", "message"), WRONG + INCONSISTENT)
def test_a_wrong_field_is_named(pointer, value, message, tmp_path):
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(changed(pointer, value)))
    with pytest.raises(ResultFileError) as caught:
        read_result(path)
    assert message in str(caught.value)
    assert "cannot read the result" in str(caught.value)


@pytest.mark.parametrize(("pointer", "value", "message"), WRONG)
def test_the_schema_refuses_it_too(pointer, value, message):
    assert not VALIDATOR.is_valid(changed(pointer, value))


@pytest.mark.parametrize("version", [2, 3, 5, "4", None, True, REMOVED])
def test_another_version_says_which_is_read(version, tmp_path):
    path = tmp_path / "other.json"
    path.write_text(json.dumps(changed("schema", version)))
    with pytest.raises(ResultFileError, match=f"reads version {SCHEMA} of the schema, found version") as caught:
        read_result(path)
    assert caught.value.exit_code == 14
    assert not VALIDATOR.is_valid(changed("schema", version))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "expected a JSON document"),
        (b"\xff\xfe", "expected a JSON document, found other bytes than text; give what "),
        (b"[" * 100_000, "nested too deeply"),
        (b"[NaN]", "NaN is not a number"),
        (b'{"kind": 1, "kind": 2}', "two fields of one name"),
        (b"[]", "expected the JSON object of a 'dcd-deploy bench' result"),
        (b'{"kind": "dcd-deploy profile"}', "expected the JSON object of a 'dcd-deploy bench' result"),
        (b"1" * 5000, "expected a JSON document"),
    ],
)
def test_what_is_no_result(content, message, tmp_path):
    path = tmp_path / "noise.json"
    path.write_bytes(content)
    with pytest.raises(ResultFileError, match=message):
        read_result(path)


def test_files_that_are_not_there_or_too_large(tmp_path, monkeypatch):
    with pytest.raises(InputFileError, match="there is no such file"):
        read_result(tmp_path / "none.json")
    write_result(tmp_path / "r.json", benching.realistic())
    monkeypatch.setattr(results_file, "LARGEST_BYTES", 1000)
    with pytest.raises(ResultFileError, match="found more"):
        read_result(tmp_path / "r.json")
