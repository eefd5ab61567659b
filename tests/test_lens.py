"""Lenses: against OpenCV, against finite differences, and the laws that every lens obeys."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multipose.errors import DataError
from multipose.lens import (
    BrownLens,
    FisheyeLens,
    Lens,
    RationalLens,
    TelecentricLens,
    lens_from_matrix,
    rotation_90,
)

WIDTH, HEIGHT = 640, 480
BROWN = BrownLens(535, 540, 342.3, 235.6, (-0.2664, -0.0386, 0.0018, -0.0003, 0.2384))
BARREL = BrownLens(500, 505, 321, 238, (-0.4, 0.02, 0.002, -0.003, 0))
RATIONAL = RationalLens(480, 470, 310, 250, (0.2, -0.1, 0.001, 0.002, 0.01, 0.3, -0.05, 0.002))
FISHEYE = FisheyeLens(300, 310, 320, 240, (0.02, -0.01, 0.003, -0.001))
CLOSED_FISHEYE = FisheyeLens(300, 310, 320, 240, (-0.2, -0.05, 0.0, 0.0))
TELECENTRIC = TelecentricLens(30, 31, 322, 241, (1e-3, -1e-6, 1e-4, 2e-4, 0))
LENSES: tuple[Lens, ...] = (BROWN, BARREL, RATIONAL, FISHEYE, CLOSED_FISHEYE, TELECENTRIC)

seeds = st.integers(0, 2**32 - 1)
every_lens = pytest.mark.parametrize("lens", LENSES, ids=lambda lens: f"{lens.model}{int(np.isinf(lens.valid_radius))}")


@st.composite
def lenses(draw: st.DrawFn) -> Lens:
    """Lenses from harmless to ones whose field ends inside the picture."""
    kind = draw(st.sampled_from((BrownLens, RationalLens, FisheyeLens, TelecentricLens)))
    rng = np.random.default_rng(draw(seeds))
    unit = 0.1 if kind is TelecentricLens else 1.0  # of the plane, whose points reach 10 times as far
    strength = {"k": 0.3, "p": 0.01}
    powers = {"k1": 2, "k2": 4, "p1": 1, "p2": 1, "k3": 6, "k4": 2, "k5": 4, "k6": 6}
    names = kind.param_names[4:]
    coefficients = [rng.normal(scale=strength[name[0]] * unit ** powers[name]) for name in names]
    return kind(*rng.uniform(400, 600, 2) * unit, *rng.uniform(100, 400, 2), tuple(coefficients))


def points(lens: Lens, seed: int = 0, n: int = 200) -> np.ndarray:
    """Points (n, 3) ahead of the camera, most of them inside the picture, all of them well inside the valid field."""
    rng = np.random.default_rng(seed)
    far = 10.0 if isinstance(lens, TelecentricLens) else 1.2
    radius = min(far, 0.9 * lens.valid_radius) * np.sqrt(rng.uniform(size=n))
    angle, z = rng.uniform(0, 2 * np.pi, n), rng.uniform(0.5, 3, n)
    depth = 1 if isinstance(lens, TelecentricLens) else z
    return np.stack([radius * np.cos(angle) * depth, radius * np.sin(angle) * depth, z], axis=-1)


def plane(lens: Lens, xyz: np.ndarray) -> np.ndarray:
    return xyz[..., :2] if isinstance(lens, TelecentricLens) else xyz[..., :2] / xyz[..., 2:]


# Against OpenCV.


@pytest.mark.opencv
@pytest.mark.parametrize("lens", [BROWN, BARREL, RATIONAL], ids=["brown", "barrel", "rational"])
def test_polynomial_lenses_agree_with_opencv(lens: BrownLens | RationalLens) -> None:
    from multipose.opencv import cv2

    xyz = points(lens)
    theirs, jacobian = cv2.projectPoints(xyz, np.zeros(3), np.zeros(3), lens.matrix, np.array(lens.distortion))
    px, d_xyz, d_params = lens.jacobian(xyz)
    np.testing.assert_allclose(px, theirs.reshape(-1, 2), atol=1e-10)
    np.testing.assert_array_equal(px, lens.project(xyz))
    jacobian = jacobian.reshape(len(xyz), 2, -1)
    np.testing.assert_allclose(d_xyz, jacobian[..., 3:6], atol=1e-9)  # by the point = by the translation
    np.testing.assert_allclose(d_params, jacobian[..., 6:], atol=1e-9)


@pytest.mark.opencv
def test_fisheye_agrees_with_opencv() -> None:
    from multipose.opencv import cv2

    xyz = points(FISHEYE)
    k = np.array(FISHEYE.distortion)
    theirs, _ = cv2.fisheye.projectPoints(xyz[:, None], np.zeros(3), np.zeros(3), FISHEYE.matrix, k)
    np.testing.assert_allclose(FISHEYE.project(xyz), theirs.reshape(-1, 2), atol=1e-10)
    back = cv2.fisheye.undistortPoints(theirs, FISHEYE.matrix, k)
    np.testing.assert_allclose(FISHEYE.undistort(theirs.reshape(-1, 2)), back.reshape(-1, 2), atol=1e-6)


@pytest.mark.opencv
def test_undistortion_agrees_with_opencv() -> None:
    from multipose.opencv import cv2

    px = np.random.default_rng(0).uniform([200, 150], [450, 330], size=(50, 2))
    theirs = cv2.undistortPoints(px[:, None], BROWN.matrix, np.array(BROWN.distortion))
    np.testing.assert_allclose(BROWN.undistort(px), theirs.reshape(-1, 2), atol=1e-5)  # theirs stops after five steps


# Derivatives.


def differences(function: Callable[[np.ndarray], np.ndarray], start: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Derivatives along a new last axis, by central differences of fourth order."""
    columns = []
    for i, step in enumerate(steps):
        nudge = step * (np.arange(len(start)) == i)
        near = function(start + nudge) - function(start - nudge)
        wide = function(start + 2 * nudge) - function(start - 2 * nudge)
        columns.append((8 * near - wide) / (12 * step))
    return np.stack(columns, axis=-1)


