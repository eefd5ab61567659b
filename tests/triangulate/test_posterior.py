"""The sums of smoothing against dense matrices and finite differences."""

from __future__ import annotations

import numpy as np
import pytest

from multipose.errors import DataError
from multipose.synthetic import sample_rig
from multipose.triangulate.motion import autocorrelations, fit_memory, implausible, learn_spread
from multipose.triangulate.posterior import (
    Joints,
    Limbs,
    Linear,
    MotionModel,
    Posterior,
    Scene,
    covariances,
    empty_band,
    factorise,
    find,
    solve,
)


def small(order=2, n_frames=7, decay=0.7, seed=0, lasting=0.8):
    """A scene of three key points, a model with limbs and a joint beyond its limit, positions and weights."""
    rig = sample_rig(3)
    rng = np.random.default_rng(seed)
    position = np.array([[-20.0, 0, 5], [0, 8, 0], [22, 0, 9]]) + rng.normal(0, 1.0, (n_frames, 3, 3))
    px = rig.project(position) + rng.normal(0, 1.5, (3, n_frames, 3, 2))
    root = rng.normal(0, 0.3, (3, n_frames, 3, 2, 2)) + np.eye(2)
    covariance = root @ np.swapaxes(root, -1, -2)
    usable = rng.random((3, n_frames, 3)) < 0.85
    limbs = Limbs(np.array([[0, 1], [2, 1]]), np.array([20.0, 25.0]), np.array([0.5, 1.0]))
    joints = Joints(np.array([[0, 1, 2]]), np.array([0.2]), np.array([1.5]), np.array([0.3]))
    model = MotionModel(lasting, decay, order, np.array([0.3, 0.5, 1.0]), limbs, joints)
    scene = Scene.build(px, covariance, usable, np.zeros_like(usable), rig)
    return rig, scene, model, position, covariance


def dense(band):
    """The symmetric matrix of a band."""
    n, width = band.shape
    full = np.zeros((n, n))
    for column in range(n):
        below = min(width, n - column)
        full[column : column + below, column] = full[column, column : column + below] = band[column, :below]
    return full


def half_cost(rig, scene, model, position, covariance, strength):
    """Half the sum of squares that smoothing minimises, by its definition: errors given earlier ones, ..."""

    def correlate(apart):
        return np.where(apart == 0, 1.0, model.lasting * model.decay ** np.abs(apart))

    total = 0.0
    residual = scene.px - rig.project(position)
    for c in range(len(rig)):
        for k in range(position.shape[1]):
            standard = {
                t: np.linalg.cholesky(np.linalg.inv(covariance[c, t, k])).T @ residual[c, t, k]
                for t in range(len(position))
                if scene.known[c, t, k]
            }
            for t, error in standard.items():
                before = np.array([b for b in model.back if t - b in standard], int)
                among, across = correlate(np.subtract.outer(before, before)), correlate(before)
                share = np.linalg.solve(among, across) if len(before) else np.empty(0)
                rest = 1.0 - share @ across
                error = error - sum((s * standard[t - b] for s, b in zip(share, before, strict=True)), np.zeros(2))
                total += 0.5 * error @ error / rest
    difference = np.diff(position, model.order, axis=0)
    total += 0.5 * (strength[model.order :, :, None] * difference**2).sum()
    for (a, b), length, sd in zip(model.limbs.pairs, model.limbs.length, model.limbs.sd, strict=True):
        total += 0.5 * (((np.linalg.norm(position[:, a] - position[:, b], axis=-1) - length) / sd) ** 2).sum()
    for (a, b, c), low, high, sd in zip(
        model.joints.triples, model.joints.lowest, model.joints.highest, model.joints.sd, strict=True
    ):
        u, v = position[:, a] - position[:, b], position[:, c] - position[:, b]
        angle = np.arccos((u * v).sum(-1) / np.linalg.norm(u, axis=-1) / np.linalg.norm(v, axis=-1))
        total += 0.5 * ((np.maximum(angle - high, 0) + np.maximum(low - angle, 0)) ** 2).sum() / sd**2
    return total


