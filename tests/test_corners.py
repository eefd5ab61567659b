from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from multipose.board import CharucoBoard, Chessboard
from multipose.corners import Corners, fuller_side
from multipose.errors import DataError, FormatError

CHESS = Chessboard(columns=6, rows=4, square=25.0)


def make_corners() -> Corners:
    px = np.random.default_rng(0).uniform(0, 100, (2, 3, CHESS.n_corners, 2))
    px[1, 2] = np.nan
    px[0, 0, 3] = np.nan
    reasons = np.full((2, 3), "", dtype=object)
    reasons[1, 2] = "no chessboard found"
    return Corners(
        CHESS,
        ("left", "right"),
        {"left": (640, 480), "right": (320, 240)},
        np.array([4, 7, 9]),
        px,
        reasons,
        {"right": "too small"},
    )


def test_corners_are_counted_and_selected() -> None:
    corners = make_corners()
    assert corners.counts().tolist() == [[23, 24, 24], [24, 24, 0]]
    part = corners.select(views=["right"], frames=[9, 4])
    assert part.views == ("right",)
    assert part.sizes == {"right": (320, 240)}
    assert part.counts().tolist() == [[0, 24]]
    assert part.reasons[0, 0] == "no chessboard found"
    with pytest.raises(DataError, match="No view top"):
        corners.select(views=["top"])
    with pytest.raises(DataError, match="No instant 5"):
        corners.select(frames=[4, 5])


def test_corners_of_the_wrong_shape_are_refused() -> None:
    corners = make_corners()
    with pytest.raises(DataError, match=r"should have shape \(2, 3, 24, 2\)"):
        Corners(corners.board, corners.views, corners.sizes, corners.frames, corners.px[..., :12, :], corners.reasons)
    with pytest.raises(DataError, match="twice"):
        Corners(corners.board, corners.views, corners.sizes, np.array([1, 1, 2]), corners.px, corners.reasons)


def test_corners_survive_their_file(tmp_path: Path) -> None:
    corners = make_corners()
    corners.save(tmp_path / "corners.npz")
    back = Corners.load(tmp_path / "corners.npz")
    assert back.board == corners.board
    assert (back.views, back.sizes, back.diagnoses) == (corners.views, corners.sizes, corners.diagnoses)
    assert np.array_equal(back.px, corners.px, equal_nan=True)
    assert np.array_equal(back.frames, corners.frames)
    assert np.array_equal(back.reasons, corners.reasons)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_a_file_that_holds_no_corners_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "corners.npz").write_bytes(content)
    with pytest.raises(FormatError, match="corners.npz"):
        Corners.load(tmp_path / "corners.npz")
    np.savez(tmp_path / "other.npz", a=1)
    with pytest.raises(FormatError, match="lacks"):
        Corners.load(tmp_path / "other.npz")


def test_one_side_counts_where_both_are_said_to_be_seen() -> None:
    board = CharucoBoard(columns=7, rows=5, square=20.0, marker=15.0, dictionary="4X4_100", thickness=6.0)
    seen = np.zeros((2, 1, board.n_corners), dtype=bool)
    seen[0, 0, :10] = seen[0, 0, 24:27] = True
    seen[1, 0, :3] = seen[1, 0, 24:36] = True
    kept = fuller_side(seen, board)
    assert np.flatnonzero(kept[0, 0]).tolist() == list(range(10))
    assert np.flatnonzero(kept[1, 0]).tolist() == list(range(24, 36))
    assert fuller_side(seen[..., :24], board.front).sum() == 13
