"""What a module answers, inputs that no export has seen, and how near to its answers those of a file must be."""

import numpy as np
import torch

LIMIT = 5e-5  # of an output's range


def answers(module, inputs):
    """Return the float64 outputs of a module by name."""
    with torch.no_grad():
        found = module.double()(*(torch.from_numpy(values).double() for values in inputs))
    module.float()
    if isinstance(found, dict):
        return {name: values.numpy() for name, values in found.items()}
    if isinstance(found, tuple):
        return {f"output_{i}": values.numpy() for i, values in enumerate(found)}
    return {"output": found.numpy()}


def unseen(example, count):
    draw = np.random.default_rng(7)
    return tuple(draw.normal(0.2, 1.3, (count, *one.shape[1:])).astype(np.float32) for one in example)


def assert_right(outputs, wanted, rows=slice(None)):
    for (name, right), found in zip(wanted.items(), outputs, strict=True):
        assert found.shape == right[rows].shape, name
        assert np.abs(found - right[rows]).max() <= LIMIT * np.ptp(right), name


def assert_near(found, wanted):
    assert np.abs(found - wanted).max() <= LIMIT * np.ptp(wanted)
