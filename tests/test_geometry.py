"""Rotations, poses, fits, mirrors and homographies: laws, other libraries' answers, and refused input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from multipose.errors import DataError
from multipose.geometry import (
    average_rotations,
    homography,
    invert_pose,
    look_at,
    map_plane,
    mirror_pose,
    pose,
    rigid_fit,
    rotation_from_vector,
    similarity_fit,
    skew,
    transform,
    vector_from_rotation,
)

vectors = arrays(np.float64, 3, elements=st.floats(-3, 3))
seeds = st.integers(0, 2**32 - 1)


@st.composite
def rotation_vectors(draw: st.DrawFn) -> np.ndarray:
    """Vectors of every length from 0 to pi, both ends more often than they would come."""
    axis = draw(vectors.filter(lambda v: np.linalg.norm(v) > 0.1))
    angle = draw(st.one_of(st.floats(0, np.pi), st.floats(0, 1e-6), st.floats(np.pi - 1e-6, np.pi)))
    return angle * axis / np.linalg.norm(axis)


@given(rotation_vectors())
def test_rotation_vector_round_trip(vector: np.ndarray) -> None:
    rotation = rotation_from_vector(vector)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-14)
    assert np.linalg.det(rotation) == pytest.approx(1)
    back = vector_from_rotation(rotation)
    assert np.linalg.norm(back) <= np.pi + 1e-12
    np.testing.assert_allclose(rotation_from_vector(back), rotation, atol=1e-14)
    if np.linalg.norm(vector) < np.pi - 1e-7:
        np.testing.assert_allclose(back, vector, atol=1e-14 / max(1e-2, np.pi - np.linalg.norm(vector)))


def test_rotations_agree_with_scipy() -> None:
    v = np.random.default_rng(0).normal(size=(4, 50, 3))
    rotation = rotation_from_vector(v)
    np.testing.assert_allclose(
        rotation.reshape(-1, 3, 3), Rotation.from_rotvec(v.reshape(-1, 3)).as_matrix(), atol=1e-14
    )
    expected = Rotation.from_matrix(rotation.reshape(-1, 3, 3)).as_rotvec()
    np.testing.assert_allclose(vector_from_rotation(rotation).reshape(-1, 3), expected, atol=1e-13)


@pytest.mark.opencv
def test_rotations_agree_with_opencv() -> None:
    from multipose.opencv import cv2

    for v in np.random.default_rng(1).normal(size=(20, 3)):
        np.testing.assert_allclose(rotation_from_vector(v), cv2.Rodrigues(v)[0], atol=1e-13)


@given(vectors, vectors)
def test_skew_is_the_cross_product(v: np.ndarray, w: np.ndarray) -> None:
    np.testing.assert_allclose(skew(v) @ w, np.cross(v, w), atol=1e-13)


@given(rotation_vectors(), vectors, vectors)
def test_inverse_takes_points_back(vector: np.ndarray, translation: np.ndarray, point: np.ndarray) -> None:
    a_from_b = pose(rotation_from_vector(vector), translation)
    np.testing.assert_allclose(transform(invert_pose(a_from_b), transform(a_from_b, point)), point, atol=1e-13)
    np.testing.assert_allclose(invert_pose(a_from_b) @ a_from_b, np.eye(4), atol=1e-13)


def test_poses_broadcast_against_points() -> None:
    rng = np.random.default_rng(2)
    poses = pose(rotation_from_vector(rng.normal(size=(5, 1, 3))), rng.normal(size=(5, 1, 3)))
    points = rng.normal(size=(7, 3))
    result = transform(poses, points)
    assert result.shape == (5, 7, 3)
    np.testing.assert_allclose(result[3, 2], transform(poses[3, 0], points[2]))
    np.testing.assert_allclose(invert_pose(poses)[4, 0], np.linalg.inv(poses[4, 0]), atol=1e-13)


def test_nan_in_nan_out() -> None:
    xyz = np.array([[1.0, 2.0, 3.0], [np.nan, 0.0, 0.0]])
    moved = transform(pose(np.eye(3), [1, 1, 1]), xyz)
    np.testing.assert_array_equal(moved[0], [2, 3, 4])
    assert np.isnan(moved[1, 0])
    assert np.isnan(rotation_from_vector([np.nan, 0, 0])).any()
    assert np.isnan(vector_from_rotation(np.full((3, 3), np.nan))).all()


@given(seeds, st.booleans())
def test_fit_recovers_the_motion(seed: int, flat: bool) -> None:
    rng = np.random.default_rng(seed)
    source = rng.normal(size=(8, 3))
    if flat:
        source[:, 2] = 0
    target_from_source = pose(rotation_from_vector(rng.normal(size=3)), rng.normal(size=3))
    np.testing.assert_allclose(rigid_fit(source, transform(target_from_source, source)), target_from_source, atol=1e-12)
    scale, found = similarity_fit(source, transform(target_from_source, 0.3 * source))
    assert scale == pytest.approx(0.3, rel=1e-12)
    np.testing.assert_allclose(found, target_from_source, atol=1e-12)


@given(seeds)
def test_fit_is_the_least_squares_optimum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    source, target, weights = rng.normal(size=(6, 3)), rng.normal(size=(6, 3)), rng.uniform(0.1, 2, 6)

    def cost(fit: np.ndarray) -> float:
        return float(weights @ ((transform(fit, source) - target) ** 2).sum(-1))

    best = rigid_fit(source, target, weights)
    assert np.linalg.det(best[:3, :3]) == pytest.approx(1)
    for _ in range(10):
        nudge = pose(rotation_from_vector(rng.normal(scale=0.01, size=3)), rng.normal(scale=0.01, size=3))
        assert cost(nudge @ best) >= cost(best) - 1e-12


def test_fit_of_a_mirror_image_stays_a_rotation() -> None:
    source = np.random.default_rng(3).normal(size=(10, 3))
    fit = rigid_fit(source, source * [-1, 1, 1])
    assert np.linalg.det(fit[:3, :3]) == pytest.approx(1)


def test_fit_leaves_out_unknown_and_weightless_points() -> None:
    rng = np.random.default_rng(4)
    source = rng.normal(size=(6, 3))
    target = source + np.array([1, 2, 3])
    target[0], source[1, 2], target[2] = np.nan, np.nan, 100
    fit = rigid_fit(source, target, [1, 1, 0, 1, 1, 1])
    np.testing.assert_allclose(fit, pose(np.eye(3), [1, 2, 3]), atol=1e-12)


def test_fit_refuses_what_does_not_determine_it() -> None:
    line = np.arange(12.0).reshape(4, 3)
    with pytest.raises(DataError, match="line"):
        rigid_fit(line, line)
    with pytest.raises(DataError, match="at least 3 points.*2 of 4"):
        rigid_fit(np.where(np.arange(4)[:, None] < 2, np.nan, line), line)
    with pytest.raises(DataError, match=r"\(4, 3\) and \(3, 3\)"):
        rigid_fit(line, line[:3])
    with pytest.raises(DataError, match="Weights"):
        rigid_fit(line, line, [1, 1, -1, 1])
    with pytest.raises(DataError, match=r"shape \(\.\.\., n, 3\)"):
        rigid_fit([1, 2], line)
    with pytest.raises(DataError, match="numbers"):
        rigid_fit([["a", "b", "c"]], line)


@given(seeds, rotation_vectors())
def test_average_of_symmetric_rotations_is_their_middle(seed: int, vector: np.ndarray) -> None:
    middle = rotation_from_vector(vector)
    nudges = np.random.default_rng(seed).normal(scale=0.2, size=(5, 3))
    around = middle @ rotation_from_vector(np.concatenate([nudges, -nudges]))
    np.testing.assert_allclose(average_rotations(around), middle, atol=1e-12)
    np.testing.assert_allclose(average_rotations(around[::-1]), middle, atol=1e-12)


def test_average_obeys_weights_and_refuses_opposites() -> None:
    one, other = np.eye(3), rotation_from_vector([0, 0, 1.0])
    np.testing.assert_allclose(average_rotations([one, other], [0, 2]), other, atol=1e-14)
    np.testing.assert_allclose(average_rotations([one, other]), rotation_from_vector([0, 0, 0.5]), atol=1e-14)
    halves = rotation_from_vector(np.pi * np.eye(3))
    with pytest.raises(DataError, match="no average"):
        average_rotations([one, *halves])
    with pytest.raises(DataError, match="n of at least 1"):
        average_rotations(np.empty((0, 3, 3)))


def test_look_at_puts_the_target_ahead_and_up_up() -> None:
    camera_from_world = look_at([0, -5, 1], [0, 0, 1], [0, 0, 1])
    np.testing.assert_allclose(transform(camera_from_world, [0, 0, 1]), [0, 0, 5], atol=1e-14)
    np.testing.assert_allclose(transform(camera_from_world, [0, 0, 2]), [0, -1, 5], atol=1e-14)  # up is -y
    np.testing.assert_allclose(transform(camera_from_world, [1, 0, 1]), [1, 0, 5], atol=1e-14)  # right is +x
    assert np.linalg.det(camera_from_world[:3, :3]) == pytest.approx(1)


@pytest.mark.parametrize(("target", "up"), [([0, 0, 0], [0, 0, 1]), ([0, 0, 4], [0, 0, 1]), ([1, 0, 0], [0, 0, 0])])
def test_look_at_refuses_what_has_no_orientation(target: list[float], up: list[float]) -> None:
    with pytest.raises(DataError, match="orientation"):
        look_at([0, 0, 0], target, up)


@given(vectors, vectors.filter(lambda v: np.linalg.norm(v) > 0.1), vectors)
def test_mirror_laws(point: np.ndarray, normal: np.ndarray, xyz: np.ndarray) -> None:
    mirror = mirror_pose(point, normal)
    image = transform(mirror, xyz)
    np.testing.assert_allclose(transform(mirror, image), xyz, atol=1e-12)
    np.testing.assert_allclose(transform(mirror, point), point, atol=1e-12)
    assert np.linalg.det(mirror[:3, :3]) == pytest.approx(-1)
    assert abs((xyz - point) @ normal + (image - point) @ normal) < 1e-11  # as far behind the mirror as before it
    np.testing.assert_allclose(invert_pose(mirror), mirror, atol=1e-12)


def test_mirror_needs_a_normal() -> None:
    with pytest.raises(DataError, match="normal"):
        mirror_pose([0, 0, 0], [0, 0, 0])


@given(seeds)
def test_homography_is_recovered(seed: int) -> None:
    rng = np.random.default_rng(seed)
    true = np.eye(3) + rng.normal(scale=0.05, size=(3, 3))
    true[:2, 2] *= 100
    source = rng.uniform(0, 10, size=(9, 2))
    found = homography(source, map_plane(true, source))
    np.testing.assert_allclose(np.linalg.norm(found), 1)
    grid = rng.uniform(0, 10, size=(20, 2))
    np.testing.assert_allclose(map_plane(found, grid), map_plane(true, grid), rtol=1e-6, atol=1e-6)


def test_homography_of_four_corners_keeps_the_sign_of_depth() -> None:
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    h = homography(square, [[10, 10], [30, 12], [28, 33], [9, 31]])
    np.testing.assert_allclose(map_plane(h, square), [[10, 10], [30, 12], [28, 33], [9, 31]], atol=1e-10)
    assert (np.column_stack([square, np.ones(4)]) @ h[2] > 0).all()


@pytest.mark.opencv
def test_homography_agrees_with_opencv() -> None:
    from multipose.opencv import cv2

    rng = np.random.default_rng(5)
    source = rng.uniform(0, 200, size=(30, 2))
    true = np.array([[1.2, 0.1, 30], [-0.2, 0.9, 10], [1e-4, -2e-4, 1]])
    target = map_plane(true, source) + rng.normal(scale=0.1, size=(30, 2))
    ours, theirs = homography(source, target), cv2.findHomography(source, target)[0]
    difference = np.linalg.norm(map_plane(ours, source) - map_plane(theirs, source), axis=-1)
    assert difference.max() < 0.05  # theirs is refined further; both lie well within the noise


def test_homography_refuses_what_does_not_determine_it() -> None:
    line = np.column_stack([np.arange(6.0), np.arange(6.0)])
    plane = np.random.default_rng(6).normal(size=(6, 2))
    with pytest.raises(DataError, match="one line"):
        homography(line, plane)
    with pytest.raises(DataError, match="coincide"):
        homography(np.ones((6, 2)), plane)
    with pytest.raises(DataError, match="at least 4"):
        homography(plane[:3], plane[:3])
    with pytest.raises(DataError, match="finite"):
        homography(np.full((6, 2), np.nan), plane)
