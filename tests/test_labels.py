"""Labels are strict about contradictions, survive files unchanged, and their checks find slips."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from multipose.errors import DataError, FormatError, LabelError
from multipose.formats import deeplabcut
from multipose.labels import Labels, check_labels, empty_labels, labels_from_points, picture_path
from multipose.skeleton import Skeleton

NAMES = ("nose", "ear_left", "ear_right")


def row(**changes: object) -> dict[str, object]:
    base = {
        "recording": "day1", "view": "top", "frame": 3, "individual": "m", "keypoint": "nose",
        "x": 1.5, "y": 2.5, "state": "visible", "who": "anna", "when": "2026-01-02T03:04:05",
    }  # fmt: skip
    return base | changes


def table(*rows: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([row(state="seen")], "the state must be one of visible, occluded, absent, unlabelled"),
        ([row(x=np.nan, y=np.nan)], "a visible point needs a position"),
        ([row(x=np.nan)], "only one of x and y"),
        ([row(x=np.inf)], "infinite"),
        ([row(x=1e12)], "far outside any picture"),
        ([row(y=-1e300)], "far outside any picture"),
        ([row(state="absent")], "cannot have a position"),
        ([row(state="unlabelled")], "cannot have a position"),
        ([row(), row(x=4.0)], "the point stands twice"),
        ([row(frame=-1)], "frame must be a whole number"),
        ([row(frame=1.5)], "frame must be a whole number"),
        ([row(frame="seven")], "frame must be a whole number"),
        ([row(x="left")], "x is not a number"),
        ([row(view="")], "view is empty"),
        ([row(keypoint=None)], "keypoint is empty"),
        ([row(colour="red")], "unknown columns colour"),
    ],
)
def test_contradictions_are_errors(rows: list[dict[str, object]], text: str) -> None:
    with pytest.raises(LabelError, match=text):
        Labels(table(*rows))


def test_an_error_names_the_place() -> None:
    with pytest.raises(LabelError, match="row 2: .*recording day1, view top, frame 7, individual m, keypoint nose"):
        Labels(table(row(), row(frame=7, state="?")))


def test_missing_columns() -> None:
    with pytest.raises(LabelError, match="lacks state"):
        Labels(table(row()).drop(columns="state"))
    labels = Labels(table(row()).drop(columns=["individual", "who", "when"]))
    assert labels.individuals == ("individual_0",)
    assert labels.table.loc[0, ["who", "when"]].tolist() == ["", ""]


def test_states_without_position() -> None:
    nowhere = {"x": np.nan, "y": np.nan}
    labels = Labels(
        table(row(), *(row(keypoint=state, state=state, **nowhere) for state in ("occluded", "absent", "unlabelled")))
    )
    _, xy, state = labels.points("top")
    assert state.tolist() == [["visible", "occluded", "absent", "unlabelled"]]
    assert np.isnan(xy[0]).all(-1).tolist() == [False, True, True, True]


def test_the_given_table_stays_as_it_is() -> None:
    given_table = table(row(frame="3"))
    labels = Labels(given_table)
    given_table.loc[0, "x"] = -1.0
    assert labels.table.loc[0, "x"] == 1.5
    assert labels.table["frame"].dtype == np.int64


def test_points_follow_the_wanted_order_and_fill_gaps() -> None:
    labels = Labels(table(row(frame=8), row(keypoint="ear_left", frame=2, x=9.0), row(frame=2)), NAMES)
    frames, xy, state = labels.points("top", ["ear_right", "ear_left"])
    assert frames.to_numpy().tolist() == [["day1", 8], ["day1", 2]]
    np.testing.assert_array_equal(xy, [[[np.nan, np.nan], [np.nan, np.nan]], [[np.nan, np.nan], [9.0, 2.5]]])
    assert state.tolist() == [["unlabelled", "unlabelled"], ["unlabelled", "visible"]]
    with pytest.raises(DataError, match="no key point tail"):
        labels.points("top", ["tail"])


def test_several_individuals_must_be_named() -> None:
    labels = Labels(table(row(), row(individual="n", x=7.0)))
    with pytest.raises(DataError, match="several individuals"):
        labels.points("top")
    assert labels.points("top", individual="n")[1][0, 0, 0] == 7.0


def test_selecting_keeps_the_key_points() -> None:
    labels = Labels(table(row(), row(view="side", keypoint="tail"), row(recording="day2")))
    assert labels.views == ("top", "side")
    assert labels.recordings == ("day1", "day2")
    assert labels.select("side").keypoints == ("nose", "tail")
    assert len(labels.select("top", "day2")) == 1
    assert len(labels.select("front")) == 0
    assert len(empty_labels(NAMES).points("top")[0]) == 0


def test_merging() -> None:
    old = Labels(table(row(), row(frame=4)))
    new = Labels(table(row(x=50.0), row(frame=5), row(keypoint="tail")))
    replaced = old.merge(new)
    assert replaced.table[["frame", "keypoint", "x"]].to_numpy().tolist() == [
        [3, "nose", 50.0], [4, "nose", 1.5], [5, "nose", 1.5], [3, "tail", 1.5],
    ]  # fmt: skip
    kept = old.merge(new, replace=False)
    assert kept.table["x"].tolist() == [1.5, 1.5, 1.5, 1.5]
    assert kept.keypoints == ("nose", "tail")
    pd.testing.assert_frame_equal(replaced.merge(replaced).table, replaced.table)


@settings(max_examples=30, deadline=None)
@given(
    xy=hnp.arrays(np.float64, (4, 3, 2), elements=st.one_of(st.floats(-1e6, 1e6), st.just(np.nan))),
    who=st.text(max_size=8).filter(lambda text: "\r" not in text and "\x00" not in text and text.isprintable()),
)
def test_files_keep_everything(tmp_path_factory: pytest.TempPathFactory, xy: np.ndarray, who: str) -> None:
    xy[np.isnan(xy).any(-1)] = np.nan
    labels = labels_from_points("NA, or 'day' 1", "null", [0, 5, 7, 100000], xy, NAMES, who=who)
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    labels.save(path)
    again = Labels.load(path)
    pd.testing.assert_frame_equal(again.table, labels.table)
    assert again.keypoints == labels.keypoints


def test_files_that_are_no_labels(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    with pytest.raises(FormatError, match="There is no file"):
        Labels.load(path)
    path.write_text("")
    with pytest.raises(FormatError, match="is empty"):
        Labels.load(path)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(FormatError, match=r"labels\.csv: .*lacks recording"):
        Labels.load(path)
    Labels(table(row())).save(path)
    path.write_text(path.read_text().replace(",1\n", ",99\n"))
    with pytest.raises(FormatError, match="newer multipose"):
        Labels.load(path)


def test_unknown_key_points_are_refused() -> None:
    with pytest.raises(LabelError, match="tail"):
        Labels(table(row(keypoint="tail")), NAMES)


def test_shapes_of_arrays() -> None:
    with pytest.raises(DataError, match=r"\(2, 3, 2\), got \(2, 2, 2\)"):
        labels_from_points("day1", "top", [0, 1], np.zeros((2, 2, 2)), NAMES)


def test_pictures_have_their_place(tmp_path: Path) -> None:
    assert picture_path(tmp_path, "day1", "top", 123) == tmp_path / "day1" / "top" / "000123.png"


def walking(count: int = 12) -> np.ndarray:
    """An animal that turns and walks, seen from above: nose, left ear, right ear, tail, (frame, keypoint, 2)."""
    body = np.array([[20.0, 0.0], [10.0, -8.0], [10.0, 8.0], [-25.0, 0.0]])
    angle = np.linspace(0, 5, count)
    turn = np.stack([np.stack([np.cos(angle), -np.sin(angle)], -1), np.stack([np.sin(angle), np.cos(angle)], -1)], -2)
    return body @ turn.swapaxes(-1, -2) + np.stack([100 + 10 * np.arange(count), np.full(count, 100.0)], -1)[:, None]


WALKER = ("nose", "ear_left", "ear_right", "tail")


def test_a_swap_is_found_and_nothing_else() -> None:
    frames = np.arange(12) * 40
    xy = walking()
    assert check_labels(labels_from_points("day1", "top", frames, xy, WALKER), {"top": (400, 300)}) == []
    for place in (0, 5, 11):
        swapped = xy.copy()
        swapped[place, [1, 2]] = swapped[place, [2, 1]]
        (problem,) = check_labels(labels_from_points("day1", "top", frames, swapped, WALKER))
        assert (problem.code, problem.frame, problem.keypoint) == ("swapped", 40 * place, "ear_left")
        assert "day1, view top" in problem.text


def test_recordings_are_not_each_other_s_neighbours() -> None:
    """Left and right may look exchanged between recordings that are filmed from other sides."""
    here, there = walking(6), walking(6)[:, [0, 2, 1, 3]]
    labels = labels_from_points("a", "top", range(6), here, WALKER).merge(
        labels_from_points("b", "top", range(6), there, WALKER)
    )
    assert check_labels(labels) == []


def test_points_outside_and_doubled_points_are_found() -> None:
    xy = np.full((2, 3, 2), np.nan)
    xy[0] = [[-0.4, 5.0], [20.0, 29.6], [7.0, 7.0]]
    xy[1, :2] = [[10.0, 10.0], [10.2, 10.1]]
    problems = check_labels(labels_from_points("day1", "top", [4, 9], xy, NAMES), {"top": (30, 30)})
    assert [(p.code, p.frame, p.keypoint) for p in problems] == [
        ("outside", 4, "ear_left"),
        ("doubled", 9, "ear_left"),
    ]
    assert check_labels(labels_from_points("day1", "side", [4, 9], xy, NAMES), {"top": (30, 30)})[0].code == "doubled"


def test_without_pairs_nothing_can_be_swapped() -> None:
    xy = walking()
    xy[5, [1, 2]] = xy[5, [2, 1]]
    labels = labels_from_points("day1", "top", range(12), xy, WALKER)
    assert check_labels(labels, skeleton=Skeleton(WALKER)) == []


def test_real_labels_have_one_swap_and_made_ones_are_found(recordings: Callable[[str], Path]) -> None:
    """In frame 102 of the open-field set, the ears are exchanged: a person who looks at the picture sees it."""
    path = recordings("openfield") / "CollectedData_Pranav.csv"
    labels, _ = deeplabcut.read_labels(path, view="top")
    found = [(p.code, p.frame) for p in check_labels(labels, {"top": (640, 480)})]
    assert found == [("swapped", 102)]
    frames, xy, _ = labels.points("top")
    hits = 0
    places = range(0, len(frames), 6)
    for place in places:
        swapped = xy.copy()
        swapped[place, [1, 2]] = swapped[place, [2, 1]]
        made = labels_from_points("m4s1", "top", frames["frame"], swapped, labels.keypoints)
        hits += any(p.frame == frames["frame"][place] for p in check_labels(made))
    assert hits >= 0.7 * len(places)  # 74 of all 93 when measured: with frames far apart the rest cannot be told


def _walk(n: int = 6) -> np.ndarray:
    """(frame, keypoint, 2) px of two points that move by fractions of a pixel."""
    return np.random.default_rng(0).uniform(20, 80, (n, 2, 2))


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (slice(None), r"frame 0: nose is at \(0, 0\) in 6 of 6 pictures \(frames 0, 1, 2, 3, 4, ...\)"),
        (slice(2, 4), r"frame 2: nose is at \(0, 0\) in 2 of 6 pictures \(frames 2, 3\)"),
        (slice(5, 6), r"frame 5: nose is at \(0, 0\) in 1 of 6 pictures"),
    ],
)
def test_points_at_the_origin_are_named(rows: slice, text: str) -> None:
    """Another program's way to say that a point is not there."""
    xy = _walk()
    xy[rows, 0] = 0
    (problem,) = check_labels(labels_from_points("day1", "top", range(6), xy, ["nose", "tail"]))
    assert (problem.code, problem.keypoint) == ("origin", "nose")
    assert re.search(text, problem.text)


