"""Model files that were made to do harm: refused before an interpreter sees them, by every command."""

import json
import struct
import time
import tracemalloc

import onnx
import pytest
from command_line import dcd_deploy, refused, run_here
from conftest import DIGITS

from dcd_deploy import commands
from dcd_deploy.artifacts import METADATA_KEY, MOST_ZOOM
from dcd_deploy.errors import ModelFileError, OptionError
from dcd_deploy.runtimes.flatbuffer import Table, read_texts
from dcd_deploy.runtimes.tflite_structure import check_structure

PICTURE = DIGITS / "seven.png"
EACH = ("inspect", "verify", "profile", "predict")


def command(name, file):
    return [name, file, PICTURE] if name == "predict" else [name, file]


def vector_at(content, *path):
    """Return where the elements of a vector lie; ``path`` are fields and numbers of elements from the root on."""
    table, *rest = Table.root(content), *path
    while len(rest) > 1:
        table = table.tables(rest[0])[rest[1]]
        rest = rest[2:]
    return table._vector(rest[0], 1)[0]


def patched(content, at, value):
    return content[:at] + struct.pack("<i", value) + content[at + 4 :]


def no_such_output(content):
    return patched(content, vector_at(content, 2, 0, 2), -1)


def no_weights(content):
    """What made the interpreter crash: the weights of the first convolution are none."""
    root = Table.root(content)
    kinds = [max(code.number(0, "b"), code.number(3, "i")) for code in root.tables(1)]
    operators = root.tables(2)[0].tables(3)
    first = next(i for i, operator in enumerate(operators) if kinds[operator.number(0)] == 3)
    return patched(content, vector_at(content, 2, 0, 3, first, 1) + 4, -1)


def no_text(content):
    """A tensor's name that is no UTF-8."""
    at = vector_at(content, 2, 0, 0, 5, 3)
    return content[:at] + b"\x9e" + content[at + 1 :]


def shared_buffers(content):
    """All buffers are the largest one: a reader that copies each would need twenty times the file."""
    root = Table.root(content)
    start, length = root._vector(4, 4)
    largest = max(root.tables(4), key=lambda table: len(table.data(0)))
    for i in range(length):
        content = patched(content, start + 4 * i, largest.at - (start + 4 * i))
    return content


def no_such_buffer(content):
    tensor = Table.root(content).tables(2)[0].tables(0)[5]
    return patched(content, tensor._field(2), 1 << 20)


def huge_tensor(content):
    at = vector_at(content, 2, 0, 0, 5, 0)
    return patched(content, at, 0x7FFFFFFF)


DAMAGES = {
    no_such_output: "an output of the graph is number -1",
    no_weights: "an input of an operator is number -1",
    no_text: "can't decode byte 0x9e",
    shared_buffers: r"buffers of \d+ bytes in a file",
    no_such_buffer: "the buffer of a tensor is number 1048576",
    huge_tensor: "a tensor of shape",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_tflite_file_is_checked_before_an_interpreter_sees_it(tflite_pair, damage):
    sound = tflite_pair[0].read_bytes()
    check_structure(sound, "x")
    content = damage(sound)
    assert len(content) == len(sound)
    assert content != sound
    with pytest.raises(ModelFileError, match=DAMAGES[damage]):
        check_structure(content, "x")


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("damage", [no_such_output, no_weights, no_text, shared_buffers])
def test_every_command_refuses_it(tflite_pair, tmp_path, damage, name):
    file = tmp_path / "m.tflite"
    file.write_bytes(damage(tflite_pair[0].read_bytes()))
    refused(run_here(*command(name, file)), 12, "damaged or cut short")


def test_a_flatbuffer_whose_parts_are_one_and_the_same_is_not_read_for_ever(tflite_pair):
    """Each of many graphs has the same many tensors: a small file with a billion parts."""
    content = tflite_pair[0].read_bytes()
    graph = Table.root(content).tables(2)[0]
    many = 100_000
    start = len(content) + (-len(content)) % 4
    content += b"\0" * (start - len(content))
    offsets = b"".join(struct.pack("<i", graph.at - (start + 4 + 4 * i)) for i in range(many))
    content = bytearray(content + struct.pack("<I", many) + offsets)
    field = Table.root(bytes(content))._field(2)
    struct.pack_into("<I", content, field, start - field)
    before = time.monotonic()
    with pytest.raises(ModelFileError, match="again and again|offset"):
        check_structure(bytes(content), "x")
    assert time.monotonic() - before < 10


def test_texts_are_copied_one_by_one(tflite_pair):
    """A buffer that a thousand offsets point to is not copied a thousand times."""
    tracemalloc.start()
    assert METADATA_KEY in read_texts(tflite_pair[0].read_bytes(), "x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * tflite_pair[0].stat().st_size


@pytest.mark.parametrize("name", EACH)
def test_a_name_in_an_onnx_file_that_is_no_text(onnx_file, tmp_path, name):
    file, content = tmp_path / "m.onnx", onnx_file.read_bytes()
    assert b"logits" in content
    file.write_bytes(content.replace(b"logits", b"log\x87ts"))
    refused(run_here(*command(name, file)), 12)


@pytest.fixture
def described(onnx_file, tmp_path):
    """Write the file with another description, and return its path."""

    def write(change):
        model = onnx.load(onnx_file)
        entry = next(each for each in model.metadata_props if each.key == METADATA_KEY)
        card = json.loads(entry.value)
        change(card)
        entry.value = json.dumps(card)
        onnx.save(model, tmp_path / "m.onnx")
        return tmp_path / "m.onnx"

    return write


def test_a_picture_is_not_blown_up_to_please_a_description(described):
    file = described(lambda card: card["preprocessing"].update(resize=1 << 20))
    for each in ("predict", "verify"):
        refused(run_here(*command(each, file)), 12, "resize 1048576 is more than 16 times the crop")


def test_the_same_bound_holds_at_export(digits_checkpoint, tmp_path):
    with pytest.raises(OptionError, match=f"`resize` of at most {MOST_ZOOM} times the input size 32, found 513"):
        commands.export(digits_checkpoint, out=tmp_path, input_size=32, resize=32 * MOST_ZOOM + 1)
    assert not list(tmp_path.iterdir())


def test_a_crop_that_is_not_the_models_input(described):
    file = described(lambda card: card["preprocessing"].update(height=65536, width=65536, resize=65536))
    for each in ("predict", "verify"):
        refused(run_here(*command(each, file)), 12, "makes another picture than the first input takes")


def test_an_answer_that_is_no_number_is_refused(described):
    file = described(lambda card: card["preprocessing"].update(std=[1e-300] * 3))
    done = run_here("predict", "--json", file, PICTURE)
    refused(done, 12, "expected finite numbers from the model, found NaN or infinity")
    assert "probability" not in done.stdout


def test_the_commands_open_models_in_a_process_of_their_own(onnx_file, monkeypatch):
    """Nothing is opened in this one: what crashes there cannot take the command down."""
    for place in ("InferenceSession",):
        monkeypatch.setattr(f"onnxruntime.{place}", lambda *_, **__: pytest.fail("opened here"))
    for name in EACH:
        done = run_here(*command(name, onnx_file))
        assert done.returncode == 0, done.stderr
    assert dcd_deploy("verify", onnx_file).returncode == 0
