"""Devices without any: their names, what comes from them, what runs on them, fleet files, and how results read."""

import ast
import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import benching
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcd_deploy import errors
from dcd_deploy.benchmarks import cores, throttling
from dcd_deploy.benchmarks.cores import CoreKind, big_cores, core_kinds, model_name
from dcd_deploy.benchmarks.environment import EMULATED, read_environment
from dcd_deploy.benchmarks.machine import Machine
from dcd_deploy.benchmarks.measure import MeasureConfig
from dcd_deploy.benchmarks.throttling import Throttling, temperature_c
from dcd_deploy.benchmarks.verdicts import PLACE, THROTTLED, verdicts
from dcd_deploy.benchmarks.worker import TIME, Request, respond
from dcd_deploy.devices import bundle
from dcd_deploy.devices.answers import parse, read_answer, read_error, read_survey
from dcd_deploy.devices.names import DeviceName, parse_device
from dcd_deploy.devices.parallel import run_all
from dcd_deploy.devices.runner.cache import Cache
from dcd_deploy.devices.runner.survey import survey
from dcd_deploy.devices.ssh import arguments, remote_command
from dcd_deploy.devices.target import Target, check_labels, named_targets, read_fleet
from dcd_deploy.errors import (
    BenchError,
    DeviceAnswerError,
    DeviceLackError,
    InputFileError,
    OptionError,
    UnknownNameError,
)
from dcd_deploy.reports.across import across_devices
from dcd_deploy.reports.page import bench_page
from dcd_deploy.reports.wording import summary_columns, trial_title

PACKAGE = Path(bundle.__file__).parent.parent


# Names


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("local", DeviceName("local", "local")),
        ("ssh://board", DeviceName("ssh", "ssh://board", host="board")),
        ("ssh://pi@10.0.0.7:2222", DeviceName("ssh", "ssh://pi@10.0.0.7:2222", None, "pi", "10.0.0.7", 2222)),
        ("ssh://pi@[fe80::1]:22", DeviceName("ssh", "ssh://pi@[fe80::1]:22", None, "pi", "fe80::1", 22)),
        ("adb", DeviceName("adb", "adb")),
        ("adb:192.168.1.5:5555", DeviceName("adb", "adb:192.168.1.5:5555", "192.168.1.5:5555")),
        ("arm64-emulated:cortex-a53", DeviceName("arm64-emulated", "arm64-emulated:cortex-a53", "cortex-a53")),
    ],
)
def test_names(text, found):
    assert parse_device(text) == found


@pytest.mark.parametrize(
    "text",
    [
        *("ssh:board", "ssh://", "ssh:///x", "ssh://-oProxyCommand=id", "ssh://a b", "ssh://-l@host", "ssh://u@-h"),
        *(
            "ssh://host:0",
            "ssh://host:99999",
            "ssh://host:x",
            "ssh://host/path",
            "ssh://a;b",
            "ssh://$(id)",
            "ssh://`id`",
        ),
        *("ssh://%h", "ssh://u%r@host", "ssh://h\n", "ssh://u:p@host", "ssh://[::1", "ssh://" + 300 * "a"),
        *("adb:", "adb:-s", "adb:a b", "adb:$x", "local:1", "arm64-emulated:", "arm64-emulated:max,sme=on"),
    ],
)
def test_what_is_no_name(text):
    if text == "ssh://h\n":
        assert parse_device(text).host == "h"  # what surrounds a name does not belong to it
        return
    with pytest.raises(OptionError, match="expected a device of the form"):
        parse_device(text)


def test_an_unknown_kind_of_device_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"did you mean 'ssh://\[user@\]host\[:port\]'"):
        parse_device("shh://board")


@given(st.text(max_size=40))
def test_no_name_becomes_an_option_or_a_word_for_a_shell(text):
    try:
        name = parse_device(f"ssh://{text}")
    except OptionError:
        return
    command = arguments(name)
    assert command[-2] == "--"
    for part in (name.host, name.user or "x"):
        assert not part.startswith("-")
        assert not set(part) & set(" \t\r\n;&|<>$`\\\"'(){}*?!#~%")


def test_the_command_for_the_shell_there_has_nothing_of_ours_to_quote():
    assert "'" not in remote_command()[len("exec sh -c '") : -1]
    assert remote_command("/opt/python3.11").count("/opt/python3.11") == 1


