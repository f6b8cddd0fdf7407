"""Weights as they are stored small: what rounding moves, and that what was rounded is stored exactly."""

import numpy as np
import pytest

from dcd_deploy.export.rounding import SMALLEST, encoded, is_large, largest_step, rounded, small_bytes

SHAPES = ((64, 32), (16, 8, 3, 3), (192, 1, 3, 3), (1, 3, 3, 192), (1, 1, 33, 17), (512, 9), (8, 4, 5, 4))
SMALL = ("int8", "float16")


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    """Return weights whose output channels, the longest axis, differ in size by four orders of magnitude."""
    generator = np.random.default_rng(seed)
    axis = int(np.argmax(shape))
    sizes = 10.0 ** generator.uniform(-3, 1, [side if i == axis else 1 for i, side in enumerate(shape)])
    return (generator.standard_normal(shape) * sizes).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", SMALL)
def test_a_weight_moves_by_half_a_step_at_most(shape, kind):
    values = weights(*shape)
    found = rounded(values, kind)
    assert 0 < np.abs(found - values).max() <= largest_step(kind) * np.abs(values).max()
    axis = int(np.argmax(shape))  # small channels keep their digits, too
    others = tuple(i for i in range(len(shape)) if i != axis)
    assert (np.abs(found - values).max(axis=others) <= largest_step(kind) * np.abs(values).max(axis=others)).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", SMALL)
def test_what_was_rounded_is_stored_to_the_last_bit(shape, kind):
    values = rounded(weights(*shape), kind)
    assert np.array_equal(rounded(values, kind), values)
    stored = encoded(values, kind)
    assert stored is not None
    assert np.array_equal(stored.decoded(), values)
    assert stored.numbers.nbytes * (2 if kind == "float16" else 4) == values.nbytes
    if stored.scale is not None:  # no runtime rounds the product of number and scale, in whatever precision
        exact = stored.numbers.astype(np.float64) * np.moveaxis(
            stored.scale.astype(np.float64).reshape(-1, *[1] * (values.ndim - 1)), 0, stored.axis
        )
        assert np.array_equal(exact, values)


@pytest.mark.parametrize("kind", SMALL)
def test_it_is_found_again_where_an_exporter_moved_it(kind):
    values = rounded(weights(96, 24), kind)
    moved = (values.T, values.reshape(96, 24, 1, 1), np.pad(values, ((0, 16), (0, 8))), values[::-1], values[5:70])
    for each in moved:
        again = encoded(np.ascontiguousarray(each), kind)
        assert again is not None
        assert np.array_equal(again.decoded(), each)


@pytest.mark.parametrize("kind", SMALL)
def test_it_is_found_where_a_slope_was_folded_in(kind):
    values = (rounded(weights(96, 24), kind) * np.float64(1 / 6)).astype(np.float32)
    again = encoded(values, kind)
    assert again is not None
    assert np.allclose(again.decoded(), values, rtol=2.0**-22, atol=0)


@pytest.mark.parametrize("kind", SMALL)
def test_what_was_not_rounded_is_not_stored_small(kind):
    assert encoded(weights(64, 32), kind) is None


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize(
    "values",
    [
        weights(16, SMALLEST // 16 - 1),
        weights(4096, 1)[:, 0],
        weights(1, 4096),
        weights(64, 32).astype(np.float64),
        np.full((64, 32), np.nan, np.float32),
        np.full((64, 32), 3e38, np.float32),
    ],
    ids=["small", "vector", "row", "float64", "nan", "huge"],
)
def test_others_stay_as_they_are(values, kind):
    assert not is_large(values)
    assert rounded(values, kind) is values
    assert encoded(values, kind) is None
    assert small_bytes(values, kind, 4) == values.nbytes


def test_half_precision_has_a_range():
    for factor in (1e6, 1e-9):
        values = weights(64, 32) * np.float32(factor)
        assert rounded(values, "float16") is values
        assert np.abs(rounded(values, "int8") - values).max() > 0


@pytest.mark.parametrize("kind", SMALL)
def test_zeros_and_the_smallest_numbers_stay_as_they_are(kind):
    for values in (np.zeros((64, 32), np.float32), weights(64, 32) * np.float32(1e-42)):
        assert rounded(values, kind) is values
        assert encoded(values, kind) is None


@pytest.mark.parametrize("factor", [0, 1e-40])
def test_channels_of_nothing_become_zeros(factor):
    values = weights(64, 32)
    values[7] *= np.float32(factor)
    found = rounded(values, "int8")
    assert not found[7].any()
    stored = encoded(found, "int8")
    assert (stored.scale > 0).all()
    assert np.array_equal(stored.decoded(), found)


@pytest.mark.parametrize("factor", [1, 2.0**-90, 2.0**110])
def test_each_slice_has_the_steps_that_round_it_best(factor):
    values = weights(64, 48) * np.float32(factor)
    largest = np.abs(values).max(axis=1, keepdims=True).astype(np.float64)
    scales = [largest / steps for steps in range(112, 128)]
    errors = [np.square((np.rint(values / scale) * scale - values) / largest).sum(axis=1) for scale in scales]
    found = np.square((rounded(values, "int8") - values) / largest).sum(axis=1)
    assert np.allclose(found, np.min(errors, axis=0), rtol=1e-2)
    assert found.sum() < 0.9 * errors[-1].sum()


def test_sizes_are_bounds():
    for shape in SHAPES:
        stored = encoded(rounded(weights(*shape), "int8"), "int8")
        assert stored.size_bytes <= small_bytes(weights(*shape), "int8", 4)
