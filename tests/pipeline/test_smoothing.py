"""Smoothing in a project: a product of its own, stale when its inputs change, on the command line and in exports."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from multipose.cli.main import main
from multipose.config import parse_config
from multipose.errors import ConfigError, ProjectError
from multipose.formats.table import read_trajectories
from multipose.pipeline.exports import export_recording
from multipose.pipeline.overview import look_over
from multipose.pipeline.plan import open_hashes
from multipose.pipeline.reconstruction import reconstruct_recording
from multipose.pipeline.running import run
from multipose.pipeline.smoothing import smooth_recording
from multipose.project import Project
from multipose.synthetic import walk
from multipose.tracks import load_tracks


def enable(project: Project, *lines: str) -> Project:
    """The project with smoothing on and more lines in its section."""
    path = project.folder / "multipose.toml"
    text = path.read_text(encoding="utf-8")
    assert "# enabled = false" in text
    path.write_text(text.replace("# enabled = false", "\n".join(["enabled = true", *lines, "#"])), encoding="utf-8")
    return Project.open(project.folder)


@pytest.mark.slow
def test_a_recording_is_smoothed(finished: Project) -> None:
    finished = enable(finished, f"limbs = [{json.dumps(finished.config.skeleton.keypoints[:2])}]")
    result = smooth_recording(finished, finished.recording("run1"), open_hashes(finished))
    smoothed = load_tracks(finished.smooth_path("run1"))
    truth = walk(40, seed=1).points
    off = {
        name: np.linalg.norm(tracks["position"].values[:, 0] - truth, axis=-1)
        for name, tracks in (("robust", load_tracks(finished.trajectories_path("run1"))), ("smoothed", smoothed))
    }
    both = np.isfinite(off["robust"]) & np.isfinite(off["smoothed"])
    assert off["smoothed"][both].mean() < 0.9 * off["robust"][both].mean()
    assert result["points"] == np.isfinite(off["smoothed"]).sum() >= np.isfinite(off["robust"]).sum()
    assert 0 < result["median_sd"] < 1
    assert result["limbs"]
    assert all(limb["length"] > 0 for limb in result["limbs"].values())
    table = read_trajectories(finished.smooth_path("run1").with_suffix(".csv"))
    np.testing.assert_array_equal(table["position"].values, smoothed["position"].values)
    assert (finished.folder / "recordings" / "run1" / "player_smooth.html").stat().st_size > 10_000
    (path,) = export_recording(finished, finished.recording("run1"), "csv", finished.folder / "out", smoothed=True)
    assert path.name == "run1_csv_3d_smooth.csv"
    with pytest.raises(ProjectError, match="holds no trajectories"):
        export_recording(finished, finished.recording("run1"), "deeplabcut", finished.folder / "out", smoothed=True)


def test_what_was_smoothed_once_does_not_grow_old_unnoticed(finished: Project, heard: Any) -> None:
    """Smoothed by hand, with smoothing off in the configuration; then the settings of smoothing change."""
    recording = finished.recording("run1")
    smooth_recording(finished, recording, open_hashes(finished))
    assert look_over(finished).next == ""
    path = finished.folder / "multipose.toml"
    text = path.read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if "max_gap" in line]
    path.write_text(text.replace(line, "max_gap = 1"), encoding="utf-8")
    changed = Project.open(finished.folder)
    states = {product["path"]: product["state"] for product in look_over(changed).products}
    assert states["recordings/run1/trajectories3d_smooth.nc"] == "stale"
    export_recording(changed, recording, "csv", changed.folder / "out", smoothed=True, progress=heard)
    assert "trajectories3d_smooth.nc is stale (max_gap is now 1" in heard.notes[0]
    assert "recordings/run1/trajectories3d_smooth.nc" in run(changed).made
    export_recording(changed, recording, "csv", changed.folder / "out", smoothed=True, progress=heard)
    assert len(heard.notes) == 1


@pytest.mark.slow
def test_a_run_smooths_where_the_settings_say_so(finished: Project) -> None:
    project = enable(finished, "max_gap = 2")
    assert look_over(project).next == "multipose reconstruct --smooth run1"
    made = run(project).made
    assert list(made) == ["recordings/run1/trajectories3d_smooth.nc"]
    assert load_tracks(project.smooth_path("run1")).attrs["max_gap"] == 2
    assert run(project).made == {}
    reconstruct_recording(project, project.recording("run1"), open_hashes(project), settings={"remove_offsets": True})
    assert "recordings/run1/trajectories3d_smooth.nc" in run(project).made
    assert load_tracks(project.smooth_path("run1")).attrs["offsets_removed"] == 1


def test_the_command_smooths(finished: Project) -> None:
    folder = str(finished.folder)
    done = CliRunner().invoke(main, ["reconstruct", "--smooth", "--max-gap", "3", "--project", folder, "--json"])
    assert done.exit_code == 0, done.output
    (result,) = json.loads(done.stdout)["recordings"].values()
    assert set(result) == {"smoothed"}  # the trajectories themselves were up to date
    done = CliRunner().invoke(main, ["reconstruct", "run1", "--smooth", "--project", folder])
    assert done.exit_code == 0, done.output
    assert "run1, smoothed:" in done.stdout
    assert "2D errors correlate by" in done.stdout
    done = CliRunner().invoke(main, ["reconstruct", "--no-smooth", "--max-gap", "3", "--project", folder])
    assert done.exit_code == 2
    assert "--max-gap is for --smooth" in done.output


def test_what_is_needed_first_is_named(project: Project) -> None:
    with pytest.raises(ProjectError, match="has no trajectories. Make them with `multipose reconstruct`"):
        smooth_recording(project, project.recording("run1"), open_hashes(project))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('limbs = [["hip", "kne"]]', "limbs: there is no key point kne"),
        ('limbs = [["hip", "hip"]]', "names a key point twice"),
        ('limb_lengths = [["hip", "knee", -1]]', "must be above 0"),
        ('joint_limits = [["hip", "knee", "foot", 170, 20]]', "must rise between 0 and 180 degrees"),
        ("max_gap = -1", "0 frames or more"),
        ('priors = "jerk"', "unknown key 'priors'. Did you mean 'prior'"),
        ('prior = "speed"', "must be one of"),
    ],
)
def test_slips_in_the_settings_are_told(lines: str, message: str) -> None:
    text = f'name = "a"\nviews = ["l", "r"]\n[skeleton]\nkeypoints = ["hip", "knee", "foot"]\n[smoothing]\n{lines}\n'
    with pytest.raises(ConfigError, match=message):
        parse_config(text)


def test_settings_are_read() -> None:
    text = (
        'name = "a"\nviews = ["l", "r"]\n[skeleton]\nkeypoints = ["hip", "knee", "foot"]\n[smoothing]\n'
        'limb_lengths = [["hip", "knee", 21]]\njoint_limits = [["hip", "knee", "foot", 0, 90]]\n'
    )
    smoothing = parse_config(text).smoothing
    assert smoothing.lengths == {("hip", "knee"): 21.0}
    assert smoothing.limits == {("hip", "knee", "foot"): (0.0, pytest.approx(np.pi / 2))}
    assert smoothing.limbs is None