# What runs there


def test_the_bundle_has_all_that_it_imports_and_nothing_more():
    """From the server and the worker on; what it takes from elsewhere is of the standard library, or the runtimes'."""
    reached, new = set(), ["devices/runner/server", "benchmarks/worker"]
    while new:
        module = new.pop()
        if module in reached:
            continue
        reached.add(module)
        parts = module.split("/")
        new += ["/".join([*parts[:i], "__init__"]) for i in range(len(parts))]
        for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))):
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
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            words = {keyword.arg for keyword in node.keywords}
            assert not (name == "zip" and "strict" in words), "zip(strict=) came with 3.10"
            assert name not in ("hashlib.file_digest", "itertools.pairwise"), name
            assert not (name.endswith("dataclass") and words & {"slots", "kw_only"}), "dataclass(slots=) came with 3.10"
            if name == "isinstance":
                assert not isinstance(node.args[1], ast.BinOp), "isinstance(x, A | B) came with 3.10"
        if isinstance(node, ast.ImportFrom):
            assert not {alias.name for alias in node.names} & {"UTC", "Self", "tomllib", "StrEnum", "TypeAlias"}


def test_the_bundle_is_the_same_bytes_each_time_and_small():
    again = bundle.runner_bundle.__wrapped__()
    assert again == bundle.runner_bundle()
    assert len(again) < 100_000
    with zipfile.ZipFile(io.BytesIO(again)) as archive:
        assert archive.testzip() is None


def reader(content, step=7):
    stream = io.BytesIO(content)
    return lambda most: stream.read(min(most, step))


def named(content):
    return f"{hashlib.sha256(content).hexdigest()}.onnx"


def test_the_cache_keeps_what_its_name_says(tmp_path):
    cache, content = Cache(tmp_path / "a" / "b"), b"model" * 100
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
        Cache(tmp_path).path(name)


def test_a_file_that_cannot_be_kept_is_read_to_its_end_all_the_same(tmp_path):
    (tmp_path / "file").touch()
    cache, stream = Cache(tmp_path / "file" / "cache"), io.BytesIO(b"model and more")
    with pytest.raises(OSError, match="Not a directory"):
        cache.put(named(b"model"), 5, stream.read)
    assert stream.read() == b" and more"


