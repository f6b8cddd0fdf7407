"""The page that shows the cost model beside measurements shows the one that decides."""

import re
from dataclasses import astuple
from pathlib import Path

import pytest
from tuning_subjects import registry_subject

from dcd_deploy.benchmarks.sweep import NETWORKS
from dcd_deploy.lowering.targets import LITERT, LITERT_COMPILED, ONNXRUNTIME_ARM, ONNXRUNTIME_X86, PORTABLE_ONNX

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
FITTED = ("mobilenetv2_dcd_x1.0", "mobilenetv2_dcd_x0.5", "resnet18_dcd")
TARGETS = pytest.mark.parametrize(
    "target", [ONNXRUNTIME_X86, ONNXRUNTIME_ARM, LITERT, LITERT_COMPILED], ids=lambda target: target.name
)


def section(target) -> tuple[str, list[list[str]]]:
    """The line of a target's rates, and the rows of its table, the header first."""
    shown = (
        PAGE.read_text(encoding="utf-8").partition("<!-- cost model: begin -->")[2].partition("<!-- cost model: end")[0]
    )
    rates, _, after = shown.partition(f"`{target.name}`, nanoseconds: ")[2].partition("\n")
    rows = [line for line in after.split("`")[0].splitlines() if line.startswith("|")]
    return rates, [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


@TARGETS
def test_the_rates_on_the_page_are_those_that_decide(target):
    shown = [float(rate) for rate in re.findall(r"=([\d.]+)", section(target)[0])]
    assert shown == pytest.approx(astuple(target.rates[0]), rel=5e-4)


@TARGETS
def test_what_the_page_says_of_each_form_the_model_says(target):
    """Microseconds to a rounding, and the form taken, for each shape of layer that was fitted."""
    _, ((_, *heads), _, *rows) = section(target)
    found = (group.case for name in FITTED for group in registry_subject(NETWORKS[name], 224).groups)
    cases = list(dict.fromkeys(found))
    assert [row[0] for row in rows] == [case.title for case in cases]
    for case, (_, *cells) in zip(cases, rows, strict=True):
        shown = dict(zip(heads, cells, strict=True))
        for form, extra in case.extras(target).items():
            told = float(shown[form].partition(" / ")[0])
            assert extra == pytest.approx(told, abs=1.5, rel=0.01)
        assert shown["taken"] == case.rule(target)


def test_the_portable_rule_knows_both_machines():
    shown = PAGE.read_text(encoding="utf-8").partition("by the other lowerings, nanoseconds: ")[2].partition("\n")[0]
    x86 = [float(rate) for rate in re.findall(r"=([\d.]+)", shown)]
    assert x86 == pytest.approx(astuple(PORTABLE_ONNX.rates[0]), rel=5e-4)
    assert PORTABLE_ONNX.rates[1] == ONNXRUNTIME_ARM.rates[0]
