from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multipose.board import AprilGrid, Board, CharucoBoard, Chessboard
from multipose.calibration import calibrate, detect_board
from multipose.calibration.diagnosis import diagnose
from multipose.errors import CalibrationError
from multipose.opencv import cv2
from multipose.video import write_picture

pytestmark = pytest.mark.opencv

CHESS = Chessboard(columns=7, rows=4, square=20.0)
APRIL = AprilGrid(columns=4, rows=3, square=20.0, spacing=6.0)
CHARUCO = CharucoBoard(columns=7, rows=5, square=20.0, marker=15.0, dictionary="4X4_100")


def picture_of(board: Board, pixels_per_square: int = 30) -> np.ndarray:
    picture = cv2.cvtColor(board.draw(pixels_per_square, margin=pixels_per_square), cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.8), dtype=np.uint8)


@pytest.mark.parametrize(
    ("asked", "shown", "told"),
    [
        (Chessboard(8, 5, 20.0), CHESS, "its squares were counted. Give the inner corners, columns = 7 and rows = 4"),
        (Chessboard(7, 5, 20.0), CHESS, "chessboard of 7 x 4 inner corners. Give columns = 7 and rows = 4"),
        (
            CharucoBoard(6, 4, 20.0, 15.0, dictionary="4X4_100"),
            CHARUCO,
            "its inner corners were counted. Give the squares, columns = 7 and rows = 5",
        ),
        (
            CharucoBoard(7, 5, 20.0, 15.0, dictionary="5X5_100"),
            CHARUCO,
            'dictionary family of 4X4_1000. Say dictionary = "4X4_50", or the larger one',
        ),
        (
            CharucoBoard(5, 7, 20.0, 15.0, dictionary="4X4_100"),
            CHARUCO,
            "ChArUco board of 7 x 5 squares. Give the squares, columns = 7 and rows = 5",
        ),
        (
            CharucoBoard(6, 5, 20.0, 15.0, dictionary="4X4_100"),
            CHARUCO,
            "ChArUco board of 7 x 5 squares. Give the squares, columns = 7 and rows = 5",
        ),
        (Chessboard(6, 4, 20.0), CHESS, "chessboard of 7 x 4 inner corners. Give columns = 7 and rows = 4"),
        (Chessboard(7, 3, 20.0), CHESS, "chessboard of 7 x 4 inner corners. Give columns = 7 and rows = 4"),
        (
            CharucoBoard(7, 6, 20.0, 15.0, dictionary="4X4_100", legacy=True),
            CharucoBoard(7, 6, 20.0, 15.0, dictionary="4X4_100"),
            "present pattern. Say legacy = false",
        ),
        (CHARUCO, Chessboard(6, 4, 20.0), "then say that it is a chessboard of 6 x 4 inner corners"),
        (Chessboard(6, 4, 20.0), CHARUCO, "Say that the board is a ChArUco board"),
        (AprilGrid(4, 4, 20.0, 6.0), AprilGrid(5, 4, 20.0, 6.0), "Give the tags, columns = 5 and rows = 4"),
        (AprilGrid(4, 3, 20.0, 6.0, border=1), APRIL, "Say border = 2"),
        (AprilGrid(4, 3, 20.0, 6.0, first=12), APRIL, "begin with 0. Say first = 0"),
        (APRIL, AprilGrid(4, 3, 20.0, 6.0, first=30), "begin with 30. Say first = 30"),
        (
            APRIL,
            AprilGrid(4, 3, 20.0, 6.0, dictionary="APRILTAG_25H9", border=1),
            'Say dictionary = "APRILTAG_25H9" and border = 1',
        ),
    ],
    ids=[
        "squares counted",
        "size",
        "corners counted",
        "dictionary",
        "exchanged",
        "narrow",
        "column short",
        "row short",
        "legacy",
        "chessboard",
        "charuco",
        "tags counted",
        "border",
        "first tag",
        "later tags",
        "tag family",
    ],
)
def test_the_board_that_would_work_is_named(asked: Board, shown: Board, told: str) -> None:
    text = diagnose(asked, [picture_of(shown)] * 2, ["no board"])
    assert told in text
    assert "2 of 2 pictures tried" in text


def test_mirrored_pictures_are_recognised() -> None:
    for board in (CHARUCO, APRIL):
        mirrored = np.ascontiguousarray(picture_of(board)[:, ::-1])
        assert "flip = true" in diagnose(board, [mirrored], [])


def test_boards_too_small_in_the_picture_are_recognised() -> None:
    text = diagnose(CHARUCO, [picture_of(CHARUCO, 9)], [])
    assert "too small in the picture: 1 of 1 pictures tried show its squares, 9 px wide" in text
    tiny = cv2.resize(picture_of(CHESS, 20), None, fx=0.2, fy=0.2, interpolation=cv2.INTER_AREA)
    assert "too small in the picture: enlarged 3 times" in diagnose(CHESS, [np.asarray(tiny, dtype=np.uint8)], [])


