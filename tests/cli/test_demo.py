"""The main job, whole: what `multipose demo` promises, it keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from multipose.cli.main import main
from multipose.errors import DataError, ProjectError
from multipose.labels import Labels
from multipose.pipeline.beginning import make_project
from multipose.pipeline.demo import copy_sample, thin_labels
from multipose.pipeline.overview import look_over


@pytest.mark.slow
def test_demo(tmp_path: Path) -> None:
    folder = tmp_path / "tour"
    done = CliRunner().invoke(main, ["demo", str(folder), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["unit"] == "mm"
    # Training takes wall time, so a busy machine gets worse networks: these bounds are wide, the figures of idle cores
    # are in docs/measured.md.
    assert result["median_error"] < 0.05 * result["animal_length"]
    assert result["reconstructed_fraction"] > 0.8
    assert result["camera_center_error_percent"] < 0.5
    assert 0 < result["camera_center_error"] < 2.5  # the cameras are about 400 mm from the scene
    assert result["seconds"] > 0
    assert result["shared_error_source"] == "labels"
    for figures in (result, result["smoothed"]):
        assert figures["median_error"] < figures["p95_error"]
        assert 0.85 < figures["coverage_95"] <= 1.0
        assert 0.3 < figures["coverage_50"] < 0.75
    assert result["smoothed"]["median_error"] < 1.02 * result["median_error"]
    for view in ("front", "left", "right"):
        assert result["views"][view]["held_out_mean_px"] < 10.0
    assert Path(result["player"]).stat().st_size > 1e6
    states = {product["path"]: product["state"] for product in look_over(copy_sample(folder)).products}
    assert states["recordings/day2/player.html"] == "current"
    assert states["recordings/day1/keypoints2d.nc"] == "missing"


def test_the_sample_is_copied_whole_and_once(tmp_path: Path) -> None:
    project = copy_sample(tmp_path / "tour")
    assert [recording.name for recording in project.recordings] == ["day1", "day2"]
    assert len(project.sessions) == 1
    (tmp_path / "tour" / "multipose.toml").write_text(
        (tmp_path / "tour" / "multipose.toml").read_text(encoding="utf-8") + "\n# mine\n", encoding="utf-8"
    )
    copy_sample(tmp_path / "tour")
    assert "# mine" in (tmp_path / "tour" / "multipose.toml").read_text(encoding="utf-8")


def test_labels_are_thinned_at_random_and_once(tmp_path: Path) -> None:
    def frames(folder: Path, seed: int) -> list[int]:
        project = copy_sample(tmp_path / folder)
        thin_labels(project, 20, seed)
        table = Labels.load(project.labels_path).table
        assert len(table.groupby(["view", "frame"])) == 3 * 20
        return sorted(set(table["frame"].tolist()))

    first = frames(Path("a"), 0)
    assert len(first) == 20
    assert frames(Path("a"), 0) == first  # an interrupted demo goes on
    assert frames(Path("b"), 1) != first
    with pytest.raises(DataError, match="has 20 labelled frames of each view, of which 21 were asked for"):
        thin_labels(copy_sample(tmp_path / "a"), 21, 0)


def test_the_sample_does_not_go_into_other_folders(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ProjectError, match="not empty"):
        copy_sample(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["thesis.tex"]
    make_project(tmp_path / "mice", ["front", "left"], ["nose"])
    before = sorted(path.name for path in (tmp_path / "mice").rglob("*"))
    with pytest.raises(ProjectError, match="a project of your own"):
        copy_sample(tmp_path / "mice")
    assert sorted(path.name for path in (tmp_path / "mice").rglob("*")) == before