@every_lens
def test_derivatives_agree_with_differences(lens: Lens) -> None:
    xyz = points(lens)
    px, d_xyz, d_params = lens.jacobian(xyz)
    np.testing.assert_array_equal(px, lens.project(xyz))
    expected = differences(lambda d: lens.project(xyz + d), np.zeros(3), np.full(3, 1e-5))
    np.testing.assert_allclose(d_xyz, expected, rtol=1e-6, atol=1e-5)
    powers = [0, 0, 0, 0, 2, 4, 1, 1, 6] if isinstance(lens, TelecentricLens) else [0] * len(lens.params)
    expected = differences(lambda p: lens.with_params(p).project(xyz), lens.params, 1e-5 * 10.0 ** -np.array(powers))
    np.testing.assert_allclose(
        d_params / np.abs(expected).max((0, 1)), expected / np.abs(expected).max((0, 1)), atol=1e-6
    )


@every_lens
def test_derivatives_on_the_axis_are_finite(lens: Lens) -> None:
    px, d_xyz, d_params = lens.jacobian([[0, 0, 2.0], [1e-9, 0, 2.0]])
    np.testing.assert_allclose(px[0], [lens.params[2], lens.params[3]])
    depth = 1 if isinstance(lens, TelecentricLens) else 2
    np.testing.assert_allclose(d_xyz[0], np.diag(lens.params[:2]) @ np.eye(2, 3) / depth, atol=1e-12)
    np.testing.assert_allclose(d_xyz[1], d_xyz[0], atol=1e-5)
    assert np.isfinite(d_params).all()


# There and back.


@given(lenses(), seeds)
def test_undistort_is_the_inverse(lens: Lens, seed: int) -> None:
    xyz = points(lens, seed)
    px = lens.project(xyz)
    assert np.isfinite(px).all()
    np.testing.assert_allclose(lens.undistort(px), plane(lens, xyz), rtol=1e-7, atol=1e-9)


