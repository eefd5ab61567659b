"""DeepLabCut's label tables: both kinds of index, both headers, CSV and HDF5, and what an empty point means."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from multipose.errors import DataError, FormatError
from multipose.formats.deeplabcut import read_labels, write_keypoints, write_labels
from multipose.labels import Labels, labels_from_points
from multipose.sources import read_picture, write_picture
from multipose.tracks import keypoints2d

OLD = """scorer,anna,anna,anna,anna
bodyparts,nose,nose,tail,tail
coords,x,y,x,y
labeled-data/day1/img0003.png,1.5,2.5,,
labeled-data/day1/img0010.png,,,,
labeled-data\\day2\\img0003.png,3,4,5,6.25
"""
NEW = """scorer,,,anna,anna,anna,anna
bodyparts,,,nose,nose,tail,tail
coords,,,x,y,x,y
labeled-data,day1,img0003.png,1.5,2.5,,
labeled-data,day1,img0010.png,,,,
labeled-data,day2,img0003.png,3,4,5,6.25
"""
MANY = """scorer,,,anna,anna,anna,anna,anna,anna
individuals,,,a,a,b,b,single,single
bodyparts,,,nose,nose,nose,nose,door,door
coords,,,x,y,x,y,x,y
labeled-data,day1,img0003.png,1,2,3,4,,
"""


def write_text(path: Path, text: str) -> Path:
    """The table as CSV or, as DeepLabCut does it by pandas, as HDF5."""
    if path.suffix == ".csv":
        path.write_text(text)
        return path
    source = path.with_suffix(".source")
    source.write_text(text)
    header = list(range(4 if "individuals" in text else 3))
    frame = pd.read_csv(source, header=header, index_col=[0, 1, 2] if ",,," in text.splitlines()[0] else 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.PerformanceWarning)
        frame.to_hdf(path, key="df_with_missing", mode="w")
    return path


@pytest.mark.parametrize("text", [OLD, NEW], ids=["one column", "three columns"])
@pytest.mark.parametrize("suffix", [".csv", ".h5"])
def test_both_kinds_of_index(tmp_path: Path, text: str, suffix: str) -> None:
    labels, pictures = read_labels(write_text(tmp_path / f"CollectedData_anna{suffix}", text), view="top")
    assert labels.recordings == ("day1", "day2")
    assert labels.keypoints == ("nose", "tail")
    assert set(labels.table["who"]) == {"anna"}
    frames, xy, state = labels.points("top")
    assert frames.to_numpy().tolist() == [["day1", 3], ["day1", 10], ["day2", 3]]
    np.testing.assert_array_equal(xy[0], [[1.5, 2.5], [np.nan, np.nan]])
    np.testing.assert_array_equal(xy[2], [[3, 4], [5, 6.25]])
    assert state.tolist() == [["visible", "absent"], ["unlabelled", "unlabelled"], ["visible", "visible"]]
    assert pictures["day2", 3] == tmp_path / "labeled-data" / "day2" / "img0003.png"


@pytest.mark.parametrize("suffix", [".csv", ".h5"])
def test_several_animals(tmp_path: Path, suffix: str) -> None:
    labels, _ = read_labels(write_text(tmp_path / f"CollectedData_anna{suffix}", MANY), view="top")
    assert labels.individuals == ("a", "b", "single")
    assert labels.points("top", individual="b")[1].tolist()[0][0] == [3, 4]
    assert labels.points("top", ["door"], individual="single")[2].tolist() == [["absent"]]
    assert labels.points("top", ["door"], individual="a")[2].tolist() == [["unlabelled"]]


@pytest.mark.parametrize("one_column", [True, False])
@pytest.mark.parametrize("individuals", [("individual_0",), ("a", "b")])
def test_round_trip(tmp_path: Path, one_column: bool, individuals: tuple[str, ...]) -> None:
    random = np.random.default_rng(0)
    labels: Labels | None = None
    for recording in ("day1", "day, 2"):
        for individual in individuals:
            xy = random.uniform(0, 300, size=(4, 3, 2))
            xy[1, 2] = np.nan
            part = labels_from_points(
                recording, "top", [0, 7, 20, 123456], xy, ["nose", "ear", "tail"], individual=individual, who="anna"
            )
            labels = part if labels is None else labels.merge(part)
    assert labels is not None
    paths = write_labels(labels, tmp_path, scorer="anna", one_column_index=one_column)
    assert len(paths) == 4
    for suffix in (".csv", ".h5"):
        again = None
        for path in paths:
            if path.suffix == suffix:
                part, pictures = read_labels(path, view="top")
                again = part if again is None else again.merge(part)
                assert pictures[part.recordings[0], 7].name == "img000007.png"
        assert again is not None
        order = ["recording", "individual", "frame", "keypoint"]
        pd.testing.assert_frame_equal(
            again.table.sort_values(order, ignore_index=True), labels.table.sort_values(order, ignore_index=True)
        )


def test_pandas_sees_deeplabcut_s_layout(tmp_path: Path) -> None:
    labels = labels_from_points("day1", "top", [3], [[[1.0, 2.0], [np.nan, np.nan]]], ["nose", "tail"])
    csv, h5 = write_labels(labels, tmp_path, scorer="anna")
    assert csv == tmp_path / "labeled-data" / "day1" / "CollectedData_anna.csv"
    frame = pd.read_hdf(h5, "df_with_missing")
    assert isinstance(frame, pd.DataFrame)
    assert frame.index.tolist() == [("labeled-data", "day1", "img000003.png")]
    assert list(frame.columns.names) == ["scorer", "bodyparts", "coords"]
    assert frame["anna", "nose", "y"].tolist() == [2.0]
    pd.testing.assert_frame_equal(
        pd.read_csv(csv, header=[0, 1, 2], index_col=[0, 1, 2]), frame, check_index_type=False, check_column_type=False
    )


def test_occluded_points_keep_their_place_and_nothing_else_does(tmp_path: Path) -> None:
    xy = [[[1.0, 2.0], [3.0, 4.0], [np.nan, np.nan]]]
    state = [["occluded", "visible", "unlabelled"]]
    labels = labels_from_points("day1", "top", [3], xy, ["nose", "ear", "tail"], state=state)
    csv, _ = write_labels(labels, tmp_path, scorer="anna")
    assert read_labels(csv, view="top")[0].points("top")[2].tolist() == [["visible", "visible", "absent"]]


def test_pictures_go_along_and_are_found_again(tmp_path: Path) -> None:
    write_picture(tmp_path / "here.jpg", np.full((8, 8, 3), 200, dtype=np.uint8))
    labels = labels_from_points("day1", "top", [3], [[[1.0, 2.0]]], ["nose"])
    with pytest.raises(DataError, match="frame 3 of day1"):
        write_labels(labels, tmp_path / "project", scorer="anna", pictures={})
    csv, _ = write_labels(labels, tmp_path / "project", scorer="anna", pictures={("day1", 3): tmp_path / "here.jpg"})
    picture = read_labels(csv, view="top")[1]["day1", 3]
    assert picture == tmp_path / "project" / "labeled-data" / "day1" / "img000003.png"
    assert abs(int(read_picture(picture).mean()) - 200) < 3


def test_the_view_to_write_must_be_known(tmp_path: Path) -> None:
    labels = labels_from_points("a", "top", [0], [[[1.0, 2.0]]], ["nose"])
    both = labels.merge(labels_from_points("a", "side", [0], [[[1.0, 2.0]]], ["nose"]))
    with pytest.raises(DataError, match="the views top, side; say which"):
        write_labels(both, tmp_path, scorer="anna")
    with pytest.raises(DataError, match="no labels of the view 'front'"):
        write_labels(both, tmp_path, scorer="anna", view="front")
    assert len(write_labels(both, tmp_path, scorer="anna", view="side")) == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (OLD.replace("1.5,2.5", "1.5,"), r"day1/img0003\.png: only one of x and y of nose"),
        (OLD.replace("1.5", "left"), "no number"),
        (OLD.replace("scorer", "author"), "no table of DeepLabCut"),
        (OLD.replace("1.5,2.5,,", "1.5,2.5"), "line 4: 3 cells, expected 5"),
        (OLD.replace("coords,x,y", "coords,x,likelihood"), "labels have x and y"),
        (OLD.replace("img0010", "img0003"), r"more than one row for labeled-data/day1/img0003\.png"),
        ("\n".join(OLD.splitlines()[:3]), "holds no rows"),
        ("", "no table of DeepLabCut"),
    ],
)
def test_broken_tables_are_told(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "CollectedData_anna.csv"
    path.write_text(text)
    with pytest.raises(FormatError, match=problem) as caught:
        read_labels(path, view="top")
    assert "CollectedData_anna.csv" in str(caught.value)


def test_missing_and_broken_hdf5(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="There is no file"):
        read_labels(tmp_path / "a.h5", view="top")
    (tmp_path / "a.h5").write_bytes(b"no HDF5")
    with pytest.raises(FormatError, match=r"a\.h5 is not a readable"):
        read_labels(tmp_path / "a.h5", view="top")


@pytest.mark.parametrize("names", [("left", "right"), ("img1", "img1"), ("img1", "img2", "mean")])
def test_pictures_whose_frame_is_not_known_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    """They used to be counted, and with them all the others."""
    path = tmp_path / "mine.csv"
    rows = [f"{folder}/{name}.png,1,2" for folder, name in zip("abc", names, strict=False)]
    path.write_text("\n".join(["scorer,me,me", "bodyparts,nose,nose", "coords,x,y", *rows]))
    with pytest.raises(FormatError, match=r"mine\.csv, recording trial: the names? '"):
        read_labels(path, view="top", recording="trial")


def test_real_tables(recordings: Callable[[str], Path]) -> None:
    labels, pictures = read_labels(recordings("openfield") / "CollectedData_Pranav.csv", view="top")
    assert (len(labels.frames("top")), labels.keypoints) == (93, ("snout", "leftear", "rightear", "tailbase"))
    assert all(path.is_file() for path in pictures.values())
    labels, pictures = read_labels(recordings("treadmill_mirror") / "CollectedData.csv", view="camera")
    assert (len(labels.frames("camera")), len(labels.keypoints)) == (63, 17)
    assert all(path.is_file() for path in pictures.values())
    assert set(labels.table["state"]) == {"visible", "absent"}
    assert pictures[labels.recordings[0], 3].name == "img03.png"


@pytest.mark.parametrize("name", ["../../x", "..", "", "a/b", "x" * 300])
def test_nothing_is_written_outside_the_target(tmp_path: Path, name: str) -> None:
    labels = labels_from_points(name or ".", "top", [0], [[[1.0, 2.0]]], ["nose"])
    with pytest.raises(DataError, match="cannot be the name"):
        write_labels(labels, tmp_path / "a" / "b", scorer="anna")
    dataset = keypoints2d(np.ones((1, 1, 1, 1, 2)), views=[f"{name}/"], keypoints=["nose"])
    with pytest.raises(DataError, match="cannot be the name"):
        write_keypoints(dataset, tmp_path / "a" / "b", name="day1")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
