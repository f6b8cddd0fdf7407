"""``dcd-deploy runtimes`` of files that are no ONNX: .ort, and damaged .pte (right ones: tests/test_executorch.py)."""

import pytest
from onnx import TensorProto, helper
from pte_network import SMALL

from dcd_deploy import commands
from dcd_deploy.errors import BenchError, InputFileError, ModelFileError
from dcd_deploy.export.onnx.ort import to_ort

pytestmark = pytest.mark.usefixtures("own_cache")
PTE = SMALL.read_bytes()


@pytest.fixture
def ort_file(onnx_pair, tmp_path):
    """The bundled network as onnxruntime saves it, beside its twin."""
    for path in onnx_pair:
        (tmp_path / f"{path.stem}.ort").write_bytes(to_ort(path.read_bytes(), "portable"))
    return tmp_path / "digits.ort"


def test_a_file_in_onnxruntimes_own_format(ort_file):
    (row,) = commands.runtimes(ort_file, blocks=2).rows
    assert (row.runtime, row.status, row.partitions, row.left_out) == ("onnxruntime", "right", None, None)
    assert row.relative_error < 5e-6
    assert row.cpu.ratio is not None


def test_a_damaged_twin_of_an_ort_file_is_told(ort_file):
    """What is not the file's own is opened in the runtime's process, whose row says what it made of it."""
    ort_file.with_name("digits-static.ort").write_bytes(ort_file.read_bytes()[:5000])
    with pytest.raises(BenchError, match=r"onnxruntime: .*opening digits-static\.ort"):
        commands.runtimes(ort_file, blocks=1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"x", "an ExecuTorch program"),
        (PTE[:5000], "an ExecuTorch program"),
        (PTE[:-100] + bytes([PTE[-100] ^ 1]) + PTE[-99:], "its hash says otherwise"),
    ],
    ids=["foreign", "cut", "changed"],
)
def test_damaged_programs(content, words, tmp_path):
    (tmp_path / "bad.pte").write_bytes(content)
    with pytest.raises(ModelFileError, match=words):
        commands.runtimes(tmp_path / "bad.pte")


def test_damaged_ort_files(ort_file, tmp_path):
    content = ort_file.read_bytes()
    for bad in (b"x", content[: len(content) // 2]):
        (tmp_path / "bad.ort").write_bytes(bad)
        with pytest.raises(ModelFileError, match=r"bad\.ort"):
            commands.runtimes(tmp_path / "bad.ort", baseline="none")


@pytest.mark.parametrize("suffix", [".onnx", ".ort", ".tflite", ".pte"])
def test_empty_files(suffix, tmp_path):
    path = tmp_path / f"empty{suffix}"
    path.touch()
    with pytest.raises(InputFileError, match="the file is empty"):
        commands.runtimes(path)


def test_an_ort_file_of_others(tmp_path):
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    (tmp_path / "foreign.ort").write_bytes(to_ort(model.SerializeToString(), "portable"))
    with pytest.raises(ModelFileError, match="a model exported by dcd-deploy"):
        commands.runtimes(tmp_path / "foreign.ort")
