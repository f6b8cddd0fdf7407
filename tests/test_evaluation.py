"""Evaluation: exact counts, parts that add up; and a tiny model on a folder, from end to end."""

import json
import math
import os
from concurrent.futures import CancelledError
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from evaluating import FACTS, IMAGES, drawn_answers, part_of
from PIL import Image
from tiny_classifier import write_classifier

from dcd_deploy import commands
from dcd_deploy.artifacts import METADATA_KEY
from dcd_deploy.commands.evaluate import CalibrationWarning, parse_shard
from dcd_deploy.errors import (
    IncomparableError,
    InputFileError,
    ModelFileError,
    OptionError,
    ResultFileError,
    VerificationError,
)
from dcd_deploy.evaluation.counts_file import CHUNK, empty_part, read_part, write_part
from dcd_deploy.evaluation.evaluate import continued
from dcd_deploy.evaluation.merge import merge
from dcd_deploy.evaluation.results import result_of
from dcd_deploy.evaluation.subjects import Subject, _calibration
from dcd_deploy.evaluation.tally import count_answers
from dcd_deploy.evaluation.worker import Worker, _read_in, check_logits
from dcd_deploy.labelled_images import InputForm, open_images
from dcd_deploy.labelled_images.calibration_manifest import KEY
from dcd_deploy.runtimes.model import open_model
from dcd_deploy.runtimes.pictures import read_picture
from dcd_deploy.runtimes.preprocessing import preprocess


@pytest.fixture(scope="module")
def answers():
    return drawn_answers()


def test_counts_are_those_of_numpy(answers):
    labels, network, model = answers
    tally = count_answers(model, tuple(labels.tolist()), network, nanoseconds=5, calibration=3)
    right, true = model.argmax(1) == labels, network.argmax(1) == labels
    assert tally.top1 == right.sum()
    ranks = (model > model[np.arange(IMAGES), labels][:, None]).sum(1)
    assert tally.top5 == (ranks < 5).sum() < IMAGES
    assert tally.agreed == (model.argmax(1) == network.argmax(1)).sum()
    assert (tally.lost, tally.gained) == ((true & ~right).sum(), (right & ~true).sum())
    assert tally.gained > 0
    assert tally.lost > 0
    assert float(tally.signal) == pytest.approx(np.square(network).sum(), rel=1e-12)
    assert float(tally.noise) == pytest.approx(np.square(model - network).sum(), rel=1e-12)
    assert (tally.nanoseconds, tally.calibration, tally.images) == (5, 3, IMAGES)


def test_equal_logits_are_one_answer():
    assert count_answers(np.zeros((1, 7)), (0,), None).top1 == 1
    tally = count_answers(np.zeros((1, 7)), (6,), None)
    assert (tally.top1, tally.top5) == (0, 0)


def test_shards_and_chunks_hold_each_image_once(answers):
    for shards in (1, 3, IMAGES):
        parts = [empty_part(part_of(answers, 1, 1).plan, i + 1, 0, "") for i in range(shards)]
        parts = [replace(part, plan=replace(part.plan, shards=shards)) for part in parts]
        seen = sorted(i for part in parts for number in part.remaining for i in part.chunk(number))
        assert seen == list(range(IMAGES))
        assert all(len(part.chunk(number)) <= CHUNK for part in parts for number in part.remaining)


def test_three_shards_are_the_whole_to_the_last_bit(answers, tmp_path):
    paths = [tmp_path / f"{i}.json" for i in (1, 2, 3)]
    for i, path in enumerate(paths, 1):
        write_part(path, part_of(answers, i, 3))
    whole = result_of(part_of(answers, 1, 1))
    for order in (paths, paths[::-1]):
        found = merge(order)
        assert found.machines == ("machine 1", "machine 2", "machine 3")
        assert replace(found, machines=whole.machines) == whole
    rounded = sum(float(read_part(path).tallies[1].noise) for path in paths)
    assert Fraction(rounded) != sum(read_part(path).tallies[1].noise for path in paths), "sums of floats would not do"


def test_a_part_is_read_back(answers, tmp_path):
    part = replace(part_of(answers, 2, 3), unreadable=0, named=())
    write_part(tmp_path / "part.json", part)
    assert read_part(tmp_path / "part.json") == part


