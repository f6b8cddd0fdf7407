"""The roofline of each part: what is moved and computed, in a program too, and the table that says so."""

import re

import pytest
from pages import PERFORMANCE
from pte_network import SMALL
from roofline_parts import PARTS, Paces, moved, part_of, parts, read_parts, write_parts
from xnnpack_graph import layered, operators

from dcd_deploy.runtimes.nodes import FileNode

PACES = Paces(macs=1e6, weights=1e5, maps=1e6)


def node(name, operator, inputs, outputs, macs, read, written):
    return FileNode(name, operator, inputs, outputs, macs, read, written)


LAYER = [
    node("a.b/static/conv2d", "CONV_2D", ("picture",), ("x",), 4_000_000, 3000, 4000),
    node("c.d/attention/averagepool2d", "AVERAGE_POOL_2D", ("x",), ("p",), 0, 4000, 40),
    node("c.d/attention.scale/conv2d", "CONV_2D", ("p",), ("l",), 50, 40 + 200, 20),
    node("c.d/kernel/mul", "MUL", ("l",), ("k",), 0, 20 + 8000, 8000),
    node("c.d/kernel/add", "ADD", ("k", "k"), ("w",), 0, 16000, 8000),
    node("c.d/applied/fullyconnected", "FULLY_CONNECTED", ("x", "w"), ("y",), 9_000_000, 12000, 4000),
]


def test_parts_are_told_by_names():
    assert [part_of(each) for each in LAYER] == ["static", "pooling", "attention", "kernel", "kernel", "static"]
    assert part_of(node("c.d/shift.shift/conv2d", "CONV_2D", (), (), 0, 0, 0)) == "attention"
    assert part_of(node("c.d/query/conv2d", "CONV_2D", (), (), 0, 0, 0)) == "rest"
    assert part_of(node("logits", "RESHAPE", (), (), 0, 0, 0)) == "static"


def test_what_stays_within_a_part_is_not_moved():
    assert moved(LAYER, [3, 4]) == (8000, 20 + 8000), "λ and W, and not the product between them"
    assert moved(LAYER, [3]) == (8000, 20 + 8000)
    assert moved(LAYER, [0]) == (0, 3000 + 4000), "the picture is no weight"
    assert moved(LAYER, [5]) == (0, 12000 + 4000), "the last gives its output to whoever asked"


def test_a_roofline_is_the_longer_of_computing_and_moving():
    found = {(part.layer, part.part): part for part in parts("f", "k", LAYER, [9.0] * len(LAYER), PACES)}
    assert found["c.d", "static"].roofline_us == pytest.approx(9000)  # 9 M at 1 M a millisecond
    kernel = found["c.d", "kernel"]
    assert kernel.roofline_us == pytest.approx(1e3 * (8000 / 1e5 + 8020 / 1e6))
    assert (kernel.us, kernel.operators) == (18.0, 2)


def test_the_file_is_read_as_it_was_written(tmp_path):
    found = list(parts("f", "k", LAYER, [9.0] * len(LAYER), PACES))
    write_parts(tmp_path / "roofline.csv", found)
    assert read_parts(tmp_path / "roofline.csv") == found


def test_the_table_is_the_sum_of_the_file():
    table = PERFORMANCE.read_text(encoding="utf-8").partition("<!-- roofline: begin -->")[2]
    rows = re.findall(r"^\| (.*?) \| (.*?) \| (.*?) \| (\d+) \| (\d+) \| (\d+) \| (-?\d+) \|$", table, re.MULTILINE)
    kinds = {words: part for part, words in PARTS.items()}
    shown = {(file, kernel, kinds[words]): numbers for file, kernel, words, *numbers in rows if words in kinds}
    sums = {}
    for part in read_parts():
        key = (part.file, part.kernel, part.part)
        own, before = (part.operators, part.us, part.roofline_us), sums.get(key, (0, 0, 0))
        sums[key] = [a + b for a, b in zip(own, before, strict=True)]
    assert shown.keys() == sums.keys()
    for key, (count, us, least) in sums.items():
        assert [int(number) for number in shown[key]] == [count, round(us), round(least), round(us - least)]


def test_a_program_has_its_operators_under_layers():
    """A 3×3 layer that is static, a dynamic one by a computed kernel, told by the sizes in the file."""
    found = operators(SMALL)
    assert {each.kind for each in found} >= {"AVERAGE_POOL_2D", "FULLY_CONNECTED", "MUL"}
    first = next(each for each in found if each.macs)
    like = [
        node("one.a/static/conv2d", "CONV_2D", (), (), first.macs, 0, 0),
        node("two.b/attention/averagepool2d", "AVERAGE_POOL_2D", (), (), 0, 0, 0),
    ]
    nodes = layered(found, like)
    assert [each.outputs for each in nodes] == [(str(each.output),) for each in found]
    assert next(each.layer for each in nodes if each.macs) == "one.a"
    assert {part_of(each) for each in nodes if each.layer == "one.a"} == {"static"}
    assert {part_of(each) for each in nodes if each.layer == "two.b"} >= {"static", "pooling", "attention", "kernel"}
    with pytest.raises(ValueError, match=r"no operator as the first of three\.c"):
        layered(found, [*like, node("three.c/static/conv2d", "CONV_2D", (), (), 123456789, 0, 0)])
