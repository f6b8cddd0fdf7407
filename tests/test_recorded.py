"""What the user's own network answered joins the gate: the same tensors and another function are refused."""

import json
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_cases import load_module
from torch import nn

import dcd_deploy
from dcd_deploy import commands
from dcd_deploy.errors import InputFileError, VerificationError
from dcd_deploy.export import recorded as recorded_module
from dcd_deploy.export.recorded import read_recorded
from dcd_deploy.models import dynamic
from dcd_deploy.models.random_weights import save_checkpoint

SIZE = 64
INPUT = [("input", (3, SIZE, SIZE))]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A golden checkpoint with its network, and what that network answered to pictures."""
    case, network = load_module("mobilenetv2_dcd_w0.1_10c_64px")
    folder = tmp_path_factory.mktemp("trained")
    checkpoint = save_checkpoint(folder / "model.pth.tar", network)
    images = torch.from_numpy(case.input)
    dcd_deploy.record_reference(network.float(), images, folder / "pairs.npz")
    return checkpoint, network, images, folder / "pairs.npz"


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    checkpoint, _, _, pairs = trained
    out = tmp_path_factory.mktemp("exported")
    return commands.export(checkpoint, input_size=SIZE, out=out, name="net", reference=pairs)


def test_every_stage_is_compared_with_what_was_recorded(exported, trained):
    report = exported.built.report
    stages = ["float64 network", "deploy form", "ONNX as traced", "ONNX simplified"]
    found = [c for c in report.comparisons if c.against == "your network's recorded answers"]
    assert list(dict.fromkeys(c.stage for c in found)) == stages
    assert report.passed
    assert max(c.relative for c in found) < 2.5e-5, "two roundings of a restless network leave half of what is allowed"
    sidecar = json.loads(exported.artifact.sidecar_path.read_text())
    assert any("eps" in line for line in sidecar["assumed"])


def stem_stride(network, patch):
    patch.setattr(network.features[0][0], "stride", (1, 1))


def eps(network, patch):
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            patch.setattr(module, "eps", 1e-3)


def no_residual(network, patch):
    def forward(self, x):
        phi, scale = self.attention(F.adaptive_avg_pool2d(x, self.geometry.pool).flatten(1))
        q_map = self.query(x)
        mixed = self.bn2(torch.bmm(phi, self.bn1(q_map.flatten(2))))
        return self.static(x) * scale[:, :, None, None] + self.project(mixed.view_as(q_map))

    patch.setattr(dynamic.DynamicConv2d, "forward", forward)


def another_gate(network, patch):
    patch.setattr(dynamic, "gate", lambda v: F.relu6(v + 3) / 6)


@pytest.fixture(params=[stem_stride, eps, no_residual, another_gate], ids=lambda change: change.__name__)
def other_pairs(request, trained, tmp_path, monkeypatch):
    """The answers of a network with the same tensors that computes something else."""
    _, network, images, _ = trained
    with monkeypatch.context() as patch:
        request.param(network, patch)
        return dcd_deploy.record_reference(network, images, tmp_path / "other.npz")


def test_another_function_of_the_same_tensors_is_refused(trained, exported, other_pairs, tmp_path):
    words = (
        r"float64 network.*your network's recorded answers.*was assumed: BatchNorm eps .*`bn_eps`.*gate .*`gate`.*"
        r"'. q' .*`residual_q`.*strides .*`strides`"
    )
    with pytest.raises(VerificationError, match=words) as caught:
        commands.export(trained[0], input_size=SIZE, out=tmp_path / "out", reference=other_pairs)
    assert caught.value.exit_code == 9
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert max(c.relative for c in caught.value.report.comparisons) > 20 * 5e-5
    with pytest.raises(VerificationError, match=r"model file.*recorded answers.*`bn_eps`"):
        commands.verify(exported.artifact.path, reference=other_pairs)
    with pytest.raises(VerificationError, match="float64 network.*recorded answers"):
        commands.verify(exported.artifact.path, checkpoint=trained[0], reference=other_pairs)


NO_TORCH = """
import sys
class Guard:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in "torch onnx onnxscript onnxsim".split():
            raise ImportError(f"{name} is not there")
