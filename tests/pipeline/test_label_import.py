"""Labels from folders, SLEAP projects, and tables with other names or several views in one."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from multipose.cli.main import main
from multipose.errors import FormatError
from multipose.formats.sleap_project import read_labels
from multipose.labels import labels_from_points
from multipose.pipeline.beginning import make_project
from multipose.pipeline.labels import load_labels
from multipose.project import Project
from multipose.sources import write_picture

PICTURE = np.zeros((8, 12, 3), dtype=np.uint8)


def collected(folder: Path, names: tuple[str, ...], cells: dict[int, str], video: str = "day1") -> Path:
    """A table of DeepLabCut's with its pictures, as it lies in labeled-data."""
    path = folder / "labeled-data" / video / "CollectedData_me.csv"
    head = ["scorer" + ",me" * 2 * len(names), "bodyparts," + ",".join(f"{name},{name}" for name in names)]
    head += ["coords" + ",x,y" * len(names)]
    rows = [f"labeled-data/{video}/img{frame:03d}.png,{text}" for frame, text in cells.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*head, *rows]) + "\n", encoding="utf-8")
    for frame in cells:
        write_picture(path.parent / f"img{frame:03d}.png", PICTURE)
    return path


def slp(path: Path, version: float = 1.2) -> Path:
    """Two videos; an instance of a person in each, one of them with a hidden point, and a predicted one."""
    table = {
        "nodes": [{"name": "nose"}, {"name": "tail"}],
        "skeletons": [{"nodes": [{"id": 0}, {"id": 1}], "links": []}],
    }
    with h5py.File(path, "w") as file:
        metadata = file.create_group("metadata")
        metadata.attrs["json"] = json.dumps(table)
        metadata.attrs["format_id"] = version
        videos = [{"filename": r"C:\mice\day1.mp4"}, {"backend": {"filename": "/x/day2.mp4"}}]
        file["videos_json"] = np.array([json.dumps(video) for video in videos], "S")
        file["tracks_json"] = np.array([json.dumps([0, "anna"])], "S")
        kind = [("frame_id", "u8"), ("video", "u4"), ("frame_idx", "u8")]
        kind += [("instance_id_start", "u8"), ("instance_id_end", "u8")]
        file["frames"] = np.array([(0, 0, 7, 0, 2), (1, 1, 9, 2, 3)], kind)
        kind = [("instance_type", "u1"), ("track", "i4"), ("point_id_start", "u8"), ("point_id_end", "u8")]
        file["instances"] = np.array([(1, 0, 0, 2), (0, 0, 0, 2), (0, -1, 2, 4)], kind)
        kind = [("x", "f8"), ("y", "f8"), ("visible", "?")]
        file["points"] = np.array([(1, 2, True), (3, 4, False), (5, 6, True), (np.nan, np.nan, False)], kind)
    return path


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "mice", ["direct", "mirror"], ["nose", "tail"])


def bring(project: Project, *words: str, code: int = 0) -> str:
    done = CliRunner().invoke(main, ["label", "import", *words, "--project", str(project.folder)])
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())


def positions(project: Project, view: str) -> dict[tuple[str, int, str], tuple[float, float, str]]:
    table = load_labels(project).select(view=view).table
    rows = table[["recording", "frame", "keypoint", "x", "y", "state"]].to_dict("records")
    return {(row["recording"], row["frame"], row["keypoint"]): (row["x"], row["y"], row["state"]) for row in rows}


