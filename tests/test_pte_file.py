"""Reading ExecuTorch programs without their packages: the files are untrusted, and most who look at one lack them."""

import builtins
import struct
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pte_network import SMALL
from rich.console import Console
from torch import fx, nn

from dcd_deploy import commands
from dcd_deploy.artifacts import METADATA_KEY
from dcd_deploy.emulation.executorch import environment
from dcd_deploy.emulation.guest import opened_guest
from dcd_deploy.emulation.root import Root
from dcd_deploy.errors import (
    DeviceLackError,
    ExportError,
    InputFileError,
    MissingDependencyError,
    ModelFileError,
    OptionError,
    UnknownNameError,
)
from dcd_deploy.export.executorch import layout as xnnpack_layout
from dcd_deploy.export.executorch.convert import check_one_partition
from dcd_deploy.export.executorch.graph import pte_stats
from dcd_deploy.export.executorch.layout import LAST, check_version, sink_permutations, take_out_moves
from dcd_deploy.reports.inspect import show_pte_file
from dcd_deploy.runtimes import open_model
from dcd_deploy.runtimes.pte_file import HASH_KEY, read_program

WHOLE = SMALL.read_bytes()


def test_what_a_program_says():
    program = read_program(WHOLE, SMALL)
    assert [(t.name, t.shape, t.dtype, t.layout) for t in program.inputs] == [
        ("input", (1, 3, 16, 16), "float32", "nchw")
    ]
    assert [(t.name, t.shape) for t in program.outputs] == [("output", (1, 5))]
    assert [each.backend for each in program.delegates] == ["XnnpackBackend"]
    assert (program.delegate_calls, program.outside, program.intact) == (1, (), True)
    assert set(program.texts) == {METADATA_KEY, HASH_KEY}


def test_its_operators_and_multiply_adds():
    stats = pte_stats(WHOLE)
    assert stats.size_bytes == len(WHOLE)
    assert sum(stats.operators.values()) == stats.nodes
    assert stats.operators["FullyConnected"] > 10
    stem, head = 8 * 8 * 8 * 27, 8 * 5
    assert stem + head + 2 * 64 * 8 * 24 < stats.macs < 4 * (stem + head + 2 * 64 * 8 * 24 + 64 * 8 * 8 * 10)


def test_maps_are_not_moved():
    """Of transpositions the one of the input is left, and those of what is pooled to cells or to patches of it."""
    assert pte_stats(WHOLE).operators["StaticTranspose"] <= 2


def test_inspect_shows_it(capsys):
    show_pte_file(Console(width=120), commands.inspect(SMALL))
    said = capsys.readouterr().out
    for words in ("partitions: 1 (XnnpackBackend), 0 operators outside", "hash: as it was written", "FullyConnected"):
        assert words in said


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (WHOLE[:1000], "cut short"),
        (WHOLE[:-40], "bytes expected"),
        (b"\0\0\0\0ET12" * 30, "no header that says its sizes"),
        (b"PK\3\4" * 30, "no 'ET12' mark"),
        (b"ET", "no 'ET12' mark"),
    ],
)
def test_no_program(content, words, tmp_path):
    path = tmp_path / "model.pte"
    path.write_bytes(content)
    for look in (commands.inspect, open_model):
        with pytest.raises(ModelFileError, match=words):
            look(path)


def test_empty_and_missing(tmp_path):
    (tmp_path / "empty.pte").touch()
    for name, words in (("empty", "the file is empty"), ("none", "there is no such file")):
        for look in (commands.inspect, open_model):
            with pytest.raises(InputFileError, match=words):
                look(tmp_path / f"{name}.pte")


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(1, 255)), min_size=1, max_size=8))
def test_a_changed_byte_is_noticed(changes):
    changed = bytearray(WHOLE)
    for place, value in dict(changes).items():
        changed[place] ^= value
    try:
        program = read_program(bytes(changed), "model.pte")
    except ModelFileError:
        return
    assert program.intact is not True


def test_a_changed_file_is_not_opened(tmp_path):
    """The weights alone are another's: the runtime would run it, and answer something else."""
    path, changed = tmp_path / "model.pte", bytearray(WHOLE)
    changed[-100] ^= 1
    path.write_bytes(changed)
    with pytest.raises(ModelFileError, match="its hash says otherwise"):
        open_model(path)


def test_offsets_beyond_the_file():
    changed = bytearray(WHOLE)
    struct.pack_into("<I", changed, 0, len(WHOLE) * 2)
    with pytest.raises(ModelFileError, match="offset"):
        read_program(bytes(changed), "model.pte")