def test_points_copied_from_picture_to_picture_are_named() -> None:
    xy = _walk()
    xy[1:4, 1] = xy[0, 1]
    (problem,) = check_labels(labels_from_points("day1", "top", range(6), xy, ["nose", "tail"]))
    assert (problem.code, problem.keypoint, problem.frame) == ("repeated", "tail", 0)
    assert "in 4 of 6 pictures (frames 0, 1, 2, 3)" in problem.text


@pytest.mark.parametrize("repeated", [2, 3])
def test_whole_pixels_may_repeat(repeated: int) -> None:
    """An animal may hold still for some pictures; on whole pixels that looks like a copy."""
    xy = np.round(_walk())
    xy[:repeated, 1] = [40.0, 50.0]
    assert not check_labels(labels_from_points("day1", "top", range(6), xy, ["nose", "tail"]))
    xy[:4, 1] = [40.0, 50.0]
    (problem,) = check_labels(labels_from_points("day1", "top", range(6), xy, ["nose", "tail"]))
    assert problem.code == "repeated"


@pytest.mark.parametrize("frame", [2**53 + 1, 1668520371123456789, 2**63 - 1])
def test_frame_numbers_are_exact(tmp_path: Path, frame: int) -> None:
    labels = labels_from_points("day1", "top", [frame], np.ones((1, 1, 2)), ["nose"])
    assert labels.table["frame"].tolist() == [frame]
    labels.save(tmp_path / "labels.csv")
    assert Labels.load(tmp_path / "labels.csv").table["frame"].tolist() == [frame]
    assert picture_path(tmp_path, "day1", "top", frame).name == f"{frame}.png"


