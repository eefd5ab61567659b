"""Labelled times that no network learns from: the same in all views, kept beside networks, and used in 3D."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multipose.camera import CameraRig
from multipose.errors import FormatError
from multipose.labels import labels_from_points
from multipose.pipeline.beginning import make_project
from multipose.pipeline.held_out import HeldOutPoints, measure_errors
from multipose.pipeline.plan import describe, held_out_files, judge_all, open_hashes
from multipose.pipeline.reconstruction import count_low, keypoints_without_3d, reconstruct_recording
from multipose.pipeline.training_data import draw_held_out, labelled_times
from multipose.project import Project, Recording
from multipose.synthetic import KEYPOINTS, observe, sample_rig, walk
from multipose.tracks import CALIBRATED_ON_LABELS, USUAL_SHARED_ERROR, load_tracks, save_tracks
from multipose.triangulate import reconstruct

VIEWS = ("back", "mid", "top")
LATE = 4  # frames by which `top` began before the others in day1
MOMENTS = np.arange(0, 200, 10)


def found_points(rig: CameraRig, points: np.ndarray, seed: int):
    seen = observe(rig, points, noise=1.0, seed=seed, keypoints=KEYPOINTS)
    seen["covariance"].values[:] = np.eye(2)
    return seen.assign_attrs(shared_error=USUAL_SHARED_ERROR, covariance_source=CALIBRATED_ON_LABELS)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Recording day1, labelled at 20 times, and day2 with 2D points of networks that kept their held-out points."""
    project = make_project(tmp_path / "mice", VIEWS, KEYPOINTS)
    rig = sample_rig(names=VIEWS)
    rig.save(project.rig_path("lab"))
    points = walk(200, seed=1).points[MOMENTS]
    shift = {"back": 0, "mid": 0, "top": LATE}
    labels = None
    for view in VIEWS:
        px = rig[view].project(points)
        own = labels_from_points("day1", view, MOMENTS + shift[view], px, KEYPOINTS)
        labels = own if labels is None else labels.merge(own)
    labels.save(project.labels_path)
    project = project.with_recordings(
        [
            Recording("day1", {view: f"day1_{view}.mp4" for view in VIEWS}, offsets={"top": LATE}),
            Recording("day2", {view: f"day2_{view}.mp4" for view in VIEWS}),
        ]
    )
    project.save_manifest()
    found = found_points(rig, points, seed=2)
    for place, view in enumerate(VIEWS):
        folder = project.folder / "models" / view
        folder.mkdir(parents=True)
        (folder / "model.toml").touch()
        HeldOutPoints(
            keypoints=KEYPOINTS,
            recordings=("day1",) * len(MOMENTS),
            moments=tuple(MOMENTS.tolist()),
            views=(view,) * len(MOMENTS),
            labelled=rig[view].project(points),
            predicted=found["position"].values[place, :, 0],
            confidence=np.ones((len(MOMENTS), len(KEYPOINTS))),
            covariance=found["covariance"].values[place, :, 0],
        ).save(folder / "held_out.npz")
    save_tracks(found_points(rig, walk(60, seed=3).points, seed=4), project.keypoints_path("day2"))
    return Project.open(project.folder)


def test_the_same_times_are_held_out_of_all_networks(project: Project) -> None:
    times = labelled_times(project)
    assert times == {("day1", moment): 3 for moment in MOMENTS.tolist()}  # on the recording's clock
    drawn = draw_held_out(project, 0)
    assert len(drawn) == 2
    assert drawn < set(times)
    assert drawn == draw_held_out(project, 0)
    assert any(draw_held_out(project, seed) != drawn for seed in range(1, 5))


def test_errors_are_measured_and_used(project: Project) -> None:
    recording = project.recording("day2")
    rig = sample_rig(names=VIEWS)
    errors = measure_errors(project, recording, rig, min_confidence=0.3)
    assert errors is not None
    assert (errors.n_times, errors.n_points) == (len(MOMENTS), len(MOMENTS) * len(KEYPOINTS))
    hashes = open_hashes(project)
    result = reconstruct_recording(project, recording, hashes, threads=1)
    assert result["shared_error_source"] == "labels"
    assert result["held_out_errors"]["times"] == len(MOMENTS)
    tracks = load_tracks(project.trajectories_path("day2"))
    assert tracks["shared_error"].values.max() < USUAL_SHARED_ERROR  # the views' errors are independent here
    page = project.diagnostics_path("day2").read_text(encoding="utf-8")
    assert "Errors in 3D on labels" in page
    assert "labelled times that no network learned from" in page
    (judged,) = judge_all(project, [describe(project, "reconstruct", "day2")], hashes)
    assert judged.state == "current"

    held_out_files(project, recording)["top"].unlink()
    two_views = measure_errors(project, recording, rig, min_confidence=0.3)
    assert two_views is not None
    assert two_views.n_times == len(MOMENTS)
    (judged,) = judge_all(project, [describe(project, "reconstruct", "day2")], open_hashes(project))
    assert judged.state == "stale"
    held_out_files(project, recording)["mid"].unlink()
    assert measure_errors(project, recording, rig, min_confidence=0.3) is None
    result = reconstruct_recording(project, recording, hashes, threads=1)
    assert (result["shared_error_source"], result["held_out_errors"]) == ("usual", None)
    assert "no points at labelled times held out in two views are known" in (
        project.diagnostics_path("day2").read_text(encoding="utf-8").lower()
    )