def test_without_the_package(monkeypatch, tmp_path):
    real = import_module

    def refuse(name, *rest):
        if name.startswith("executorch"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr("dcd_deploy.optional.import_module", refuse)
    monkeypatch.setattr("dcd_deploy.optional.find_spec", lambda name: None if name == "executorch" else True)
    for use in (lambda: open_model(SMALL), lambda: commands.export("none.pth.tar", to="executorch", out=tmp_path)):
        with pytest.raises(MissingDependencyError, match=r"pip install 'dcd-deploy\[executorch\]'"):
            use()


def test_another_version_is_refused(monkeypatch):
    monkeypatch.setattr(xnnpack_layout, "installed_version", lambda package: "1.6.0")
    with pytest.raises(MissingDependencyError, match=r"expected executorch 1\.5\.1, .* found 1\.6\.0"):
        check_version()


def test_an_emulated_core_may_have_no_runtime_for_it(tmp_path):
    with pytest.raises(DeviceLackError, match="expected a runtime that the emulated cores have"):
        opened_guest(None, None, "tract", SMALL).__enter__()
    for versions in ({}, {"executorch": "1.5.1"}):
        with pytest.raises(DeviceLackError, match=r"expected ExecuTorch in the aarch64 root.*setup-emulated"):
            environment(Root(tmp_path, tmp_path, "3.11", versions))


def test_names_of_the_format():
    with pytest.raises(UnknownNameError, match="executorch"):
        commands.export("none.pth.tar", to="executorchs")


def test_a_free_batch_is_refused(monkeypatch):
    monkeypatch.setattr(import_module("dcd_deploy.commands.export"), "parse_formats", lambda to: ("pte",))
    with pytest.raises(OptionError, match="expected a `batch` number for ExecuTorch"):
        commands.export("none.pth.tar", to="executorch", batch="dynamic")


def operator(name):
    def call(*operands):
        raise AssertionError("this graph is not run")

    call.__name__ = name
    return call


PERMUTE, COPY = operator("aten.permute_copy.default"), operator("aten._to_copy.default")
LINEAR, ADD = operator("aten.linear.default"), operator("aten.add.Tensor")


class Drawn:
    """A graph that is drawn by hand, with the sizes of each node and whether it lies channels last."""

    def __init__(self):
        self.graph = fx.Graph()

    def node(self, target, *arguments, size, last=False):
        made = (
            self.graph.placeholder(f"x{len(self.graph.nodes)}")
            if target is None
            else self.graph.call_function(target, arguments)
        )
        made.meta = {"val": torch.empty(size), LAST: last}
        return made

    def module(self, *outputs):
        self.graph.output(outputs)
        return fx.GraphModule({}, self.graph)


def test_moves_that_add_up_to_none_go():
    drawn = Drawn()
    x = drawn.node(None, size=(1, 8, 4, 6), last=True)
    pixels = drawn.node(PERMUTE, x, [0, 2, 3, 1], size=(1, 4, 6, 8), last=True)
    plain = drawn.node(COPY, pixels, size=(1, 4, 6, 8))
    linear = drawn.node(LINEAR, plain, size=(1, 4, 6, 5))
    assert take_out_moves(drawn.module(linear))
    assert linear.args == (x,)


def test_moves_that_move_stay():
    """A transposition of the map itself, and values whose sizes would be others."""
    drawn = Drawn()
    x = drawn.node(None, size=(1, 8, 4, 4), last=True)
    turned = drawn.node(PERMUTE, x, [0, 1, 3, 2], size=(1, 8, 4, 4), last=True)
    plain = drawn.node(COPY, turned, size=(1, 8, 4, 4))
    row = drawn.node(None, size=(1, 8, 1, 1))
    laid = drawn.node(COPY, row, size=(1, 8, 1, 1), last=True)
    total = drawn.node(ADD, plain, laid, size=(1, 8, 4, 4))
    assert not take_out_moves(drawn.module(total))
    assert total.args == (plain, laid)


def test_sums_sink_below_permutations():
    drawn = Drawn()
    pixels = [drawn.node(None, size=(1, 4, 6, 8)) for _ in range(2)]
    maps = [drawn.node(PERMUTE, each, [0, 3, 1, 2], size=(1, 8, 4, 6)) for each in pixels]
    module = drawn.module(drawn.node(ADD, *maps, size=(1, 8, 4, 6)))
    assert sink_permutations(module).modified
    (output,) = next(iter(module.graph.find_nodes(op="output"))).args[0]
    assert output.target is PERMUTE
    assert output.args[0].target is ADD
    assert list(output.args[0].args) == pixels
    assert tuple(output.args[0].meta["val"].shape) == (1, 4, 6, 8)
    assert not sink_permutations(module).modified


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["executorch_call_delegate"] * 2, "found 2, and no operator outside"),
        (["aten.sort.default"], r"found 0, and 1 × aten\.sort\.default outside"),
        (["executorch_call_delegate", "aten.sort.default"], "found 1, and 1 × aten.sort"),
    ],
)
def test_not_one_partition(names, words):
    graph = fx.Graph()
    for name in names:
        graph.call_function(operator(name))
    edge = SimpleNamespace(exported_program=lambda: SimpleNamespace(graph=graph))
    with pytest.raises(ExportError, match=words):
        check_one_partition(edge, nn.Identity())


def test_one_partition():
    graph = fx.Graph()
    graph.call_function(
        builtins.getattr, (graph.call_function(operator("executorch_call_delegate")),)
    ).target = operator("getitem")
    check_one_partition(SimpleNamespace(exported_program=lambda: SimpleNamespace(graph=graph)), nn.Identity())


def test_the_answers_beside_the_file():
    assert np.load(SMALL.with_suffix(".npy")).shape == (2, 5)
