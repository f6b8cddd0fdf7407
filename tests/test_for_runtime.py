"""A file for each runtime that ``--for`` names, and its rules, as far as a graph shows them.

Of the runtimes with the same rules the first gets the bundled network. The others get a smaller one, and the same file
of it as the first.

``scripts/conformance.py`` runs the files in the runtimes themselves.
"""

import numpy as np
import onnx
import pytest

from dcd_deploy import commands
from dcd_deploy.benchmarks.runtime_results import RIGHT
from dcd_deploy.benchmarks.runtimes import try_runtimes
from dcd_deploy.errors import ExportError
from dcd_deploy.export.onnx.mobile import check_one_partition
from dcd_deploy.export.onnx.portable import ALONE, NEEDLESS
from dcd_deploy.export.runtime_needs import NEEDS
from dcd_deploy.runtimes import open_model

ONNX = [name for name, needs in NEEDS.items() if needs.format == "onnx"]


def first_alike(name):
    """The first runtime with the same rules; each table of operators for one partition is of its own."""

    def rules(other):
        needs = NEEDS[other]
        table = needs.one_partition and other
        words = ALONE.get(other), NEEDLESS.get(other)
        return needs.format, needs.targets[0], needs.constant_kernels, table, words

    return next(other for other in NEEDS if rules(other) == rules(name))


FOLLOWING = [name for name in NEEDS if first_alike(name) != name]


@pytest.fixture(scope="module")
def exported_from(tmp_path_factory):
    kept = {}

    def export(name, checkpoint):
        if (name, checkpoint) not in kept:
            to, out = NEEDS[name].format, tmp_path_factory.mktemp(name)
            kept[name, checkpoint] = commands.export(checkpoint, input_size=32, out=out, to=to, for_=name)
        return kept[name, checkpoint]

    return export


@pytest.fixture(scope="module")
def exported(exported_from, digits_checkpoint, small_checkpoint):
    return lambda name: exported_from(name, small_checkpoint if name in FOLLOWING else digits_checkpoint)


@pytest.mark.parametrize("name", FOLLOWING)
def test_the_same_rules_make_the_same_file(exported_from, small_checkpoint, name):
    files = [exported_from(one, small_checkpoint).artifact.path for one in (name, first_alike(name))]
    graphs = [onnx.load(path).graph.SerializeToString(deterministic=True) for path in files]
    assert graphs[0] == graphs[1]


@pytest.mark.parametrize("name", NEEDS)
def test_each_is_exported_and_right(exported, name):
    result = exported(name)
    assert result.built.report.passed
    assert commands.verify(result.artifact.path).passed
    assert result.built.config.target == NEEDS[name].targets[0]
    if NEEDS[name].format == "onnx":
        assert open_model(result.artifact.path).described().runtime == name
    assert all(any(note in said for said in result.built.notes) for note in NEEDS[name].notes)


@pytest.mark.parametrize("name", [name for name in ONNX if name not in NEEDLESS])
def test_the_words_of_the_portable_file(exported, name):
    model = onnx.load(exported(name).artifact.path)
    values = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    nodes = model.graph.node
    assert not any(node.op_type == "HardSigmoid" for node in nodes)
    assert all(node.input[2] in values for node in nodes if node.op_type == "Gemm" and len(node.input) > 2)
    assert all(values[node.input[1]].size == 2 for node in nodes if node.op_type == "ReduceMean")
    assert all(values[node.input[1]].size == 1 for node in nodes if node.op_type == "Unsqueeze")
    computed = [node for node in nodes if node.op_type == "Conv" and node.input[1] not in values]
    assert bool(computed) != NEEDS[name].constant_kernels


def test_openvino_is_given_what_it_is_right_on(exported, digits_export):
    """Fewer nodes than the portable file, and its own runtime computes what was trained."""
    path = exported("openvino").artifact.path
    graphs = [onnx.load(one).graph.node for one in (path, digits_export.artifact.path)]
    assert len(graphs[0]) < len(graphs[1])
    assert "HardSigmoid" in {node.op_type for node in graphs[0]}
    (row,) = try_runtimes(path, None, ["openvino"], blocks=1).rows
    assert row.status == RIGHT, row


def test_what_nnapi_asks_beyond_its_operators(exported):
    """Its table's own caveats: constant weights and biases of convolutions, no uneven splits."""
    model = onnx.load(exported("nnapi").artifact.path)
    values = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            assert all(name in values for name in node.input[1:]), node.name
        assert node.op_type != "Split" or np.ptp(values[node.input[1]]) == 0


@pytest.mark.parametrize("name", ["nnapi", "coreml"])
def test_one_partition(exported, name):
    check_one_partition(onnx.load(exported(name).artifact.path), name)


@pytest.mark.parametrize("name", ["nnapi", "coreml"])
def test_computed_kernels_are_refused(exported, name):
    """They are among the tables' operators, and against their notes."""
    with pytest.raises(ExportError, match=r"Conv \(\d+\): .* constant"):
        check_one_partition(onnx.load(exported("onnxruntime").artifact.path), name)


@pytest.mark.parametrize("name", ["nnapi", "coreml"])
def test_a_partition_more_is_refused(exported, name):
    model = onnx.load(exported(name).artifact.path)
    clip = next(node for node in model.graph.node if node.op_type == "Clip")
    clip.op_type = "Selu"
    del clip.input[1:]
    with pytest.raises(
        ExportError, match=rf"{name} would take the network in 2 partitions.*Selu \(1\): not in its table"
    ):
        check_one_partition(model, name)
