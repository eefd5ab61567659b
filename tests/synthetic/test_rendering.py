"""Pictures agree with the geometry: lenses, mirror, shadows, light, blur, noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from multipose.board import Chessboard
from multipose.camera import Camera
from multipose.errors import DataError
from multipose.geometry import look_at, pose
from multipose.lens import BrownLens, FisheyeLens, Lens, RationalLens, TelecentricLens
from multipose.opencv import cv2
from multipose.synthetic import (
    KEYPOINTS,
    Light,
    Moment,
    Scene,
    Sensor,
    Shape,
    Stage,
    Walk,
    arena,
    mirror,
    prepare,
    radiance,
    render,
    visibility,
    walk,
)

LENSES = {
    "brown": BrownLens(150.0, 151.0, 60.5, 43.8, (-0.2, 0.06, 2e-3, -1e-3, 0.0)),
    "rational": RationalLens(150.0, 151.0, 60.5, 43.8, (0.4, 0.1, 1e-3, -5e-4, 0.0, 0.6, 0.15, 0.01)),
    "fisheye": FisheyeLens(140.0, 141.0, 60.5, 43.8, (-0.05, 0.01, -0.002, 0.0)),
    "telecentric": TelecentricLens(0.36, 0.362, 60.5, 43.8, (-1e-6, 0.0, 1e-6, 0.0, 0.0)),
}
MakeCamera = Callable[..., Camera]


@pytest.fixture(scope="module")
def animal() -> Walk:
    return walk(60, 11, obstacles=arena().obstacles)


@pytest.fixture(scope="module")
def stage(make_camera: MakeCamera) -> Stage:
    return prepare(arena(), make_camera())


@pytest.fixture
def opencv_threads() -> Iterator[None]:
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


def test_same_seed_gives_the_same_pixels_on_any_number_of_threads(
    stage: Stage, animal: Walk, opencv_threads: None
) -> None:
    moments = [Moment(animal, time) for time in (0.1, 0.5, 1.0, 1.5)]
    cv2.setNumThreads(1)
    alone = [render(stage, moment, seed=i) for i, moment in enumerate(moments)]
    cv2.setNumThreads(4)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda i: render(stage, moments[i], seed=i), range(4)))
    again = prepare(stage.scene, stage.camera)
    for i, moment in enumerate(moments):
        np.testing.assert_array_equal(together[i], alone[i])
        np.testing.assert_array_equal(render(again, moment, seed=i), alone[i])
    other = render(stage, moments[0], seed=5)
    assert 0.5 < np.abs(other.astype(float) - alone[0]).mean() < 4.0
    assert alone[0].dtype == np.uint8
    assert alone[0].shape == (90, 120, 3)


@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES.keys())
def test_balls_are_seen_where_the_lens_projects_them(
    lens: Lens, make_camera: MakeCamera, make_balls: Callable[..., Scene]
) -> None:
    """Measured: the middles of their pixels within 0.18 px of the projected ones, the outlines right."""
    camera, radius = make_camera(lens).scale(3), 8.0
    middles = np.array([[x, y, 8.0 * ((x + y) % 3)] for x in (-90.0, 0.0, 85.0) for y in (-70.0, 5.0, 80.0)])
    light = Light(lamp=(0.0, 0.0, 0.0), surroundings=(1.0, 1.0, 1.0))
    seen = radiance(prepare(make_balls(middles, radius), camera, samples=1), Moment(light=light))[..., 0]
    px = camera.project(middles)
    grid = np.stack(np.meshgrid(np.arange(360.0), np.arange(270.0)), axis=-1)
    origins, directions = camera.rays(grid)
    found = np.zeros(seen.shape, dtype=bool)
    for middle, expected in zip(middles, px, strict=True):
        own = (np.linalg.norm(grid - expected, axis=-1) < 20.0) & (seen > 0.0)
        assert np.linalg.norm(grid[own].mean(axis=0) - expected) < 0.25
        away = middle - origins
        along = np.sum(away * directions, axis=-1)
        found |= np.linalg.norm(away - along[..., None] * directions, axis=-1) < radius
    assert ((seen > 0.0) != found).sum() <= 2  # a ray may just touch a ball
    assert 1000 < found.sum() < 4000


def test_a_camera_that_looks_along_an_axis_sees_boxes_whole() -> None:
    """Rays with components that are exactly 0 through the middle of a box."""
    lens = TelecentricLens(1.0, 1.0, 20.0, 20.0)
    camera = Camera("top", (41, 41), lens, look_at((0.0, 0.0, 100.0), (0.0, 0.0, 0.0), (0.0, 1.0, 0.0)))
    assert (np.sort(np.abs(camera.rays(np.array([20.0, 20.0]))[1])) == [0.0, 0.0, 1.0]).all()
    box = Shape("box", "white", (10.5, 5.5, 3.0), np.eye(4))
    ground = Shape("box", "black", (100.0, 100.0, 1.0), pose(np.eye(3), np.array([0.0, 0.0, -9.0])))
    seen = radiance(prepare(Scene((ground, box)), camera, samples=1), Moment())[..., 0] > 0.0
    expected = np.zeros((41, 41), dtype=bool)
    expected[15:26, 10:31] = True
    np.testing.assert_array_equal(seen, expected)


@pytest.mark.parametrize("with_mirror", [False, True], ids=["plain", "mirror"])
def test_the_search_for_changed_pixels_misses_none(make_camera: MakeCamera, animal: Walk, with_mirror: bool) -> None:
    """Tracing every pixel (a negative spread asks for it) gives the same picture."""
    scene = arena()
    if with_mirror:
        scene = scene.with_shapes(mirror((0.0, 130.0, 50.0), (0.0, -1.0, 0.2)))
    for camera in (make_camera(), make_camera(LENSES["telecentric"])):
        found = prepare(scene, camera)
        for time in (0.2, 1.3):
            moment = Moment(animal, time)
            quick = radiance(found, moment, exposure=0.01)
            whole = radiance(replace(found, spread=-1.0), moment, exposure=0.01)
            off = np.abs(quick - whole).max(axis=-1)
            assert off.max() < 0.06  # the shade about the animal is taken at a pixel's middle, whatever edge is in it
            assert (off > 0.01).mean() < 0.002
            assert np.abs(quick - radiance(found, Moment())).max() > 0.2


def test_the_mirror_shows_what_the_mirrored_camera_sees(make_camera: MakeCamera, animal: Walk) -> None:
    point, normal = np.array([0.0, 132.0, 65.0]), np.array([0.1, -1.0, 0.15])
    camera, scene, moment = make_camera(), arena(clutter=False), Moment(animal, 1.0)
    glass = mirror(point, normal, half_width=90.0, half_height=45.0)
    seen = radiance(prepare(scene.with_shapes(glass), camera, samples=1), moment)
    virtual = camera.mirrored(point, normal)
    direct = radiance(prepare(scene, virtual, samples=1), moment)[:, ::-1]
    empty = radiance(prepare(scene, virtual, samples=1), Moment())[:, ::-1]
    origins, directions = camera.rays(np.stack(np.meshgrid(np.arange(120.0), np.arange(90.0)), axis=-1))
    distance = (point - origins) @ normal / (directions @ normal)
    local = (origins + distance[..., None] * directions - point) @ glass.world_from_shape[:3, :3]
    on_glass = (np.abs(local[..., 0]) < 90.0) & (np.abs(local[..., 1]) < 45.0)
    # The same rays: light of up to 1 in float32 is rounded by at most 6e-8, here, there and in the product. Nothing
    # stands before the glass, and of surfaces at the same depth the first is taken, whatever the last bits say.
    equal = np.abs(seen - 0.92 * direct).max(axis=-1) < 1e-6
    assert on_glass.sum() > 800
    assert equal[on_glass].all()
    assert equal[~on_glass].mean() < 0.05
    image = on_glass & (np.abs(direct - empty).max(axis=-1) > 0.05)
    assert image.sum() > 20


def test_shadows_fall_away_from_the_lamp(make_balls: Callable[..., Scene]) -> None:
    camera = Camera(
        "top", (81, 81), TelecentricLens(1.0, 1.0, 40.0, 40.0), look_at((0, 0, 300), (0, 0, 0), (0.0, 1.0, 0.0))
    )
    floor = Shape("box", "white", (500.0, 500.0, 1.0), pose(np.eye(3), np.array([0.0, 0.0, -1.0])))
    ball = Shape("ellipsoid", "white", (6.0,) * 3, pose(np.eye(3), np.array([0.0, 0.0, 20.0])))
    scene = Scene((floor, ball), lamp_direction=(-0.6, 0.0, 1.0))
    seen = radiance(prepare(scene, camera, samples=3), Moment(light=Light(surroundings=(0.0, 0.0, 0.0))))[..., 0]
    grid = np.stack(np.meshgrid(np.arange(81.0), np.arange(81.0)), axis=-1)
    dark = (seen < 0.5 * np.median(seen)) & (np.linalg.norm(grid - 40.0, axis=-1) > 7.0)
    np.testing.assert_allclose(grid[dark].mean(axis=0), [40.0 + 0.6 * 20.0, 40.0], atol=0.8)


def test_light_is_linear_and_can_be_dimmed(stage: Stage, animal: Walk) -> None:
    light, moment = Light(), Moment(animal, 0.7)
    bright = radiance(stage, moment)
    np.testing.assert_allclose(
        radiance(stage, replace(moment, light=light.dimmed(0.4))), 0.4 * bright, rtol=1e-4, atol=1e-6
    )
    lamp = radiance(stage, replace(moment, light=light.dimmed(1.0, 0.0)))
    around = radiance(stage, replace(moment, light=light.dimmed(0.0, 1.0)))
    np.testing.assert_allclose(lamp + around, bright, rtol=1e-4, atol=1e-6)
    assert lamp.mean() > 0.05
    assert around.mean() > 0.05
    levels = [render(stage, replace(moment, light=light.dimmed(share))).mean() for share in (0.5, 0.8, 1.1)]
    assert levels[0] + 10.0 < levels[1]
    assert levels[1] + 10.0 < levels[2]


def _wall(left: str, right: str) -> Stage:
    """Two flat halves that fill the picture of a telecentric camera; they meet at x = 24."""
    camera = Camera(
        "top", (49, 49), TelecentricLens(1.0, 1.0, 24.0, 24.0), look_at((0, 0, 300), (0, 0, 0), (0.0, 1.0, 0.0))
    )
    halves = [
        Shape("box", coat, (250.0, 500.0, 1.0), pose(np.eye(3), np.array([250.0 * side, 0.0, 0.0])))
        for coat, side in ((left, -1.0), (right, 1.0))
    ]
    return prepare(Scene(tuple(halves), lamp_direction=(0.0, 0.1, 1.0)), camera, samples=4)


def test_noise_has_the_strength_asked_for() -> None:
    sensor = Sensor(blur_px=0.0, exposure=0.0, shot_noise=0.03, read_noise=0.01, gamma=1.0)
    stage = _wall("white", "black")
    moment = Moment(light=Light((0.3, 0.3, 0.3), (0.2, 0.2, 0.2)))
    truth = radiance(stage, moment)
    pictures = np.stack([render(stage, moment, sensor=sensor, seed=seed) for seed in range(30)]) / 255.0
    bright = pictures[:, :, :20]
    level = float(truth[:, :20].mean())
    assert bright.mean() == pytest.approx(level, abs=0.001)
    expected = np.sqrt(0.03**2 * level + 0.01**2 + 1.0 / 12.0 / 255.0**2)
    assert bright.std(axis=0).mean() == pytest.approx(expected, rel=0.03)
    between = np.corrcoef(bright[:15].reshape(-1), bright[15:].reshape(-1))[0, 1]
    assert abs(between) < 0.02


def test_blur_has_the_width_asked_for() -> None:
    stage = _wall("black", "white")
    for width in (0.8, 1.5):
        sensor = Sensor(blur_px=width, exposure=0.0, shot_noise=0.0, read_noise=0.0, gamma=1.0)
        row = render(stage, Moment(light=Light().dimmed(0.6)), sensor=sensor).astype(float)[:, :, 0].mean(axis=0)
        line = np.diff(row) / (row[-1] - row[0])
        place = np.arange(48) + 0.5
        middle = (line * place).sum()
        assert middle == pytest.approx(24.0, abs=0.05)
        spread = (line * (place - middle) ** 2).sum() - 1.0 / 4.0  # the edge cuts a pixel in halves
        assert np.sqrt(spread) == pytest.approx(width, rel=0.03)


def test_the_tone_curve_is_gamma() -> None:
    stage, moment = _wall("white", "white"), Moment(light=Light((0.2,) * 3, (0.2,) * 3))
    level = radiance(stage, moment).mean()
    sensor = Sensor(blur_px=0.0, exposure=0.0, shot_noise=0.0, read_noise=0.0, gamma=2.2)
    assert render(stage, moment, sensor=sensor).mean() == pytest.approx(255.0 * level ** (1 / 2.2), abs=0.5)


def test_moving_things_smear_during_the_exposure(stage: Stage, animal: Walk) -> None:
    speed = np.linalg.norm(np.diff(animal.points[:, 3], axis=0), axis=-1)
    moment = Moment(animal, float(animal.times[int(speed.argmax())]))
    sharp, short, long = (radiance(stage, moment, exposure=seconds) for seconds in (0.0, 0.01, 0.04))
    assert 0.0 < np.abs(short - sharp).mean() < np.abs(long - sharp).mean()
    assert np.abs(long - sharp).mean() < 0.05
    board = Chessboard(5, 4, 20.0)
    here = np.diag([1.0, -1.0, -1.0, 1.0])
    here[:3, 3] = -40.0, 30.0, 40.0
    there = here.copy()
    there[0, 3] += 12.0
    both, first, second = (
        radiance(stage, Moment(board=board, board_poses=np.stack(poses))).astype(float)
        for poses in ((here, there), (here,), (there,))
    )
    assert np.abs(first - second).max() > 0.3
    assert np.abs(both - (first + second) / 2.0).mean() < 0.3 * np.abs(first - second).mean()


def test_an_animal_can_have_another_coat(stage: Stage, animal: Walk) -> None:
    moments = [Moment(animal, 0.5, recoated=coats) for coats in ({}, {"head": "pale", "hood": "pale"})]
    plain, pale = (radiance(stage, moment) for moment in moments)
    other = np.abs(plain - pale).max(axis=2) > 0.01
    assert 0.0005 < other.mean() < 0.05
    assert (pale[other] > plain[other]).mean() > 0.9
    with pytest.raises(DataError, match="a coat is one of .*, got gold"):
        radiance(stage, Moment(animal, recoated={"head": "gold"}))


def test_what_cannot_be_rendered_is_refused(make_camera: MakeCamera) -> None:
    camera = make_camera()
    with pytest.raises(DataError, match="at least 1 sample per pixel, got 0"):
        prepare(arena(), camera, samples=0)
    narrow = replace(camera, lens=BrownLens(40.0, 40.0, 60.0, 45.0, (-0.4, 0.0, 0.0, 0.0, 0.0)))
    with pytest.raises(DataError, match="camera small has no ray for"):
        prepare(arena(), narrow)
    with pytest.raises(DataError, match="at least one pose"):
        radiance(prepare(Scene(()), camera, samples=1), Moment(board=Chessboard(5, 4, 20.0)))
    glass = mirror((0.0, 100.0, 50.0), (0.0, -1.0, 0.0))
    with pytest.raises(DataError, match="one mirror"):
        Scene((glass, glass))
    with pytest.raises(DataError, match="a shape is one of cone, ellipsoid, box, cylinder, got 'torus'"):
        Shape("torus", "white", (1.0, 1.0, 1.0), np.eye(4))
    with pytest.raises(DataError, match="a coat is one of .*, got 'gold'"):
        Shape("box", "gold", (1.0, 1.0, 1.0), np.eye(4))


# What a view sees of the animal's key points.

BACK = ("neck", "spine", "tail_mid")


def _states(scene: Scene, camera: Camera, animal: Walk, names: tuple[str, ...]) -> np.ndarray:
    return visibility(scene, camera, animal, animal.times)[:, [KEYPOINTS.index(name) for name in names]]


def test_the_body_hides_what_is_behind_it(make_camera: MakeCamera, animal: Walk) -> None:
    above = make_camera(center=(0.0, 0.0, 500.0))
    below = make_camera(center=(0.0, 0.0, -500.0))
    nothing = Scene(())
    assert (_states(nothing, above, animal, BACK) == "visible").all()
    assert (_states(nothing, below, animal, ("neck", "spine")) == "occluded").all()
    assert (visibility(arena(), below, animal, animal.times) == "occluded").all()


def test_things_hide_what_is_behind_them(make_camera: MakeCamera, animal: Walk) -> None:
    above = make_camera(center=(0.0, 0.0, 500.0))
    plate = Shape("box", "wood", (300.0, 300.0, 1.0), pose(np.eye(3), np.array([0.0, 0.0, 150.0])))
    assert (_states(arena().with_shapes(plate), above, animal, BACK) == "occluded").all()
    lower = replace(plate, world_from_shape=pose(np.eye(3), np.array([0.0, 0.0, -150.0])))
    assert (_states(arena().with_shapes(lower), above, animal, BACK) == "visible").all()


def test_points_outside_or_behind_are_absent(make_camera: MakeCamera, animal: Walk) -> None:
    aside = make_camera(target=(2000.0, 0.0, 300.0))
    behind = make_camera(target=(60.0, -900.0, 280.0))
    for camera in (aside, behind):
        assert (visibility(arena(), camera, animal, animal.times) == "absent").all()
    camera = make_camera()
    half = camera.crop(0, 0, 60, 90)
    points = camera.project(animal.points)
    states = visibility(arena(), half, animal, animal.times)
    np.testing.assert_array_equal(states == "absent", points[..., 0] > 59.5)
    assert 0.05 < (states == "absent").mean() < 0.95


def test_visible_points_show_the_animal_in_the_picture(make_camera: MakeCamera, animal: Walk) -> None:
    """Where a point is visible the picture differs from the empty scene's."""
    camera, scene = make_camera(), arena()
    stage = prepare(scene, camera)
    empty = radiance(stage, Moment())
    states = visibility(scene, camera, animal, animal.times)
    changed = []
    for i in range(0, animal.n_frames, 6):
        seen = np.abs(radiance(stage, Moment(animal, float(animal.times[i]))) - empty).max(axis=-1)
        x, y = camera.project(animal.points[i, states[i] == "visible"]).round().astype(int).T
        changed.append(seen[y, x] > 0.02)
    assert np.concatenate(changed).mean() > 0.9
