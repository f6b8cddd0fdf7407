"""A classifier that takes a moment to make: one matrix, with a description as exported files have it."""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from dcd_deploy.artifacts import METADATA_KEY, ModelCard, Preprocessing, TensorSpec
from dcd_deploy.labelled_images.calibration_manifest import KEY, CalibrationManifest

SIZE = 8


def write_classifier(path: Path, labels, calibrated_on=(), seed=0) -> Path:
    """Write an ONNX file that takes (1, 3, 8, 8) and answers with a logit for each label."""
    shape, classes = (1, 3, SIZE, SIZE), len(labels)
    weights = np.random.default_rng(seed).normal(size=(3 * SIZE * SIZE, classes)).astype(np.float32)
    nodes = [helper.make_node("Flatten", ["input"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["logits"])]
    tensors = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, size)
        for name, size in (("input", shape), ("logits", (1, classes)))
    ]
    graph = helper.make_graph(nodes, "tiny", tensors[:1], tensors[1:], [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    card = ModelCard(
        "tiny",
        None,
        (TensorSpec("input", shape, layout="nchw"),),
        (TensorSpec("logits", (1, classes)),),
        Preprocessing(SIZE, SIZE, SIZE),
        tuple(labels),
        {},
        "",
        "test",
    )
    hashes = [hashlib.sha256(each.read_bytes()).hexdigest() for each in calibrated_on]
    manifest = CalibrationManifest.of(hashes)
    said = json.loads(card.to_json()) | {KEY: {"images": manifest.images, "sha256": list(manifest.sha256)}}
    helper.set_model_props(model, {METADATA_KEY: json.dumps(said)})
    onnx.save(model, path)
    return path