@given(lenses(), seeds)
def test_undistorted_pixels_project_to_themselves_or_are_nan(lens: Lens, seed: int) -> None:
    px = np.random.default_rng(seed).uniform(-WIDTH, 2 * WIDTH, size=(200, 2))
    found = lens.undistort(px)
    known = np.isfinite(found).all(-1)
    assert np.isnan(found[~known]).all()
    back = lens.project(np.concatenate([found, np.ones((200, 1))], axis=-1))
    assert np.abs(back - px)[known].max(initial=0.0) <= 1.01e-9
    assert np.linalg.norm(found[known], axis=-1).max(initial=0.0) < lens.valid_radius


@given(lenses(), seeds)
def test_unproject_gives_the_ray(lens: Lens, seed: int) -> None:
    px = lens.project(points(lens, seed))
    origins, directions = lens.unproject(px)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=-1), 1)
    for depth in (0.3, 1.0, 20.0):
        np.testing.assert_allclose(lens.project(origins + depth * directions), px, atol=1e-7)


def test_undistortion_reaches_a_strong_fisheye_and_a_far_corner() -> None:
    xyz = np.array([[np.tan(np.radians(89.9)), 0, 1], [-30.0, 40.0, 1]])
    np.testing.assert_allclose(FISHEYE.undistort(FISHEYE.project(xyz)), xyz[:, :2], rtol=1e-9)


@pytest.mark.parametrize(
    "distortion",
    [
        (0.32, -0.65, -0.004, 0.0, 0.38, 0.41, 0.13, -0.97),  # a pole at the field's edge
        (
            -0.58,
            0.0,
            -0.031,
            -0.082,
            0.39,
            0.0,
            -0.18,
            0.28,
        ),  # a large tangential part, where plain steps run in circles
    ],
)
def test_undistortion_reaches_all_of_an_odd_field(distortion: tuple[float, ...]) -> None:
    lens = RationalLens(500, 500, 320, 240, distortion)
    r, angle = np.meshgrid(np.linspace(0, 0.97, 60) * lens.valid_radius, np.linspace(0, 2 * np.pi, 60))
    xy = np.stack([r * np.cos(angle), r * np.sin(angle)], axis=-1)
    px = lens.project(np.concatenate([xy, np.ones((60, 60, 1))], axis=-1))
    np.testing.assert_allclose(lens.undistort(px), xy, atol=1e-9)


def test_pixels_that_no_ray_reaches_cost_little() -> None:
    px = np.random.default_rng(0).uniform(2000, 3000, size=(1000, 2))
    assert np.isnan(BARREL.undistort(px)).all()
    ring = np.stack([np.linspace(-300, 900, 500), np.full(500, 240.0)], axis=-1)  # over both ends of the field
    known = np.isfinite(BARREL.undistort(ring)).all(-1)
    assert known[250]
    assert not known[[0, -1]].any()
    assert np.abs(np.diff(known.astype(int))).sum() == 2  # the field has no holes


@pytest.mark.parametrize("shape", [(2,), (0, 2), (3, 4, 2)])
def test_shapes_are_kept(shape: tuple[int, ...]) -> None:
    px = np.full(shape, 200.0)
    assert BROWN.undistort(px).shape == shape
    origins, directions = BROWN.unproject(px)
    assert origins.shape == directions.shape == (*shape[:-1], 3)
    again, d_xyz, d_params = BROWN.jacobian(directions)
    assert again.shape == shape
    assert d_xyz.shape == (*shape, 3)
    assert d_params.shape == (*shape, 9)


# What is not seen.


