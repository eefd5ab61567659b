"""The compiled loops of what residuals say, against plain linear algebra."""

from __future__ import annotations

import numpy as np
import pytest

from multipose.synthetic import sample_rig
from multipose.triangulate import uncertainty_kernels as kernels
from multipose.triangulate.points import triangulate
from multipose.triangulate.tails import Tails, fit_scale, weights


def points(n, seed=0):
    rng = np.random.default_rng(seed)
    rig = sample_rig(4)
    xyz = rng.normal(0, 20, (n, 3))
    half = rng.uniform(0.3, 0.9, (4, n, 1, 1)) * (np.eye(2) + rng.uniform(-0.3, 0.3, (4, n, 2, 2)))
    used = rng.random((4, n)) < 0.8
    used[:2] = True
    return rig, xyz, rig.project(xyz) + rng.normal(0, 1, (4, n, 2)), half @ np.swapaxes(half, -1, -2), used


def whitened(rig, xyz, px, covariance, used, least=1e-8):
    derivatives, residuals = np.empty((*used.shape, 2, 3)), np.empty((*used.shape, 2))
    cameras = np.array(rig.packed())
    kernels.whiten(px, used, covariance, 0.25, least, xyz, cameras, derivatives, residuals)
    return derivatives, residuals


def test_whitening_is_that_of_the_inverse_cholesky_factor():
    rig, xyz, px, covariance, used = points(50)
    covariance[1, :10] = np.nan
    derivatives, residuals = whitened(rig, xyz, px, covariance, used)
    covariance[1, :10] = 0.25 * np.eye(2)
    for v, camera in enumerate(rig):
        by_point = camera.lens.jacobian(xyz @ camera.rotation.T + camera.translation)[1] @ camera.rotation
        white = np.linalg.inv(np.linalg.cholesky(covariance[v])) * used[v, :, None, None]
        np.testing.assert_allclose(derivatives[v], white @ by_point, atol=1e-9)
        off = px[v] - camera.project(xyz)
        np.testing.assert_allclose(residuals[v], (white @ off[..., None])[..., 0], atol=1e-9)
    projected = np.empty_like(px)
    kernels.project_points(xyz, np.array(rig.packed()), projected)
    np.testing.assert_allclose(projected, rig.project(xyz), atol=1e-9)


@pytest.mark.parametrize("n_views", [2, 4])
def test_what_a_fit_leaves_over_is_that_of_the_projection(n_views):
    rig, xyz, px, covariance, used = points(60, seed=1)
    used[n_views:] = False
    derivatives, residuals = whitened(rig, xyz, px, covariance, used)
    factors = np.random.default_rng(2).uniform(0.5, 2, used.shape)
    squares, shares = np.empty(used.shape), np.empty(used.shape)
    kernels.left_over(derivatives, residuals, used, factors, 1e-9, squares, shares)
    for i in range(60):
        scale = 1 / np.sqrt(factors[:, i])
        rows = (derivatives[:, i] * scale[:, None, None]).reshape(-1, 3)
        left = np.eye(len(rows)) - rows @ np.linalg.pinv(rows)
        rest = (left @ (residuals[:, i] * scale[:, None]).ravel()).reshape(-1, 2)
        for v in range(4):
            share, axes = np.linalg.eigh(left[2 * v : 2 * v + 2, 2 * v : 2 * v + 2])
            counts = (share > 1e-9) & used[v, i]
            assert shares[v, i] == pytest.approx(share[counts].sum(), abs=1e-7)
            assert squares[v, i] == pytest.approx(((axes.T @ rest[v])[counts] ** 2).sum(), abs=1e-6, rel=1e-6)
    # over all views as many numbers are left as the points do not take up: 3
    np.testing.assert_allclose(shares.sum(0), 2 * used.sum(0) - 3, atol=1e-6)


def test_the_scale_is_the_fixed_point_of_its_weights():
    rng = np.random.default_rng(3)
    squares, numbers = 3.0 * rng.chisquare(5, 500), np.full(500, 5.0)
    scale = fit_scale(squares, numbers, 8.0)
    counted = weights(squares, numbers, Tails(scale, 8.0))
    assert (counted * squares).sum() / numbers.sum() == pytest.approx(scale, rel=1e-4)
    assert np.isnan(fit_scale(np.empty(0), np.empty(0), 8.0))


def test_confidences_become_weights():
    nan = np.nan
    px = np.array([[1.0, 2.0], [1.0, nan], [3.0, 4.0], [5.0, 6.0], [nan, nan]])
    weight = np.empty(5)
    assert kernels.weigh(px, np.array([0.9, 0.9, nan, 0.2, nan]), 0.3, weight) == (3, 1)
    np.testing.assert_array_equal(weight, [0.9, 0.0, 1.0, 0.0, 0.0])


def test_factors_of_variances_are_those_of_covariances():
    """Whatever chunks points are solved in: 5000 are more than one."""
    rig, _, px, covariance, _ = points(5000, seed=4)
    factor = np.random.default_rng(5).uniform(0.5, 2, (4, 3))
    columns = factor[:, np.arange(5000) % 3][..., None, None]
    for stated, noise in ((covariance, 1.0), (None, 0.7)):
        own = 0.49 * np.eye(2) if stated is None else stated
        given = triangulate(px, rig, covariance=stated, noise_px=noise, variance_factor=factor, max_error_sd=6.0)
        wanted = triangulate(px, rig, covariance=own * columns, max_error_sd=6.0)
        np.testing.assert_allclose(given.position, wanted.position, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(given.covariance, wanted.covariance, rtol=1e-9)
        np.testing.assert_array_equal(given.inlier, wanted.inlier)
    assert np.isfinite(given.position).all()
