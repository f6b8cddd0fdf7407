"""One file for every x86-64 processor: with AVX-512, whose blocks have 16 channels, and with 8 for all others.

What this machine has not is emulated: QEMU has AVX2, and processors before it; AVX-512, which it lacks, is numpy's.
"""

from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from blocks import run_in_blocks_of
from command_line import dcd_deploy
from lowering_cases import published
from onnx import helper
from torch import nn
from x86 import LIMIT, RUN, emulated, error

from dcd_deploy import commands
from dcd_deploy.dynamic.folds import without_gains
from dcd_deploy.dynamic.shape import MapSize
from dcd_deploy.export.onnx.in_blocks import DOMAIN, in_blocks
from dcd_deploy.export.onnx.simplify import simplify
from dcd_deploy.export.onnx.trace import to_onnx
from dcd_deploy.lowering.channels_first.nchwc import NchwcLowering, same_in_both_blocks
from dcd_deploy.models.dynamic import ResNetDynamicConv
from dcd_deploy.models.geometry import LayerGeometry
from dcd_deploy.runtimes.onnxruntime import OnnxRuntimeSession

SIDE = 8
ODD_EIGHTS = (8, 24, 40, 72)
OTHERS = (6, 12, 18, 32)  # not multiples of four or of eight; and one of sixteen, which needs nothing