@every_lens
def test_nan_in_nan_out(lens: Lens) -> None:
    xyz = np.array([[np.nan, 0, 1], [0, np.nan, 1], [0, 0, np.nan], [0.1, 0.1, 1]])
    for answer in (lens.project(xyz), *lens.jacobian(xyz)):
        assert np.isnan(answer[:3]).all()
        assert np.isfinite(answer[3]).all()
    px = np.array([[np.nan, 200], [200, np.nan], [np.inf, 200], [320, 240]])
    for answer in (lens.undistort(px), *lens.unproject(px)):
        assert np.isnan(answer[:3]).all()
        assert np.isfinite(answer[3]).all()


@every_lens
def test_behind_the_camera_is_nan(lens: Lens) -> None:
    behind = np.array([[0.1, 0.1, -1], [0.1, 0.1, 0], [0, 0, 0]])
    for answer in (lens.project(behind), *lens.jacobian(behind)):
        assert np.isfinite(answer).all() if isinstance(lens, TelecentricLens) else np.isnan(answer).all()


@given(lenses(), seeds)
def test_no_far_point_falls_into_the_picture(lens: Lens, seed: int) -> None:
    """What a lens shows at a pixel is where the pixel's ray goes: no second point, however far out, is seen there."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=(500, 2))
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    xy = direction * 10 ** rng.uniform(-2, 3, size=(500, 1))
    px = lens.project(np.concatenate([xy, np.ones((500, 1))], axis=-1))
    seen = np.isfinite(px).all(-1)
    assert (seen == (np.linalg.norm(xy, axis=-1) < lens.valid_radius)).all()
    well_inside = seen & (np.linalg.norm(xy, axis=-1) < 0.95 * lens.valid_radius) & (np.abs(px) < 1e4).all(-1)
    np.testing.assert_allclose(lens.undistort(px[well_inside]), xy[well_inside], rtol=1e-4, atol=1e-9)


def test_the_field_of_a_barrel_lens_ends() -> None:
    lens = BrownLens(500, 500, 320, 240, (-1 / 3,))  # r - r³/3 turns at r = 1
    assert lens.valid_radius == pytest.approx(1)
    assert np.isfinite(lens.project([0.999, 0, 1])).all()
    assert np.isnan(lens.project([1.001, 0, 1])).all()
    assert np.isnan(lens.project([np.sqrt(3), 0, 1])).all()  # the polynomial is 0 here, the picture's middle
    edge = 320 + 500 * 2 / 3
    assert np.isnan(lens.undistort([edge + 0.1, 240])).all()
    np.testing.assert_allclose(lens.undistort([edge - 1e-3, 240]), [1, 0], atol=0.01)
    assert np.isnan(lens.jacobian([1.001, 0, 1])[2]).all()


# Changed pictures.


def test_turned_pictures_are_numpys() -> None:
    picture = np.arange(6 * 9).reshape(6, 9)
    for turns in range(-3, 5):
        turned = np.rot90(picture, -turns)
        lens = BrownLens(10, 10, 2, 4).rotate90(turns, (9, 6))  # the principal point marks a pixel
        assert turned[round(lens.cy), round(lens.cx)] == picture[4, 2]


def test_resized_pictures_keep_their_places() -> None:
    across, down = np.meshgrid(np.arange(8.0), np.arange(6.0))
    lens = BrownLens(10, 10, 5, 3)
    half = lens.scale(0.5)
    blocks = np.stack([c.reshape(3, 2, 4, 2).mean((1, 3)) for c in (across, down)], axis=-1)  # places of the new pixels
    np.testing.assert_allclose(lens.scale(1 / 0.5).scale(0.5).params, lens.params)
    xyz = np.concatenate([lens.undistort(blocks), np.ones((3, 4, 1))], axis=-1)
    np.testing.assert_allclose(half.project(xyz)[2, 3], [3, 2], atol=1e-12)


operations = st.lists(st.sampled_from(("crop", "scale", "flip", "turn")), max_size=5)


@given(lenses(), operations, seeds)
def test_the_lens_of_a_changed_picture_is_exact(lens: Lens, steps: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    xyz = points(lens, seed)
    px, new_xyz, size = lens.project(xyz), xyz, (WIDTH, HEIGHT)
    for step in steps:
        if step == "crop":
            x, y = rng.integers(0, 100, 2).tolist()
            lens, px = lens.crop(x, y), px - [x, y]
            size = size[0] - x, size[1] - y
        elif step == "scale":
            old, size = size, (int(rng.integers(200, 800)), int(rng.integers(200, 800)))
            factors = np.divide(size, old)
            lens, px = lens.scale(*factors.tolist()), (px + 0.5) * factors - 0.5
        elif step == "flip":
            lens, new_xyz = lens.flip(size[0]), new_xyz * [-1, 1, 1]
            px = np.stack([size[0] - 1 - px[:, 0], px[:, 1]], axis=-1)
        else:
            turns = int(rng.integers(-4, 5))
            lens, new_xyz = lens.rotate90(turns, size), new_xyz @ rotation_90(turns).T
            for _ in range(turns % 4):
                px = np.stack([size[1] - 1 - px[:, 1], px[:, 0]], axis=-1)
                size = size[1], size[0]
    np.testing.assert_allclose(lens.project(new_xyz), px, atol=1e-8)


@given(lenses(), seeds)
def test_changes_that_undo_each_other(lens: Lens, seed: int) -> None:
    assert lens.flip(WIDTH).flip(WIDTH).params == pytest.approx(lens.params)
    assert lens.crop(10, 20).crop(-10, -20).params == pytest.approx(lens.params)
    turns = seed % 4
    size = (HEIGHT, WIDTH) if turns % 2 else (WIDTH, HEIGHT)
    assert lens.rotate90(turns, (WIDTH, HEIGHT)).rotate90(-turns, size).params == pytest.approx(lens.params)
    np.testing.assert_allclose(rotation_90(turns) @ rotation_90(-turns), np.eye(3))


@given(lenses(), st.floats(0.01, 100))
def test_a_change_of_unit_leaves_the_picture(lens: Lens, factor: float) -> None:
    xyz = points(lens)
    np.testing.assert_allclose(lens.scale_world(factor).project(factor * xyz), lens.project(xyz), atol=1e-7)
    with pytest.raises(DataError, match="above 0"):
        lens.scale_world(-factor)


# Values.


@every_lens
def test_parameters_make_the_lens(lens: Lens) -> None:
    assert lens.with_params(lens.params) == lens
    assert len(lens.params) == len(lens.param_names)
    assert pickle.loads(pickle.dumps(lens)) == lens
    assert hash(lens.with_params(lens.params)) == hash(lens)
    assert lens.with_params(lens.params + 1e-3) != lens
    with pytest.raises(DataError, match="parameters"):
        lens.with_params(lens.params[:-1])


@every_lens
def test_packed_lens_holds_everything(lens: Lens) -> None:
    packed = lens.packed()
    n = len(lens.distortion)
    assert packed.shape == (16,)
    assert packed[0] == lens.model_id
    np.testing.assert_array_equal(packed[1 : 5 + n], lens.params)
    np.testing.assert_array_equal(packed[5 + n : 13], 0)
    assert packed[13] == lens.valid_radius**2
    assert len({other.model_id for other in LENSES}) == len({type(other) for other in LENSES})


@every_lens
def test_linear_part_is_the_projection_without_distortion(lens: Lens) -> None:
    straight = lens.with_params([*lens.params[:4], *[0.0] * len(lens.distortion)])
    xyz = points(straight)
    homogeneous = np.concatenate([xyz, np.ones((len(xyz), 1))], axis=-1) @ lens.projection_matrix.T
    linear = homogeneous[:, :2] / homogeneous[:, 2:]
    if isinstance(lens, FisheyeLens):  # near the axis only
        xyz = xyz * [1e-5, 1e-5, 1]
        np.testing.assert_allclose(straight.project(xyz), linear * 1e-5 + lens.matrix[:2, 2] * (1 - 1e-5), atol=1e-9)
    else:
        np.testing.assert_allclose(straight.project(xyz), linear, atol=1e-9)


def test_lens_from_matrix_chooses_by_the_coefficients() -> None:
    m = BROWN.matrix
    assert lens_from_matrix(m) == BrownLens(535, 540, 342.3, 235.6)
    assert lens_from_matrix(m, BROWN.distortion) == BROWN
    assert lens_from_matrix(m, [[0.1, 0.2, 0.3, 0.4]]) == BrownLens(535, 540, 342.3, 235.6, (0.1, 0.2, 0.3, 0.4, 0))
    assert lens_from_matrix(RATIONAL.matrix, RATIONAL.distortion) == RATIONAL
    assert lens_from_matrix(FISHEYE.matrix, FISHEYE.distortion, fisheye=True) == FISHEYE
    with pytest.raises(DataError, match="12 distortion coefficients fit no lens"):
        lens_from_matrix(m, [*np.zeros(11), 1e-3])
    with pytest.raises(DataError, match="fisheye lens has 4.*5 were given"):
        lens_from_matrix(m, np.ones(5), fisheye=True)


@pytest.mark.parametrize("length", [12, 14])
@pytest.mark.parametrize("lens", [BROWN, RATIONAL])
def test_trailing_zeros_of_opencvs_longer_vectors_change_nothing(lens: Lens, length: int) -> None:
    given = list(lens.distortion)
    padded = given + [0.0] * (length - len(given))
    for shape in ((length,), (1, length), (length, 1)):
        assert lens_from_matrix(lens.matrix, np.reshape(padded, shape)) == lens
    padded[-1] = 1e-4
    with pytest.raises(DataError, match="thin prism and tilt"):
        lens_from_matrix(lens.matrix, padded)


def test_trailing_zeros_of_a_fisheye_lens_change_nothing() -> None:
    assert lens_from_matrix(FISHEYE.matrix, [*FISHEYE.distortion, 0.0], fisheye=True) == FISHEYE


@pytest.mark.parametrize(
    "matrix",
    [
        [[500, 1, 320], [0, 500, 240], [0, 0, 1]],
        [[500, 0, 320], [0, 500, 240], [0, 0, 2]],
        [[500, 0, np.nan], [0, 500, 240], [0, 0, 1]],
        np.zeros((2, 3, 3)),
        [[500, 0], [0, 500]],
    ],
    ids=["skew", "scaled", "nan", "two", "small"],
)
def test_wrong_matrices_are_refused(matrix: list[list[float]]) -> None:
    with pytest.raises(DataError, match="camera matrix"):
        lens_from_matrix(matrix)


@pytest.mark.parametrize("kind", [BrownLens, RationalLens, FisheyeLens, TelecentricLens])
def test_broken_lenses_are_refused(kind: type[BrownLens]) -> None:
    with pytest.raises(DataError, match="must be above 0.*Flip"):
        kind(-500, 500, 320, 240)
    with pytest.raises(DataError, match="cx of a .* must be finite"):
        kind(500, 500, np.nan, 240)
    with pytest.raises(DataError, match="k1 of a .* must be finite"):
        kind(500, 500, 320, 240, (np.inf,))
    with pytest.raises(DataError, match="coefficients.*got 9"):
        kind(500, 500, 320, 240, tuple([0.0] * 9))
    with pytest.raises(DataError, match="numbers"):
        kind("wide", 500, 320, 240)  # type: ignore[arg-type]
    assert kind(500, 500, 320, 240, np.array([0.1])).distortion == (0.1, *[0.0] * (len(kind.param_names) - 5))  # type: ignore[arg-type]


@pytest.mark.parametrize("call", [BROWN.project, BROWN.jacobian])
def test_wrong_shapes_are_refused(call: object) -> None:
    with pytest.raises(DataError, match=r"\(\.\.\., 3\), but has \(5, 2\)"):
        call(np.zeros((5, 2)))  # type: ignore[operator]
    with pytest.raises(DataError, match=r"Pixels must have the shape \(\.\.\., 2\)"):
        BROWN.undistort(np.zeros(3))
