"""The valid field of distortions, and the inversion of curves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multipose.distortion import (
    angle_curve,
    distort_plane,
    invert_curve,
    one_to_one_radius,
    plane_derivatives,
    rising_angle,
)


def smallest_eigenvalue(c: list[float], radius: float) -> float:
    """Of the matrix of derivatives, over a circle."""
    angles = np.linspace(0, 2 * np.pi, 91)
    return float(np.linalg.eigvalsh(plane_derivatives(c, radius * np.cos(angles), radius * np.sin(angles))).min())


small = st.floats(-0.5, 0.5)
tangential = st.one_of(st.just(0.0), st.floats(-0.1, 0.1))
coefficients = st.tuples(small, small, tangential, tangential, small, small, small, small).map(list)
brown = st.tuples(small, small, tangential, tangential, small).map(lambda c: [*c, 0.0, 0.0, 0.0])


def test_known_radii() -> None:
    assert one_to_one_radius([0] * 8) == np.inf
    assert one_to_one_radius([-1 / 3, 0, 0, 0, 0, 0, 0, 0]) == pytest.approx(1)  # r - r³/3 turns at 1
    assert one_to_one_radius([0, 0, 0, 0.05, 0, 0, 0, 0]) == pytest.approx(1 / 0.3)  # 1 - 6 p r, against p
    assert one_to_one_radius([0, 0, 0, 0, 0, -0.25, 0, 0]) == pytest.approx(2)  # a pole
    assert one_to_one_radius([0, 0, 0, 0, 0, 1, 0, 0]) == pytest.approx(1)  # r / (1 + r²) turns at 1
    assert rising_angle([0, 0, 0, 0]) == pytest.approx(np.pi / 2)
    assert rising_angle([-1 / 3, 0, 0, 0]) == pytest.approx(1)


@settings(max_examples=100)
@given(st.one_of(coefficients, brown))
def test_derivatives_are_positive_definite_up_to_the_radius_and_not_beyond(c: list[float]) -> None:
    radius = one_to_one_radius(c)
    for part in (0.1, 0.5, 0.9, 0.999):
        assert smallest_eigenvalue(c, part * min(radius, 1e3)) > 0
    if radius < 1e3:
        at_edge = smallest_eigenvalue(c, radius * (1 - 1e-9)), smallest_eigenvalue(c, radius * (1 + 1e-3))
        assert min(at_edge) < 1e-3 or max(abs(e) for e in at_edge) > 1e3  # it stops to rise there, or has a pole


@settings(max_examples=100)
@given(st.one_of(coefficients, brown), st.integers(0, 2**32 - 1))
def test_no_two_points_of_the_field_coincide(c: list[float], seed: int) -> None:
    radius = min(one_to_one_radius(c), 5.0)
    rng = np.random.default_rng(seed)
    r, angle = 0.99 * radius * np.sqrt(rng.uniform(size=(2, 300))), rng.uniform(0, 2 * np.pi, size=(2, 300))
    x, y = r * np.cos(angle), r * np.sin(angle)
    xd, yd = distort_plane(c, x, y)
    rise = (xd[0] - xd[1]) * (x[0] - x[1]) + (yd[0] - yd[1]) * (y[0] - y[1])
    assert (rise > 0).all()  # the gradient of a convex function is monotone, hence one to one


@settings(max_examples=100)
@given(st.tuples(small, small, small, small).map(list), st.floats(0, 0.999))
def test_angles_are_inverted(k: list[float], part: float) -> None:
    limit = rising_angle(k)
    angle = np.array([part * limit])
    value, slope = angle_curve(k, angle)
    assert slope >= 0
    found = invert_curve(lambda t: angle_curve(k, t), value, limit)
    np.testing.assert_allclose(angle_curve(k, found)[0], value, rtol=1e-14, atol=1e-300)


def test_values_out_of_reach_have_no_inverse() -> None:
    def bounded(r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return r / (1 + r), 1 / (1 + r) ** 2

    found = invert_curve(bounded, np.array([0.0, 0.5, 0.999, 1.0, 2.0, np.nan]), np.inf)
    np.testing.assert_allclose(found[:3], [0, 1, 999], rtol=1e-12)
    assert np.isnan(found[4:]).all()
    found = invert_curve(bounded, np.array([0.5, 0.75, 0.76]), 3.0)
    np.testing.assert_allclose(found[:2], [1, 3], rtol=1e-12)
    assert np.isnan(found[2])