def test_what_was_cut_off_is_tidied_up(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    for pid in (gone.pid, os.getpid()):
        (tmp_path / f".{named(b'x')}.{pid}").touch()
    Cache(tmp_path).tidy()
    assert [path.name.rpartition(".")[2] for path in tmp_path.iterdir()] == [str(os.getpid())]


# What comes from there


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
    good = json.loads(json.dumps(survey(Cache(tmp_path))))
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


# Cores and coolness, from trees as Linux has them


def tree(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")


@pytest.fixture
def big_little(tmp_path, monkeypatch):
    """A board with four small and two big cores, as its kernel describes it."""
    files, info = {}, []
    for cpu, part in enumerate([*4 * ["0xd03"], *2 * ["0xd08"]]):
        files[f"cpu{cpu}/cpu_capacity"] = "1024" if part == "0xd08" else "485"
        files[f"cpu{cpu}/cpufreq/cpuinfo_max_freq"] = "1800000" if part == "0xd08" else "1416000"
        info.append(f"processor\t: {cpu}\nCPU implementer\t: 0x41\nCPU part\t: {part}\n")
    tree(tmp_path, files | {"cpuinfo": "\n".join(info)})
    monkeypatch.setattr(cores, "CPUS", tmp_path)
    monkeypatch.setattr(cores, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(cores, "core_ids", lambda: [0, 1, 2, 3, 4, 5])
    return tmp_path


def test_the_big_cores(big_little):
    big, little = core_kinds()
    assert big == CoreKind((4, 5), "Cortex-A72", 1800.0, 1024)
    assert little == CoreKind((0, 1, 2, 3), "Cortex-A53", 1416.0, 485)
    assert big_cores(core_kinds()) == (4, 5)


def test_cores_that_are_alike_are_all_taken():
    assert big_cores([CoreKind((0, 1), "x", 2000.0, None)]) is None
    assert big_cores([CoreKind((0,), "x", 2000.0, None), CoreKind((1,), "x", 1990.0, None)]) is None
    assert big_cores([CoreKind((0,), "x", None, None), CoreKind((1,), "y", None, None)]) is None
    three = [
        CoreKind((7,), "prime", None, 1024),
        CoreKind((4, 5, 6), "big", None, 950),
        CoreKind((0, 1), "small", None, 300),
    ]
    assert big_cores(three) == (4, 5, 6, 7)
    assert model_name({"CPU implementer": "0x61", "CPU part": "0x022"}) == "ARM 0x61/0x022"
    assert model_name({}) == ""


@pytest.fixture
def thermal(tmp_path, monkeypatch):
    monkeypatch.setattr(throttling, "CPUS", tmp_path / "cpu")
    monkeypatch.setattr(throttling, "THERMAL", tmp_path / "thermal")
    monkeypatch.setattr(throttling, "FIRMWARE", tmp_path / "get_throttled")
    return tmp_path


def test_nothing_tells_whether_it_was_throttled(thermal):
    assert Throttling.now().until(Throttling.now()) is None
    assert temperature_c() is None


COUNT = "cpu/cpu0/thermal_throttle/core_throttle_count"


@pytest.mark.parametrize(
    ("before", "after", "throttled"),
    [
        (
            {"cpu/cpu0/thermal_throttle/core_throttle_count": "3"},
            {"cpu/cpu0/thermal_throttle/core_throttle_count": "3"},
            False,
        ),
        (
            {"cpu/cpu0/thermal_throttle/core_throttle_count": "3"},
            {"cpu/cpu0/thermal_throttle/core_throttle_count": "4"},
            True,
        ),
        ({"thermal/cooling_device0/type": "thermal-cpufreq-0", "thermal/cooling_device0/cur_state": "0"}, {}, False),
        (
            {"thermal/cooling_device0/type": "thermal-cpufreq-0", "thermal/cooling_device0/cur_state": "0"},
            {"thermal/cooling_device0/cur_state": "2"},
            True,
        ),
        (
            {"thermal/cooling_device0/type": "pwm-fan", "thermal/cooling_device0/cur_state": "3", "get_throttled": "0"},
            {},
            False,
        ),
        ({"get_throttled": "0"}, {"get_throttled": "60000"}, True),
        ({"get_throttled": "60000"}, {"get_throttled": "60000"}, False),
        ({"get_throttled": "0"}, {"get_throttled": "60006"}, True),
        ({"get_throttled": "0"}, {"get_throttled": "50005"}, True),
    ],
)
def test_it_was_throttled(thermal, before, after, throttled):
    tree(thermal, before)
    then = Throttling.now()
    tree(thermal, after)
    assert then.until(Throttling.now()) is throttled


def test_the_hottest_zone(thermal):
    tree(
        thermal,
        {
            "thermal/thermal_zone0/temp": "41200",
            "thermal/thermal_zone1/temp": "55800",
            "thermal/thermal_zone2/temp": "-1",
        },
    )
    assert temperature_c() == 55.8


def test_what_a_device_did_is_a_remark():
    timings, here = benching.realistic().trials[0].timings, benching.ENVIRONMENT
    hot = Machine(temperature_c_before=61.0, temperature_c_after=84.0, throttled=True)
    (found,) = (v for v in verdicts(timings, {}, hot, here) if v.kind == THROTTLED)
    assert "at 61 °C before and 84 °C after" in found.text
    for throttled in (None, False):
        assert THROTTLED not in {v.kind for v in verdicts(timings, {}, replace(hot, throttled=throttled), here)}
    emulated = replace(here, notes=(EMULATED,))
    assert [v.text for v in verdicts(timings, {}, hot, emulated) if v.kind == PLACE] == [EMULATED]
    assert read_environment().notes == (), "these tests run on a real processor"


# Fleets


def test_a_fleet_file(tmp_path):
    path = tmp_path / "devices.toml"
    path.write_text(
        '[devices.pi4]\ndevice = "ssh://pi@10.0.0.7"\nthreads = "1,4"\ncpus = "0,1,2,3"\nsetup = true\n'
        'python = "/usr/bin/python3.11"\n[devices.desk]\ndevice = "local"\n'
    )
    pi, desk = read_fleet(path)
    assert (pi.label, pi.name.host, pi.threads, pi.cpus) == ("pi4", "10.0.0.7", (1, 4), (0, 1, 2, 3))
    assert (pi.options.setup, pi.options.python) == (True, "/usr/bin/python3.11")
    assert desk == Target(parse_device("local"), replace(desk.options, label="local"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected 1 to 64 tables"),
        ("[devices]", "expected 1 to 64 tables"),
        ("devices = 3", "expected 1 to 64 tables"),
        ("nonsense", "Expected '='"),
        ("[devices.a]", 'expected device = "ssh://…"'),
        ('[devices.a]\ndevice = "ftp://x"', "unknown device 'ftp://x'"),
        ('[devices.a]\ndevice = "ssh://-x"', "expected a device of the form"),
        ("[devices.a]\ndevice = 3", "in [devices.a] expected device (str)"),
        ('[devices.a]\ndevice = "local"\nthread = "1"', "found thread = '1'"),
        ('[devices.a]\ndevice = "local"\nthreads = "many"', 'expected threads such as "1,4"'),
        ('[devices."../x"]\ndevice = "local"', "expected a name of letters"),
        ('[devices]\na = "local"', "expected [devices.a] to be a table"),
        ('[other]\n[devices.a]\ndevice = "local"', "found 'other'"),
        ("\udcff", "utf-8"),
    ],
)
def test_what_is_no_fleet_file(tmp_path, text, message):
    path = tmp_path / "devices.toml"
    path.write_text(text or "\n", encoding="utf-8", errors="surrogateescape")
    with pytest.raises(InputFileError) as caught:
        read_fleet(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_each_device_once():
    targets = named_targets(["local", " local", "ssh://a"])
    assert [target.label for target in targets] == ["local", "ssh://a"]
    with pytest.raises(OptionError, match="found 'local' twice"):
        check_labels([*targets, targets[0]])


class Work:
    def __init__(self, run, here=False):
        self.run, self.here, self.stopped = run, here, threading.Event()

    def stop(self):
        self.stopped.set()


def test_devices_work_at_the_same_time_and_a_fault_ends_all():
    meet = threading.Barrier(3, timeout=10)
    run_all([Work(meet.wait), Work(meet.wait, here=True), Work(meet.wait)])

    def fail():
        raise ZeroDivisionError

    waiting = Work(lambda: waiting.stopped.wait(10))
    with pytest.raises(ZeroDivisionError):
        run_all([waiting, Work(fail)])
    assert waiting.stopped.is_set()
    waiting = Work(lambda: waiting.stopped.wait(10))
    with pytest.raises(ZeroDivisionError):
        run_all([waiting, Work(fail, here=True)])
    assert waiting.stopped.is_set()


# How results of several devices read


@pytest.fixture(scope="module")
def two_devices():
    here = benching.realistic()
    there = tuple(replace(trial, device="pi4") for trial in here.trials[:2])
    lost = replace(
        here.failures[0], device="pi4", name=here.trials[2].timings[0].name, runtime="onnxruntime", threads=1
    )
    environments = here.environments | {"pi4": replace(benching.ENVIRONMENT, cpu="Raspberry Pi 4", notes=("a note",))}
    return replace(here, environments=environments, trials=(*here.trials, *there), failures=(lost,))


def test_models_against_devices(two_devices):
    columns, rows = across_devices(two_devices)
    assert columns == ("model", "runtime", "local", "pi4")
    assert len(rows) == 4
    assert rows[0][2] == rows[0][3]
    assert rows[0][2].startswith("4.")
    assert " × (" in rows[0][2]
    assert [row[3] for row in rows[2:]] == ["not measured", "–"]


def test_the_device_is_named_where_there_is_more_than_one(two_devices):
    assert summary_columns(two_devices)[0] == "device"
    assert summary_columns(benching.realistic())[0] == "model"
    assert trial_title(two_devices.trials[-1]).startswith("pi4, LiteRT")
    page = bench_page(two_devices)
    assert "Models and devices" in page
    assert "Raspberry Pi 4" in page
    assert "a note" in page
    assert "Models and devices" not in bench_page(benching.realistic())


def test_stages_of_several_devices_do_not_write_into_each_others_lines(capsys):
    from dcd_deploy.reports.live import live_progress

    with live_progress("pi4: a"), live_progress("pi5: b\x1b"):
        pass
    lines = capsys.readouterr().err.splitlines()
    assert [line[:10].strip() for line in lines] == ["pi4: a", "pi5: b\\x1b"[:8], "pi4: a"]
    assert [line.endswith(" s") for line in lines] == [False, True, True]
