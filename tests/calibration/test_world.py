"""The world is put on a board: the boards of a known rig, and every choice of the axis that points up."""

from __future__ import annotations

import numpy as np
import pytest

from multipose.board import Board, CharucoBoard, Chessboard
from multipose.calibration import locate_boards, world_on_board
from multipose.errors import CalibrationError, DataError
from multipose.geometry import invert_pose, transform
from multipose.synthetic import board_corners, board_poses, sample_rig


@pytest.mark.parametrize("board", [CharucoBoard(8, 6, 20.0, 15.0), Chessboard(7, 4, 20.0)], ids=["charuco", "chess"])
def test_boards_are_located_in_a_known_rig(board: Board) -> None:
    rig = sample_rig(3)
    poses = board_poses(rig, board, 12, seed=3, steps=1)
    found = locate_boards(rig, board_corners(rig, board, poses, noise=0.2, seed=3))
    known = np.isfinite(found).all((1, 2))
    assert known.sum() >= 6
    off = np.linalg.norm(
        transform(found[known][:, None], board.corners) - transform(poses[known][:, None], board.corners), axis=-1
    )
    assert np.median(off) < 0.3  # mm; boards that one view sees are up to 2 mm off along its line of sight


def test_boards_that_no_view_sees_have_no_pose() -> None:
    rig, board = sample_rig(2), Chessboard(7, 4, 20.0)
    corners = board_corners(rig, board, board_poses(rig, board, 3, seed=1, steps=1))
    corners.px[:, 1] = np.nan
    found = locate_boards(rig, corners)
    assert np.isnan(found[1]).all()
    with pytest.raises(CalibrationError, match="not known"):
        world_on_board(found[1])


@pytest.mark.parametrize("up", ["x", "-x", "y", "-y", "z", "-z"])
def test_the_named_axis_points_away_from_the_print(up: str) -> None:
    rig, board = sample_rig(3), Chessboard(7, 4, 20.0)
    world_from_board, _ = board_poses(rig, board, 2, seed=2, steps=1)
    new_from_world = world_on_board(world_from_board, up)  # type: ignore[arg-type]
    assert np.linalg.det(new_from_world[:3, :3]) == pytest.approx(1)
    first, above = transform(
        new_from_world @ world_from_board, np.array([[0.0, 0, 0], [0, 0, -5.0]])
    )  # z of the board goes into the print
    np.testing.assert_allclose(first, 0, atol=1e-9)
    expected = np.zeros(3)
    expected["xyz".index(up[-1])] = -5.0 if up[0] == "-" else 5.0
    np.testing.assert_allclose(above, expected, atol=1e-9)
    moved = rig.transformed(new_from_world)
    points = np.array([[3.0, -8.0, 20.0]])
    np.testing.assert_allclose(moved.project(transform(new_from_world, points)), rig.project(points), atol=1e-6)
    np.testing.assert_allclose(
        transform(invert_pose(new_from_world), np.zeros((1, 3))),
        transform(world_from_board, np.zeros((1, 3))),
        atol=1e-9,
    )


def test_other_words_for_up_are_an_error() -> None:
    with pytest.raises(DataError, match="one of x, -x"):
        world_on_board(np.eye(4), "up")  # type: ignore[arg-type]
