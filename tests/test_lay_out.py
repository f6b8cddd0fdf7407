"""Laying a network out channels last: the same numbers in float64, whatever it consists of."""

import pytest
from laying import check_exact, graph_of
from laying_cases import CASES, example

from dcd_deploy.lowering.channels_last import table
from dcd_deploy.lowering.channels_last.settings import MODULES, name_and_settings

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")  # torch's own remark on even kernels


@pytest.mark.parametrize("name", CASES)
def test_every_operator_computes_the_same(name):
    check_exact(CASES[name], example())


def test_every_entry_has_a_case():
    seen = set()
    for module in CASES.values():
        graph = graph_of(module, example().double())
        seen |= {name_and_settings(node, graph.submodule(node))[0] for node in graph.nodes if node.op != "output"}
    assert table.TABLE.keys() <= seen, table.TABLE.keys() - seen
    assert set(MODULES.values()) - {"unflatten"} <= seen