@pytest.mark.parametrize("frame", ["-1", "7.5", "1e400", str(2**63), "9007199254740993.0", ""])
def test_other_frame_numbers_are_refused(frame: str) -> None:
    with pytest.raises(LabelError, match="whole number from 0 on"):
        Labels(table(row(frame=frame)))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(",", ";"),
        lambda text: "\n".join(",".join(f'"{cell}"' for cell in line.split(",")) for line in text.splitlines()),
        lambda text: text + ",,,,,,,,,,\n\n",
        lambda text: "\ufeff" + text,
    ],
)
def test_tables_that_a_spreadsheet_saved(tmp_path: Path, change: Callable[[str], str]) -> None:
    path = tmp_path / "labels.csv"
    labels = labels_from_points("day1", "top", [3, 4], np.full((2, 1, 2), 12.5), ["nose"])
    labels.save(path)
    path.write_text(change(path.read_text()), encoding="utf-8")
    assert Labels.load(path).table.equals(labels.table)


def test_a_decimal_comma_is_read_where_semicolons_separate(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    labels = labels_from_points("day1", "top", [3, 4], np.full((2, 1, 2), 12.5), ["nose"])
    labels.save(path)
    path.write_text(path.read_text().replace(",", ";").replace("12.5", "12,5"), encoding="utf-16")
    assert Labels.load(path).table.equals(labels.table)
