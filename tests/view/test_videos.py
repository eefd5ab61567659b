from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from multipose.errors import DataError
from multipose.skeleton import Skeleton
from multipose.tracks import keypoints2d
from multipose.video import ImageFolder, open_source, write_picture
from multipose.view import labelled_video
from multipose.view.theme import keypoint_styles
from multipose.view.videos import _mark_radius

NAMES = ("nose", "tail")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Frames 10 to 17, each with a grey of its own, 81 x 60 px."""
    for number in range(10, 18):
        write_picture(tmp_path / f"{number:06d}.png", np.full((60, 81, 3), 10 * (number - 10), dtype=np.uint8))
    return tmp_path


def points(frame: list[int], fps: float | None = 10.0) -> xr.Dataset:
    position = np.full((2, len(frame), 1, 2, 2), np.nan)
    position[0, :, 0, 0, 0] = 10 + 8 * np.arange(len(frame))
    position[0, :, 0, 0, 1] = 30
    return keypoints2d(position, views=["back", "top"], keypoints=NAMES, fps=fps, frame=[frame, frame])


def test_points_are_on_the_frames_with_their_numbers(pictures: Path, tmp_path: Path) -> None:
    frame = [12, -1, 13, 15]
    path = tmp_path / "out.mp4"
    count = labelled_video(pictures, points(frame), "back", path, skeleton=Skeleton(NAMES, (NAMES,)))
    video = open_source(path)
    assert count == len(video) == 3
    assert video.size == (82, 60)  # one column of black, so that the width is even
    assert video.fps == pytest.approx(10)
    color = np.array(keypoint_styles(NAMES)[0].rgb)
    for (_, shown), number, x in zip(video, (12, 13, 15), (10, 26, 34), strict=True):
        assert np.abs(shown[5, 70].astype(int) - 10 * (number - 10)).max() <= 4
        assert np.abs(shown[30, x].astype(int) - color).max() < 60
        assert np.abs(shown[30, x].astype(int) - color).max() < np.abs(shown[30, 70].astype(int) - color).max()


def test_frame_numbers_and_the_3d_are_drawn(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    for number in (12, 13):
        write_picture(folder / f"{number:06d}.png", np.full((200, 300, 3), 90, dtype=np.uint8))
    data = points([12, 13])
    again = np.full((2, 1, 2, 2), np.nan)
    again[:, 0, 0] = (200, 60)
    plain, ringed = tmp_path / "plain.mp4", tmp_path / "ringed.mp4"
    labelled_video(folder, data, "back", plain)
    labelled_video(folder, data, "back", ringed, reprojected=again)
    shown = [[rgb.astype(int) for _, rgb in open_source(path)] for path in (plain, ringed)]
    corner = np.s_[170:, :140]
    assert np.ptp(shown[0][0][corner]) > 100  # the number of the frame
    assert np.abs(shown[0][0][corner] - shown[0][1][corner]).max() > 100  # another for each
    change = np.abs(shown[1][0] - shown[0][0]).max(-1)[:150] > 40
    assert np.abs(np.argwhere(change).mean(0) - (60, 200)).max() < 2
    with pytest.raises(DataError, match=r"shape of its key points, \(2, 1, 2, 2\), got \(2, 2, 2\)"):
        labelled_video(folder, data, "back", plain, reprojected=again[:, 0])


def test_marks_are_no_larger_than_the_animal_bears() -> None:
    position = np.zeros((3, 1, 2, 2))
    position[:, :, 1] = 120.0
    assert _mark_radius(position, (2000, 1600)) == pytest.approx(3.0)
    assert _mark_radius(10 * position, (2000, 1600)) == pytest.approx(1600 / 110)
    assert _mark_radius(np.full_like(position, np.nan), (300, 200)) == 2.5


def test_frames_that_the_source_lacks_are_told(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"name frame 99 \(1 such\).*frames 10 to 17"):
        labelled_video(pictures, points([12, 99]), "back", tmp_path / "out.mp4")
    with pytest.raises(DataError, match="twice"):
        labelled_video(pictures, points([12, 12]), "back", tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_other_mistakes_are_told(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    with pytest.raises(DataError, match="no view 'side'.*back, top"):
        labelled_video(pictures, points([12]), "side", out)
    with pytest.raises(DataError, match="not those of the dataset"):
        labelled_video(pictures, points([12]), "back", out, skeleton=Skeleton(("nose",)))
    with pytest.raises(DataError, match="give `fps`"):
        labelled_video(ImageFolder(pictures), points([12], fps=None), "back", out)
