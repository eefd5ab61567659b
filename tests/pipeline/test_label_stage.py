"""Labels come in, go out, and get their pictures from the videos."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest

from multipose.errors import DataError, FormatError, LabelError, MultiposeError, ProjectError
from multipose.labels import Labels, labels_from_points, picture_path
from multipose.pipeline.beginning import make_project
from multipose.pipeline.label_files import import_labels
from multipose.pipeline.labels import (
    export_labels,
    extract,
    extract_chosen,
    extract_labelled,
    find_problems,
    known_labels,
    load_labels,
    read_frames,
)
from multipose.pipeline.plan import model_product, open_hashes
from multipose.project import Project, Recording
from multipose.sources import read_picture, write_picture
from multipose.video import write_video

KEYPOINTS = ("nose", "tail")


def grey(value: int, size: tuple[int, int] = (48, 32)) -> np.ndarray:
    return np.full((size[1], size[0], 3), value, dtype=np.uint8)


def film(path: Path, values: list[int]) -> None:
    write_video(path, (grey(value) for value in values), 20.0, crf=0, preset="ultrafast")


@pytest.fixture
def filmed(tmp_path: Path) -> Project:
    """A recording of 8 frames, each of one grey: 20, 40, 60, ..."""
    project = make_project(tmp_path / "mice", ["top"], KEYPOINTS)
    film(project.folder / "day1.mp4", [20 * (i + 1) for i in range(8)])
    project = project.with_recordings([Recording("day1", {"top": "day1.mp4"})])
    project.save_manifest()
    return project


def label(project: Project, frames: list[int], recording: str = "day1") -> Labels:
    xy = np.tile([[10.0, 12.0], [30.0, 20.0]], (len(frames), 1, 1))
    labels = labels_from_points(recording, "top", frames, xy, KEYPOINTS)
    load_labels(project).merge(labels).save(project.labels_path)
    return load_labels(project)


def write_deeplabcut(folder: Path, video: str, frames: list[int], *, pictures: bool = True) -> Path:
    """CollectedData_me.csv with its pictures."""
    inside = folder / "labeled-data" / video
    columns = pd.MultiIndex.from_product([["me"], KEYPOINTS, ["x", "y"]], names=["scorer", "bodyparts", "coords"])
    names = [f"labeled-data/{video}/img{frame:03d}.png" for frame in frames]
    table = pd.DataFrame(np.tile([10.0, 12.0, 30.0, 20.0], (len(frames), 1)), index=names, columns=columns)
    inside.mkdir(parents=True)
    for frame in frames:
        if pictures:
            write_picture(inside / f"img{frame:03d}.png", grey(frame))
    table.to_csv(inside / "CollectedData_me.csv")
    return inside / "CollectedData_me.csv"


def test_extracting_enters_frames_as_unlabelled(filmed: Project) -> None:
    hashes = open_hashes(filmed)
    pictures = extract(filmed, filmed.recordings, ["top"], 4, hashes, method="uniform")
    assert [path.name for path in pictures["day1", "top"]] == ["000001.png", "000003.png", "000005.png", "000007.png"]
    assert abs(float(read_picture(pictures["day1", "top"][1]).mean()) - 80) < 3
    labels = load_labels(filmed)
    assert set(labels.table["state"]) == {"unlabelled"}
    assert len(labels.frames("top")) == 4
    assert len(known_labels(labels)) == 0
    assert "no labels" in model_product(filmed, "top").lacking[0]
    done = label(filmed, [3])
    again = extract(filmed, filmed.recordings, ["top"], 4, hashes, method="uniform")
    assert again == pictures
    assert len(known_labels(load_labels(filmed))) == len(known_labels(done)) == 2  # nothing labelled was lost


def test_pictures_of_labels_come_from_the_video_again_when_it_changes(filmed: Project) -> None:
    labels = label(filmed, [2])
    path = picture_path(filmed.frames_folder, "day1", "top", 2)
    extract_labelled(filmed, labels, open_hashes(filmed))
    assert abs(float(read_picture(path).mean()) - 60) < 3
    stamp = path.stat().st_mtime_ns
    extract_labelled(filmed, labels, open_hashes(filmed))
    assert path.stat().st_mtime_ns == stamp
    film(filmed.folder / "day1.mp4", [200] * 8)
    extract_labelled(filmed, labels, open_hashes(filmed))
    assert abs(float(read_picture(path).mean()) - 200) < 3


def test_labels_belong_to_the_pictures_as_they_were(filmed: Project) -> None:
    """Flipping the view afterwards would put them on the other side."""
    labels = label(filmed, [2])
    extract_labelled(filmed, labels, open_hashes(filmed))
    path = picture_path(filmed.frames_folder, "day1", "top", 2)
    before = path.read_bytes()
    config = filmed.folder / "multipose.toml"
    config.write_text(config.read_text(encoding="utf-8") + "\n[view.top]\nflip = true\n", encoding="utf-8")
    flipped = Project.open(filmed.folder)
    with pytest.raises(LabelError, match=r"\[view.top\] .* has changed since recording 'day1' was labelled"):
        extract_labelled(flipped, labels, open_hashes(flipped))
    assert path.read_bytes() == before
    shutil.rmtree(path.parent)
    extract_labelled(flipped, labels, open_hashes(flipped))  # with labels made again, as they are now


def test_labels_beyond_the_video(filmed: Project) -> None:
    with pytest.raises(LabelError, match=r"'day1', view 'top': frame 99 is labelled.*frames 0 to 7"):
        extract_labelled(filmed, label(filmed, [99]), open_hashes(filmed))
    with pytest.raises(LabelError, match="'other', view 'top' has labels, but no video"):
        extract_labelled(filmed, label(filmed, [1], "other").select(recording="other"), open_hashes(filmed))


def test_importing_brings_pictures(filmed: Project, tmp_path: Path) -> None:
    path = write_deeplabcut(tmp_path / "dlc", "m4", [5, 7])
    assert import_labels(filmed, path, "top") == {
        "pictures": 2, "points": 4, "conflicts": 0, "numbered": "img005.png is frame 5", "recordings": ["m4"],
        "unlisted": ["m4"],
    }  # fmt: skip
    assert read_picture(picture_path(filmed.frames_folder, "m4", "top", 7)).mean() == 7
    labels = load_labels(filmed)
    extract_labelled(filmed, labels, open_hashes(filmed))
    product = model_product(filmed, "top")
    assert product.lacking == ()
    before = product.facts
    label(filmed, [5], "m4")  # the same points again, by nobody
    assert model_product(filmed, "top").facts == before
    label(filmed, [1])
    assert model_product(filmed, "top").facts != before


@pytest.mark.parametrize("conflicts", ["refuse", "replace", "keep"])
def test_imported_labels_of_another_picture(
    filmed: Project, tmp_path: Path, conflicts: Literal["refuse", "replace", "keep"]
) -> None:
    """Under the same name: neither the picture nor its labels are touched."""
    path = write_deeplabcut(tmp_path / "dlc", "m4", [5, 7])
    import_labels(filmed, path, "top")
    ours = picture_path(filmed.frames_folder, "m4", "top", 7)
    before, table = ours.read_bytes(), filmed.labels_path.read_bytes()
    (theirs,) = path.parent.glob("*7.png")
    write_picture(theirs, np.full_like(read_picture(theirs), 200))
    with pytest.raises(LabelError, match="does not show what .*000007.png shows"):
        import_labels(filmed, path, "top", conflicts=conflicts)
    assert ours.read_bytes() == before
    assert filmed.labels_path.read_bytes() == table


def test_imported_labels_of_a_filmed_recording(filmed: Project, tmp_path: Path) -> None:
    path = write_deeplabcut(tmp_path / "dlc", "video_top", [0, 3], pictures=False)
    with pytest.raises(LabelError, match=r"img000\.png, which does not exist"):
        import_labels(filmed, path, "top")
    import_labels(filmed, path, "top", recording="day1")
    extract_labelled(filmed, load_labels(filmed), open_hashes(filmed))
    assert abs(float(read_picture(picture_path(filmed.frames_folder, "day1", "top", 3)).mean()) - 80) < 3


def test_imported_labels_of_other_key_points(filmed: Project, tmp_path: Path) -> None:
    path = write_deeplabcut(tmp_path / "dlc", "m4", [5])
    path.write_text(path.read_text(encoding="utf-8").replace("tail", "paw"), encoding="utf-8")
    with pytest.raises(LabelError, match="labels of paw"):
        import_labels(filmed, path, "top")
    with pytest.raises(ProjectError, match="no view 'side'"):
        import_labels(filmed, path, "side")


def test_imported_labels_in_conflict_with_others(filmed: Project, tmp_path: Path) -> None:
    path = write_deeplabcut(tmp_path / "dlc", "m4", [5, 7])
    import_labels(filmed, path, "top")
    assert import_labels(filmed, path, "top")["conflicts"] == 0  # the same again
    before = filmed.labels_path.read_text(encoding="utf-8")
    moved = path.read_text(encoding="utf-8").replace("10.0", "11.5")
    assert moved != path.read_text(encoding="utf-8")
    path.write_text(moved, encoding="utf-8")
    with pytest.raises(LabelError, match=r"2 points of .* labelled already, otherwise. Say --replace"):
        import_labels(filmed, path, "top")
    assert import_labels(filmed, path, "top", conflicts="keep")["conflicts"] == 2
    assert filmed.labels_path.read_text(encoding="utf-8") == before
    assert import_labels(filmed, path, "top", conflicts="replace")["conflicts"] == 2
    assert 11.5 in load_labels(filmed).points("top")[1]


def test_states_that_another_program_does_not_know_stay(filmed: Project, tmp_path: Path) -> None:
    path = write_deeplabcut(tmp_path / "dlc", "m4", [5])
    import_labels(filmed, path, "top")
    labels = load_labels(filmed)
    table = labels.table.assign(state=["occluded", *labels.table["state"][1:]])
    table.loc[1, ["x", "y", "state"]] = [np.nan, np.nan, "occluded"]
    path.write_text(path.read_text(encoding="utf-8").replace(",30.0,20.0", ",,"), encoding="utf-8")
    assert ",," in path.read_text(encoding="utf-8").splitlines()[-1]
    Labels(table, labels.keypoints).save(filmed.labels_path)
    before = filmed.labels_path.read_text(encoding="utf-8")
    assert import_labels(filmed, path, "top")["conflicts"] == 0
    assert filmed.labels_path.read_text(encoding="utf-8") == before


def test_labels_of_another_recording_are_refused(filmed: Project, tmp_path: Path) -> None:
    path = write_deeplabcut(tmp_path / "dlc", "day1", [0, 3])
    with pytest.raises(LabelError, match="says itself that its labels are of day1"):
        import_labels(filmed, path, "top", recording="day2")


def test_imported_labels_move_with_the_view(filmed: Project, tmp_path: Path) -> None:
    config = filmed.folder / "multipose.toml"
    text = config.read_text(encoding="utf-8").replace(
        "[skeleton]", "[view.top]\ncrop = [8, 4, 40, 28]\n\n[skeleton]", 1
    )
    config.write_text(text, encoding="utf-8")
    project = Project.open(filmed.folder)
    import_labels(project, write_deeplabcut(tmp_path / "dlc", "m4", [5]), "top")
    _, xy, _ = load_labels(project).points("top")
    np.testing.assert_allclose(xy[0], [[2, 8], [22, 16]])
    assert read_picture(picture_path(project.frames_folder, "m4", "top", 5)).shape == (28, 40, 3)


def test_exported_labels_come_back(filmed: Project, tmp_path: Path) -> None:
    label(filmed, [1, 4])
    written = export_labels(filmed, tmp_path / "out", ["top"], "me", open_hashes(filmed))
    (csv, _) = written["views"]["top"]
    assert (Path(csv).parent / "img000004.png").exists()
    other = make_project(tmp_path / "other", ["top"], KEYPOINTS)
    import_labels(other, Path(csv), "top")
    _, xy, state = load_labels(other).points("top")
    np.testing.assert_allclose(xy, load_labels(filmed).points("top")[1])
    assert (state == "visible").all()
    with pytest.raises(ProjectError, match="no labels of these views"):
        export_labels(make_project(tmp_path / "empty", ["top"], KEYPOINTS), tmp_path, ["top"], "me", open_hashes(other))


def test_slips_are_found(filmed: Project) -> None:
    with pytest.raises(LabelError, match="no labels to check"):
        find_problems(filmed)
    label(filmed, [2])
    assert find_problems(filmed) == []
    xy = np.array([[[10.0, 12.0], [300.0, 20.0]]])
    labels_from_points("day1", "top", [1], xy, KEYPOINTS).save(filmed.labels_path)
    assert [(problem.code, problem.keypoint) for problem in find_problems(filmed)] == [("outside", "tail")]


def test_a_table_as_labels_csv_is_imported_with_its_pictures(filmed: Project, tmp_path: Path) -> None:
    folder = tmp_path / "more"
    xy = np.tile([[10.0, 12.0], [30.0, 20.0]], (2, 1, 1))
    labels_from_points("day9", "top", [3, 5], xy, KEYPOINTS).save(folder / "table.csv")
    with pytest.raises(LabelError, match="which does not exist"):
        import_labels(filmed, folder / "table.csv", "top")
    for frame in (3, 5):
        write_picture(picture_path(folder / "frames", "day9", "top", frame), grey(10 * frame))
    told = import_labels(filmed, folder / "table.csv", "top")
    assert (told["pictures"], told["points"], told["unlisted"]) == (2, 4, ["day9"])
    assert read_picture(picture_path(filmed.frames_folder, "day9", "top", 5)).mean() == 50
    assert load_labels(filmed).points("top")[1].tolist() == xy.tolist()
    assert import_labels(filmed, folder / "table.csv", "top")["conflicts"] == 0  # the same again


def test_listed_frames_are_entered_as_unlabelled(filmed: Project, tmp_path: Path) -> None:
    table = tmp_path / "frames.csv"
    table.write_text("recording,view,frame\nday1,top,2\nday1,top,6\n", encoding="utf-8")
    pictures = extract_chosen(filmed, read_frames(table), open_hashes(filmed))
    assert [path.name for path in pictures["day1", "top"]] == ["000002.png", "000006.png"]
    assert load_labels(filmed).frames("top")["frame"].tolist() == [2, 6]
    for text, told in (("recording,view\nday1,top\n", "KeyError"), ("recording,view,frame\n", "lists no frame")):
        table.write_text(text, encoding="utf-8")
        with pytest.raises(FormatError, match=told):
            read_frames(table)


@pytest.mark.parametrize("name", ["../../../outside", "..", "/etc", "a\\..\\b", "a/b"])
def test_labels_never_lead_out_of_the_project_or_the_target(filmed: Project, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside" / "top" / "000001.png"
    write_picture(outside, grey(7))
    labels_from_points(name, "top", [1], np.full((1, 2, 2), 5.0), KEYPOINTS).save(filmed.labels_path)
    for act in (
        lambda: export_labels(filmed, tmp_path / "out" / "deep" / "er", ["top"], "me", open_hashes(filmed)),
        lambda: find_problems(filmed),
        lambda: extract_labelled(filmed, Labels.load(filmed.labels_path), open_hashes(filmed)),
        lambda: import_labels(filmed, filmed.labels_path, "top"),
    ):
        with pytest.raises(MultiposeError, match="cannot be the name"):
            act()
    assert not (tmp_path / "out").exists()
    assert list(tmp_path.rglob("CollectedData*")) == []


def test_a_scorer_never_leads_out_of_the_target(filmed: Project, tmp_path: Path) -> None:
    label(filmed, [1])
    with pytest.raises(DataError, match="cannot be the name"):
        export_labels(filmed, tmp_path / "out", ["top"], "me/../../../x", open_hashes(filmed))
    assert list(tmp_path.rglob("CollectedData*")) == []


def test_labels_without_a_picture_and_of_no_view_are_told(filmed: Project) -> None:
    label(filmed, [2, 700])
    with pytest.raises(LabelError, match="frame 700 is labelled, but .*has the frames 0 to 7"):
        find_problems(filmed)
    filmed.labels_path.unlink()
    label(filmed, [3], recording="day9")
    with pytest.raises(LabelError, match=r"'day9', view 'top', frame 3 .*000003\.png is not there"):
        find_problems(filmed)
    labels_from_points("day1", "left", [1], np.full((1, 2, 2), 5.0), KEYPOINTS).save(filmed.labels_path)
    with pytest.raises(LabelError, match="the view 'left'; the project has top"):
        find_problems(filmed)
