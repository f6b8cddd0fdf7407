"""What ``--for`` refuses, before any work."""

import os
import subprocess
import sys

import pytest
from rewriting import parsed

from dcd_deploy import commands
from dcd_deploy.errors import ExportError, OptionError, UnknownNameError
from dcd_deploy.export.onnx import build
from dcd_deploy.export.runtime_needs import NEEDS

REFUSED = {
    "another format": (
        {"for_": "ncnn", "to": "tflite"},
        "expected `to` onnx with `for_` ncnn, found tflite",
    ),
    "two formats": (
        {"for_": "litert", "to": "onnx,tflite"},
        "expected `to` tflite with `for_` litert, found onnx,tflite",
    ),
    "a format of no runtime's": (
        {"for_": "onnxruntime", "to": "tflite"},
        "expected `to` onnx or ort with `for_` onnxruntime, found tflite",
    ),
    "a browser's, in the other format": (
        {"for_": "onnxruntime-web", "to": "ort"},
        "expected `to` onnx with `for_` onnxruntime-web, found ort",
    ),
    "a free batch": (
        {"for_": "nnapi", "batch": None},
        "a number as `batch` with `for_` nnapi, which needs fixed sizes, found dynamic",
    ),
    "another's target": (
        {"for_": "openvino", "target": "onnxruntime-x86"},
        "expected `target` portable with `for_` openvino, found onnxruntime-x86",
    ),
    "an opset that it does not read": (
        {"for_": "onnxruntime", "opset": 21},
        "expected `opset` up to 19 with `for_` onnxruntime, which is what 1.16 reads, found 21",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refusals(small_checkpoint, tmp_path, what):
    options, said = REFUSED[what]
    with pytest.raises(OptionError, match=said):
        commands.export(small_checkpoint, input_size=32, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_an_unknown_runtime(small_checkpoint, tmp_path):
    with pytest.raises(UnknownNameError, match="opencv"):
        commands.export(small_checkpoint, input_size=32, out=tmp_path, for_="opencv3")


def test_help_names_them_all():
    done = subprocess.run(
        [sys.executable, "-m", "dcd_deploy", "export", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "400"},
    )
    assert all(name in done.stdout for name in NEEDS)


def test_boolean_constants_are_refused_where_they_are_not_read():
    """OpenCV 4 opens no such file; torch's exporter writes masks so, for pooling to cells of several sizes."""
    masked = parsed("(float[2] x) => (float[2] y) <bool[2] m = {1, 0}, float z = {0}> { y = Where (m, x, z) }")
    plain = parsed("(float[2] x) => (float[2] y) { y = Relu (x) }")
    with pytest.raises(ExportError, match="opencv4 reads no boolean constants, and the network has 'm'; pool to cells"):
        build._checked_for_runtime(masked, "opencv4")
    build._checked_for_runtime(plain, "opencv4")
    build._checked_for_runtime(masked, "opencv")


def test_adding_to_places_is_refused_where_it_is_wrong():
    """MNN is off by 0.2 of the range, silently; what only writes to places is right there."""
    body = (
        "(float[4] x, float[2] u) => (float[4] y) <int64[2, 1] i = {1, 1}>"
        ' { y = ScatterND <reduction = "%s"> (x, i, u) }'
    )
    adding, writing = parsed(body % "add"), parsed(body % "none")
    with pytest.raises(ExportError, match=r"mnn adds up other numbers .*as 'y' does; use a transposed convolution"):
        build._checked_for_runtime(adding, "mnn")
    build._checked_for_runtime(writing, "mnn")
    build._checked_for_runtime(adding, "openvino")
