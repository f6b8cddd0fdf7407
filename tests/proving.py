"""Assert that a module is recognised: the tests of all families share it."""

import torch

from dcd_deploy.dynamic.canonical import CanonicalLayer
from dcd_deploy.dynamic.operator import DynamicOperator
from dcd_deploy.dynamic.recognise import recognise


def proved(module, *args):
    """Return the operator of the module, compared once more: on ``args``, and on inputs that no proof has seen."""
    operator = recognise(module, args)
    assert isinstance(operator, DynamicOperator), operator
    layer = CanonicalLayer(operator)
    assert_equal(layer(*args), module(*args))
    for seed, scale in enumerate((0.02, 4.0, 150.0)):
        others = [scale * (random(*arg.shape, seed=seed) + seed - 1) for arg in args]
        assert_equal(layer(*others), module(*others), 1e-10)
    return operator


def assert_equal(found, expected, tolerance=1e-12):
    assert found.shape == expected.shape
    spread = expected.max() - expected.min()
    assert (found - expected).abs().max() <= tolerance * max(spread, 1e-3 * expected.abs().max())


def random(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