def test_names_that_end_in_their_view(project: Project, tmp_path: Path) -> None:
    names = ("nose_top", "tail_top", "nose_bot", "tail_bot")
    table = collected(tmp_path, names, {3: "1,2,3,4,5,6,7,7", 4: "2,2,,,,,,"})
    said = bring(project, str(table), "--suffix", "_top=direct", "--suffix", "_bot=mirror")
    assert "4 points in 2 pictures of view direct" in said
    assert positions(project, "direct")["day1", 3, "nose"] == (1, 2, "visible")
    assert positions(project, "direct")["day1", 4, "nose"] == (2, 2, "visible")
    mirror = positions(project, "mirror")
    assert list(mirror["day1", 3, "tail"]) == [7, 7, "visible"]
    assert ("day1", 4, "nose") not in mirror  # the picture says nothing of a view without any point
    assert "no key point that ends in '_x'" in bring(project, str(table), "--suffix", "_x=mirror", code=1)
    assert "not both" in bring(project, str(table), "--suffix", "_x=mirror", "--view", "direct", code=2)
    assert "--view which of the views" in bring(project, str(table), code=2)


def test_other_names(project: Project, tmp_path: Path) -> None:
    table = collected(tmp_path, ("snout", "tail"), {3: "1,2,3,4"})
    assert "--rename snout=NAME" in bring(project, str(table), "--view", "direct", code=1)
    assert "would become 'tail'" in bring(project, str(table), "--view", "direct", "--rename", "snout=tail", code=1)
    assert "no key point 'x' to rename" in bring(project, str(table), "--view", "direct", "--rename", "x=nose", code=1)
    bring(project, str(table), "--view", "direct", "--rename", "snout=nose")
    assert positions(project, "direct")["day1", 3, "nose"] == (1, 2, "visible")


def test_our_own_table_with_other_names(project: Project, tmp_path: Path) -> None:
    labels = labels_from_points("day1", "direct", [3], [[[1, 2], [3, 4]]], ["snout", "tail"])
    labels.save(tmp_path / "out" / "labels.csv")
    write_picture(tmp_path / "out" / "day1" / "direct" / "000003.png", PICTURE)
    bring(project, str(tmp_path / "out" / "labels.csv"), "--view", "direct", "--rename", "snout=nose")
    assert positions(project, "direct")["day1", 3, "nose"] == (1, 2, "visible")


def test_a_folder(project: Project, tmp_path: Path) -> None:
    for number, video in enumerate(("day1", "day2")):
        path = collected(tmp_path / "dlc", ("nose", "tail"), {3: f"1,2,3,{number}"}, video)
    path.with_suffix(".h5").write_bytes(b"the same as the .csv, and not read")
    bring(project, str(tmp_path / "dlc"), "--view", "direct")
    assert [positions(project, "direct")[day, 3, "tail"][1] for day in ("day1", "day2")] == [0, 1]
    (tmp_path / "empty").mkdir()
    assert "holds no CollectedData_" in bring(project, str(tmp_path / "empty"), "--view", "direct", code=1)


@pytest.mark.parametrize(("version", "shift"), [(1.0, 0.5), (1.2, 0.0)])
def test_a_sleap_project(tmp_path: Path, version: float, shift: float) -> None:
    labels, pictures = read_labels(slp(tmp_path / "a.slp", version), view="direct")
    rows = labels.table.set_index(["recording", "frame", "individual", "keypoint"])
    assert tuple(rows.loc[("day1", 7, "anna", "nose"), ["x", "y", "state"]]) == (1 - shift, 2 - shift, "visible")
    assert rows.loc[("day1", 7, "anna", "tail"), "state"] == "occluded"
    assert rows.loc[("day2", 9, "individual_0", "tail"), "state"] == "absent"
    assert len(rows) == 4
    assert set(pictures) == {("day1", 7), ("day2", 9)}


def test_a_sleap_project_needs_its_videos(project: Project, tmp_path: Path) -> None:
    said = bring(project, str(slp(tmp_path / "a.slp")), "--view", "direct", code=1)
    assert "day1.mp4" in said
    assert "recordings.csv has no video" in said
    with h5py.File(tmp_path / "a.slp", "r+") as file:
        del file["points"]
    with pytest.raises(FormatError, match=r"a\.slp lacks points"):
        read_labels(tmp_path / "a.slp", view="direct")
