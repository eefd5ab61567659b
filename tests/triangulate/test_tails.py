"""Student's t of squared errors: found again, and regions that hold what they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from multipose.triangulate.tails import Tails, fit_scale, fit_tails, region_scale, variance_ratio, weights


def squares_of(scale: float, freedom: float, numbers: int, n: int, seed: int) -> np.ndarray:
    """(n,) squares of t distributed errors of so many numbers."""
    rng = np.random.default_rng(seed)
    normal = rng.normal(size=(n, numbers))
    return scale * (normal**2).sum(1) / (rng.chisquare(freedom, n) / freedom)


@pytest.mark.parametrize(("freedom", "numbers"), [(4.0, 3), (8.0, 2), (200.0, 3)])
def test_tails_are_found_again(freedom: float, numbers: int) -> None:
    squares = squares_of(2.0, freedom, numbers, 20_000, seed=1)
    found = fit_tails(squares, np.full(len(squares), float(numbers)))
    assert found.scale == pytest.approx(2.0, rel=0.05)
    assert 0.6 * freedom <= found.freedom <= 1.7 * freedom
    assert found.variance == pytest.approx(2.0 * variance_ratio(freedom), rel=0.1)
    assert fit_scale(squares, np.full(len(squares), float(numbers)), freedom) == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("freedom", [3.0, 5.0, 200.0])
@pytest.mark.parametrize("numbers", [1, 3])
def test_regions_hold_what_they_say(freedom: float, numbers: int) -> None:
    variance = variance_ratio(freedom)
    squares = squares_of(1.0, freedom, numbers, 50_000, seed=2) / variance  # in units of the variance
    for level in (0.5, 0.95):
        reach = region_scale(freedom, level, numbers) * chi2(numbers).ppf(level)
        sd = np.sqrt(level * (1 - level) / len(squares))
        assert abs((squares <= reach).mean() - level) < 4 * sd


def test_points_far_off_count_little_and_nothing_is_no_error() -> None:
    counted = weights(np.array([0.0, 3.0, 300.0]), np.full(3, 3.0), Tails(1.0, 4.0))
    assert counted[0] > counted[1] > 10 * counted[2] > 0
    assert fit_tails(np.zeros(0), np.zeros(0)) == Tails(1.0, 200.0)
    assert np.isnan(fit_scale(np.zeros(0), np.zeros(0), 4.0))
