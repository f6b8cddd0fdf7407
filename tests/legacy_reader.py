"""Run in the environment of tflite-runtime 2.14, which has neither onnxruntime nor torch: python legacy_reader.py MODEL

Prints one JSON object: what the model answers there, and what TensorFlow Lite Support's own reader finds in the file.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
from tensorflow_lite_support.metadata.python.metadata import MetadataDisplayer

from dcd_deploy.runtimes import open_model, self_check
from dcd_deploy.runtimes.nodes import delegation

path = sys.argv[1]
model = open_model(path, threads=1)
check = self_check(model)
images = np.load(sys.argv[2]) if len(sys.argv) > 2 else None
reader = MetadataDisplayer.with_model_file(path)
answer = {
    "runtime": model.session.runtime,
    "relative": check.relative,
    "passed": check.passed,
    "labels": model.card.labels,
    "classes": None if images is None else model.run(images).argmax(1).tolist(),
    "partitions": delegation(model.session).partitions,
    "standard": json.loads(reader.get_metadata_json()),
    "files": {
        name: reader.get_associated_file_buffer(name).decode() for name in reader.get_packed_associated_file_list()
    },
    "loaded": sorted({"torch", "onnxruntime", "typer"} & set(sys.modules)),
}
print(json.dumps(answer))