def changed(path, place, value):
    data = json.loads(path.read_text())
    target = data
    *way, last = place
    for key in way:
        target = target[key]
    target[last] = value
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("kind",), "else"),
        (("schema",), 2),
        (("plan", "shards"), 0),
        (("plan", "models"), []),
        (("plan", "models", 0, "bytes"), -1),
        (("plan", "images"), 1 << 50),
        (("shard",), 4),
        (("done",), [0, 0, 1]),
        (("done",), [0, 1]),
        (("done",), [0, 1, 99]),
        (("tallies", 1, "top1"), 99),
        (("tallies", 1, "top1"), -1),
        (("tallies", 1, "images"), 1),
        (("tallies", 1, "noise"), "1e999999999"),
        (("tallies", 1, "noise"), "1/0"),
        (("tallies", 1, "noise"), 0.5),
        (("tallies",), []),
        (("hashes",), "no number"),
        (("unreadable",), 5),
        (("named",), [["one"]]),
    ],
    ids=str,
)
def test_damaged_parts_are_refused(answers, tmp_path, place, value):
    write_part(tmp_path / "part.json", part_of(answers, 2, 3))
    changed(tmp_path / "part.json", place, value)
    with pytest.raises(ResultFileError, match="damaged"):
        read_part(tmp_path / "part.json")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda parts: parts[:2], "no shard 3"),
        (lambda parts: [*parts, parts[1]], "twice shard 2"),
        (lambda parts: [*parts[:2], replace(parts[2], done=parts[2].done[1:])], "not to its end"),
        (lambda parts: other(parts, data="more"), "other images"),
        (lambda parts: other(parts, classes=8), "other classes"),
        (lambda parts: other(parts, shards=4), "another number of shards"),
        (lambda parts: other(parts, producer="0.0"), "another version"),
        (lambda parts: other(parts, models=FACTS[:1]), "another number of models"),
        (lambda parts: other(parts, models=(FACTS[0], FACTS[1] | {"sha256": "c"})), "another model ('net.onnx'"),
        (lambda parts: other(parts, models=(FACTS[0], FACTS[1] | {"version": "3"})), "version)"),
    ],
)  # fmt: skip
def test_parts_that_do_not_belong_together_are_refused(answers, monkeypatch, tmp_path, make, words):
    made = make([part_of(answers, i, 3) for i in (1, 2, 3)])
    kept = {tmp_path / f"{i}.json": part for i, part in enumerate(made)}
    monkeypatch.setattr("dcd_deploy.evaluation.merge.read_part", kept.get)
    with pytest.raises(IncomparableError) as error:
        merge(list(kept))
    assert words in str(error.value)


def other(parts, **differs):
    return [*parts[:2], replace(parts[2], plan=replace(parts[2].plan, **differs))]


def test_counts_of_something_else_are_not_continued(answers, tmp_path):
    kept = tmp_path / "counts.json"
    part = part_of(answers, 1, 3)
    assert continued(kept, part) is part
    write_part(kept, part)
    new = empty_part(part.plan, 1, 0, "another machine")
    assert continued(kept, new) == part
    for wrong, words in (
        (replace(new, plan=replace(new.plan, data="more")), "other images"),
        (replace(new, shard=2), "another shard"),
        (replace(new, newest_ns=1), "changed since"),
    ):
        with pytest.raises(ResultFileError, match=words):
            continued(kept, wrong)


def test_what_is_no_answer_is_refused():
    check_logits("net", np.zeros((1, 3)), np.zeros((1, 3)), ["a"])
    with pytest.raises(ModelFileError, match="'b.png'"):
        check_logits("net", np.array([[0.0], [math.nan]]), None, ["a.png", "b.png"])
    with pytest.raises(VerificationError, match="3 classes"):
        check_logits("net", np.zeros((1, 4)), np.zeros((1, 3)), ["a"])


def test_a_model_that_crashes_ends_the_evaluation(tmp_path):
    values = np.zeros((1, 3, 8, 8), np.float32)
    np.savez(tmp_path / "set.npz", images=values, labels=np.zeros(1, int))
    worker = Worker([Subject("bad.onnx", os._exit, (3,), InputForm((3, 8, 8)), {})], reference=False)
    try:
        with pytest.raises(ModelFileError, match=r"'bad.onnx'.*exit code 3"):
            worker.count(open_images(tmp_path / "set.npz"))
    finally:
        worker.close()
    with pytest.raises(CancelledError):  # none is started any more
        Worker._open(worker)