def test_blurred_pictures_are_recognised() -> None:
    blurred = cv2.GaussianBlur(picture_of(CHARUCO, 60), (0, 0), 9)
    assert "too blurred for them" in diagnose(CHARUCO, [np.asarray(blurred, dtype=np.uint8)], [])
    blurred = cv2.GaussianBlur(picture_of(CHESS, 60), (0, 0), 8)
    assert "are blurred: at 1/4" in diagnose(CHESS, [np.asarray(blurred, dtype=np.uint8)], [])


def test_dark_pictures_and_foreign_markers_are_told() -> None:
    assert "nearly uniform, with a mean gray of 3" in diagnose(CHESS, [np.full((100, 100), 3, np.uint8)], [])
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_100)
    picture = np.full((200, 400), 255, np.uint8)
    for k, number in enumerate((40, 41)):
        picture[50:150, 50 + 180 * k : 150 + 180 * k] = dictionary.generateImageMarker(number, 100)
    assert "with other numbers (40, 41) than this board's, 0 to 16" in diagnose(CHARUCO, [picture], [])


def test_what_was_tried_in_vain_is_said() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (120, 160), dtype=np.uint8)
    text = diagnose(CHESS, [noise], ["no chessboard of 7 x 4 inner corners found"])
    assert text.startswith("No board was found (no chessboard of 7 x 4 inner corners found).")
    assert "ChArUco boards, other numbers of inner corners, enlarged" in text


def test_calibration_of_a_view_without_boards_passes_the_diagnosis_on(tmp_path: Path) -> None:
    for k in range(3):
        picture = cv2.cvtColor(picture_of(CHESS), cv2.COLOR_GRAY2RGB)
        write_picture(tmp_path / "a" / f"{k}.png", np.asarray(picture, dtype=np.uint8))
    corners = detect_board({"a": tmp_path / "a"}, Chessboard(8, 5, 20.0))
    assert "squares were counted" in corners.diagnoses["a"]
    with pytest.raises(CalibrationError, match="View a: No board was found .* squares were counted"):
        calibrate(corners)


def write_pictures(folder: Path, pictures: list[np.ndarray]) -> None:
    for k, shown in enumerate(pictures):
        picture = np.full((300, 300), 128, np.uint8)
        picture[: shown.shape[0], : shown.shape[1]] = shown
        write_picture(folder / f"{k:03d}.png", np.asarray(cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB), dtype=np.uint8))


@pytest.mark.parametrize("by_chance", [1, 2, 3])
def test_a_board_that_is_seen_by_chance_does_not_hide_the_one_that_is_there(tmp_path: Path, by_chance: int) -> None:
    asked = Chessboard(6, 4, 20.0)
    shown = CharucoBoard(7, 5, 20.0, 18.5, dictionary="4X4_100")  # whose squares do not pass for a chessboard's
    n = 8 if by_chance < 3 else 37
    write_pictures(tmp_path / "a", [picture_of(shown)] * n + [picture_of(asked)] * by_chance)
    corners = detect_board({"a": tmp_path / "a"}, asked)
    assert np.isfinite(corners.px[0]).all((1, 2)).sum() == by_chance
    assert f"Only {by_chance} pictures pass for the board that was described" in corners.diagnoses["a"]
    with pytest.raises(CalibrationError, match=r"View a: .*a ChArUco board of 7 x 5 squares with markers of 4X4_50"):
        calibrate(corners)


def test_a_board_that_is_seldom_seen_is_no_other_board(tmp_path: Path) -> None:
    empty = np.random.default_rng(0).integers(80, 160, (240, 300), dtype=np.uint8)
    write_pictures(tmp_path / "a", [empty] * 10 + [picture_of(CHESS)] * 2)
    corners = detect_board({"a": tmp_path / "a"}, CHESS)
    assert corners.diagnoses == {}
    with pytest.raises(CalibrationError, match="View a has 2 usable boards in 12 instants"):
        calibrate(corners)


@pytest.mark.parametrize("board", [CHARUCO, APRIL, CharucoBoard(7, 5, 20.0, 15.0, dictionary="5X5_100")])
def test_boards_with_black_and_white_exchanged_are_found_and_said(tmp_path: Path, board: Board, heard: Any) -> None:
    write_pictures(tmp_path / "a", [picture_of(board)] * 3)
    write_pictures(tmp_path / "b", [np.asarray(255 - picture_of(board), dtype=np.uint8)] * 3)
    corners = detect_board({"a": tmp_path / "a", "b": tmp_path / "b"}, board, progress=heard)
    assert np.isfinite(corners.px[1]).mean() > 0.8
    np.testing.assert_array_equal(corners.px[1], corners.px[0])
    assert [text for text in heard.notes if "Black and white of the board are exchanged in b:" in text]
