"""The stage that tests a recording's rig: what it says, writes, and refuses."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from multipose.camera import CameraRig
from multipose.errors import DataError, ProjectError
from multipose.geometry import pose, rotation_from_vector
from multipose.pipeline.beginning import make_project
from multipose.pipeline.checking import check_boards, check_recording
from multipose.project import Project, Recording
from multipose.synthetic import KEYPOINTS, observe, sample_rig, walk
from multipose.tracks import save_tracks
from multipose.video import write_video

VIEWS = ("back", "left", "mid", "top")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Four views; recordings `before` and `after` with key points, `empty` without; session `lab` has the rig.

    Between the first two the camera `mid` was turned by two degrees.
    """
    project = make_project(tmp_path / "mice", VIEWS, KEYPOINTS)
    rig = sample_rig(len(VIEWS), names=VIEWS)
    rig.save(project.rig_path("lab"))
    turn = pose(rotation_from_vector(np.deg2rad([0.0, 2.0, 0.0])), [0.0, 0.0, 0.0])
    cameras = [
        replace(camera, camera_from_world=turn @ camera.camera_from_world) if camera.name == "mid" else camera
        for camera in rig
    ]
    names = ("before", "after", "empty")
    project = project.with_recordings([Recording(name, videos={VIEWS[0]: "unused.mp4"}) for name in names])
    project.save_manifest()
    for name, seed, seen_by in (("before", 1, rig), ("after", 2, replace(rig, cameras=tuple(cameras)))):
        seen = observe(seen_by, walk(60, seed=seed).points, noise=0.5, seed=seed, keypoints=KEYPOINTS)
        project.keypoints_path(name).parent.mkdir(parents=True)
        save_tracks(seen, project.keypoints_path(name))
    return Project.open(project.folder)


def test_a_rig_that_fits_is_left_alone(project: Project) -> None:
    before = {path: path.read_bytes() for path in project.folder.rglob("*") if path.is_file()}
    values = check_recording(project, project.recording("before"), refine=True)
    assert values["suspects"] == []
    assert values["refined"] is None
    assert {path: path.read_bytes() for path in project.folder.rglob("*") if path.is_file()} == before


def test_a_moved_camera_is_found_and_refined_beside_the_old_rig(project: Project) -> None:
    old = project.rig_path("lab").read_bytes()
    values = check_recording(project, project.recording("after"), baseline=project.recording("before"), refine=True)
    assert values["suspects"] == ["mid"]
    refined = values["refined"]
    assert Path(refined["rig"]) == project.rig_path("lab").with_name("rig_refined.toml")
    rig, kept = CameraRig.load(refined["rig"]), CameraRig.load(project.rig_path("lab"))
    np.testing.assert_allclose(rig["back"].camera_from_world, kept["back"].camera_from_world, atol=1e-12)
    turned = rig["mid"].rotation @ kept["mid"].rotation.T
    assert np.rad2deg(np.arccos((np.trace(turned) - 1) / 2)) == pytest.approx(2.0, abs=0.4)
    assert project.rig_path("lab").read_bytes() == old
    again = check_recording(project, project.recording("after"), refine=True)
    assert Path(again["refined"]["rig"]).name == "rig_refined_2.toml"
    Path(refined["rig"]).replace(project.rig_path("lab"))
    assert check_recording(project, project.recording("after"))["suspects"] == []


def test_what_is_missing_is_told(project: Project) -> None:
    with pytest.raises(ProjectError, match="no key points yet .*multipose predict empty"):
        check_recording(project, project.recording("empty"))
    with pytest.raises(ProjectError, match="'empty' has no key points"):
        check_recording(project, project.recording("after"), baseline=project.recording("empty"))
    seen = observe(sample_rig(len(VIEWS), names=VIEWS), walk(6).points, keypoints=KEYPOINTS)
    save_tracks(seen, project.keypoints_path("before"))
    with pytest.raises(DataError, match="too few to judge"):
        check_recording(project, project.recording("before"))
    project.rig_path("lab").unlink()
    with pytest.raises(ProjectError, match="has no rig yet"):
        check_recording(project, project.recording("after"))


@pytest.mark.slow
def test_boards_filmed_again_check_a_rig(sample: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sample"
    shutil.copytree(sample, folder)
    shutil.copytree(folder / "calibration" / "board", folder / "calibration" / "july")
    project = Project.open(folder)
    truth = CameraRig.load(folder / "truth" / "rig.toml")
    truth.save(project.rig_path("board"))
    assert check_boards(project, "july", "board")["suspects"] == []
    turn = pose(rotation_from_vector(np.deg2rad([0.0, 0.7, 0.0])), np.zeros(3))
    name = truth.names[1]
    cameras = [
        replace(camera, camera_from_world=turn @ camera.camera_from_world) if camera.name == name else camera
        for camera in truth
    ]
    replace(truth, cameras=tuple(cameras)).save(project.rig_path("board"))
    found = check_boards(project, "july", "board", refine=True)
    assert found["suspects"] == [name]
    refined = CameraRig.load(found["refined"]["rig"])
    assert np.linalg.norm(refined[name].center - truth[name].center) < 3
    before, after = found["refined"]["held_out_px"][name]
    assert after < 0.5 * before
    with pytest.raises(ProjectError, match="'july' has no rig yet"):
        check_boards(project, "board", "july")


def test_a_rig_of_pictures_of_another_size_is_refused(project: Project) -> None:
    rig = CameraRig.load(project.rig_path("lab"))
    film = project.folder / "small.mp4"
    frames = (np.zeros((48, 64, 3), np.uint8) for _ in range(3))
    write_video(film, frames, 20.0, preset="ultrafast")
    recording = replace(project.recording("before"), videos={VIEWS[0]: "small.mp4"})
    assert rig[VIEWS[0]].size != (64, 48)
    with pytest.raises(ProjectError, match="pictures of 64 x 48 px in recording"):
        check_recording(project, recording)
