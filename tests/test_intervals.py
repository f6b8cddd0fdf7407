"""The intervals of accuracies are those of the literature."""

import pytest

from dcd_deploy.evaluation.intervals import Proportion, paired_difference


def test_wilsons_interval_is_the_published_one():
    """81 of 263, of Newcombe's "Two-sided confidence intervals for the single proportion" (1998), table I."""
    found = Proportion.of(81, 263)
    assert (found.low, found.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert Proportion.of(0, 20).low == 0.0
    assert Proportion.of(20, 20).high == 1.0
    assert Proportion.of(0, 20).high == pytest.approx(1 - Proportion.of(20, 20).low)


def test_the_paired_interval_is_the_published_one():
    """36, 12, 2 and 0 pairs, of Newcombe's paper on paired data (1998), method 10."""
    found = paired_difference(36, 2, 12, 0)
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0569, 0.3404), abs=5e-5)
    other = paired_difference(36, 12, 2, 0)
    assert (other.low, other.high) == pytest.approx((-found.high, -found.low))
