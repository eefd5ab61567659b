from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multipose.board import CharucoBoard, Chessboard
from multipose.camera import Camera, CameraRig
from multipose.errors import DataError
from multipose.geometry import look_at, pose, rotation_from_vector
from multipose.lens import BrownLens, TelecentricLens
from multipose.synthetic import board_poses, sample_rig
from multipose.view import rig as draw_rig
from multipose.view.scene import MAX_BOARDS, eye, frustum, spread, up_direction


def xyz(trace: object) -> np.ndarray:
    return np.column_stack([trace.x, trace.y, trace.z])  # type: ignore[attr-defined]


def test_every_camera_is_drawn_with_its_name_at_its_centre() -> None:
    rig = sample_rig(3, names=["back", "left", "top"])
    figure = draw_rig(rig)
    for camera in rig:
        lines = next(trace for trace in figure.data if trace.name == camera.name)
        assert np.allclose(xyz(lines)[0], camera.center, rtol=1e-6)
        assert lines.text[0] == camera.name
        assert "480 x 360 px" in lines.hovertemplate
    assert figure.layout.scene.xaxis.title.text == "x (mm)"
    assert figure.layout.scene.zaxis.title.text == "z (mm)"
    ranges = np.array([figure.layout.scene[f"{axis}axis"].range for axis in "xyz"])
    ratio = np.array([figure.layout.scene.aspectratio[axis] for axis in "xyz"])
    assert np.ptp(ratio / np.ptp(ranges, axis=1)) < 1e-9  # true to scale
    drawn = np.concatenate([xyz(trace) for trace in figure.data])
    assert (np.nanmin(drawn, axis=0) > ranges[:, 0]).all()
    assert (np.nanmax(drawn, axis=0) < ranges[:, 1]).all()


def test_the_frustum_shows_what_the_camera_sees() -> None:
    camera = sample_rig(1)["cam_0"]
    _, pane = frustum(camera, 50.0)
    width, height = camera.size
    px = camera.project(pane)
    assert np.allclose(px.min(0), -0.5, atol=1e-6)
    assert np.allclose(px.max(0), (width - 0.5, height - 0.5), atol=1e-6)
    assert np.allclose(camera.depth(pane), 50.0)


def test_the_bar_marks_the_upper_border() -> None:
    camera = sample_rig(1)["cam_0"]
    lines, _ = frustum(camera, 50.0)
    last = np.flatnonzero(np.isnan(lines[:, 0]))[-1]
    assert (camera.project(lines[last + 1 :])[:, 1] < -0.5).all()


def test_a_telecentric_view_is_a_box() -> None:
    lens = TelecentricLens(sx=10.0, sy=10.0, cx=99.5, cy=49.5)
    camera = Camera("flat", (200, 100), lens, np.eye(4))
    lines, pane = frustum(camera, 30.0)
    assert np.allclose(np.ptp(pane, axis=0), (20.0, 10.0, 0.0))
    starts = lines[2:14:3]
    assert np.allclose(np.ptp(starts, axis=0), (20.0, 10.0, 0.0))


def test_boards_lie_at_their_poses() -> None:
    board = Chessboard(5, 4, 10.0, "mm")
    world_from_board = pose(rotation_from_vector(np.array([0.1, -0.2, 0.3])), np.array([5.0, 6.0, 7.0]))
    unknown = np.full((4, 4), np.nan)
    figure = draw_rig(sample_rig(2), (board, np.stack([unknown, world_from_board])))
    lines = next(trace for trace in figure.data if trace.name == "boards")
    corner = world_from_board @ np.array([-10.0, -10.0, 0.0, 1.0])
    opposite = world_from_board @ np.array([50.0, 40.0, 0.0, 1.0])
    assert np.allclose(xyz(lines)[0], corner[:3], atol=1e-4)
    assert np.allclose(xyz(lines)[2], opposite[:3], atol=1e-4)
    assert set(lines.customdata) == {1}
    assert any(trace.name == "boards (1)" for trace in figure.data)
    assert lines.line.colorbar.title.text == "board pose number"


