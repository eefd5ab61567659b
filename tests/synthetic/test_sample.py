"""The sample project is whole, is what generate.py makes, and its labels and videos agree with its truth."""

from __future__ import annotations

import runpy
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from multipose.camera import CameraRig
from multipose.labels import Labels, check_labels
from multipose.project import Project
from multipose.synthetic import KEYPOINTS, read_frame_number
from multipose.tracks import load_tracks
from multipose.video import VideoFile

VIEWS = ("front", "left", "right")
FRAMES = {"day1": 300, "day2": 200}


@pytest.fixture(scope="module")
def generator(sample: Path) -> SimpleNamespace:
    """The names of sample_data/generate.py, which is a script."""
    return SimpleNamespace(**runpy.run_path(str(sample / "generate.py"), run_name="generate"))


@pytest.fixture(scope="module")
def rig(sample: Path) -> CameraRig:
    return CameraRig.load(sample / "truth" / "rig.toml")


def test_it_is_a_project(sample: Path) -> None:
    project = Project.open(sample)
    assert project.views == VIEWS
    assert [recording.name for recording in project.recordings] == list(FRAMES)
    assert tuple(project.config.skeleton.keypoints) == KEYPOINTS
    assert project.config.board.type == "charuco"
    for recording in project.recordings:
        assert project.session_of(recording) == "board"
        assert set(recording.videos) == set(VIEWS)
        assert all(project.path(video).is_file() for video in recording.videos.values())
    assert set(project.board_sources("board")) == set(VIEWS)


def test_it_is_small(sample: Path) -> None:
    files = [path for path in sample.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) <= 6e6


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("folder", ["calibration/board", "videos/day1", "videos/day2"])
def test_videos_show_their_frame_numbers(sample: Path, folder: str, view: str) -> None:
    """Every frame of one video, a few of the others."""
    clip = folder.rsplit("/", 1)[1]
    path = sample / ("calibration/board" if clip == "board" else folder) / f"{view}.mp4"
    video = VideoFile(path)
    count = FRAMES.get(clip, 80)
    assert len(video) == count
    assert video.size == (480, 360)
    assert video.fps == pytest.approx(30.0)
    whole = (clip, view) == ("day2", "left")
    wanted = range(count) if whole else (0, 1, count // 2, count - 1)
    shown = [(index, read_frame_number(picture)) for index, picture in video.read(wanted)]
    assert shown == [(index, index) for index in wanted]


def test_the_truth_is_one(sample: Path, rig: CameraRig) -> None:
    """The 3D truth projects to the 2D truth, wherever that says a position."""
    for name, count in FRAMES.items():
        points = load_tracks(sample / "truth" / f"{name}_trajectories3d.nc")
        seen = load_tracks(sample / "truth" / f"{name}_keypoints2d.nc")
        assert points.sizes["time"] == seen.sizes["time"] == count
        assert points.attrs["unit"] == rig.unit == "mm"
        assert seen["view"].values.tolist() == list(rig.names) == list(VIEWS)
        assert points["keypoint"].values.tolist() == seen["keypoint"].values.tolist() == list(KEYPOINTS)
        projected = rig.project(points["position"].values)
        position, confidence = seen["position"].values, seen["confidence"].values
        inside = np.isfinite(position[..., 0])
        np.testing.assert_allclose(position[inside], projected[inside], atol=1e-9)
        within = ((projected >= -0.5) & (projected <= [479.5, 359.5])).all(-1)
        np.testing.assert_array_equal(inside, within)
        assert set(np.unique(confidence)) == {0.0, 1.0}
        assert (confidence[~inside] == 0.0).all()


def test_there_is_enough_to_see(sample: Path) -> None:
    """Key points are hidden and leave the pictures now and then; most are seen by two views."""
    for name in FRAMES:
        seen = load_tracks(sample / "truth" / f"{name}_keypoints2d.nc")
        visible = seen["confidence"].values[:, :, 0] == 1.0
        absent = np.isnan(seen["position"].values[:, :, 0, :, 0])
        assert (visible.sum(axis=0) >= 2).mean() > 0.6
        assert visible.any(axis=0).mean() > 0.95
        assert visible.mean(axis=(0, 1)).min() > 0.2
        assert 0.0 < absent.mean() < 0.2
        assert 0.1 < (~visible & ~absent).mean() < 0.5


def test_the_frame_number_covers_hardly_a_key_point(sample: Path) -> None:
    for name in FRAMES:
        seen = load_tracks(sample / "truth" / f"{name}_keypoints2d.nc")
        position = seen["position"].values[seen["confidence"].values == 1.0]
        assert (position < [98.0, 24.0]).all(axis=-1).mean() < 0.005


def test_labels_agree_with_the_truth_up_to_their_noise(sample: Path) -> None:
    labels = Labels.load(sample / "labels" / "labels.csv")
    truth = load_tracks(sample / "truth" / "day1_keypoints2d.nc")
    assert labels.recordings == ("day1",)
    off, frames_of = [], []
    for view, name in enumerate(VIEWS):
        frames, xy, state = labels.points(name, KEYPOINTS)
        numbers = frames["frame"].to_numpy()
        assert len(numbers) == len(set(numbers)) == 120
        frames_of.append(numbers)
        position = truth["position"].values[view, numbers, 0]
        visible = truth["confidence"].values[view, numbers, 0] == 1.0
        known = np.isfinite(xy[..., 0])
        np.testing.assert_array_equal(state[known], np.where(visible, "visible", "occluded")[known])
        assert (state[~known] == "absent").all()
        inside = np.isfinite(position[..., 0])
        assert (known & ~inside).sum() == 0
        assert (inside & ~known).sum() <= 5  # the noise moved them over the edge
        off.append((xy - position)[known])
    np.testing.assert_array_equal(frames_of[0], frames_of[1])
    np.testing.assert_array_equal(frames_of[0], frames_of[2])
    noise = np.concatenate(off)
    assert noise.std() == pytest.approx(0.5, rel=0.03)
    assert np.abs(noise.mean(axis=0)).max() < 0.03
    assert [problem for problem in check_labels(labels, dict.fromkeys(VIEWS, (480, 360)), None)
            if problem.code == "outside"] == []  # fmt: skip


def test_it_is_what_the_generator_makes(sample: Path, rig: CameraRig, generator: SimpleNamespace) -> None:
    np.testing.assert_allclose(generator.SAMPLE.rig.packed(), rig.packed(), rtol=1e-9, atol=1e-9)
    assert {name: take.frames for name, take in generator.SAMPLE.takes.items()} == FRAMES
    for name in FRAMES:
        points = load_tracks(sample / "truth" / f"{name}_trajectories3d.nc")["position"].values[:, 0]
        np.testing.assert_allclose(generator.SAMPLE.animal(name).points, points, atol=1e-6)


@pytest.mark.parametrize("view", VIEWS)
def test_videos_are_filmed_so(sample: Path, rig: CameraRig, generator: SimpleNamespace, view: str) -> None:
    """Compression leaves a mean difference of about 2.3 gray levels (measured); to the next frame it is 3.0."""
    filmed = np.array(list(islice(generator.film(generator.SAMPLE, rig[view], "day2", 0), 2)), dtype=float)
    shown = np.array([picture for _, picture in VideoFile(sample / "videos" / "day2" / f"{view}.mp4").read([0, 1])])
    off = np.abs(shown[:, None] - filmed).mean(axis=(2, 3, 4))
    assert np.diag(off).max() < 2.7
    assert (np.diag(off) + 0.3 < [off[0, 1], off[1, 0]]).all()