@pytest.mark.parametrize(("order", "decay", "n_frames"), [(2, 0.7, 7), (3, 0.7, 7), (2, 0.95, 14)])
def test_the_gradient_is_that_of_the_cost_and_its_zero_the_best(order, decay, n_frames):
    rig, scene, model, position, covariance = small(order, n_frames, decay)
    assert model.back[-1] == (10 if decay > 0.9 else 2)
    calm = np.random.default_rng(1).uniform(0.3, 3, position.shape[:2])
    strength = calm / model.spread**2
    linear = Linear.at(scene, model, position, scene.known.astype(float))
    band = empty_band(position, model)
    gradient = linear.fill(band, position, strength, order, model)
    step = 1e-5
    numeric = np.empty(position.size)
    for i in range(position.size):
        moved = np.zeros(position.size)
        moved[i] = step
        ahead, back = (
            half_cost(rig, scene, model, position + sign * moved.reshape(position.shape), covariance, strength)
            for sign in (1, -1)
        )
        numeric[i] = (ahead - back) / (2 * step)
    np.testing.assert_allclose(gradient, -numeric, rtol=1e-4, atol=1e-4 * np.abs(numeric).max())
    matrix = dense(band)
    assert np.linalg.eigvalsh(matrix).min() > 0
    found = find(scene, model, Posterior.guess(position, scene.known.astype(float), order), reweigh=False)
    best = half_cost(rig, scene, model, found.position, covariance, 1 / model.spread**2 * np.ones_like(strength))
    for seed in range(5):  # no neighbour is better
        other = found.position + np.random.default_rng(seed).normal(0, 1e-3, position.shape)
        assert half_cost(rig, scene, model, other, covariance, 1 / model.spread**2 * np.ones_like(strength)) > best


@pytest.mark.parametrize(("order", "n_frames"), [(2, 7), (2, 40), (3, 40), (2, 3)])
def test_the_covariances_are_blocks_of_the_inverse(order, n_frames):
    _, scene, model, position, _ = small(order, n_frames, seed=2)
    linear = Linear.at(scene, model, position, scene.known.astype(float))
    band = empty_band(position, model)
    gradient = linear.fill(band, position, np.ones((n_frames, 3)), order, model)
    matrix = dense(band)
    inverse = np.linalg.inv(matrix).reshape(n_frames, 3, 3, n_frames, 3, 3)
    factor = factorise(band)
    np.testing.assert_allclose(solve(factor, gradient), np.linalg.solve(matrix, gradient), rtol=1e-8, atol=1e-10)
    square, lags = covariances(factor, 3, order)
    # a solution by either way is off by rounding times the condition number
    rounding = 10 * np.finfo(float).eps * np.linalg.cond(matrix) * np.abs(inverse).max()
    for t in range(n_frames):
        for k in range(3):
            own = inverse[t, k, :, t, k, :]
            np.testing.assert_allclose(square[t, k], own[np.triu_indices(3)], rtol=0, atol=rounding)
            for lag in range(1, min(order, t) + 1):
                np.testing.assert_allclose(lags[t, k, lag - 1], inverse[t, k, :, t - lag, k, :], rtol=0, atol=rounding)


def test_what_nothing_determines_stays_and_is_uncertain():
    _, scene, model, position, _ = small()
    start = Posterior.guess(position, np.zeros_like(scene.known, float), 2)
    loose = MotionModel(0.0, 0.0, 2, model.spread)
    found = find(scene, loose, start, reweigh=False)
    assert np.isfinite(found.position).all()
    assert np.sqrt(found.covariance[..., 0]).min() > 1e3
    band = np.full((9, 9), -1.0)
    with pytest.raises(DataError, match="do not determine"):
        factorise(band)


def test_the_learned_spread_is_that_of_the_motion():
    rig = sample_rig(4)
    rng = np.random.default_rng(3)
    spread = np.array([0.01, 0.03, 0.1])
    path = np.cumsum(np.cumsum(rng.normal(0, 1, (800, 3, 3)) * spread[:, None], axis=0), axis=0)
    path -= np.linspace(0, 1, 800)[:, None, None] * path[-1]
    assert np.isfinite(rig.project(path)).all()
    px = rig.project(path) + rng.normal(0, 0.5, (4, 800, 3, 2))
    known = np.ones((4, 800, 3), bool)
    scene = Scene.build(px, np.broadcast_to(np.eye(2) * 0.25, (4, 800, 3, 2, 2)), known, known, rig)
    model = MotionModel(0.0, 0.0, 2, np.ones(3))
    start = Posterior.guess(path + rng.normal(0, 0.3, path.shape), known.astype(float), 2)
    found, _ = learn_spread([scene], [start], model, np.full(3, 0.3))
    np.testing.assert_allclose(found, spread, rtol=0.15)


