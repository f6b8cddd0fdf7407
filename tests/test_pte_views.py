"""Reshapes that a program can do without, in graphs that are drawn by hand."""

from test_pte_file import ADD, Drawn, operator

from dcd_deploy.export.executorch.views import VIEW, merge_views

RESHAPE = operator(VIEW)


def outputs(module):
    return next(iter(module.graph.find_nodes(op="output"))).args[0]


def test_a_reshape_reads_what_was_there_before_others():
    drawn = Drawn()
    x = drawn.node(None, size=(1, 16))
    square = drawn.node(RESHAPE, x, [1, 4, 4], size=(1, 4, 4))
    module = drawn.module(drawn.node(RESHAPE, square, [4, 4], size=(4, 4)), square)
    assert merge_views(module).modified
    assert [node.args[0] for node in outputs(module)] == [x, x], "the first one is read by others too"
    assert not merge_views(module).modified


def test_a_reshape_to_the_own_size_goes():
    drawn = Drawn()
    x = drawn.node(None, size=(4,))
    there = drawn.node(RESHAPE, x, [2, 2], size=(2, 2))
    back = drawn.node(RESHAPE, there, [4], size=(4,))
    module = drawn.module(drawn.node(ADD, back, x, size=(4,)))
    assert merge_views(module).modified
    (total,) = outputs(module)
    assert total.args == (x, x)
    assert not [node for node in module.graph.nodes if node.target is RESHAPE]


def test_others_stay():
    drawn = Drawn()
    x = drawn.node(None, size=(1, 16))
    square = drawn.node(RESHAPE, x, [4, 4], size=(4, 4))
    twice = drawn.node(ADD, square, square, size=(4, 4))
    row = drawn.node(RESHAPE, twice, [1, 16], size=(1, 16))
    module = drawn.module(row)
    assert not merge_views(module).modified
    assert (row.args[0], square.args[0]) == (twice, x)
