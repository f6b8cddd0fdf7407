"""Golden cases of the published forward pass: checkpoint and input are rebuilt from a seed, the output is stored.

Each ``golden/*.npz`` (three networks) and ``golden/layers/*.npz`` (seven layers) holds

    meta      JSON: name, kind ("model" or "layer"), kwargs, seed, input_shape, keys (state_dict key → shape)
    output    float64, every operation in float64
    stats/K   float32 BatchNorm running statistics of key K

All other weights and the input follow from the seed by the functions below.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dcd_deploy.models.dynamic import DynamicLayer, DynamicLinear, MobileNetDynamicConv, ResNetDynamicConv
from dcd_deploy.models.geometry import (
    basic_geometry,
    bottleneck_geometry,
    classifier_geometry,
    mobilenet_geometry,
)
from dcd_deploy.models.registry import build
from dcd_deploy.models.spec import NetworkSpec

FOLDER = Path(__file__).parent / "golden"
NETWORKS = sorted(path.stem for path in FOLDER.glob("*.npz"))
LAYERS = sorted(path.stem for path in FOLDER.glob("layers/*.npz"))
INPUT_SEED = 20210512


@dataclass(frozen=True)
class GoldenCase:
    meta: dict
    state_dict: dict[str, torch.Tensor]
    input: np.ndarray  # float32
    output: np.ndarray  # float64

    def error(self, output: np.ndarray) -> float:
        """Return the largest difference, relative to the range of the stored output."""
        return float(np.abs(output - self.output).max() / np.ptp(self.output))


def load_case(name: str) -> GoldenCase:
    path = next(FOLDER.rglob(f"{name}.npz"))
    with np.load(path) as file:
        meta = json.loads(str(file["meta"]))
        stats = {key.removeprefix("stats/"): file[key] for key in file.files if key.startswith("stats/")}
        output = file["output"]
    shapes = {key: tuple(shape) for key, shape in meta["keys"].items()}
    weights = {k: stats[k] if k in stats else _weight(k, shape, meta["seed"], shapes) for k, shape in shapes.items()}
    shape = tuple(meta["input_shape"])
    image = _vectors(shape, meta["seed"]) if len(shape) == 2 else _images(shape, meta["seed"])
    return GoldenCase(meta, {k: torch.from_numpy(w) for k, w in weights.items()}, image, output)


def load_module(name: str) -> tuple[GoldenCase, nn.Module]:
    """Return the case and its float64 train-form module, loaded strictly."""
    case = load_case(name)
    kwargs = {key: value for key, value in case.meta["kwargs"].items() if value is not None}
    module = _layer(**kwargs) if case.meta["kind"] == "layer" else build(NetworkSpec(**kwargs))
    module = module.double()
    module.load_state_dict(case.state_dict, strict=True)
    return case, module.eval()


def _layer(layer: str, **sizes: int) -> DynamicLayer:
    if layer == "DYModule":
        return MobileNetDynamicConv(mobilenet_geometry(sizes["inp"], sizes["oup"], sizes["fc_squeeze"]))
    if layer == "conv_basic_dy":
        return ResNetDynamicConv(basic_geometry(sizes["inplanes"], sizes["planes"], sizes["stride"]))
    if layer == "conv_dy":
        geometry = bottleneck_geometry(sizes["inplanes"], sizes["planes"], sizes["kernel_size"], sizes["stride"])
        return ResNetDynamicConv(geometry)
    return DynamicLinear(classifier_geometry(sizes["inp"], sizes["oup"]))


def _weight(key: str, shape: tuple[int, ...], seed: int, shapes: dict) -> np.ndarray:
    rng = np.random.default_rng([seed, zlib.crc32(key.encode())])
    owner, _, leaf = key.rpartition(".")
    layer, _, name = owner.rpartition(".")
    is_dynamic = (f"{layer}.fc_phi.weight" if layer else "fc_phi.weight") in shapes
    if leaf == "num_batches_tracked":
        return np.asarray(0, np.int64)
    if leaf == "weight" and name == "bn2" and is_dynamic:
        return rng.uniform(0.1, 0.3, shape).astype(np.float32)
    if key.endswith(".bn3.weight"):
        return rng.uniform(0.2, 0.4, shape).astype(np.float32)
    if leaf == "bias":
        return rng.normal(0, 0.1, shape).astype(np.float32)
    if len(shape) == 1:
        return rng.uniform(0.8, 1.2, shape).astype(np.float32)
    gain = {"fc_phi": 0.15, "fc_scale": 0.5}.get(name, 1.0 if len(shape) == 2 else np.sqrt(2.0))
    if not layer and name in ("fc_phi", "fc_scale"):  # a layer case has no prefix before the name
        gain = 1.0
    return rng.normal(0, gain / np.sqrt(int(np.prod(shape[1:]))), shape).astype(np.float32)


def _vectors(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng([seed, INPUT_SEED]).normal(0, 1, shape).astype(np.float32)


def _images(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Smooth blobs plus noise; every sample of the batch has its own scale and channel means."""
    rng = np.random.default_rng([seed, INPUT_SEED])
    n, c, h, w = shape
    out = np.empty(shape, np.float32)
    for i in range(n):
        grid = max(2, h // (8 * (i + 1)))
        base = rng.normal(0, 1, (c, grid, grid))
        rows, cols = np.arange(h) * grid // h, np.arange(w) * grid // w
        out[i] = base[:, rows][:, :, cols] + 0.3 * rng.normal(0, 1, (c, h, w)) + rng.normal(0, 0.5, (c, 1, 1))
    return out
