from __future__ import annotations

import numpy as np
import pytest

from multipose.board import AprilGrid, Board, CharucoBoard, Chessboard, board_from_dict
from multipose.errors import DataError
from multipose.opencv import corners_nx2, cv2

CHARUCO = CharucoBoard(columns=5, rows=4, square=20.0, marker=15.0, dictionary="4X4_50")
TWO_SIDED = CharucoBoard(columns=5, rows=4, square=20.0, marker=15.0, dictionary="4X4_50", thickness=3.0)
CHESS = Chessboard(columns=6, rows=4, square=25.0)
APRIL = AprilGrid(columns=3, rows=2, square=40.0, spacing=10.0, first=5)


def test_corners_lie_row_by_row_in_the_plane() -> None:
    corners = CHESS.corners
    assert corners.shape == (24, 3)
    assert np.all(corners[:, 2] == 0)
    assert corners[0].tolist() == [0, 0, 0]
    assert corners[1].tolist() == [25, 0, 0]
    assert corners[6].tolist() == [0, 25, 0]
    assert CHARUCO.corner_shape == (4, 3)
    assert CHARUCO.n_corners == len(CHARUCO.corners) == 12


@pytest.mark.parametrize(
    "board", [CHESS, CHARUCO, APRIL, TWO_SIDED], ids=["chessboard", "charuco", "aprilgrid", "two-sided"]
)
def test_board_survives_its_dictionary(board: Board) -> None:
    assert board_from_dict(board.to_dict()) == board


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"type": "circles"}, "no type of board 'circles'"),
        ({"type": "aprilgrid", "columns": 6, "rows": 6, "square": 88.0}, "missing 'spacing'"),
        ({"type": "aprilgrid", "columns": 6, "rows": 6, "square": 0.3, "spacing": 0.3}, "tagSpacing \\* tagSize"),
        ({"type": "aprilgrid", "columns": 1, "rows": 6, "square": 2.0, "spacing": 1.0}, "counts its tags.*at least 2"),
        (
            {"type": "aprilgrid", "columns": 6, "rows": 6, "square": 2.0, "spacing": 1.0, "first": 560},
            "the numbers up to 595, but the dictionary APRILTAG_36H11 has 587",
        ),
        ({"type": "aprilgrid", "columns": 6, "rows": 6, "square": 2.0, "spacing": 1.0, "border": 0}, "border of an"),
        ({"type": "chessboard", "columns": 9, "rows": 6}, "missing 'square'"),
        ({"type": "charuco", "columns": 9, "rows": 6, "square": 2.0}, "missing 'marker'"),
        ({"type": "chessboard", "columns": 9, "rows": 6, "square": 2.0, "colour": 1}, "unknown 'colour'"),
        ({"type": "chessboard", "columns": 9, "rows": 2, "square": 2.0}, "at least 3"),
        ({"type": "chessboard", "columns": 9.5, "rows": 6, "square": 2.0}, "whole number"),
        ({"type": "chessboard", "columns": 9, "rows": 6, "square": -2.0}, "positive length"),
        ({"type": "chessboard", "columns": 9, "rows": 6, "square": 2.0, "unit": "parsec"}, "unit of a board must"),
        ({"type": "charuco", "columns": 9, "rows": 6, "square": 2.0, "marker": 3.0}, "smaller than its squares"),
        (
            {"type": "charuco", "columns": 9, "rows": 6, "square": 2.0, "marker": 1.0, "dictionary": "9X9"},
            "no marker dictionary",
        ),
        (
            {"type": "charuco", "columns": 20, "rows": 20, "square": 2.0, "marker": 1.0, "dictionary": "4X4_50"},
            "needs 200 markers",
        ),
        (
            {
                "type": "charuco",
                "columns": 9,
                "rows": 6,
                "square": 2.0,
                "marker": 1.0,
                "dictionary": "4X4_50",
                "thickness": 1.0,
            },
            "two-sided board of 9 x 6 squares needs 54 markers",
        ),
        ({"type": "charuco", "columns": 9, "rows": 6, "square": 2.0, "marker": 1.0, "thickness": -1.0}, "got -1.0"),
    ],
)
def test_wrong_boards_say_what_is_wrong(values: dict[str, object], told: str) -> None:
    with pytest.raises(DataError, match=told):
        board_from_dict(values)


def test_the_back_is_the_front_turned_about_its_vertical_axis() -> None:
    assert (CHESS.sides, CHARUCO.sides, APRIL.sides, TWO_SIDED.sides) == (1, 1, 1, 2)
    assert TWO_SIDED.corner_shape == CHARUCO.corner_shape
    assert TWO_SIDED.n_corners == len(TWO_SIDED.corners) == 2 * CHARUCO.n_corners
    front, back = np.split(TWO_SIDED.corners, 2)
    np.testing.assert_array_equal(front, CHARUCO.corners)
    assert back[:4].tolist() == [[60, 0, 3], [40, 0, 3], [20, 0, 3], [0, 0, 3]]
    assert back[4].tolist() == [60, 20, 3]
    assert TWO_SIDED.front == CHARUCO
    assert TWO_SIDED.scaled(2).thickness == 6
    assert "two-sided, 3 mm thick" in str(TWO_SIDED)
    with pytest.raises(DataError, match="1 printed side"):
        CHARUCO.draw(side=1)


