"""Assert that a module is recognised: the tests of all families share it."""

import torch

from dcd_deploy.dynamic.canonical import CanonicalLayer
from dcd_deploy.dynamic.operator import DynamicOperator
from dcd_deploy.dynamic.recognise import recognise


def proved(module, *args):
    """Return the operator of the module, after a comparison of its own with the module on ``args``."""
    operator = recognise(module, args)
    assert isinstance(operator, DynamicOperator), operator
    assert_equal(CanonicalLayer(operator)(*args), module(*args))
    return operator


def assert_equal(found, expected, tolerance=1e-12):
    assert found.shape == expected.shape
    spread = expected.max() - expected.min()
    assert (found - expected).abs().max() <= tolerance * max(spread, 1e-3 * expected.abs().max())


def random(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
