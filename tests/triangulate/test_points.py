"""The kernels against a plain numpy reference, the laws they obey, and one wrong view among three."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multipose.camera import Camera, CameraRig
from multipose.errors import DataError
from multipose.geometry import look_at, pose, rotation_from_vector, transform
from multipose.lens import BrownLens, FisheyeLens, RationalLens, TelecentricLens
from multipose.triangulate.points import STATES, triangulate

LENSES = (
    BrownLens(900.0, 905.0, 320.0, 250.0, (-0.2, 0.08, 1e-3, -8e-4, 0.01)),
    RationalLens(500.0, 498.0, 310.0, 245.0, (0.3, 0.02, 5e-4, -3e-4, 0.004, 0.6, 0.07, 0.002)),
    FisheyeLens(400.0, 402.0, 330.0, 240.0, (-0.01, 0.004, -0.002, 0.0003)),
    TelecentricLens(2.5, 2.6, 315.0, 238.0, (1e-7, 0.0, 1e-7, -2e-7, 0.0)),
)


def ring(lenses, distance=400.0, seed=0):
    """Cameras on a ring around the origin, one for each lens."""
    rng = np.random.default_rng(seed)
    cameras = []
    for i, lens in enumerate(lenses):
        angle = 2 * np.pi * i / len(lenses) + 0.3
        center = distance * np.array([np.cos(angle), np.sin(angle), 0.5 + 0.1 * i])
        towards = look_at(center, rng.normal(0, 10, 3), (0.0, 0.0, 1.0))
        cameras.append(Camera(f"cam_{i}", (640, 480), lens, towards))
    return CameraRig(tuple(cameras), unit="mm")


def case(rig, n=24, noise=0.7, missing=0.1, seed=1):
    """Points, their noisy pixels with gaps, confidences, and 2D covariances of which some are unknown."""
    rng = np.random.default_rng(seed)
    xyz = rng.normal(0, 40, (n, 3))
    px = rig.project(xyz) + rng.normal(0, noise, (len(rig), n, 2))
    px[rng.random(px.shape[:2]) < missing] = np.nan
    confidence = rng.uniform(0.3, 1.0, px.shape[:2])
    half = rng.normal(0, 0.3, (*px.shape[:2], 2, 2)) + 1.2 * np.eye(2)
    covariance = half @ np.swapaxes(half, -1, -2)
    covariance[rng.random(px.shape[:2]) < 0.3] = np.nan
    return xyz, px, confidence, covariance


def reference(px, rig, confidence, covariance, noise_px, refine):
    """One point from px (view, 2), plainly: position, covariance, mean error."""
    views = np.flatnonzero(np.isfinite(px).all(-1))
    cameras = [rig.cameras[view] for view in views]
    rays = [camera.rays(pixel) for camera, pixel in zip(cameras, px[views], strict=True)]
    across = [np.eye(3) - np.outer(direction, direction) for _, direction in rays]
    w = confidence[views]
    left = sum(weight * part for weight, part in zip(w, across, strict=True))
    right = sum(weight * part @ origin for weight, part, (origin, _) in zip(w, across, rays, strict=True))
    point = np.linalg.solve(left, right)
    spread = np.where(np.isnan(covariance[views]), noise_px**2 * np.eye(2), covariance[views])
    information = w[:, None, None] * np.linalg.inv(spread)

    def equations(points, targets):
        jacobians = [
            c.lens.jacobian(transform(c.camera_from_world, x))[1] @ c.rotation
            for c, x in zip(cameras, points, strict=True)
        ]
        left = sum(j.T @ i @ j for j, i in zip(jacobians, information, strict=True))
        right = sum(j.T @ i @ t(j) for j, i, t in zip(jacobians, information, targets, strict=True))
        let_through = sum(weight * j.T @ i @ j for j, i, weight in zip(jacobians, information, w, strict=True))
        return left, right, let_through

    feet = [origin + (direction @ (point - origin)) * direction for origin, direction in rays]
    left, right, _ = equations(feet, [lambda j, foot=foot: j @ foot for foot in feet])
    point = np.linalg.solve(left, right)
    for _ in range(40 if refine else 0):
        off = [pixel - camera.project(point) for camera, pixel in zip(cameras, px[views], strict=True)]
        left, right, _ = equations([point] * len(views), [lambda j, e=e: e for e in off])
        point = point + np.linalg.solve(left, right)
    left, _, let_through = equations([point] * len(views), [lambda j: np.zeros(2)] * len(views))
    inverse = np.linalg.inv(left)
    error = np.mean([np.linalg.norm(pixel - c.project(point)) for c, pixel in zip(cameras, px[views], strict=True)])
    return point, inverse @ let_through @ inverse, error


@pytest.mark.parametrize("refine", [False, True], ids=["linear", "refined"])
@pytest.mark.parametrize(
    "lenses", [*((lens,) * 3 for lens in LENSES), LENSES], ids=["brown", "rational", "fisheye", "telecentric", "mixed"]
)
def test_equals_a_plain_reference(lenses, refine):
    rig = ring(lenses)
    _, px, confidence, covariance = case(rig)
    found = triangulate(px, rig, confidence=confidence, covariance=covariance, noise_px=0.8, refine=refine)
    enough = np.isfinite(px).all(-1).sum(0) >= 2
    assert enough.sum() >= 20
    for i in np.flatnonzero(enough):
        position, spread, error = reference(px[:, i], rig, confidence[:, i], covariance[:, i], 0.8, refine)
        np.testing.assert_allclose(found.position[i], position, rtol=0, atol=1e-9 * np.abs(position).max() + 3e-9)
        # of the largest entry: those near 0 are differences of such
        np.testing.assert_allclose(found.covariance[i], spread, rtol=0, atol=1e-6 * np.abs(spread).max())
        assert found.error[i] == pytest.approx(error, abs=1e-5)
    assert np.isnan(found.position[~enough]).all()
    assert (found.state[~enough] == STATES.index("missing")).all()


def test_exact_points_come_back():
    rig = ring(LENSES)
    xyz, _, _, _ = case(rig)
    found = triangulate(rig.project(xyz), rig)
    np.testing.assert_allclose(found.position, xyz, atol=1e-8)
    assert found.error.max() < 1e-7
    assert (found.state == STATES.index("consistent")).all()


def test_wide_lenses_are_undistorted_up_to_their_edge():
    wide = (
        BrownLens(300.0, 300.0, 320.0, 240.0, (-0.3, 0.05, 0.0, 0.0, 0.0)),
        FisheyeLens(200.0, 200.0, 320.0, 240.0, (0.05, -0.02, 0.005, -0.001)),
        RationalLens(280.0, 280.0, 320.0, 240.0, (8.0, 3.0, 0.0, 0.0, 0.1, 8.3, 5.5, 0.9)),
    )
    for lens in wide:
        edge = min(lens.valid_radius, 8.0) * 0.97
        x, y = edge * np.array([np.cos(0.7), np.sin(0.7)])
        rig = CameraRig(
            tuple(Camera(f"cam_{i}", (640, 480), lens, pose(np.eye(3), (5.0 * i, 0.0, 0.0))) for i in range(3)),
            unit="mm",
        )
        point = np.array([100 * x - 20.0, 100 * y - 3.0, 100.0])
        px = rig.project(point)
        assert np.isfinite(px).all(), lens
        found = triangulate(px[:, None], rig)
        np.testing.assert_allclose(found.position[0], point, rtol=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(4)))
def test_the_order_of_views_does_not_matter(order):
    rig = ring(LENSES)
    _, px, confidence, covariance = case(rig)
    px[2, ::4] += 60.0
    limits = {"max_error_px": 5.0, "noise_px": 0.7}
    found = triangulate(px, rig, confidence=confidence, covariance=covariance, **limits)
    other = triangulate(
        px[order],
        rig.subset([rig.names[i] for i in order]),
        confidence=confidence[order],
        covariance=covariance[order],
        **limits,
    )
    np.testing.assert_array_equal(other.state, found.state)
    np.testing.assert_array_equal(other.inlier, found.inlier[order])
    np.testing.assert_allclose(other.position, found.position, atol=1e-8)
    np.testing.assert_allclose(other.covariance, found.covariance, rtol=1e-5, atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(
    turn=st.tuples(*[st.floats(-3, 3)] * 3),
    shift=st.tuples(*[st.floats(-1e3, 1e3)] * 3),
    scale=st.floats(0.01, 100.0),
)
def test_a_new_world_moves_the_points_with_it(turn, shift, scale):
    rig = ring(LENSES)
    _, px, confidence, covariance = case(rig)
    new_from_world = pose(rotation_from_vector(turn), shift)
    found = triangulate(px, rig, confidence=confidence, covariance=covariance, max_error_px=10.0)
    moved = triangulate(
        px, rig.transformed(new_from_world, scale), confidence=confidence, covariance=covariance, max_error_px=10.0
    )
    np.testing.assert_array_equal(moved.state, found.state)
    np.testing.assert_allclose(
        moved.position, transform(new_from_world, scale * found.position), atol=1e-8 * (scale * 100 + 1000)
    )
    rotation = new_from_world[:3, :3]
    np.testing.assert_allclose(
        moved.covariance, scale**2 * rotation @ found.covariance @ rotation.T, rtol=1e-5, atol=1e-8 * scale**2
    )
    np.testing.assert_allclose(moved.error, found.error, atol=1e-5)


def test_the_same_bits_for_any_number_of_threads():
    rig = ring(LENSES)
    _, px, confidence, covariance = case(rig, n=20_000)
    px[1, ::5] -= 80.0
    one, three = (
        triangulate(px, rig, confidence=confidence, covariance=covariance, max_error_px=5.0, threads=threads)
        for threads in (1, 3)
    )
    for name in ("position", "covariance", "error", "inlier", "n_usable", "state"):
        np.testing.assert_array_equal(getattr(one, name), getattr(three, name))
    some = triangulate(
        px[:, 9000:9100],
        rig,
        confidence=confidence[:, 9000:9100],
        covariance=covariance[:, 9000:9100],
        max_error_px=5.0,
    )
    np.testing.assert_array_equal(some.position, one.position[9000:9100])


def test_unknown_points_disturb_nobody():
    rig = ring(LENSES)
    _, px, _, _ = case(rig, missing=0.0)
    px[:, 5] = np.nan
    px[1, 6, 0] = np.nan
    px[1:, 7] = np.nan
    found = triangulate(px, rig)
    without = triangulate(np.delete(px, [5, 6, 7], axis=1), rig)
    np.testing.assert_array_equal(np.delete(found.position, [5, 6, 7], axis=0), without.position)
    assert np.isnan(found.position[[5, 7]]).all()
    assert found.n_usable[[5, 6, 7]].tolist() == [0, 3, 1]
    assert not found.inlier[1, 6]
    weightless = triangulate(px, rig, confidence=np.where(np.arange(4)[:, None] == 1, np.nan, np.ones(px.shape[:2])))
    assert not weightless.inlier[1].any()


@pytest.mark.parametrize("n_views", [3, 4, 6])
def test_one_wrong_view_does_not_move_the_point(n_views):
    rig = ring((LENSES[0],) * n_views)
    xyz, px, _, _ = case(rig, n=600, noise=0.5, missing=0.0)
    rng = np.random.default_rng(5)
    wrong = rng.integers(0, n_views, 600)
    angle = rng.uniform(0, 2 * np.pi, 600)
    clean = triangulate(px, rig)
    px[wrong, np.arange(600)] += (rng.uniform(50, 200, 600) * [np.cos(angle), np.sin(angle)]).T
    found = triangulate(px, rig, max_error_px=3.0)
    known = np.isin(found.state, (STATES.index("consistent"), STATES.index("two_views")))
    # Where the wrong view is off along an epipolar line, two answers are as good: with 3 views that is said.
    assert known.mean() > (0.9 if n_views == 3 else 0.995)
    right = known & ~found.inlier[wrong, np.arange(600)]
    assert right[known].mean() == 1.0
    off = np.linalg.norm(found.position - xyz, axis=1)
    off_clean = np.linalg.norm(clean.position - xyz, axis=1)
    assert np.quantile(off[known], 0.95) < 3.0 * np.quantile(off_clean, 0.95)
    assert off[known].max() < 15 * np.median(off_clean)


def test_three_views_that_agree_two_by_two_are_ambiguous():
    rig = ring((LENSES[0],) * 3)
    here, there = np.array([5.0, -8.0, 3.0]), np.array([25.0, 10.0, -9.0])
    px = rig.project(here)
    # View 2 sees another point of view 0's ray: views 0 and 1 agree on one point, views 0 and 2 on another.
    origin, direction = rig.cameras[0].rays(px[0])
    there = origin + ((there - origin) @ direction) * direction
    px[2] = rig.cameras[2].project(there)
    assert np.linalg.norm(px[2] - rig.cameras[2].project(here)) > 20
    found = triangulate(px[:, None], rig, max_error_px=3.0)
    assert STATES[found.state[0]] == "ambiguous"
    assert np.isnan(found.position[0]).all()
    assert not found.inlier.any()
    # A confident view decides.
    decided = triangulate(px[:, None], rig, max_error_px=3.0, confidence=np.array([[1.0], [0.9], [0.3]]))
    np.testing.assert_allclose(decided.position[0], here, atol=1e-6)
    assert decided.inlier[:, 0].tolist() == [True, True, False]


def test_two_views_say_what_they_cannot_know():
    rig = ring((LENSES[0],) * 2)
    xyz, px, _, _ = case(rig, n=1, noise=0.0, missing=0.0)
    assert STATES[triangulate(px, rig, max_error_px=3.0).state[0]] == "two_views"
    camera = rig.cameras[1]
    along = camera.project(xyz[0] + 10 * (xyz[0] - rig.cameras[0].center) / 400) - camera.project(xyz[0])
    along /= np.linalg.norm(along)
    unseen, noticed = px.copy(), px.copy()
    unseen[1] += 20 * along
    noticed[1] += 20 * np.array([-along[1], along[0]])
    found = triangulate(unseen, rig, max_error_px=3.0)
    assert STATES[found.state[0]] == "two_views"
    assert np.linalg.norm(found.position - xyz) > 3
    found = triangulate(noticed, rig, max_error_px=3.0)
    assert STATES[found.state[0]] == "inconsistent"
    assert np.isnan(found.position).all()


def test_rays_that_meet_nowhere_give_no_point():
    lens = LENSES[0]
    left = Camera("left", (640, 480), lens, np.eye(4))
    right = Camera("right", (640, 480), lens, pose(np.eye(3), (-100.0, 0.0, 0.0)))
    rig = CameraRig((left, right), unit="mm")
    px = np.array([[320.0, 250.0], [320.0, 250.0]])
    for apart in (np.zeros(2), np.array([40.0, 0.0])):  # parallel rays; rays that meet behind the cameras
        found = triangulate(np.stack([px[0], px[1] + apart])[:, None], rig)
        assert STATES[found.state[0]] == "inconsistent"
        assert np.isnan(found.position).all()


def test_a_covariance_without_size_is_a_hundredth_of_a_pixel():
    rig = ring(LENSES)
    xyz, px, _, _ = case(rig, noise=0.0, missing=0.0)
    found = triangulate(px, rig, covariance=np.zeros((*px.shape, 2)))
    stated = triangulate(px, rig, noise_px=0.01)
    np.testing.assert_allclose(found.position, xyz, atol=1e-7)
    np.testing.assert_allclose(found.covariance, stated.covariance, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"px": np.zeros((2, 5, 2))}, "4 views first"),
        ({"confidence": np.ones((4, 4))}, "confidence must have the shape"),
        ({"covariance": np.ones((4, 5, 2))}, "covariance must have the shape"),
        ({"min_views": 1}, "one view gives a ray"),
        ({"noise_px": 0.0}, "noise_px"),
        ({"max_error_px": -1.0}, "max_error_px"),
        ({"max_error_sd": -1.0}, "max_error_sd"),
        ({"variance_factor": np.ones((3, 2))}, "variance_factor"),
        ({"threads": 0}, "threads"),
    ],
)
def test_wrong_arguments_are_told(changes, message):
    arguments = {"px": np.zeros((4, 5, 2)), **changes}
    with pytest.raises(DataError, match=message):
        triangulate(arguments.pop("px"), ring(LENSES), **arguments)


def test_variance_factors_scale_the_covariances_of_their_key_points():
    rig = ring(LENSES)
    _, px, _, covariance = case(rig)
    factor = np.random.default_rng(0).uniform(0.2, 4.0, (4, 3))
    found = triangulate(px, rig, covariance=covariance, noise_px=0.7, variance_factor=factor)
    stated = np.where(np.isnan(covariance), 0.49 * np.eye(2), covariance)
    stated *= factor[:, np.arange(px.shape[1]) % 3, None, None]
    same = triangulate(px, rig, covariance=stated)
    np.testing.assert_allclose(found.position, same.position, atol=1e-9)
    np.testing.assert_allclose(found.covariance, same.covariance, rtol=1e-9)
    bare = triangulate(px, rig, noise_px=0.7, variance_factor=np.full((4, 1), 4.0))
    np.testing.assert_allclose(bare.covariance, triangulate(px, rig, noise_px=1.4).covariance, rtol=1e-9)


def test_a_view_is_believed_as_far_as_its_own_covariance_goes():
    rig = ring((LENSES[0],) * 4)
    _, px, _, _ = case(rig, n=40, noise=0.3, missing=0.0)
    px[2] += 11.0  # 15.6 px: far above 3 px, and 5.2 of the later 3 px, with noise of a tenth of these below 6
    covariance = np.broadcast_to(0.09 * np.eye(2), (*px.shape, 2)).copy()
    strict = triangulate(px, rig, covariance=covariance, max_error_px=3.0, max_error_sd=6.0)
    assert not strict.inlier[2].any()
    covariance[2] *= 100.0
    own = triangulate(px, rig, covariance=covariance, max_error_px=3.0, max_error_sd=6.0)
    assert own.inlier.all()
    assert not triangulate(px, rig, covariance=covariance, max_error_px=3.0).inlier[2].any()


def test_single_precision_and_strides_are_taken_as_they_are():
    rig = ring((LENSES[0],) * 4)
    _, px, confidence, _ = case(rig, n=300)
    wide = np.zeros((300, 2, 4, 2))
    wide[:, 1] = np.swapaxes(px, 0, 1)
    view = np.swapaxes(wide[:, 1], 0, 1)
    found = triangulate(px, rig, confidence=confidence)
    np.testing.assert_array_equal(triangulate(view, rig, confidence=confidence).position, found.position)
    single = triangulate(px.astype(np.float32), rig, confidence=confidence)
    np.testing.assert_allclose(single.position, found.position, atol=1e-3)


def test_no_points_are_no_trouble():
    found = triangulate(np.zeros((4, 0, 2)), ring(LENSES))
    assert found.position.shape == (0, 3)
    assert found.inlier.shape == (4, 0)


def test_min_views_asks_for_agreement():
    rig = ring((LENSES[0],) * 4)
    _, px, _, _ = case(rig, n=1, noise=0.1, missing=0.0)
    px[3] += 100.0
    for min_views, state in itertools.product((2, 3), ("consistent",)):
        assert STATES[triangulate(px, rig, max_error_px=3.0, min_views=min_views).state[0]] == state
    assert STATES[triangulate(px, rig, max_error_px=3.0, min_views=4).state[0]] == "inconsistent"
