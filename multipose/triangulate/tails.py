"""Errors with heavier tails than a Gaussian's: Student's t, fitted to squared errors, and how far its regions reach.

A network is right most of the time and far off now and then, so that a region of 1.96 standard deviations holds fewer
than 95 % of its errors and one of 0.67 more than 50 %. Squared errors, in units of what was stated for them, then
follow the squares of a multivariate t distribution: n F(n, freedom) times a scale, for errors of n numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import gammaln

from multipose.triangulate import uncertainty_kernels as kernels

FloatArray = NDArray[np.float64]

LEVELS = (0.5, 0.95)
"""Shares of the errors for which trajectories state how far their regions reach."""

FREEDOMS = (3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 25.0, 50.0, 200.0)
"""Degrees of freedom that are tried; the last is as good as Gaussian."""
LIGHTEST_TAILS = 8.0
"""Degrees of freedom that errors of networks and people have at most: they are off for some frames now and then,
whatever the residuals of single frames look like (docs/uncertainty.md)."""
_STEPS = 200
_SETTLED = 1e-5  # relative change of a scale that ends the iteration
_SMALLEST = 1e-12


@dataclass(frozen=True)
class Tails:
    """Student's t of squared errors.

    scale: what the errors' variances are multiplied by in the middle of the distribution.
    freedom: degrees of freedom; the smaller, the heavier the tails.
    """

    scale: float
    freedom: float

    @property
    def variance(self) -> float:
        """What the errors' variances are multiplied by, tails and all."""
        return self.scale * variance_ratio(self.freedom)


Freedom = TypeVar("Freedom", float, FloatArray)


def variance_ratio(freedom: Freedom) -> Freedom:
    """Variance of a t distribution over the square of its scale; freedom above 2."""
    return freedom / (freedom - 2.0)


def weights(squares: FloatArray, numbers: FloatArray, tails: Tails) -> FloatArray:
    """(n,) by how much errors count: about 1 for ordinary ones, little for those far out.

    squares, numbers: as of `fit_tails`.
    """
    counted: FloatArray = (tails.freedom + numbers) / (tails.freedom + squares / tails.scale)
    return counted


def fit_scale(squares: FloatArray, numbers: FloatArray, freedom: float) -> float:
    """The scale under which squared errors are most probable, for known degrees of freedom (expectation maximisation).

    squares, numbers: as of `fit_tails`; NaN for none.
    """
    own = (np.ascontiguousarray(part, dtype=np.float64) for part in (squares, numbers))
    return float(kernels.find_scale(*own, float(freedom), _SMALLEST, _SETTLED, _STEPS))


def fit_tails(squares: FloatArray, numbers: FloatArray) -> Tails:
    """Scale and degrees of freedom under which squared errors are most probable; (1, Gaussian) for none.

    Args:
        squares: (n,) squared errors in units of their stated variances, added up over `numbers` independent numbers.
        numbers: (n,) of each.
    """
    if not numbers.sum() > 0:
        return Tails(1.0, FREEDOMS[-1])
    found = [Tails(fit_scale(squares, numbers, freedom), freedom) for freedom in FREEDOMS]
    return max(found, key=lambda tails: float(log_density(squares, numbers, tails).sum()))


def log_density(squares: FloatArray, numbers: FloatArray, tails: Tails) -> FloatArray:
    """(n,) log density of errors under Student's t, but for what does not depend on it.

    squares, numbers: as of `fit_tails`.
    """
    freedom, scale = tails.freedom, tails.scale
    normaliser = gammaln((freedom + numbers) / 2) - gammaln(freedom / 2) - numbers / 2 * np.log(freedom * scale)
    density: FloatArray = normaliser - (freedom + numbers) / 2 * np.log1p(squares / (scale * freedom))
    return density


@lru_cache(maxsize=256)
def region_scale(freedom: float, level: float, numbers: int = 3) -> float:
    """By what a covariance is multiplied so that its Gaussian region of this level holds this share of the errors.

    Args:
        freedom: degrees of freedom of the errors, whose covariance counts the tails.
        level: share, 0 to 1.
        numbers: that an error has: 3 of a point in space, 1 of a distance.
    """
    reach = numbers * stats.f(numbers, freedom).ppf(level) / variance_ratio(freedom)
    return float(reach / stats.chi2(numbers).ppf(level))