def test_a_stated_share_comes_before_labels(project: Project) -> None:
    recording = project.recording("day2")
    result = reconstruct_recording(project, recording, open_hashes(project), settings={"shared_error": 0.2}, threads=1)
    assert result["shared_error_source"] == "stated"
    assert result["shared_error"] == pytest.approx(0.2, abs=0.02)


def test_damaged_files_are_told_and_left_out(project: Project) -> None:
    path = held_out_files(project, project.recording("day2"))["top"]
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"text"):
        path.write_bytes(content)
        with pytest.raises(FormatError, match=r"held_out\.npz.*train the network again"):
            HeldOutPoints.load(path)
        errors = measure_errors(project, project.recording("day2"), sample_rig(names=VIEWS), min_confidence=0.3)
        assert errors is not None  # of the other two views


def test_held_out_points_that_cannot_be_are_refused_and_told(project: Project, heard: Any) -> None:
    path = held_out_files(project, project.recording("day2"))["top"]
    good, whole = HeldOutPoints.load(path), path.read_bytes()
    np.savez(path, **{**dict(np.load(path)), "predicted": good.predicted + 1})
    with pytest.raises(FormatError, match=r"held_out\.npz: .*their checksum differs"):
        HeldOutPoints.load(path)
    for change in (
        {"confidence": good.confidence * 3.4},
        {"confidence": good.confidence.astype(str)},
        {"covariance": -good.covariance},
        {"predicted": good.predicted * np.inf},
        {"labelled": good.labelled * 1e12},
        {"moments": tuple(moment + 0.5 for moment in good.moments)},
        {"views": (3,) * len(good.views)},
    ):
        replace(good, **change).save(path)
        with pytest.raises(FormatError, match=r"held_out\.npz.*train the network again"):
            HeldOutPoints.load(path)
    path.write_bytes(whole)
    rig = sample_rig(names=VIEWS)
    path.unlink()
    path.mkdir()
    measure_errors(project, project.recording("day2"), rig, min_confidence=0.3, progress=heard)
    assert any(str(path) in note for note in heard.notes)


def test_recordings_without_a_rig_or_clock_are_left_out(project: Project) -> None:
    rig = sample_rig(names=VIEWS)
    recording = project.recording("day2")
    stamped = [
        Recording("day1", {view: f"day1_{view}.mp4" for view in VIEWS}, timestamps={"top": "times.txt"}),
        recording,
    ]
    assert measure_errors(project.with_recordings(stamped, replace=True), recording, rig, min_confidence=0.3) is None
    elsewhere = [Recording("day1", {view: f"day1_{view}.mp4" for view in VIEWS}, calibration="other"), recording]
    assert measure_errors(project.with_recordings(elsewhere, replace=True), recording, rig, min_confidence=0.3) is None


def test_key_points_without_3d_and_points_of_low_confidence_are_named() -> None:
    rig = sample_rig(names=VIEWS).subset(["back", "top"])
    found = found_points(rig, walk(60, seed=5).points, seed=6)
    found["position"].sel(view="top", keypoint="nose").values[:] += 200.0  # a constant: nobody can say which is wrong
    found["confidence"].sel(view="back", keypoint="neck").values[:10] = 0.1
    tracks = reconstruct(found, rig)
    lacking = keypoints_without_3d(found, tracks, 0.3, 2)
    assert list(lacking) == ["nose"]
    assert lacking["nose"]["state"] == "inconsistent"
    assert lacking["nose"]["points"] < 0.1 * lacking["nose"]["possible"]
    low = count_low(found, 0.3)
    unseen = int(np.isnan(found["position"].sel(view="back", keypoint="neck").values[:10, 0, 0]).sum())
    assert low["back"]["neck"] == 10 - unseen
    assert "neck" not in low["top"]
