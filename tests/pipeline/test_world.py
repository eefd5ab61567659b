"""The world of a calibration on key points of a recording, and its scale from a known distance."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from multipose.calibration.report import Verdict
from multipose.camera import CameraRig
from multipose.errors import CalibrationError, ConfigError, ProjectError
from multipose.geometry import transform
from multipose.lens import BrownLens
from multipose.pipeline.calibration import calibrate_session, tell_animal_in_folds
from multipose.pipeline.plan import judge_all, open_hashes, plan
from multipose.pipeline.world import measure_scale
from multipose.project import Project
from multipose.synthetic import observe
from multipose.tracks import load_tracks, save_tracks
from multipose.triangulate import RigCovariance, triangulate

CORNERS = np.array([[-60.0, -40.0, 0.0], [60.0, -40.0, 0.0], [-60.0, 50.0, 0.0]])  # of the sample's arena, in its world


@pytest.fixture
def measured(sample: Path, tmp_path: Path) -> Project:
    """The sample project, in whose recording day2 three key points stand still and a fourth moves."""
    folder = tmp_path / "project"
    shutil.copytree(sample, folder, ignore=shutil.ignore_patterns("models", "*.pyc"))
    project = Project.open(folder)
    names = list(project.config.skeleton.keypoints)
    truth = CameraRig.load(folder / "truth" / "rig.toml")
    xyz = np.full((20, len(names), 3), np.nan)
    xyz[:, :3] = CORNERS
    xyz[:, 3] = CORNERS[0] + np.linspace(0, 40, 20)[:, None]
    seen = observe(truth, xyz, noise=0.2, keypoints=names)
    path = project.keypoints_path("day2")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_tracks(seen, path)
    return project


@pytest.mark.slow
def test_the_world_lies_on_the_named_points_and_has_their_scale(measured: Project) -> None:
    a, b, c, *_ = measured.config.skeleton.keypoints
    (session,) = measured.sessions
    settings = {"axes": f"day2:{a},{b},{c}", "scale": f"day2:{a},{b}=240"}
    report = calibrate_session(measured, session, open_hashes(measured), settings=settings)
    rig = CameraRig.load(measured.rig_path(session))
    truth = CameraRig.load(measured.folder / "truth" / "rig.toml")
    found = triangulate(truth.project(CORNERS), rig.subset(truth.names)).position
    np.testing.assert_allclose(found, [[0, 0, 0], [240, 0, 0], [0, 180, 0]], atol=1.5)
    assert rig.metadata["world"] == f"key points {a}, {b}, {c} of recording day2"
    assert abs(report["diagonal_mean_percent"]) < 0.5  # the board's squares count for twice their length
    assert rig.unit == truth.unit
    moves = RigCovariance.load(measured.covariance_path(session), rig).moves(found, np.ones((len(rig), 3), dtype=bool))
    assert 0 < np.linalg.norm(moves[1] - moves[0]) < 1.0
    height = transform(rig.cameras[0].camera_from_world, [0.0, 0.0, 50.0])[2]
    assert height > 0  # before the camera


def test_scale_is_the_known_over_the_measured_distance(measured: Project) -> None:
    truth = CameraRig.load(measured.folder / "truth" / "rig.toml")
    a, b, *_ = measured.config.skeleton.keypoints
    assert measure_scale(measured, truth, f"day2:{a},{b}=60") == pytest.approx(0.5, rel=0.01)
    with pytest.raises(ProjectError, match="no key point 'horn'"):
        measure_scale(measured, truth, f"day2:{a},horn=60")
    lost = measured.config.skeleton.keypoints[-1]  # NaN at all times
    with pytest.raises(CalibrationError, match="could not be reconstructed"):
        measure_scale(measured, truth, f"day2:{a},{lost}=60")


@pytest.mark.slow
def test_a_scale_leaves_the_axes_and_the_world_is_said(measured: Project, heard: Any) -> None:
    a, b, c, *_ = measured.config.skeleton.keypoints
    (session,) = measured.sessions

    def calibrated(**settings: str) -> str:
        return str(
            calibrate_session(measured, session, open_hashes(measured), settings=settings, progress=heard)["world"]
        )

    on_points = f"key points {a}, {b}, {c} of recording day2"
    assert calibrated(axes=f"day2:{a},{b},{c}") == on_points
    assert calibrated(scale=f"day2:{a},{b}=240") == on_points
    assert heard.notes.count(f"As in the last run: --axes day2:{a},{b},{c}.") == 1
    rig = CameraRig.load(measured.rig_path(session))
    found = triangulate(CameraRig.load(measured.folder / "truth" / "rig.toml").project(CORNERS), rig).position
    np.testing.assert_allclose(found[1], [240, 0, 0], atol=1.5)
    assert calibrated() == "camera front, x right, y down and z forward in its picture"
    assert any("The last run was given --axes" in note and "this one is not" in note for note in heard.notes)


def test_misspelt_key_points_are_told_before_anything_is_calibrated(measured: Project) -> None:
    a, b, *_ = measured.config.skeleton.keypoints
    (session,) = measured.sessions
    for settings in ({"axes": f"day2:{a},{b},noze"}, {"scale": f"day2:{a},noze=10"}):
        with pytest.raises(ProjectError, match=r"no key point 'noze'.* Did you mean 'nose'\?"):
            calibrate_session(measured, session, open_hashes(measured), settings=settings)
    assert not measured.rig_path(session).exists()
    assert not (measured.rig_path(session).parent / "corners.npz").exists()


def test_animals_where_the_lens_folds_are_counted(measured: Project, heard: Any) -> None:
    """A lens that bends back beyond an eighth of the picture's width."""
    lens = BrownLens(400.0, 400.0, 239.5, 179.5, (-6.0, 0.0, 0.0, 0.0, 0.0))
    rig = CameraRig.load(measured.folder / "truth" / "rig.toml")
    rig = replace(rig, cameras=tuple(replace(camera, lens=lens) for camera in rig))
    verdicts = (Verdict("left", "folded", ""), Verdict("front", "coverage", ""))
    found = SimpleNamespace(rig=rig, report=SimpleNamespace(verdicts=verdicts))
    tell_animal_in_folds(measured, found, heard)  # type: ignore[arg-type]
    (said,) = heard.notes
    keypoints = load_tracks(measured.keypoints_path("day2"))["position"].sel(view="left").values.reshape(-1, 2)
    keypoints = keypoints[np.isfinite(keypoints).all(-1)]
    lost = int(np.isnan(lens.undistort(keypoints)).any(-1).sum())
    assert 0 < lost < len(keypoints)
    assert said.startswith("left: where its lens folds back lie ")
    assert f"{lost} of {len(keypoints)} key points of day2" in said
    assert "labelled points" in said