def test_many_boards_are_thinned_with_a_statement() -> None:
    rig = sample_rig(3)
    board = CharucoBoard(6, 5, 16.0, 12.0)
    figure = draw_rig(rig, (board, board_poses(rig, board, 80)))
    assert f"{MAX_BOARDS} of 80 boards drawn" in figure.layout.title.text
    few = draw_rig(rig, (board, board_poses(rig, board, 10)))
    assert "drawn" not in few.layout.title.text


def test_wrong_shapes_are_told() -> None:
    with pytest.raises(DataError, match=r"\(n, 4, 4\), got \(4, 4\)"):
        draw_rig(sample_rig(2), (Chessboard(5, 4, 10.0), np.eye(4)))
    with pytest.raises(DataError, match=r"\(\.\.\., 3\), got \(5, 2\)"):
        draw_rig(sample_rig(2), points=np.zeros((5, 2)))


def test_where_the_lens_ends_before_the_border_the_frustum_ends_too() -> None:
    # r (1 - 0.5 r²) grows up to r = 0.816, where it is 0.544: 54.4 px from the middle.
    lens = BrownLens(fx=100.0, fy=100.0, cx=99.5, cy=99.5, distortion=(-0.5, 0.0, 0.0, 0.0, 0.0))
    camera = Camera("wild", (200, 200), lens, np.eye(4))
    lines, pane = frustum(camera, 1.0)
    radius = np.linalg.norm(camera.project(pane) - 99.5, axis=1)
    assert len(pane) == 32
    assert (radius < 54.5).all()
    assert (radius > 52.5).all()  # steps of one hundredth of the way to the border
    assert np.isfinite(lines[2:14].reshape(4, 3, 3)[:, :2]).all()  # the four edges of the pyramid


def test_a_lens_that_reaches_nothing_is_told() -> None:
    lens = BrownLens(fx=1.0, fy=1.0, cx=499.5, cy=499.5, distortion=(-0.5, 0.0, 0.0, 0.0, 0.0))
    with pytest.raises(DataError, match="Camera wild"):
        frustum(Camera("wild", (1000, 1000), lens, np.eye(4)), 1.0)


def level_rig(seed: int, up: np.ndarray) -> CameraRig:
    """Three level cameras about the origin, a third of a turn apart, give or take, at different heights."""
    rng = np.random.default_rng(seed)
    lens = BrownLens(fx=500.0, fy=500.0, cx=319.5, cy=239.5, distortion=(0.0, 0.0, 0.0, 0.0, 0.0))
    across = np.cross(up, rng.normal(size=3))
    across /= np.linalg.norm(across)
    cameras = []
    for i in range(3):
        angle = 2.1 * i + rng.uniform(-0.3, 0.3)
        side = np.cos(angle) * across + np.sin(angle) * np.cross(up, across)
        center = 300 * side + up * rng.uniform(0, 500)
        cameras.append(Camera(f"cam_{i}", (640, 480), lens, look_at(center, np.zeros(3), up)))
    return CameraRig(tuple(cameras), "mm")


@given(st.integers(0, 1000), st.sampled_from([(0, 0, 1), (0, -1, 0), (0.6, 0, 0.8)]))
def test_up_is_what_level_cameras_agree_on(seed: int, direction: tuple[float, float, float]) -> None:
    up = np.array(direction, dtype=float)
    found = up_direction(level_rig(seed, up))
    assert found @ up > np.cos(np.deg2rad(1))


def test_the_eye_looks_from_above_where_cameras_stand() -> None:
    rig = sample_rig(3)
    camera = eye(rig, np.zeros((1, 3)))
    assert camera["eye"]["z"] > 0.5
    assert camera["up"]["z"] > 0.98
    alone = eye(sample_rig(1), np.empty((0, 3)))
    assert np.isfinite(list(alone["eye"].values())).all()


@given(st.integers(1, 300), st.integers(2, 100))
def test_spread_keeps_both_ends(n: int, limit: int) -> None:
    chosen = np.asarray(spread(np.arange(n), limit))
    assert len(chosen) == min(n, limit)
    assert chosen[0] == 0
    assert chosen[-1] == n - 1
    assert (np.diff(chosen) > 0).all()
