"""What an evaluation says: the front, what speaks against it, and its tables and pictures."""

import csv
import io
import json
from dataclasses import asdict, replace
from xml.etree import ElementTree as ET

import pytest
from evaluating import FACTS, IMAGES, drawn_answers, part_of

from dcd_deploy.errors import InputFileError
from dcd_deploy.evaluation.results import result_of
from dcd_deploy.evaluation.tally import Tally
from dcd_deploy.reports import evaluate as reports
from dcd_deploy.reports.front import front_svg


@pytest.fixture(scope="module")
def answers():
    return drawn_answers()


def test_the_front_has_what_no_other_beats(answers):
    part = part_of(answers, 1, 1)
    facts = [FACTS[1] | {"name": name, "bytes": size} for name, size in (("small", 5), ("large", 9), ("slow", 9))]
    tally = part.tallies[1]
    tallies = (
        part.tallies[0],
        replace(tally, nanoseconds=9),
        replace(tally, nanoseconds=5),
        replace(tally, nanoseconds=6),
    )
    result = result_of(replace(part, plan=replace(part.plan, models=(FACTS[0], *facts)), tallies=tallies))
    assert [each.front for each in result.models] == [False, True, True, False]


def test_no_readable_image_is_no_result(answers):
    part = part_of(answers, 1, 1)
    nothing = replace(part, tallies=(Tally(), Tally()), unreadable=IMAGES, named=(("a.png", "no picture"),))
    with pytest.raises(InputFileError, match="none can: a.png: no picture"):
        result_of(nothing)


def test_what_speaks_against_the_numbers_is_said(answers):
    part = part_of(answers, 1, 1)
    tallies = (part.tallies[0], replace(part.tallies[1], calibration=4))
    assert result_of(part).warnings == []
    doubtful = replace(part, tallies=tallies, unreadable=2, named=(("a", "no picture"), ("b", "empty")))
    said = result_of(replace(doubtful, plan=replace(part.plan, present=1))).warnings
    assert len(said) == 3
    assert "4 of the 100 images calibrated it" in said[0]
    assert "a (no picture), b (empty)" in said[1]
    assert "one class of 7" in said[2]
    assert "few" in result_of(replace(part, tallies=tuple(replace(t, images=99) for t in part.tallies))).warnings[0]


HOSTILE = "<script>alert(1)</script> & [x](y) =1+1 \x1b[2J"


@pytest.fixture
def hostile(answers):
    part = part_of(answers, 1, 1)
    plan = replace(part.plan, source=HOSTILE, models=(FACTS[0], FACTS[1] | {"name": HOSTILE}))
    return result_of(replace(part, plan=plan, unreadable=1, named=((HOSTILE, HOSTILE),)))


def test_reports_show_foreign_texts_as_they_are(hostile):
    for form in (reports.evaluation_page, front_svg, reports.evaluation_markdown):
        text = form(hostile)
        assert "<script>alert" not in text
        assert "\x1b" not in text
    drawn = ET.fromstring(front_svg(hostile).encode())
    assert "<script>alert(1)</script>" in "".join(drawn.itertext())
    assert reports.evaluation_page(hostile).count("<svg") == 1


def test_the_table_for_spreadsheets_has_every_number(answers):
    result = result_of(part_of(answers, 1, 1))
    network, model = csv.DictReader(io.StringIO(reports.evaluation_csv(result)))
    assert network["role"] == "network"
    assert network["latency_ms"] == network["changed"] == ""
    (_, found) = result.models
    assert int(model["changed"]) == found.changed.count
    assert float(model["snr_db"]) == found.snr_db
    assert float(model["top1_difference_low"]) == found.top1_difference.low


def test_a_result_is_plain_json(answers):
    plain = json.loads(reports.FORMS[".json"](result_of(part_of(answers, 1, 1))))
    assert plain["warnings"] == []
    assert (
        plain["models"][1]["top1"]["count"] == asdict(result_of(part_of(answers, 1, 1)))["models"][1]["top1"]["count"]
    )