sys.meta_path.insert(0, Guard())
from dcd_deploy.cli import main
sys.argv[0] = "dcd-deploy"
main()
"""


def test_verify_by_recorded_answers_needs_no_torch(exported, trained):
    command = [sys.executable, "-c", NO_TORCH, "verify", str(exported.artifact.path), "--reference", str(trained[3])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "recorded answers of pairs.npz" in done.stdout


def rewritten(pairs, path, change):
    arrays = dict(np.load(pairs))
    change(arrays)
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_answers_in_any_precision(trained, tmp_path, exported, kind):
    path = rewritten(trained[3], tmp_path / "p.npz", lambda a: a.update(output=a["output"].astype(kind)))
    assert commands.verify(exported.artifact.path, reference=path).passed
    off = rewritten(path, tmp_path / "off.npz", lambda a: a.update(output=a["output"] * kind(1.01)))
    with pytest.raises(VerificationError, match="recorded answers"):
        commands.verify(exported.artifact.path, reference=off)


def test_half_precision_stands_for_an_interval_and_no_more(trained, tmp_path):
    path = rewritten(trained[3], tmp_path / "p.npz", lambda a: a.update(output=a["output"].astype(np.float16)))
    exact, half = (read_recorded(each, INPUT, ["logits"]) for each in (trained[3], path))
    rows = np.arange(len(half.images))
    assert np.abs(half.outputs["logits"] - exact.outputs["logits"]).max() > 5e-5 * half.range()
    assert half.distance("logits", exact.outputs["logits"], rows) == 0
    beyond = exact.outputs["logits"] + 2e-3 * np.abs(exact.outputs["logits"])
    assert half.distance("logits", beyond, rows) > 5e-5 * half.range()


BAD_PAIRS = {
    "no output": (lambda a: a.pop("output"), "expected the arrays 'input', 'output'"),
    "one array more": (lambda a: a.update(extra=a["output"]), "found extra, input, output"),
    "another size": (lambda a: a.update(input=a["input"][..., 1:]), "expected 'input' of shape"),
    "fewer answers": (lambda a: a.update(output=a["output"][1:]), "expected as many outputs as inputs"),
    "nothing": (lambda a: a.update(input=a["input"][:0], output=a["output"][:0]), "at least one"),
    "NaN": (lambda a: a.update(output=a["output"] * np.nan), "NaN or infinity"),
    "infinite inputs": (lambda a: a.update(input=a["input"] + np.inf), "NaN or infinity"),
    "integers": (lambda a: a.update(input=a["input"].astype(np.int32)), "no array"),
    "complex": (lambda a: a.update(output=a["output"] * 1j), "no array"),
    "texts": (lambda a: a.update(output=np.array(["a"])), "no array"),
    "objects": (lambda a: a.update(output=np.array([{}], dtype=object)), "no array"),
    "a scalar": (lambda a: a.update(output=np.float32(1)), "no array"),
}


@pytest.mark.parametrize(("change", "words"), BAD_PAIRS.values(), ids=BAD_PAIRS)
def test_pairs_that_are_wrong_are_refused(trained, tmp_path, change, words):
    path = rewritten(trained[3], tmp_path / "bad.npz", change)
    with pytest.raises(InputFileError, match=words) as caught:
        read_recorded(path, INPUT, ["logits"])
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)


def member(header: str, body: bytes = b"", magic: bytes = b"\x93NUMPY\x01\x00") -> bytes:
    text = header.encode()
    return magic + struct.pack("<H", len(text)) + text + body


def zipped(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_npy", ".npy"), content)
    return path


HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }\n"
HOSTILE = {
    "a size beyond the file": member(HEADER % "1000000000000, 3, 64, 64"),
    "a negative size": member(HEADER % "-1, 3"),
    "a huge number": member(HEADER % f"{'9' * 3000}, 3"),
    "no magic": b"hello",
    "empty": b"",
    "another version": member(HEADER % "1,", magic=b"\x93NUMPY\x09\x00"),
    "code for a header": member("__import__('os').system('true')"),
    "a deep header": member("[" * 3000),
    "objects": member("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"cos\nsystem\n."),
    "cut short": member(HEADER % "4, 3, 64, 64", b"\0" * 100),
    "a longer header than any": member(" " * 60000),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_arrays_are_refused(tmp_path, content):
    path = zipped(tmp_path / "hostile.npz", input_npy=content, output_npy=content)
    with pytest.raises(InputFileError, match="it cannot be read"):
        read_recorded(path, INPUT, ["logits"])


def test_hostile_archives_are_refused(trained, tmp_path, monkeypatch):
    content = trained[3].read_bytes()
    for name, bad in (("text", b"hello"), ("cut", content[: len(content) // 2]), ("noise", bytes(200))):
        (tmp_path / name).write_bytes(bad)
        with pytest.raises(InputFileError, match="record_reference writes one"):
            read_recorded(tmp_path / name, INPUT, ["logits"])
    damaged = bytearray(content)
    damaged[len(content) // 3] ^= 255
    (tmp_path / "damaged").write_bytes(damaged)
    with pytest.raises(InputFileError):
        read_recorded(tmp_path / "damaged", INPUT, ["logits"])
    with pytest.raises(InputFileError, match="no such file"):
        read_recorded(tmp_path / "none.npz", INPUT, ["logits"])
    with pytest.raises(InputFileError, match="something else than arrays"):
        read_recorded(zipped(tmp_path / "z", notes="text"), INPUT, ["logits"])
    monkeypatch.setattr(recorded_module, "MOST_BYTES", 1000)
    with pytest.raises(InputFileError, match="claims to hold more than"):
        read_recorded(trained[3], INPUT, ["logits"])


def test_a_bomb_is_not_unpacked(tmp_path):
    """Its directory says how much comes out, and that is believed only as a bound."""
    path = zipped(tmp_path / "bomb.npz", input_npy=bytes(1 << 26))
    size = struct.pack("<I", 1 << 26)
    assert path.read_bytes().count(size) == 2
    path.write_bytes(path.read_bytes().replace(size, struct.pack("<I", 100)))
    with pytest.raises(InputFileError):
        read_recorded(path, INPUT, ["logits"])
