from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from multipose.board import AprilGrid, Board, CharucoBoard, Chessboard
from multipose.calibration import detect_board
from multipose.calibration.chessboards import continues, order_chessboard
from multipose.calibration.detection import Gray
from multipose.calibration.patterns import board_finder
from multipose.calibration.refinement import settle_corners
from multipose.errors import DataError
from multipose.geometry import homography
from multipose.opencv import cv2
from multipose.video import VideoFile, write_picture, write_video

pytestmark = pytest.mark.opencv

CHESS = Chessboard(columns=7, rows=4, square=20.0)
CHARUCO = CharucoBoard(columns=7, rows=5, square=20.0, marker=15.0, dictionary="4X4_100")
APRIL = AprilGrid(columns=4, rows=3, square=20.0, spacing=5.0)
SIZE = (480, 360)
# Where the board's four outer corners are seen, clockwise from its top left.
QUAD = np.array([[90.0, 70], [400, 50], [420, 290], [70, 310]])


def picture_of(board: Board, quad: np.ndarray = QUAD, size: tuple[int, int] = SIZE) -> tuple[Gray, np.ndarray]:
    """A gray picture of the board in perspective, and its true corners (n, 2)."""
    scale, over = 24, 4
    drawn = board.draw(scale, margin=scale // 2)
    height, width = drawn.shape[:2]
    outer = np.array([[-0.5, -0.5], [width - 0.5, -0.5], [width - 0.5, height - 0.5], [-0.5, height - 0.5]])
    seen_from_drawn = homography(outer, quad)
    larger = np.array([[over, 0, (over - 1) / 2], [0, over, (over - 1) / 2], [0, 0, 1]])  # averaged down afterwards
    big = cv2.warpPerspective(
        drawn, larger @ seen_from_drawn, (over * size[0], over * size[1]), borderMode=cv2.BORDER_CONSTANT,
        borderValue=(128, 128, 128),
    )  # fmt: skip
    picture = cv2.cvtColor(cv2.resize(big, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    picture = cv2.GaussianBlur(picture, (0, 0), 0.7)
    at = np.c_[board.picture_from_board(board.corners, scale, scale // 2), np.ones(board.n_corners)]
    corners = at @ seen_from_drawn.T
    return np.asarray(picture, dtype=np.uint8), corners[:, :2] / corners[:, 2:]


def rgb(gray: Gray) -> np.ndarray:
    return np.repeat(gray[..., None], 3, axis=-1)


@pytest.mark.parametrize("board", [CHESS, CHARUCO, APRIL], ids=["chessboard", "charuco", "aprilgrid"])
def test_corners_are_found_to_a_fraction_of_a_pixel(board: Board) -> None:
    picture, truth = picture_of(board)
    sight = board_finder(board).find(picture)
    error = np.linalg.norm(sight.px - truth, axis=-1)
    assert sight.reason == ""
    assert error.max() < 0.15  # measured: 0.06 (chessboard), 0.1 (ChArUco, whose window ends at the marker)
    assert np.abs((sight.px - truth).mean(0)).max() < 0.03


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_board_with_even_and_odd_sides_keeps_its_order_when_turned(turns: int) -> None:
    picture, truth = picture_of(CHESS)
    turned = np.ascontiguousarray(np.rot90(picture, -turns))
    for _ in range(turns):
        truth = np.stack([SIZE[1] - 1 - truth[:, 1], truth[:, 0]], -1) if _ % 2 == 0 else np.stack(
            [SIZE[0] - 1 - truth[:, 1], truth[:, 0]], -1
        )  # fmt: skip
    sight = board_finder(CHESS).find(turned)
    assert np.linalg.norm(sight.px - truth, axis=-1).max() < 0.2


def test_orders_of_any_detector_become_the_boards() -> None:
    picture, truth = picture_of(CHESS)
    grid = truth.reshape(4, 7, 2)
    for version in (grid, grid[::-1, ::-1], grid[::-1], grid[:, ::-1]):
        ordered = order_chessboard(picture, np.ascontiguousarray(version).reshape(-1, 2), (7, 4))
        np.testing.assert_allclose(ordered, truth)
    flat = np.full_like(picture, 100)
    assert order_chessboard(flat, truth, (7, 4)) is None


def test_parts_of_a_charuco_board_are_found_by_number() -> None:
    picture, truth = picture_of(CHARUCO)
    picture[:, :200] = 128
    sight = board_finder(CHARUCO).find(picture)
    seen = np.isfinite(sight.px).all(-1)
    assert 6 <= seen.sum() < CHARUCO.n_corners
    assert np.linalg.norm(sight.px - truth, axis=-1)[seen].max() < 0.2


def test_parts_of_a_grid_of_tags_are_found_by_number() -> None:
    picture, _ = picture_of(APRIL)
    picture[:180] = 128  # the numbers begin at the bottom left
    picture[:, 330:] = 128
    seen = np.isfinite(board_finder(APRIL).find(picture).px).all(-1)
    assert set(APRIL.tag_corners(0)) <= set(np.flatnonzero(seen))
    assert 8 <= seen.sum() <= 16
    picture[:, 175:] = 128
    sight = board_finder(APRIL).find(picture)
    assert sight.reason == "1 of 12 tags found, 2 or more are needed"
    assert np.isnan(sight.px).all()


def test_corners_drawn_to_marker_edges_are_put_right() -> None:
    picture, truth = picture_of(CHARUCO)
    start = truth.copy()
    start[[3, 10, 17]] += [6.0, -5.0]
    settled = settle_corners(picture, start, CHARUCO, 2.5)
    assert np.linalg.norm(settled - truth, axis=-1).max() < 0.2
    blank = picture.copy()
    x, y = truth[10].astype(int)
    blank[y - 12 : y + 12, x - 12 : x + 12] = 128  # nothing is there to be put right
    settled = settle_corners(blank, start, CHARUCO, 2.5)
    others = np.arange(CHARUCO.n_corners) != 10
    assert np.linalg.norm(settled - truth, axis=-1)[others].max() < 0.4
    assert not np.linalg.norm(settled[10] - truth[10]) > 1


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        (Chessboard(6, 4, 20.0), CHESS),
        (Chessboard(7, 3, 20.0), CHESS),
        (CharucoBoard(5, 7, 20.0, 15.0, dictionary="4X4_100"), CHARUCO),
        (CharucoBoard(8, 5, 20.0, 15.0, dictionary="4X4_100"), CHARUCO),
        (AprilGrid(3, 4, 20.0, 5.0), APRIL),
        (AprilGrid(5, 3, 20.0, 5.0), APRIL),
        (AprilGrid(4, 3, 20.0, 5.0, first=12), APRIL),
    ],
    ids=["column", "row", "exchanged", "squares", "exchanged tags", "tags", "first tag"],
)
def test_boards_of_other_sizes_are_no_boards(asked: Board, shown: Board) -> None:
    sight = board_finder(asked).find(picture_of(shown)[0])
    assert sight.reason
    assert np.isnan(sight.px).all()


def test_a_part_of_a_chessboard_is_told_from_a_whole_one() -> None:
    picture, corners = picture_of(CHESS)
    grid = corners.reshape(4, 7, 2)
    assert not continues(picture, corners, (7, 4))
    for part in (grid[1:], grid[:-1], grid[:, 1:], grid[:, :-1]):
        assert continues(picture, part.reshape(-1, 2), (part.shape[1], part.shape[0]))


def test_pictures_without_a_board_say_so() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (120, 160), dtype=np.uint8)
    assert board_finder(CHESS).find(noise).reason == "no chessboard of 7 x 4 inner corners found"
    assert board_finder(CHARUCO).find(noise).reason == "no marker 0 to 16 of 4X4_100 found"


def save_pictures(folder: Path, board: Board, numbers: list[int], shift: float = 0.0) -> None:
    for number in numbers:
        picture, _ = picture_of(board, QUAD + np.array([shift + number, 0]))
        write_picture(folder / f"img_{number:02d}.png", rgb(picture))


def test_folders_globs_and_lists_are_matched_by_the_numbers_in_the_names(tmp_path: Path) -> None:
    save_pictures(tmp_path / "a", CHESS, [1, 2, 10])
    save_pictures(tmp_path / "b", CHESS, [2, 10, 11], shift=5)
    write_picture(tmp_path / "c" / "x-10.png", np.full((360, 480, 3), 90, np.uint8))
    corners = detect_board(
        {"a": tmp_path / "a", "b": str(tmp_path / "b" / "*.png"), "c": [tmp_path / "c" / "x-10.png"]}, CHESS, threads=2
    )
    assert corners.frames.tolist() == [1, 2, 10, 11]
    assert (corners.counts() > 0).tolist() == [[True, True, True, False], [False, True, True, True], [False] * 4]
    assert corners.reasons[0, 3] == "this view has no picture of the instant"
    assert corners.reasons[2, 2].startswith("no chessboard")
    assert corners.sizes == dict.fromkeys("abc", SIZE)
    np.testing.assert_allclose(corners.px[1, 2] - corners.px[0, 2], np.tile([5.0, 0], (28, 1)), atol=0.1)
    only = detect_board({"a": tmp_path / "a", "b": tmp_path / "b"}, CHESS, frames=[10, 2])
    assert only.frames.tolist() == [2, 10]
    assert only.px.tobytes() == corners.select(["a", "b"], [2, 10]).px.tobytes()


def test_views_are_cropped_flipped_and_turned_first(tmp_path: Path) -> None:
    picture, truth = picture_of(CHARUCO)
    write_picture(tmp_path / "m" / "0.png", rgb(picture[:, ::-1]))
    settings = {"m": {"flip": True, "crop": (20, 10, 460, 350)}}
    corners = detect_board({"m": tmp_path / "m"}, CHARUCO, views=settings)
    assert corners.sizes["m"] == (460, 350)
    # Cut off in the mirrored file: 20 px on its left, which are the right ones of the true picture.
    np.testing.assert_allclose(corners.px[0, 0], truth - [0, 10], atol=0.2)
    with pytest.raises(DataError, match="view 'n'"):
        detect_board({"m": tmp_path / "m"}, CHARUCO, views={"n": {"flip": True}})


def test_videos_must_have_equal_lengths_unless_frames_are_given(tmp_path: Path) -> None:
    for name, n in (("left", 5), ("right", 4)):
        frames = [rgb(picture_of(CHESS, QUAD + np.array([2.0 * k, 0]))[0]) for k in range(n)]
        write_video(tmp_path / f"{name}.mp4", frames, fps=10, crf=10, threads=1)
    sources = {name: tmp_path / f"{name}.mp4" for name in ("left", "right")}
    with pytest.raises(DataError, match=r"left 5, right 4"):
        detect_board(sources, CHESS)
    corners = detect_board(sources, CHESS, frames=range(4))
    assert (corners.counts() == 28).all()
    np.testing.assert_allclose(np.diff(corners.px[0, :, :, 0], axis=0), 2.0, atol=0.3)
    few = detect_board({"left": sources["left"]}, CHESS, max_frames=2)
    assert few.frames.tolist() == [0, 4]
    with pytest.raises(DataError, match="No view has the frame 7"):
        detect_board(sources, CHESS, frames=[1, 7])


@pytest.mark.parametrize(
    ("offsets", "expected"),
    [
        ({"left": 0, "right": 0}, {"left": [0, 1, 2, 3, 4], "right": [0, 1, 2, 3]}),
        ({"right": 1}, {"left": [0, 1, 2, 3, 4], "right": [-1, 0, 1, 2]}),
        ({"left": 2, "right": 1}, {"left": [-2, -1, 0, 1, 2], "right": [-1, 0, 1, 2]}),
    ],
)
def test_board_videos_of_unequal_length_by_their_offsets(
    tmp_path: Path, offsets: dict[str, int], expected: dict[str, list[int]]
) -> None:
    """Each frame shows the board 2 px farther on, so that its place tells the frame."""
    for name, n in (("left", 5), ("right", 4)):
        frames = [rgb(picture_of(CHESS, QUAD + np.array([2.0 * k, 0]))[0]) for k in range(n)]
        write_video(tmp_path / f"{name}.mp4", frames, fps=10, crf=10, threads=1)
    sources = {name: tmp_path / f"{name}.mp4" for name in ("left", "right")}
    corners = detect_board(sources, CHESS, offsets=offsets)
    x = corners.px[..., 0].mean(-1)
    for view, name in enumerate(corners.views):
        seen = corners.frames[np.isfinite(x[view])].tolist()
        assert seen == expected[name]
        frames_seen = [number + offsets.get(name, 0) for number in seen]
        here = x[view][np.isfinite(x[view])]
        np.testing.assert_allclose(here - here[0], 2.0 * (np.array(frames_seen) - frames_seen[0]), atol=0.3)
    with pytest.raises(DataError, match="offset is given for the view 'top'"):
        detect_board(sources, CHESS, offsets={"top": 3})


def test_where_a_rate_varies_the_videos_own_times_count(tmp_path: Path, heard: Any) -> None:
    """The right camera dropped frame 5 and went on: its later frames are of other instants than their numbers say."""
    ticks = {"left": list(range(12)), "right": [*range(5), *range(6, 13)]}
    for name, shown in ticks.items():
        with av.open(str(tmp_path / f"{name}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=10, options={"crf": "5"})
            stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
            stream.codec_context.time_base = Fraction(1, 10)
            for tick in shown:
                picture = rgb(picture_of(CHESS, QUAD + np.array([2.0 * tick, 0]))[0])
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts = tick
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    sources = {name: tmp_path / f"{name}.mp4" for name in ticks}
    corners = detect_board(sources, CHESS, progress=heard)
    assert corners.frames.tolist() == list(range(13))
    x = corners.px[..., 0].mean(-1)
    both = np.isfinite(x).all(0)
    assert np.flatnonzero(~both).tolist() == [5, 12]
    np.testing.assert_allclose(x[0, both], x[1, both], atol=0.3)
    assert any("since the rate of right varies" in note for note in heard.notes)
    later = detect_board(sources, CHESS, offsets={"left": 2, "right": 2})
    assert np.isfinite(later.px[..., 0].mean(-1)).all(0).sum() == both.sum()


def test_pictures_without_a_common_number_are_told(tmp_path: Path) -> None:
    """A camera numbers its pictures on and on: GOPR0012.JPG of one belongs to GOPR0145.JPG of the other."""
    pictures = [picture_of(CHESS, QUAD + np.array([2.0 * k, 0]))[0] for k in range(3)]
    for name, first in (("left", 12), ("right", 145)):
        (tmp_path / name).mkdir()
        for k, picture in enumerate(pictures):
            write_picture(tmp_path / name / f"GOPR{first + k:04d}.png", rgb(picture))
    sources = {name: tmp_path / name for name in ("left", "right")}
    with pytest.raises(DataError, match=r"in two views \(left 12 to 14, right 145 to 147\).*--offset"):
        detect_board(sources, CHESS)
    corners = detect_board(sources, CHESS, offsets={"left": 12, "right": 145})
    assert corners.frames.tolist() == [0, 1, 2]
    assert (corners.counts() == 28).all()


def test_parts_of_one_video_are_cut_from_frames_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [rgb(picture_of(CHARUCO, QUAD * 0.5 + [k, 0])[0][:, :240]) for k in range(4)]
    path = tmp_path / "both.mp4"
    write_video(path, [np.hstack([frame, frame[:, ::-1]]) for frame in frames], fps=10, crf=5, threads=1)
    read = []
    read_gray = VideoFile.read_gray

    def note(self: VideoFile, indices: Iterable[int]) -> Iterator[tuple[int, Gray]]:
        for index, picture in read_gray(self, indices):
            read.append(index)
            yield index, picture

    monkeypatch.setattr(VideoFile, "read_gray", note)
    views = {"direct": {"crop": (0, 0, 240, 360)}, "mirror": {"crop": (240, 0, 240, 360), "flip": True}}
    corners = detect_board({"direct": path, "mirror": path}, CHARUCO, views=views, threads=2)
    assert sorted(read) == [0, 1, 2, 3]
    assert (corners.counts() == CHARUCO.n_corners).all()
    np.testing.assert_allclose(corners.px[1], corners.px[0], atol=0.3)


def test_long_recordings_are_looked_at_where_the_board_is(tmp_path: Path) -> None:
    empty = np.full((180, 240, 3), 90, np.uint8)
    quad = np.array([[10.0, 10], [215, 10], [215, 160], [10, 160]])
    shown = [rgb(picture_of(CHARUCO, quad + np.array([k, 0]), (240, 180))[0]) for k in range(12)]
    frames = [shown[k - 90] if 90 <= k < 102 else empty for k in range(150)]
    write_video(tmp_path / "a.mp4", frames, fps=10, crf=5, threads=1, key_interval=10)
    results = [detect_board({"a": tmp_path / "a.mp4"}, CHARUCO, max_frames=40, threads=n) for n in (1, 2)]
    assert len(results[0].frames) == 40
    found = (results[0].counts()[0] > 0).sum()
    assert found >= 9  # evenly spread, 3 or 4
    assert ((results[0].counts()[0] == 0) == (results[0].reasons[0] != "")).all()
    assert results[0].frames.tolist() == results[1].frames.tolist()
    assert results[0].px.tobytes() == results[1].px.tobytes()
    whole = detect_board({"a": tmp_path / "a.mp4"}, CHARUCO, max_frames=None)
    assert len(whole.frames) == 150


def test_threads_do_not_change_the_result(tmp_path: Path) -> None:
    save_pictures(tmp_path / "a", CHARUCO, list(range(20)))
    one, many = (detect_board({"a": tmp_path / "a"}, CHARUCO, threads=threads) for threads in (1, 3))
    assert one.px.tobytes() == many.px.tobytes()


def test_no_views_are_an_error() -> None:
    with pytest.raises(DataError, match="No views"):
        detect_board({}, CHESS)