@pytest.mark.parametrize("place", ["description", "sidecar"])
def test_the_images_of_a_calibration_are_in_the_file_or_beside_it(tmp_path, place):
    def found(manifest):
        said = json.dumps({KEY: manifest})
        (tmp_path / "net.onnx.json").write_text(said if place == "sidecar" else "{}")
        session = SimpleNamespace(metadata={METADATA_KEY: said} if place == "description" else {})
        return _calibration(tmp_path / "net.onnx", SimpleNamespace(session=session))

    assert found({"images": 1, "sha256": ["0" * 64]}) == {"0" * 64}
    assert found(None) == frozenset()
    with pytest.raises(ModelFileError, match="calibrated on"):
        found({"images": 2, "sha256": ["0" * 64]})


class Ended:
    """A process that was killed while it read."""

    def call(self, *_: object):
        raise ModelFileError(expected="a model", but="its runtime crashed its process with SIGKILL; its last words: no")


def test_an_image_that_crashes_its_reader_is_told(tiny):
    with pytest.raises(InputFileError, match="'cat/1.png' to 'dog/4.png'.* crashed its process with SIGKILL"):
        _read_in(Ended(), open_images(tiny[1]), ())


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "1/2/3", "a/b", "1/0", "-1/3", "1/99999999"])
def test_a_shard_is_one_of_so_many(shard):
    assert parse_shard("3/3") == (3, 3)
    with pytest.raises(OptionError, match="I/N"):
        parse_shard(shard)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A classifier of two classes that takes (1, 3, 8, 8), and a folder with an image that is none."""
    place = tmp_path_factory.mktemp("tiny")
    numbers = np.random.default_rng(0)
    for i, mode in enumerate(("RGB", "L", "RGBA", "CMYK", "RGB", "RGB")):
        folder = place / "set" / ("cat" if i % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(numbers.integers(0, 256, (12, 9 + i, 3), dtype=np.uint8)).convert(mode)
        picture.save(folder / f"{i}.{'tif' if mode == 'CMYK' else 'png'}")
    (place / "set" / "cat" / "5.png").write_bytes(b"no picture")
    seen = place / "set" / "dog" / "0.png"
    return write_classifier(place / "tiny.onnx", ("cat", "dog"), calibrated_on=[seen]), place / "set"


def test_a_folder_from_end_to_end(tiny, tmp_path):
    model, folder = tiny
    with pytest.warns(CalibrationWarning, match="tiny.onnx: 1 of the 5 images calibrated it"):
        result = commands.evaluate(model, data=folder, out=tmp_path / "counts.json", jobs=2)
    opened = open_model(model)
    names = ["cat/1.png", "cat/3.tif", "dog/0.png", "dog/2.png", "dog/4.png"]
    inputs = [preprocess(read_picture(folder / name), opened.card.preprocessing) for name in names]
    logits = np.concatenate([opened.run(each) for each in inputs])
    (found,) = result.models
    assert found.top1.count == (logits.argmax(1) == [0, 0, 1, 1, 1]).sum()
    assert (result.images, result.unreadable, result.named[0][0]) == (5, 1, "cat/5.png")
    assert found.calibration_images == 1
    assert found.top5 is None, "of two classes"
    assert found.agreement is None
    assert found.latency_ms > 0
    with pytest.warns(CalibrationWarning):
        again = commands.evaluate(model, data=folder, out=tmp_path / "counts.json")
    assert again == result, "nothing was counted twice"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "`data`"),
        ({"data": "set", "shard": "1/2"}, "`out`"),
        ({"data": "set", "merge": True}, "`merge` alone"),
        ({"data": "set", "jobs": 0}, "`jobs`"),
    ],
)
def test_options_that_do_not_go_together(options, words):
    with pytest.raises(OptionError, match=words):
        commands.evaluate("model.onnx", **options)
    with pytest.raises(OptionError, match="a model file"):
        commands.evaluate(**options)