@pytest.mark.opencv
def test_the_drawn_back_carries_the_markers_that_follow_where_the_geometry_says() -> None:
    picture = cv2.cvtColor(TWO_SIDED.draw(48, 20, side=1), cv2.COLOR_RGB2GRAY)
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    _, ids, _ = cv2.aruco.ArucoDetector(dictionary).detectMarkers(picture)
    assert sorted(np.ravel(ids)) == list(range(10, 20))
    theirs = cv2.aruco.CharucoBoard((5, 4), 20.0, 15.0, dictionary, np.arange(10, 20))
    found, ids, _, _ = cv2.aruco.CharucoDetector(theirs).detectBoard(picture)
    back = TWO_SIDED.corners[TWO_SIDED.n_corners // 2 :]
    assert sorted(np.ravel(ids)) == list(range(len(back)))
    expected = TWO_SIDED.picture_from_board(back[np.ravel(ids)], 48, 20, side=1)
    assert np.abs(corners_nx2(found) - expected).max() < 0.6
    np.testing.assert_allclose(TWO_SIDED.picture_from_board(back[:, :2], 48, 20, side=1)[np.ravel(ids)], expected)


@pytest.mark.opencv
@pytest.mark.parametrize(
    "board",
    [CHARUCO, CharucoBoard(columns=5, rows=4, square=20.0, marker=12.3, dictionary="DICT_5X5_100", legacy=True)],
    ids=["modern", "legacy"],
)
def test_drawn_charuco_is_found_by_opencv_where_the_geometry_says(board: CharucoBoard) -> None:
    picture = board.draw(pixels_per_square=48, margin=20)
    assert picture.shape == (4 * 48 + 40, 5 * 48 + 40, 3)
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, "DICT_" + board.dictionary.removeprefix("DICT_")))
    theirs = cv2.aruco.CharucoBoard((board.columns, board.rows), board.square, board.marker, dictionary)
    theirs.setLegacyPattern(board.legacy)
    found, ids, _, _ = cv2.aruco.CharucoDetector(theirs).detectBoard(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))
    assert sorted(np.ravel(ids)) == list(range(board.n_corners))
    expected = board.picture_from_board(board.corners[np.ravel(ids)], 48, 20)
    assert np.abs(corners_nx2(found) - expected).max() < 0.6


@pytest.mark.opencv
def test_drawn_chessboard_is_found_by_opencv_where_the_geometry_says() -> None:
    picture = cv2.cvtColor(CHESS.draw(pixels_per_square=40, margin=40), cv2.COLOR_RGB2GRAY)
    found, corners = cv2.findChessboardCornersSB(picture, CHESS.corner_shape)
    assert found
    expected = CHESS.picture_from_board(CHESS.corners, 40, 40)
    distances = np.linalg.norm(corners_nx2(corners)[:, None] - expected[None], axis=-1)
    assert distances.min(axis=0).max() < 0.2
    assert picture[50, 50] == 0


def test_tag_corners_are_an_uneven_grid_and_tags_count_from_the_bottom_left() -> None:
    assert APRIL.corner_shape == (6, 4)
    assert APRIL.corners.shape == (APRIL.n_corners, 3) == (24, 3)
    assert APRIL.corners[:6, 0].tolist() == [0, 40, 50, 90, 100, 140]
    assert APRIL.corners[::6, 1].tolist() == [0, 40, 50, 90]
    assert APRIL.corners[APRIL.tag_corners(0), :2].tolist() == [[0, 50], [40, 50], [40, 90], [0, 90]]
    assert APRIL.corners[APRIL.tag_corners(5), :2].tolist() == [[100, 0], [140, 0], [140, 40], [100, 40]]
    assert APRIL.print_area == (-10, -10, 160, 110)


def test_tags_are_printed_as_kalibr_prints_them() -> None:
    # Kalibr draws the code of tag 0 of 36h11, most significant bit first from the top left, white where a bit is set,
    # within a black border of two cells, at the bottom left of the grid.
    bits = [int(bit) for bit in f"{0xD5D628584:036b}"]
    grid = AprilGrid(columns=2, rows=2, square=10.0, spacing=3.0)
    picture = grid.draw(pixels_per_square=10, margin=0)[..., 0]
    assert picture.shape == (29, 29)
    tag = picture[16:26, 3:13]
    assert (tag[2:8, 2:8] == 255).astype(int).ravel().tolist() == bits
    tag[2:8, 2:8] = 0
    assert not tag.any()
    for place in (np.s_[:3, :3], np.s_[13:16, 13:16], np.s_[26:, 13:16]):  # squares at the corners, gaps between them
        assert not picture[place].any()
    assert (picture[3:13, 13:16] == 255).all()


@pytest.mark.opencv
def test_drawn_tags_are_found_by_opencv_where_the_geometry_says() -> None:
    picture = cv2.cvtColor(APRIL.draw(pixels_per_square=80, margin=20), cv2.COLOR_RGB2GRAY)
    parameters = cv2.aruco.DetectorParameters()
    parameters.markerBorderBits = 2
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36h11)
    found, ids, _ = cv2.aruco.ArucoDetector(dictionary, parameters).detectMarkers(picture)
    assert sorted(np.ravel(ids)) == list(range(5, 11))
    for number, corners in zip(np.ravel(ids), found, strict=True):
        expected = APRIL.picture_from_board(APRIL.corners[APRIL.tag_corners(number - 5)], 80, 20)
        # Half a turn: the first corner of OpenCV's drawing is the bottom right of Kalibr's.
        assert np.abs(np.roll(corners_nx2(corners), -2, axis=0) - expected).max() < 3
