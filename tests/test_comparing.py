"""Two results compared, and the same environment asked for."""

from dataclasses import replace

import benching
import pytest

from dcd_deploy import commands
from dcd_deploy.benchmarks.compare import compare_results
from dcd_deploy.benchmarks.results import write_result
from dcd_deploy.errors import IncomparableError, ResultFileError


@pytest.fixture
def result():
    return benching.realistic()


def test_a_result_beside_itself(result):
    found = compare_results(result, result)
    assert found.differences == ()
    assert len(found.changes) == sum(len(trial.timings) for trial in result.trials)
    for change in found.changes:
        assert change.change.low <= 1 <= change.change.high
        assert change.change.median == 1
    first = found.changes[0]
    assert first.ratio_before == first.ratio_after == next(iter(result.trials[0].ratios.values()))
    assert found.changes[1].ratio_before is None, "a baseline is compared with nothing"


def slower(trial, by):
    """The same trial, in which the model takes longer."""
    model = trial.timings[0]
    blocks = tuple(tuple(by * time for time in block) for block in model.samples.blocks_ms)
    latency = replace(model.latency, median_ms=by * model.latency.median_ms)
    made = replace(model, samples=replace(model.samples, blocks_ms=blocks), latency=latency)
    return replace(trial, timings=(made, *trial.timings[1:]))


def test_a_slowdown_is_seen(result):
    after = replace(result, trials=tuple(slower(trial, 1.5) for trial in result.trials))
    change = compare_results(result, after).changes[0]
    assert change.change.median == pytest.approx(1.5)
    assert change.change.low > 1.4
    assert change.after_ms == pytest.approx(1.5 * change.before_ms)


@pytest.mark.parametrize(
    ("part", "values", "message"),
    [
        ("environments", {"cpu": "another"}, "cpu"),
        ("environments", {"packages": {"onnxruntime": "1.0"}}, "packages"),
        ("environments", {"governor": "powersave"}, "governor"),
        ("config", {"runs": 9}, "runs"),
    ],
)
def test_unequal_environments_are_refused_unless_told_otherwise(result, part, values, message):
    changed = getattr(result, part)
    changed = {"local": replace(changed["local"], **values)} if part == "environments" else replace(changed, **values)
    other = replace(result, **{part: changed})
    with pytest.raises(IncomparableError, match=rf"found different {message} .*`different_environments`"):
        compare_results(result, other)
    found = compare_results(result, other, different=True)
    assert len(found.differences) == 1
    assert found.changes


def test_what_does_not_tell_machines_apart_is_allowed(result):
    here = replace(result.environments["local"], load=3.0, date="2027-01-01T00:00:00+00:00")
    later = replace(result, environments={"local": here})
    assert compare_results(result, later).differences == ()


def test_each_device_is_compared_with_itself(result):
    pi = replace(result.environments["local"], cpu="Raspberry Pi 4")
    there = tuple(replace(trial, device="pi") for trial in result.trials)
    both = replace(result, environments=result.environments | {"pi": pi}, trials=(*result.trials, *there))
    found = compare_results(both, both).changes
    assert {change.device for change in found} == {"local", "pi"}
    later = replace(both, environments=both.environments | {"pi": replace(pi, governor="ondemand")})
    with pytest.raises(IncomparableError, match=r"different governor of pi \(performance and ondemand\)"):
        compare_results(both, later)
    alone = replace(result, environments={"pi": pi}, trials=there)
    with pytest.raises(IncomparableError, match="with a trial in common"):
        compare_results(result, alone)


def test_nothing_in_common(result):
    other = replace(result, trials=tuple(replace(trial, threads=trial.threads + 7) for trial in result.trials))
    with pytest.raises(IncomparableError, match="with a trial in common"):
        compare_results(result, other)


def test_files(result, tmp_path):
    write_result(tmp_path / "a.json", result)
    assert commands.compare(tmp_path / "a.json", tmp_path / "a.json").changes
    text = (tmp_path / "a.json").read_text().replace('"schema": 4', '"schema": 1')
    (tmp_path / "old.json").write_text(text)
    with pytest.raises(ResultFileError, match="version 4 of the schema, found version 1"):
        commands.compare(tmp_path / "a.json", tmp_path / "old.json")