@pytest.mark.slow
def test_points_that_move_are_no_axes(measured: Project) -> None:
    a, b, _, moving, *_ = measured.config.skeleton.keypoints
    (session,) = measured.sessions
    with pytest.raises(CalibrationError, match=f"{moving} moves in recording day2"):
        calibrate_session(measured, session, open_hashes(measured), settings={"axes": f"day2:{a},{b},{moving}"})
    with pytest.raises(ConfigError, match="give one of them"):
        settings = {"axes": f"day2:{a},{b},{moving}", "origin": f"{session}:0"}
        calibrate_session(measured, session, open_hashes(measured), settings=settings)


def test_the_plan_measures_before_it_calibrates(measured: Project) -> None:
    a, b, c, *_ = measured.config.skeleton.keypoints
    text = (measured.folder / "multipose.toml").read_text(encoding="utf-8")
    assert "[calibration]" in text
    text = text.replace("[calibration]", f'[calibration]\naxes = "day2:{a},{b},{c}"')
    (measured.folder / "multipose.toml").write_text(text, encoding="utf-8")
    project = Project.open(measured.folder)
    products = plan(project)
    stages = [product.stage for product in products]
    assert stages.index("calibrate") > max(i for i, stage in enumerate(stages) if stage == "predict")
    (rig,) = [product for product in products if product.stage == "calibrate"]
    assert rig.inputs["the key points of day2"] == project.keypoints_path("day2")
    project.keypoints_path("day2").unlink()
    judged = {item.product.stage: item for item in judge_all(project, plan(project), open_hashes(project))}
    assert any("multipose predict" in reason for reason in judged["calibrate"].reasons)