def test_autocorrelations_are_measured_without_constant_offsets_and_outliers():
    rng = np.random.default_rng(4)
    error = np.empty((3, 2000, 4, 2))
    error[:, 0] = rng.normal(0, 1, (3, 4, 2))
    for t in range(1, 2000):
        error[:, t] = 0.8 * error[:, t - 1] + 0.6 * rng.normal(0, 1, (3, 4, 2))
    error += rng.normal(0, 0.5, (3, 1, 4, 2))
    used = rng.random(error.shape[:3]) < 0.9
    error[~used] = np.nan
    slope = rng.normal(0, 1, (3, 1, 4, 2, 3)) * rng.uniform(0.3, 2, (3, 2000, 4, 1, 1))  # views of changing weight
    slope[~used] = 0.0
    known = np.where(used[..., None], np.nan_to_num(error), 0.0)
    rows, flat = (
        slope.transpose(1, 2, 0, 3, 4).reshape(2000, 4, 6, 3),
        known.transpose(1, 2, 0, 3).reshape(2000, 4, 6, 1),
    )
    moved = rows @ (np.linalg.pinv(rows) @ flat)
    error = error - moved.reshape(2000, 4, 3, 2).transpose(2, 0, 1, 3)
    found = autocorrelations(error, slope, used)
    # Weights that change mix other errors in: 4 % are lost. By other seeds the first scatters by 0.015, `lasting` by
    # 0.02, `decay` by 0.007; four times that more.
    assert found[1] == pytest.approx(0.8, abs=0.1)
    assert found[5] == pytest.approx(0.8**5, abs=0.07)
    lasting, decay = fit_memory(found)
    assert lasting == pytest.approx(1.0, abs=0.13)
    assert decay == pytest.approx(0.8, abs=0.04)
    assert fit_memory({lag: 0.7 * 0.95**lag for lag in (1, 2, 5, 10)}) == pytest.approx((0.7, 0.95), abs=0.01)
    white = autocorrelations(rng.normal(0, 1, error.shape), 0 * slope, used)
    assert fit_memory(white) == (0.0, 0.0)
    assert autocorrelations(error[:, :20], slope[:, :20], used[:, :20] & False)[1] == 0.0


def wrong_places(path, sd):
    """(n,) which of the places (n, 3) of a path are implausible; none where it is NaN."""
    there = np.flatnonzero(np.isfinite(path).all(-1))
    wrong = np.zeros(len(path), bool)
    wrong[there[implausible(there, path[there], np.full(len(there), sd))]] = True
    return wrong


def test_a_wrong_place_is_told_from_a_fast_movement():
    rng = np.random.default_rng(5)
    t = np.arange(200)
    path = np.stack([0.3 * t, 5 * np.sin(t / 20), 0 * t], axis=-1) + rng.normal(0, 0.1, (200, 3))
    jumped = path.copy()
    jumped[80:95] += [30, 0, 0]
    np.testing.assert_array_equal(np.flatnonzero(wrong_places(jumped, 0.1)), np.arange(80, 95))
    dashed = path.copy()
    dashed[80:95, 0] += 30 * np.sin(np.pi * (np.arange(15) + 0.5) / 15)
    assert not wrong_places(dashed, 0.1).any()
    jumped[100:130] = np.nan
    np.testing.assert_array_equal(np.flatnonzero(wrong_places(jumped, 0.1)), np.arange(80, 95))


def test_wrong_stretches_of_a_long_recording_are_those_of_its_parts() -> None:
    """Each is decided by what is near it, so that a recording can be searched everywhere at once."""
    rng = np.random.default_rng(11)
    parts, found = [], []
    for _ in range(20):
        path = np.cumsum(rng.normal(0, 0.2, (400, 3)), axis=0)
        for start in rng.integers(150, 250, 3):  # some touch or lie within each other
            path[start : start + rng.integers(1, 40)] += rng.uniform(20, 60, 3)
        path[rng.random(400) < 0.05] = np.nan
        parts.append(path)
        found.append(wrong_places(path, 0.5))
    assert sum(part.any() for part in found) > 15
    away = np.nan_to_num([part[np.flatnonzero(np.isfinite(part[:, 0]))[0]] for part in parts])
    bridges = [path - start for path, start in zip(parts, away, strict=True)]
    last = np.zeros(3)
    joined = []
    for path in bridges:  # one goes on where the other ended
        joined.append(path + last)
        last = joined[-1][np.isfinite(joined[-1][:, 0])][-1]
    whole = wrong_places(np.concatenate(joined), 0.5)
    np.testing.assert_array_equal(whole, np.concatenate(found))
