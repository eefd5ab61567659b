"""Pictures of a project's recordings and labels, written to their target and nowhere else."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from multipose.errors import LabelError, ProjectError
from multipose.labels import labels_from_points
from multipose.pipeline.pictures import label_page, labelled_videos, sheet_picture
from multipose.pipeline.sources import open_rig
from multipose.project import Project, Recording
from multipose.sources import read_picture
from multipose.synthetic import KEYPOINTS
from multipose.tracks import load_tracks, save_tracks
from multipose.video import open_source, write_video


@pytest.fixture
def filmed(finished: Project) -> Project:
    """The finished project with a grey video of each view, 40 frames of 480 x 360 px."""
    for view in finished.views:
        frames = (np.full((360, 480, 3), 40, dtype=np.uint8) for _ in range(40))
        write_video(finished.folder / "videos" / f"{view}.mp4", frames, 20.0, preset="ultrafast")
    row = finished.recordings[0]
    videos = {view: f"videos/{view}.mp4" for view in finished.views}
    project = finished.with_recordings([Recording(row.name, videos, keypoints=row.keypoints)], replace=True)
    project.save_manifest()
    return Project.open(finished.folder)


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_labelled_videos_show_the_reprojected_3d_as_rings(filmed: Project, tmp_path: Path) -> None:
    recording, before = filmed.recording("run1"), files_of(filmed.folder)
    (plain,) = labelled_videos(filmed, recording, ["mid"], tmp_path / "plain")
    (ringed,) = labelled_videos(filmed, recording, ["mid"], tmp_path / "ringed", reprojected="single")
    assert files_of(filmed.folder) == before
    tracks = load_tracks(filmed.trajectories_path("run1"))
    camera = open_rig(filmed, "lab")["mid"]
    pictures = [dict(open_source(path).read([20])) for path in (plain, ringed)]
    changed = np.abs(pictures[0][20].astype(int) - pictures[1][20].astype(int)).max(-1) > 40
    changed[330:, :200] = False  # the text
    rows, columns = np.nonzero(changed)
    centers = camera.project(tracks["position"].values[20, 0])
    apart = np.linalg.norm(np.stack([columns, rows], -1)[:, None] - centers, axis=-1).min(1)
    assert len(rows) > 100
    assert np.quantile(apart, 0.98) < 11  # rings of 6 px, drawn around the reprojected points


def test_reprojections_need_trajectories_of_these_key_points(filmed: Project, tmp_path: Path) -> None:
    recording = filmed.recording("run1")
    with pytest.raises(ProjectError, match="trajectories3d_smooth.nc.*multipose reconstruct --smooth run1"):
        labelled_videos(filmed, recording, ["mid"], tmp_path, reprojected="smoothed")
    tracks = load_tracks(filmed.trajectories_path("run1"))
    save_tracks(tracks.isel(time=slice(0, 30)), filmed.trajectories_path("run1"))
    with pytest.raises(ProjectError, match="its time is another"):
        labelled_videos(filmed, recording, ["mid"], tmp_path, reprojected="single")


def test_the_sheet_is_cropped_to_the_animal(filmed: Project, tmp_path: Path) -> None:
    recording = filmed.recording("run1")
    cropped = read_picture(sheet_picture(filmed, recording, "mid", 4, tmp_path / "cropped.png"))
    whole = read_picture(sheet_picture(filmed, recording, "mid", 4, tmp_path / "whole.png", whole=True))

    def extent(sheet: np.ndarray) -> float:
        """Width of the marks on the first tile, of 480 px."""
        tile = sheet[40:350, 10:480].astype(int)
        columns = np.flatnonzero((np.ptp(tile, axis=-1) > 60).any(0))
        return float(columns[-1] - columns[0])

    assert extent(cropped) > 1.4 * extent(whole)


def label(project: Project, recording: str, frames: list[int], swap: int | None = None) -> None:
    names = project.config.skeleton.keypoints
    xy = np.stack([np.linspace(200, 260, len(names)), np.linspace(100, 180, len(names))], -1)
    points = np.tile(xy, (len(frames), 1, 1)) + 0.37 * np.arange(len(frames))[:, None, None]
    state = np.full(points.shape[:2], "visible", dtype="<U10")
    state[:, 1], state[:, 2] = "occluded", "absent"
    points[:, 2] = np.nan
    if swap is not None:
        points[swap, 0] = 0.0
    labels_from_points(recording, "mid", frames, points, names, state=state).save(project.labels_path)


def test_the_page_of_labels_shows_pictures_states_and_slips(filmed: Project, tmp_path: Path) -> None:
    label(filmed, "run1", list(range(0, 40, 2)), swap=3)
    before = files_of(filmed.folder)
    path = label_page(filmed, ["mid"], target=tmp_path / "labels.html")
    assert files_of(filmed.folder) == before  # pictures are read from the video, and none is extracted
    html = path.read_text(encoding="utf-8")
    assert html.count("<img ") == 20
    assert "All 20 labelled pictures, 1 with labels that look like slips." in html
    captions = re.findall("<figcaption>(.*?)</figcaption>", html)
    assert captions[0].startswith(f"run1, frame 6. occluded: {KEYPOINTS[1]}. absent: {KEYPOINTS[2]}. SLIP? ")
    assert f"{KEYPOINTS[0]} is at (0, 0)" in captions[0]
    assert captions[1] == f"run1, frame 0. occluded: {KEYPOINTS[1]}. absent: {KEYPOINTS[2]}"
    assert len(captions) == 20
    assert path.stat().st_size < 1.5e6

    few = label_page(filmed, [], ["run1"], 5, tmp_path / "few.html").read_text(encoding="utf-8")
    assert "5 of 20 labelled pictures, 1 with labels that look like slips." in few
    assert "run1, frame 6." in few
    assert few.count("<img ") == 5


def test_the_page_of_labels_says_what_is_not_there(filmed: Project, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="no labels"):
        label_page(filmed, [])
    label(filmed, "run1", [0, 39])
    with pytest.raises(ProjectError, match="no labels of recording 'run2'.*labels of run1"):
        label_page(filmed, [], ["run2"])
    with pytest.raises(ProjectError, match="no labels of view top"):
        label_page(filmed, ["top"])
    assert label_page(filmed, []) == filmed.folder / "labels" / "labels.html"