class AnyChannels(nn.Module):
    """Maps of ``channels`` go into blocks and out of them in every way that there is; (N, 3, H, W) to (N, C, H/2, W/2).

    From the picture; by a layer lowered as ``nchwc``; from a static layer to a depthwise one; to a static layer and a
    sum that read the plain layout; to the output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        torch.manual_seed(channels)
        c, size = channels, MapSize(SIDE // 2, SIDE // 2, SIDE // 2, SIDE // 2)
        self.first = nn.Conv2d(3, c, 3, 2, 1)
        self.depthwise = nn.ModuleList(nn.Conv2d(c, c, 3, 1, 1, groups=c) for _ in range(3))
        self.static = nn.ModuleList(nn.Conv2d(c, c, 1) for _ in range(2))
        layers = [ResNetDynamicConv(LayerGeometry(c, c, 4, 4)).double().eval() for _ in range(2)]
        self.dynamic = nn.ModuleList(NchwcLowering(without_gains(published(layer)), size) for layer in layers)

    def forward(self, x):
        x = self.depthwise[0](torch.relu(self.first(x)))
        x = x + self.static[0](x)
        x = torch.nn.functional.relu6(self.dynamic[0](x))
        x = self.static[1](self.depthwise[1](x))
        return self.dynamic[1](self.depthwise[2](x))


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """For each number of channels and batch size the plain model, the one in blocks, and a folder with the latter."""
    folder, found = tmp_path_factory.mktemp("channels"), {}
    for channels in (*ODD_EIGHTS, *OTHERS):
        for batch in (1, 2) if channels in (24, 6) else (1,):
            x = np.random.default_rng(channels).standard_normal((batch, 3, SIDE, SIDE), np.float32)
            plain = simplify(to_onnx(AnyChannels(channels), SIDE, SIDE, batch).tidied)
            moved = in_blocks(plain)
            wanted = OnnxRuntimeSession(plain.SerializeToString()).run(x)
            onnx.save(moved, folder / f"{channels}-{batch}.onnx")
            np.save(folder / f"{channels}-{batch}.in.npy", x)
            found[channels, batch] = moved, x, wanted
    return folder, found


def test_every_way_is_there(cases):
    """Both crossings, and no more operators than a number of channels needs."""
    _, found = cases
    for (channels, _), (moved, *_) in found.items():
        few = channels < 8  # a static layer reads so few from the plain layout, and its output is in blocks too
        counts = Counter((node.domain, node.op_type) for node in moved.graph.node)
        assert counts[DOMAIN, "Conv"] == (8 if few else 6)
        made = Counter(node.op_type for node in moved.graph.node if "/blocks" in node.name)
        assert made["ReorderOutput"] == 3
        filled_by_runtime = same_in_both_blocks(channels)
        assert made["Slice"] == (0 if filled_by_runtime else 3)
        assert made["Pad"] == (0 if few or (filled_by_runtime and channels % 4 == 0) else 1)


def test_on_this_machine(cases):
    _, found = cases
    for key, (moved, x, wanted) in found.items():
        assert error(OnnxRuntimeSession(moved.SerializeToString()).run(x), wanted) <= LIMIT, key


@pytest.mark.parametrize("block", [8, 16])
def test_in_blocks_of_either_size(cases, block):
    _, found = cases
    for key, (moved, x, wanted) in found.items():
        assert error(run_in_blocks_of(block, moved, x), wanted) <= LIMIT, key


@pytest.mark.parametrize("processor", ["AVX2", pytest.param("neither AVX nor AVX2", marks=pytest.mark.exhaustive)])
def test_on_other_processors(cases, processor):
    folder, found = cases
    done = emulated(processor, "-c", RUN, folder)
    assert done.returncode == 0, done.stderr
    for (channels, batch), (_, _, wanted) in found.items():
        assert error(np.load(folder / f"{channels}-{batch}.out.npy"), wanted) <= LIMIT, channels


@pytest.fixture(scope="module")
def bundled(digits_checkpoint, tmp_path_factory):
    out = tmp_path_factory.mktemp("digits-x86")
    return commands.export(digits_checkpoint, input_size=32, target="onnxruntime-x86", out=out, name="digits")


def test_the_bundled_network_on_this_machine(bundled, digits_checkpoint):
    assert any(node.domain == DOMAIN for node in onnx.load(bundled.artifact.path).graph.node)
    assert commands.verify(bundled.artifact.path, checkpoint=digits_checkpoint).passed


@pytest.mark.parametrize("processor", ["AVX2", pytest.param("neither AVX nor AVX2", marks=pytest.mark.exhaustive)])
def test_the_bundled_network_on_other_processors(bundled, processor):
    done = emulated(processor, "-m", "dcd_deploy", "verify", bundled.artifact.path)
    assert done.returncode == 0, done.stderr
    assert "tolerance 5.0e-05: ok" in done.stdout


@pytest.mark.parametrize("block", [8, 16])
def test_the_bundled_network_in_blocks_of_either_size(bundled, block):
    model = onnx.load(bundled.artifact.path)
    x = np.random.default_rng(0).standard_normal((1, 3, 32, 32), np.float32)
    assert error(run_in_blocks_of(block, model, x), OnnxRuntimeSession(bundled.artifact.path).run(x)) <= LIMIT


@pytest.fixture
def for_blocks_of_sixteen(tmp_path):
    """A model that lets the runtime cut half a large block off, as this package once did."""
    values = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, channels, 1, 1])
        for name, channels in (("x", 16), ("y", 8))
    ]
    nodes = [
        helper.make_node("ReorderInput", ["x"], ["inside"], domain=DOMAIN),
        helper.make_node("ReorderOutput", ["inside"], ["y"], domain=DOMAIN, channels=8),
    ]
    graph = helper.make_graph(nodes, "half", values[:1], values[1:])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.save(model, tmp_path / "half.onnx")
    return model, tmp_path / "half.onnx"


def test_the_operators_in_numpy_refuse_what_the_runtime_refuses(for_blocks_of_sixteen):
    model, _ = for_blocks_of_sixteen
    x = np.arange(16, dtype=np.float32).reshape(1, 16, 1, 1)
    assert np.array_equal(run_in_blocks_of(16, model, x), x[:, :8])
    with pytest.raises(AssertionError, match="cuts off less than a block"):
        run_in_blocks_of(8, model, x)


def test_a_file_for_other_blocks_is_refused_in_words(for_blocks_of_sixteen):
    """On the processor that cannot run it, with what to do."""
    _, path = for_blocks_of_sixteen
    script = (
        "import sys, pathlib, numpy\n"
        "from dcd_deploy.errors import ModelFileError\n"
        "from dcd_deploy.runtimes.onnxruntime import OnnxRuntimeSession\n"
        "session = OnnxRuntimeSession(pathlib.Path(sys.argv[1]))\n"
        "try:\n"
        "    session.run(numpy.zeros((1, 16, 1, 1), numpy.float32))\n"
        "except ModelFileError as error:\n"
        "    print(error)\n"
    )
    done = emulated("AVX2", "-c", script, path)
    assert "the file was made for processors whose blocks have other channels than this one's" in done.stdout, (
        done.stderr
    )
    assert "export it anew, or with `target` portable" in done.stdout


def test_the_choice_says_for_which_processors():
    words = " ".join(dcd_deploy("export", "--help").stdout.replace("│", " ").split())
    assert "onnxruntime-x86 (runs on x86-64 alone, with AVX-512, AVX2 or neither)" in words
