"""Classify pictures with the model beside this file: numpy, Pillow, and onnxruntime or ai-edge-litert alone.

python predict.py              check the bundle, classify its picture
python predict.py PICTURE …    classify these
python predict.py --camera     classify what a Raspberry Pi's camera sees, until Ctrl-C (apt install python3-picamera2)
"""

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

HERE = Path(__file__).parent


def open_model(path, threads):
    """Return a function from an input (1, …) to the logits (classes,)."""
    if path.suffix == ".onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda values: session.run(None, {name: values})[0][0]
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=threads or None)
    interpreter.allocate_tensors()
    source, answer = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run(values):
        interpreter.set_tensor(source, values)
        interpreter.invoke()
        return interpreter.get_tensor(answer)[0]

    return run


def resize_lines(pixels, new, kept):
    """Return the ``kept`` middle lines of ``pixels`` (lines, …) resized to ``new``: a triangle filter, as in Pillow."""
    first = max(0, round((new - kept) / 2))
    scale = len(pixels) / new
    support = max(scale, 1.0)  # as wide as a new pixel where it shrinks
    centres = (np.arange(first, min(first + kept, new)) + 0.5) * scale
    taps = np.floor(centres - support).astype(int)[:, None] + np.arange(int(np.ceil(2 * support)) + 1)
    weights = np.maximum(1.0 - np.abs(taps + 0.5 - centres[:, None]) / support, 0.0)
    weights[(taps < 0) | (taps >= len(pixels))] = 0.0
    weights /= weights.sum(axis=1, keepdims=True)
    taps = taps.clip(0, len(pixels) - 1)
    return np.rint(sum(weights[:, i, None, None] * pixels[taps[:, i]] for i in range(taps.shape[1])))


def resized_crop(picture, settings):
    """Return the centre (height, width, 3), values 0..255, of an RGB picture whose short side is resized."""
    height, width, _ = picture.shape
    side, short = settings["resize"], min(height, width)
    columns = resize_lines(picture.swapaxes(0, 1), side * width // short, settings["width"]).swapaxes(0, 1)
    return resize_lines(columns, side * height // short, settings["height"])


def preprocess(picture, settings):
    """Return the input (1, …) of an RGB picture (H, W, 3) uint8 of any size; a model of raw bytes normalises itself."""
    values = resized_crop(picture, settings)
    if settings["type"] == "float32":
        values = (values / 255.0 - settings["mean"]) / settings["std"]
    values = values.transpose(2, 0, 1) if settings["layout"] == "nchw" else values
    return np.ascontiguousarray(values[None], settings["type"])


def read_picture(path):
    """Return a picture file as RGB (H, W, 3) uint8, turned as its camera says."""
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def check_files(manifest, labels):
    """End the program if the bundle's files are not as they were made."""
    for name, expected in manifest["sha256"].items():
        if hashlib.sha256((HERE / name).read_bytes()).hexdigest() != expected:
            sys.exit(f"self-check failed: '{name}' is not the file that was bundled; write the bundle again")
    classes = manifest["output"]["classes"]
    if len(labels) != classes:
        sys.exit(f"self-check failed: {len(labels)} lines in 'labels.txt', expected {classes}, one a class")


def self_check(model, settings, manifest):
    """Return the largest error, in the outputs' range; end the program if it is too large."""
    floats = {name: np.fromfile(HERE / name, "<f4") for name in ("golden-output.bin", "picture-logits.bin")}
    given = np.fromfile(HERE / "golden-input.bin", settings["type"]).reshape(manifest["input"]["shape"])
    picture = preprocess(read_picture(HERE / manifest["picture"]), settings)
    errors = [model(given) - floats["golden-output.bin"], model(picture) - floats["picture-logits.bin"]]
    error = float(np.abs(errors).max()) / manifest["range"]
    if not error <= manifest["tolerance"]:
        sys.exit(f"self-check failed: error {error:.1e} of the range, allowed {manifest['tolerance']:.0e}")
    return error


def classify(model, settings, labels, picture, top=3):
    """Print the likeliest classes of a picture and how long they took."""
    start = time.perf_counter()
    values = preprocess(picture, settings)
    ready = time.perf_counter()
    logits = model(values)
    end = time.perf_counter()
    shares = np.exp(logits - logits.max())
    best = np.argsort(-logits, kind="stable")[:top]
    print(", ".join(f"{labels[i]} {shares[i] / shares.sum():.1%}" for i in best), end="")
    print(f"  (preprocessing {1000 * (ready - start):.1f} ms, model {1000 * (end - ready):.1f} ms)")


def camera_pictures():
    """Yield what a Raspberry Pi's camera sees, RGB (480, 640, 3)."""
    from picamera2 import Picamera2

    camera = Picamera2()
    camera.configure(camera.create_video_configuration({"size": (640, 480), "format": "BGR888"}))  # R, G, B in memory
    camera.start()
    while True:
        yield camera.capture_array()


def main():
    parser = argparse.ArgumentParser(description="Classify pictures.")
    parser.add_argument("pictures", nargs="*", type=Path, help="picture files")
    parser.add_argument("--camera", action="store_true", help="classify what a Raspberry Pi's camera sees")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as there are cores")
    options = parser.parse_args()
    manifest = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))
    settings = json.loads((HERE / "preprocessing.json").read_text(encoding="utf-8"))
    labels = (HERE / "labels.txt").read_text(encoding="utf-8").splitlines()
    check_files(manifest, labels)
    try:
        model = open_model(HERE / manifest["model"], options.threads)
    except Exception as error:  # the runtimes' errors have no common base
        sys.exit(f"the model cannot be opened: {str(error).splitlines()[0]}")
    print(f"self-check passed: error {self_check(model, settings, manifest):.1e} of the outputs' range")
    for path in options.pictures or [HERE / manifest["picture"]]:
        try:
            picture = read_picture(path)
        except OSError as error:
            sys.exit(f"'{path}' cannot be read as a picture: {error}")
        print(path.name, end=": ")
        classify(model, settings, labels, picture)
    for picture in camera_pictures() if options.camera else ():
        classify(model, settings, labels, picture)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
