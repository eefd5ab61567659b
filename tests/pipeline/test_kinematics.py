"""The stage `kinematics`: what multipose.toml declares becomes files, and what is stale is known."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner

from multipose.camera import CameraRig
from multipose.cli.main import main
from multipose.errors import ConfigError, ProjectError
from multipose.pipeline.kinematics import measure_recording
from multipose.pipeline.overview import look_over
from multipose.pipeline.plan import judge_all, open_hashes, plan
from multipose.pipeline.running import run
from multipose.project import Project
from multipose.synthetic import walk
from multipose.tracks import load_tracks, save_tracks
from multipose.triangulate import RigCovariance
from multipose.triangulate.rig_covariance import parameter_names

DECLARED = """
[kinematics.angles]
neck = ["nose", "neck", "spine"]
[kinematics.chains]
back = ["neck", "spine", "tail_base", "tail_mid"]
[kinematics.distances]
body = ["nose", "tail_base"]
[kinematics.speeds]
pace = ["neck", "tail_base"]
[kinematics.egocentric]
origin = "tail_base"
forward = ["neck"]
"""


def declare(project: Project, text: str = DECLARED) -> Project:
    path = project.folder / "multipose.toml"
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")
    return Project.open(project.folder)


def state_of(project: Project) -> tuple[str, tuple[str, ...]]:
    judged = judge_all(project, plan(project), open_hashes(project))
    (one,) = [judgement for judgement in judged if judgement.product.stage == "kinematics"]
    return one.state, one.reasons


def test_what_is_declared_is_measured_and_kept_up_to_date(finished: Project) -> None:
    project = declare(finished)
    assert list(run(project).made) == ["recordings/run1/kinematics.nc"]
    assert state_of(project)[0] == "current"
    path = project.kinematics_path("run1")
    found = xr.load_dataset(path)
    truth = walk(40, seed=1).points
    names = project.config.skeleton.keypoints
    body = np.linalg.norm(truth[:, names.index("nose")] - truth[:, names.index("tail_base")], axis=-1)
    off = found["body"].values[:, 0] - body
    assert np.nanmedian(np.abs(off)) < 1.0
    within = np.abs(off) < 1.96 * found["body_sd"].values[:, 0]
    assert within[np.isfinite(off)].mean() > 0.85
    assert found.attrs["calibration_error"] == "not known, taken as exact"
    table = pd.read_csv(path.with_suffix(".csv"))
    assert set(table["quantity"]) == {"angle", "distance", "speed", "egocentric"}
    np.testing.assert_array_equal(table[table["name"] == "body"]["value"], found["body"].values.ravel())
    spine = np.degrees(found["back.spine_sd"].values.ravel())
    np.testing.assert_allclose(table[table["name"] == "back.spine"]["sd"], spine)
    assert len(table) == 40 * (5 + 3 * len(names))
    neck = table[table["name"] == "neck"]
    assert set(neck["unit"]) == {"deg"}  # to people; the arrays hold radians
    assert found["neck"].attrs["unit"] == "rad"
    np.testing.assert_allclose(neck["value"], np.degrees(found["neck"].values.ravel()))
    np.testing.assert_allclose(neck["sd"], np.degrees(found["neck_sd"].values.ravel()))
    assert neck["high"].max() <= 180.0
    assert "plotly" in path.with_suffix(".html").read_text(encoding="utf-8").lower()

    rig = CameraRig.load(project.rig_path("lab"))
    covariance = 1e-6 * np.eye(len(parameter_names(rig)))
    RigCovariance.from_matrix(rig, covariance).save(project.covariance_path("lab"))
    assert state_of(project)[0] == "stale"
    assert "the rig's covariance" in " ".join(state_of(project)[1])
    run(project)
    again = xr.load_dataset(path)
    assert again.attrs["calibration_error"] == "carried on"
    assert (again["body_calibration_sd"].dropna("time") > 0).all()
    shorter = (project.folder / "multipose.toml").read_text(encoding="utf-8").replace('"nose", "tail', '"neck", "tail')
    (project.folder / "multipose.toml").write_text(shorter, encoding="utf-8")
    assert state_of(Project.open(project.folder))[0] == "stale"


def test_a_covariance_of_another_rig_is_not_used(finished: Project) -> None:
    project = declare(finished)
    rig = CameraRig.load(project.rig_path("lab"))
    lens = dataclasses.replace(rig.cameras[0].lens, fx=500.0)
    other = CameraRig((dataclasses.replace(rig.cameras[0], lens=lens), *rig.cameras[1:]), rig.unit)
    n = len(parameter_names(rig))
    RigCovariance.from_matrix(other, np.eye(n)).save(project.covariance_path("lab"))
    result = measure_recording(project, project.recording("run1"), open_hashes(project))
    assert result["calibration_error"] == "not known, taken as exact"


def test_smoothed_trajectories_are_asked_for_by_name(finished: Project) -> None:
    path = finished.folder / "multipose.toml"
    path.write_text(path.read_text(encoding="utf-8").replace("# smoothed = false", "smoothed = true"), encoding="utf-8")
    project = declare(finished)
    assert [product.stage for product in plan(project)][-3:] == ["smooth", "view", "kinematics"]
    with pytest.raises(ProjectError, match="no trajectories3d_smooth.nc"):
        measure_recording(project, project.recording("run1"), open_hashes(project))
    smoothed = load_tracks(project.trajectories_path("run1"))
    smoothed["velocity"] = smoothed["position"] * 0 + 300.0
    smoothed["velocity_covariance"] = smoothed["covariance"] * 0 + np.eye(3)
    save_tracks(smoothed, project.smooth_path("run1"))
    result = measure_recording(project, project.recording("run1"), open_hashes(project))
    assert result["quantities"]["pace"]["median"] == pytest.approx(300 * np.sqrt(3))
    assert xr.load_dataset(project.kinematics_path("run1")).attrs["trajectories"] == "trajectories3d_smooth.nc"


def test_nothing_declared_makes_no_product(finished: Project) -> None:
    assert all(product.stage != "kinematics" for product in plan(finished))
    with pytest.raises(ProjectError, match="declares nothing to measure"):
        measure_recording(finished, finished.recording("run1"), open_hashes(finished))


def test_slips_in_the_configuration_are_told(finished: Project) -> None:
    for text, message in (
        ('[kinematics.distances]\nbody = ["nose", "tail_bse"]\n', "no key point 'tail_bse'. Did you mean 'tail_base'"),
        ('[kinematics.angles]\nneck = ["nose", "neck"]\n', "an angle has three key points"),
        ('[kinematics.inclinations]\nhead = ["nose", "neck", "up"]\n', "one of the axes"),
        ('[kinematics.speed]\nbody = ["nose"]\n', "unknown key 'speed'. Did you mean 'speeds'"),
        ('[kinematics.speeds]\nbody_sd = ["nose"]\n', "cannot be called 'body_sd'"),
        ('[kinematics.egocentric]\norigin = "nose"\nforward = ["nose"]\n', "ahead of the origin"),
    ):
        before = (finished.folder / "multipose.toml").read_text(encoding="utf-8")
        with pytest.raises(ConfigError, match=message):
            declare(finished, text)
        (finished.folder / "multipose.toml").write_text(before, encoding="utf-8")


def test_the_commands_measure_and_diagnose(finished: Project) -> None:
    declare(finished)
    assert "multipose kinematics run1" in look_over(Project.open(finished.folder)).next
    folder = str(finished.folder)
    done = CliRunner().invoke(main, ["kinematics", "--project", folder])
    assert done.exit_code == 0, done.output
    assert "back.tail_base" in done.output
    (row,) = [line.split() for line in done.output.splitlines() if line.startswith("neck ")]
    found = xr.load_dataset(finished.kinematics_path("run1"))["neck"]
    assert float(row[1]) == pytest.approx(np.degrees(float(found.median())), abs=0.001)
    assert row[3] == "deg"
    assert "not known, taken as exact" in done.output
    again = CliRunner().invoke(main, ["kinematics", "--project", folder])
    assert "up to date" in again.output
    done = CliRunner().invoke(main, ["reconstruct", "run1", "--project", folder, "--json"])
    assert done.exit_code == 0, done.output
    assert '"diagnostics": {"views"' in done.output
    assert Path(finished.diagnostics_path("run1")).exists()
