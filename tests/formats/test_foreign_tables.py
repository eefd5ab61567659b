"""Tables of key points as people have them: by frame number, by name, in every spelling; or refused with a word."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from multipose.errors import DataError, FormatError
from multipose.formats import deeplabcut, movement, sleap, table
from multipose.tracks import USUAL_SHARED_ERROR, keypoints2d

NAMES = ("nose", "tail")
POINTS = np.random.default_rng(0).uniform(0, 400, (6, 2, 2))

Rows = list[list[str]]


def rows_of(
    points: np.ndarray = POINTS,
    frames: Sequence[object] | None = None,
    coords: Sequence[str] = ("x", "y", "likelihood"),
    likelihood: object = 0.9,
) -> Rows:
    """A table of DeepLabCut as cells."""
    n = len(NAMES) * len(coords)
    rows = [["scorer", *["net"] * n], ["bodyparts", *(k for k in NAMES for _ in coords)], ["coords", *coords * 2]]
    for frame, point in zip(range(len(points)) if frames is None else frames, points, strict=True):
        values = [{"x": x, "y": y, "likelihood": likelihood} for x, y in point]
        rows.append([str(frame), *(str(value.get(name, 0.5)) for value in values for name in coords)])
    return rows


def write(path: Path, rows: Rows, delimiter: str = ",", encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(delimiter.join(row) for row in rows) + "\n", encoding=encoding)
    return path


def read(path: Path) -> xr.Dataset:
    return deeplabcut.read_keypoints({"front": path})


@pytest.mark.parametrize("frames", [range(10, 16), [0, 1, 2, 7, 8, 9], [*range(2**60 + 1, 2**60 + 7)]])
def test_rows_are_frames_by_their_numbers(tmp_path: Path, frames: Sequence[int]) -> None:
    found = read(write(tmp_path / "a.csv", rows_of(frames=frames)))
    assert found["frame"].values.tolist() == [list(frames)]
    np.testing.assert_array_equal(found["position"].values[0, :, 0], POINTS)


def test_times_are_frames_by_the_rate(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", rows_of(frames=range(10, 16)))
    found = deeplabcut.read_keypoints({"front": path}, fps=5)
    np.testing.assert_allclose(found["time"].values, np.arange(10, 16) / 5)


def test_gaps_of_one_view_are_unknown_in_it_alone(tmp_path: Path) -> None:
    kept = [0, 1, 4, 5]
    paths = {
        "front": write(tmp_path / "a.csv", rows_of()),
        "left": write(tmp_path / "b.csv", rows_of(POINTS[kept], kept)),
    }
    found = deeplabcut.read_keypoints(paths)
    assert found["frame"].values.tolist() == [[0, 1, 2, 3, 4, 5], [0, 1, -1, -1, 4, 5]]
    np.testing.assert_array_equal(found["position"].values[1, kept, 0], POINTS[kept])
    assert np.isnan(found["position"].values[1, 2:4]).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: [*rows, [""] * 7, [""] * 7],
        lambda rows: [*rows[:3], [""] * 7, *rows[3:]],
        lambda rows: [*rows[:3], *([f"{row[0]}.0", *row[1:]] for row in rows[3:])],
        lambda rows: [*rows[:3], *([f"labeled-data/v/img{int(row[0]):04d}.png", *row[1:]] for row in rows[3:])],
        lambda rows: [*rows[:3], *([f"labeled-data\\v\\img{int(row[0]):04d}.png", *row[1:]] for row in rows[3:])],
        lambda rows: [*rows[:3], *rows[3:][::-1]],
        lambda rows: [[*row, "", ""] for row in rows],
        lambda rows: [[f'"{cell}"' for cell in row] for row in rows],
        lambda rows: (
            [["Unnamed: 0", "scorer", "net", *(f"net.{i}" for i in range(1, 6))]]
            + [[str(i), *row] for i, row in enumerate(rows[1:])]
        ),
    ],
    ids=["blank end", "blank", "floats", "images", "backslashes", "order", "empty columns", "quoted", "unnamed"],
)
def test_equal_tables_are_read_alike(tmp_path: Path, change: Callable[[Rows], Rows]) -> None:
    found = read(write(tmp_path / "a.csv", change(rows_of())))
    xr.testing.assert_identical(found, read(write(tmp_path / "plain.csv", rows_of())))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_spreadsheets_of_other_countries(tmp_path: Path, delimiter: str, encoding: str) -> None:
    rows = rows_of()
    if delimiter != ",":
        rows = [[cell.replace(".", ",") for cell in row] for row in rows]
    found = read(write(tmp_path / "a.csv", rows, delimiter, encoding))
    np.testing.assert_array_equal(found["position"].values[0, :, 0], POINTS)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda rows: [*rows, rows[-1]], "more than one row for frame 5"),
        (lambda rows: [*rows[:4], ["", *rows[4][1:]], *rows[5:]], "frame number of row 2 of the points is empty"),
        (
            lambda rows: [*rows[:3], *(["", *row[1:]] for row in rows[3:])],
            "row 1 of the points is empty.*counted from 0",
        ),
        (lambda rows: [*rows[:4], ["1.5", *rows[4][1:]], *rows[5:]], "row 2 .*'1.5', no whole number"),
        (lambda rows: [*rows[:4], ["-1", *rows[4][1:]], *rows[5:]], "row 2 .*'-1'"),
        (lambda rows: [*rows[:4], [str(2**63), *rows[4][1:]], *rows[5:]], "row 2 .*no whole number"),
        (
            lambda rows: [*rows[:4], [*rows[4][:3], "left", *rows[4][4:]], *rows[5:]],
            "line 5: nose likelihood is 'left'",
        ),
        (
            lambda rows: [*rows[:4], [rows[4][0], "inf", *rows[4][2:]], *rows[5:]],
            "view front, keypoint nose, frame 1: .*infinite",
        ),
        (lambda rows: [row[:1] for row in rows], "no table|no column"),
        (lambda rows: [*rows[:4], rows[4][:5], *rows[5:]], "line 5: 5 cells, expected 7"),
        (
            lambda rows: [*rows[:3], *([f"{'ab'[i % 2]}/img{i}.png", *row[1:]] for i, row in enumerate(rows[3:]))],
            "2 videos",
        ),
        (
            lambda rows: [*rows[:3], *([f"v/{'xyzuvw'[i]}.png", *row[1:]] for i, row in enumerate(rows[3:]))],
            "no number",
        ),
    ],
)
def test_tables_that_cannot_be_read_say_where(tmp_path: Path, change: Callable[[Rows], Rows], problem: str) -> None:
    path = write(tmp_path / "a.csv", change(rows_of()))
    with pytest.raises(FormatError, match=rf"a\.csv.*{problem}"):
        read(path)


@pytest.mark.parametrize("place", range(1, 7))
def test_a_missing_column_is_named(tmp_path: Path, place: int) -> None:
    rows = [[cell for k, cell in enumerate(row) if k != place] for row in rows_of()]
    coord = ("x", "y", "likelihood")[(place - 1) % 3]
    with pytest.raises(FormatError, match=rf"a\.csv: {NAMES[(place - 1) // 3]} has no column {coord}"):
        read(write(tmp_path / "a.csv", rows))


@pytest.mark.parametrize("digits", [20, 5000])
def test_frame_numbers_without_end_are_refused(tmp_path: Path, digits: int) -> None:
    rows = rows_of()
    rows[5][0] = "9" * digits
    with pytest.raises(FormatError, match=r"a\.csv: the frame number of row 3"):
        read(write(tmp_path / "a.csv", rows))
    rows = [f",{'9' * digits},0.9,1,2,0.5,,,"]
    with pytest.raises(FormatError, match=r"b\.csv, line 2: frame_idx is"):
        sleap.read_keypoints({"front": write_sleap_csv(tmp_path / "b.csv", rows)})
    names = [f"labeled-data/day1/img{'9' * digits}{i}.png" for i in range(6)]
    with pytest.raises((FormatError, DataError), match=r"c\.csv.*(digits|64 bits)"):
        deeplabcut.read_labels(write(tmp_path / "c.csv", rows_of(frames=names, coords=("x", "y"))), view="front")


def test_pictures_are_not_looked_for_outside(tmp_path: Path) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "img000.png").touch()
    path = write(tmp_path / "a" / "b" / "c" / "t.csv", rows_of(POINTS[:1], ["../../../img000.png"], ("x", "y")))
    _, pictures = deeplabcut.read_labels(path, view="front")
    assert not any(picture.exists() for picture in pictures.values())


def test_labels_that_cannot_be_are_refused_by_file(tmp_path: Path) -> None:
    names = [f"labeled-data/day1/img{i:03d}.png" for i in range(6)]
    rows = rows_of(frames=names, coords=("x", "y"))
    rows[4][1] = "1e300"
    with pytest.raises(FormatError, match=r"a\.csv: Labels, row .* far outside any picture"):
        deeplabcut.read_labels(write(tmp_path / "a.csv", rows), view="front")
    with pytest.raises(FormatError, match=r"a\.csv: tail has no column y"):
        deeplabcut.read_labels(write(tmp_path / "a.csv", [row[:-1] for row in rows]), view="front")


def test_an_hdf5_table_indexed_by_images(tmp_path: Path) -> None:
    columns = pd.MultiIndex.from_product(
        [["net"], NAMES, ["x", "y", "likelihood"]], names=["scorer", "bodyparts", "coords"]
    )
    values = np.concatenate([POINTS, np.full((6, 2, 1), 0.9)], -1).reshape(6, -1)
    index = pd.MultiIndex.from_tuples([("labeled-data", "v", f"img{i:04d}.png") for i in range(4, 10)])
    pd.DataFrame(values, index=index, columns=columns).to_hdf(tmp_path / "a.h5", key="df_with_missing", mode="w")
    assert read(tmp_path / "a.h5")["frame"].values.tolist() == [[4, 5, 6, 7, 8, 9]]


@pytest.mark.parametrize("cell", ["", "nan", "NA"])
def test_a_likelihood_that_is_not_said_is_unknown(tmp_path: Path, cell: str) -> None:
    found = read(write(tmp_path / "a.csv", rows_of(likelihood=cell)))
    assert np.isnan(found["confidence"].values).all()
    np.testing.assert_array_equal(found["position"].values[0, :, 0], POINTS)
    missing = read(write(tmp_path / "b.csv", rows_of(coords=("x", "y"))))
    assert np.isnan(missing["confidence"].values).all()


def test_a_point_without_a_position_has_no_confidence(tmp_path: Path) -> None:
    points = POINTS.copy()
    points[2, 1, 0] = np.nan
    found = read(write(tmp_path / "a.csv", rows_of(points)))
    assert np.isnan(found["position"].values[0, 2, 0, 1]).all()
    assert found["confidence"].values[0, 2, 0].tolist() == [0.9, 0.0]


@pytest.mark.parametrize("likelihood", [1.0000002, 1.0009, -1e-9])
def test_a_rounding_beyond_1_is_clipped_and_told(tmp_path: Path, likelihood: float) -> None:
    found = read(write(tmp_path / "a.csv", rows_of(likelihood=likelihood)))
    assert set(found["confidence"].values.ravel()) == {float(np.clip(likelihood, 0, 1))}
    assert "12 likelihood values" in found.attrs["notes"][0]


@pytest.mark.parametrize("likelihood", [3.4, 1.01, -0.5])
def test_what_is_no_probability_is_refused_by_place(tmp_path: Path, likelihood: float) -> None:
    rows = rows_of(frames=range(10, 16))
    rows[5][6] = str(likelihood)  # the tail in frame 12
    with pytest.raises(
        FormatError, match=rf"a\.csv, view front, keypoint tail, frame 12: the likelihood is {likelihood:g}"
    ):
        read(write(tmp_path / "a.csv", rows))


@pytest.mark.parametrize(
    "coords",
    [
        ("x", "y", "likelihood", "x_ens_median", "y_ens_median", "x_posterior_var", "y_posterior_var"),
        ("likelihood", "y", "x"),
        ("z", "x", "visibility", "likelihood", "y"),
    ],
)
def test_columns_are_read_by_name(tmp_path: Path, coords: tuple[str, ...]) -> None:
    found = read(write(tmp_path / "a.csv", rows_of(coords=coords)))
    np.testing.assert_array_equal(found["position"].values[0, :, 0], POINTS)
    assert (found["confidence"].values == 0.9).all()
    surplus = [name for name in coords if name not in ("x", "y", "likelihood")]
    assert ("notes" in found.attrs) == bool(surplus)
    assert all(name in found.attrs["notes"][0] for name in surplus)


def test_labels_are_no_predictions(tmp_path: Path) -> None:
    rows = rows_of(frames=[f"labeled-data/v/img{i}.png" for i in range(6)], coords=("x", "y"))
    with pytest.raises(FormatError, match="If it holds labels, read it as labels"):
        read(write(tmp_path / "a.csv", rows))


def test_individuals_are_matched_by_name(tmp_path: Path) -> None:
    paths = {}
    for view, names in (("front", "ab"), ("left", "ba")):
        head = [
            ["scorer"] + ["n"] * 6,
            ["individuals"] + [i for i in names for _ in "xyl"],
            ["bodyparts"] + ["nose"] * 6,
        ]
        cells = [[str(f)] + [c for i in names for c in (str("ab".index(i)), str(f), "0.9")] for f in range(3)]
        paths[view] = write(tmp_path / f"{view}.csv", [*head, ["coords"] + ["x", "y", "likelihood"] * 2, *cells])
    found = deeplabcut.read_keypoints(paths)
    assert found["position"].sel(individual="b", space="x").values.tolist() == [[[1.0], [1.0], [1.0]]] * 2


# Labels of pictures


@pytest.mark.parametrize(
    "prefix",
    [
        "C:\\Users\\Some One\\proj\\labeled-data\\vid\\",
        "/home/other/proj/labeled-data/vid/",
        "labeled-data/old_name/",
        "",
    ],
)
def test_pictures_beside_the_table_are_found_whatever_their_names_were(tmp_path: Path, prefix: str) -> None:
    folder = tmp_path / "labeled-data" / "vid"
    rows = rows_of(frames=[f"{prefix}img{i:03d}.png" for i in range(6)], coords=("x", "y"))
    path = write(folder / "CollectedData_me.csv", [*rows, [""] * 5])
    for i in range(6):
        (folder / f"img{i:03d}.png").write_bytes(b"")
    labels, pictures = deeplabcut.read_labels(path, view="front", recording="vid")
    assert pictures == {("vid", i): folder / f"img{i:03d}.png" for i in range(6)}
    assert labels.frames("front")["frame"].tolist() == list(range(6))


@pytest.mark.parametrize("blank", [1, 2, 5])
def test_blank_rows_of_labels_move_nothing(tmp_path: Path, blank: int) -> None:
    names = [f"labeled-data/vid/img{i:03d}.png" for i in (4, 9, 30, 31, 40, 50)]
    path = write(tmp_path / "CollectedData_me.csv", [*rows_of(frames=names, coords=("x", "y")), *[[""] * 5] * blank])
    labels, _ = deeplabcut.read_labels(path, view="front")
    assert labels.frames("front")["frame"].tolist() == [4, 9, 30, 31, 40, 50]


# SLEAP


def write_sleap(path: Path, scores: np.ndarray | None) -> Path:
    with h5py.File(path, "w") as file:
        file["tracks"] = POINTS.transpose(2, 1, 0)[None]
        file["node_names"] = np.array([name.encode() for name in NAMES])
        if scores is not None:
            file["point_scores"] = scores
    return path


def test_sleap_scores_that_are_not_said_are_unknown(tmp_path: Path) -> None:
    scores = np.full((1, 2, 6), 0.5)
    scores[0, 0, :3] = [np.nan, 0.0, 1.2]  # not said, placed by a person, a peak above 1
    found = sleap.read_keypoints({"front": write_sleap(tmp_path / "a.h5", scores)})
    np.testing.assert_array_equal(found["confidence"].values[0, :4, 0, 0], [np.nan, 1.0, 1.0, 0.5])
    without = sleap.read_keypoints({"front": write_sleap(tmp_path / "b.h5", None)})
    assert np.isnan(without["confidence"].values).all()


@pytest.mark.parametrize(
    "dims", [("frame", "track", "node", "xy"), ("track", "xy", "frame", "node"), ("xy", "node", "track", "frame")]
)
def test_the_axes_of_sleap_files_are_found_by_their_names(tmp_path: Path, dims: tuple[str, ...]) -> None:
    plain = write_sleap(tmp_path / "a.h5", np.arange(12.0).reshape(1, 2, 6) / 12)
    usual = ("track", "xy", "node", "frame")
    with h5py.File(plain) as file, h5py.File(tmp_path / "b.h5", "w") as other:
        other["node_names"] = file["node_names"][:]
        for name, axes in (("tracks", usual), ("point_scores", ("track", "node", "frame"))):
            order = [name for name in dims if name in axes]
            other[name] = file[name][:].transpose([axes.index(axis) for axis in order])
            other[name].attrs["dims"] = json.dumps(order)
    found = sleap.read_keypoints({"front": tmp_path / "b.h5"})
    xr.testing.assert_identical(found, sleap.read_keypoints({"front": plain}))
    with h5py.File(tmp_path / "b.h5", "r+") as other:
        other["tracks"].attrs["dims"] = '["track", "xyz", "node", "frame"]'
    with pytest.raises(FormatError, match=r"b\.h5: /tracks has the axes.*xyz"):
        sleap.read_keypoints({"front": tmp_path / "b.h5"})


def test_sleap_files_hold_what_their_owners_reader_says(recordings: Callable[[str], Path]) -> None:
    files = sorted((recordings("formats") / "sleap_analysis").glob("*.analysis.h5"))
    assert len(files) >= 6
    for path in files:
        stem = path.name.removesuffix(".analysis.h5")
        expected = json.loads(path.with_name(f"{stem}.expected.json").read_text())
        found = sleap.read_keypoints({"front": path})
        assert found["frame"].values[0].tolist() == expected["frameIndices"]
        assert found["keypoint"].values.tolist() == expected["nodeNames"]
        for frame in expected["frames"]:
            for points in (instance["points"] for instance in frame["instances"]):
                here = found.sel(view="front").isel(time=expected["frameIndices"].index(frame["frameIdx"]))
                wanted = np.array([[np.nan if v is None else v for v in point[:2]] for point in points])
                close = np.isclose(here["position"].values, wanted, equal_nan=True).all((-1, -2))
                assert close.any(), (path.name, frame["frameIdx"])


def write_sleap_csv(path: Path, rows: list[str]) -> Path:
    path.write_text(
        "\n".join(["track,frame_idx,instance.score,nose.x,nose.y,nose.score,tail.x,tail.y,tail.score", *rows])
    )
    return path


def test_the_csv_of_sleap_goes_by_frame_numbers(tmp_path: Path) -> None:
    """It has rows for frames with an instance alone."""
    path = write_sleap_csv(tmp_path / "a.csv", [",7,0.9,1,2,0.5,,,", ",3,0.9,3,4,,5,6,1.2"])
    found = sleap.read_keypoints({"front": path})
    assert found["frame"].values.tolist() == [[3, 7]]
    assert found["position"].sel(keypoint="nose").values[0, :, 0].tolist() == [[3, 4], [1, 2]]
    np.testing.assert_array_equal(found["confidence"].values[0, :, 0], [[np.nan, 1.0], [0.5, 0.0]])


@pytest.mark.parametrize("name", ["tracks", "point_scores"])
def test_infinite_values_of_sleap_are_refused(tmp_path: Path, name: str) -> None:
    path = write_sleap(tmp_path / "a.h5", np.full((1, 2, 6), 0.5))
    with h5py.File(path, "r+") as file:
        file[name][..., 3] = np.inf
    with pytest.raises(FormatError, match=r"a\.h5 holds infinite positions or scores"):
        sleap.read_keypoints({"front": path})


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([",1,0.9,1,2,0.5,,,", ",1,0.9,1,2,0.5,,,"], "line 3: frame 1 has more than one instance"),
        ([",x,0.9,1,2,0.5,,,"], "line 2: frame_idx is 'x'"),
        ([",1,0.9,left,2,0.5,,,"], "line 2: nose.x is 'left'"),
        ([",1,0.9,inf,2,0.5,,,"], "line 2: nose.x is inf"),
        ([",1,0.9,1,2,-0.5,,,"], "line 2: nose.score is -0.5"),
    ],
)
def test_other_csv_of_sleap_is_refused_by_line(tmp_path: Path, rows: list[str], problem: str) -> None:
    with pytest.raises(FormatError, match=problem):
        sleap.read_keypoints({"front": write_sleap_csv(tmp_path / "a.csv", rows)})


# movement


def write_movement(path: Path, times: Sequence[float], confidence: float | None = np.nan, **attributes: object) -> Path:
    values = {"position": (("time", "space", "keypoints", "individuals"), POINTS.transpose(0, 2, 1)[..., None])}
    if confidence is not None:
        values["confidence"] = (("time", "keypoints", "individuals"), np.full((6, 2, 1), confidence))
    coordinates = {"time": list(times), "space": ["x", "y"], "keypoints": list(NAMES), "individuals": ["id_0"]}
    attributes = {"time_unit": "seconds", "ds_type": "poses"} | attributes
    xr.Dataset(values, coordinates, attributes).to_netcdf(path, engine="h5netcdf")
    return path


@pytest.mark.parametrize("confidence", [np.nan, None])
def test_a_confidence_of_movement_that_is_not_said_is_unknown(tmp_path: Path, confidence: float | None) -> None:
    found = movement.read_keypoints(write_movement(tmp_path / "a.nc", np.arange(6) / 30, confidence, fps=30.0))
    assert np.isnan(found["confidence"].values).all()


@pytest.mark.parametrize("attributes", [{"unit": "mm"}, {"fps": "fast"}, {"fps": 0.0}, {"fps": np.nan}])
def test_attributes_of_movement_that_cannot_be_are_refused(tmp_path: Path, attributes: dict[str, object]) -> None:
    with pytest.raises(FormatError, match=rf"a\.nc: .*{next(iter(attributes))}"):
        movement.read_keypoints(write_movement(tmp_path / "a.nc", np.arange(6) / 30, **attributes))


def test_a_confidence_of_movement_that_is_none_is_refused(tmp_path: Path) -> None:
    path = write_movement(tmp_path / "a.nc", np.arange(6) / 30, 3.4, fps=30.0)
    with pytest.raises(FormatError, match=r"a\.nc, view front, keypoint nose, frame 0: the confidence is 3.4"):
        movement.read_keypoints(path, view="front")


@pytest.mark.parametrize(
    ("times", "attributes", "expected"),
    [
        (np.arange(10, 16) / 30, {"fps": 30.0}, [10, 11, 12, 13, 14, 15]),
        (np.array([0, 1, 2, 7, 8, 9]) / 30, {"fps": 30.0}, [0, 1, 2, 7, 8, 9]),
        (np.array([0, 1, 2, 7, 8, 9]) / 30, {}, [0, 1, 2, 7, 8, 9]),
        ([4.0, 5.0, 6.0, 9.0, 10.0, 11.0], {"time_unit": "frames"}, [4, 5, 6, 9, 10, 11]),
        (np.cumsum([0.1, 0.11, 0.13, 0.17, 0.12, 0.19]), {}, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_frame_numbers_of_movement(
    tmp_path: Path, times: Sequence[float], attributes: dict[str, object], expected: list[int]
) -> None:
    found = movement.read_keypoints(write_movement(tmp_path / "a.nc", times, **attributes))
    assert found["frame"].values.tolist() == [expected]
    np.testing.assert_allclose(found["time"].values, times)


# multipose's own


@pytest.mark.parametrize("frame", [7, 2**53 + 1, 1668520371123456789])
def test_own_tables_keep_frame_numbers_exact(tmp_path: Path, frame: int) -> None:
    points = keypoints2d(POINTS[None, :1, None], views=["front"], keypoints=NAMES, frame=[[frame]], fps=30)
    (path,) = table.write_keypoints(points, tmp_path / "a.csv")
    assert table.read_keypoints(path)["frame"].values.tolist() == [[frame]]
    text = path.read_text().replace(",", ";")
    path.write_text(text, encoding="utf-16")
    assert table.read_keypoints(path)["frame"].values.tolist() == [[frame]]


def test_times_in_seconds_stay_so_without_a_rate(tmp_path: Path) -> None:
    points = keypoints2d(
        POINTS[None, :2, None],
        views=["front"],
        keypoints=NAMES,
        time=[0.1, 0.37],
        time_unit="s",
        shared_error=USUAL_SHARED_ERROR,
    )
    (path,) = table.write_keypoints(points, tmp_path / "a.csv")
    xr.testing.assert_identical(table.read_keypoints(path), points)
    (path,) = movement.write_keypoints(points, tmp_path / "a.nc")
    xr.testing.assert_identical(movement.read_keypoints(path), points)


@pytest.mark.parametrize("units", ["seconds", "milliseconds", "seconds since 2024-01-01"])
def test_units_that_xarray_decodes_stay_seconds(tmp_path: Path, units: str) -> None:
    """Times whose units are an attribute come back as durations or dates of nanoseconds."""
    times = np.arange(6) * (200.0 if units == "milliseconds" else 0.2)
    path = write_movement(tmp_path / "a.nc", times, fps=5.0)
    with xr.open_dataset(path, engine="h5netcdf") as opened:
        dataset = opened.load()
    dataset["time"].attrs["units"] = units
    dataset.to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    found = movement.read_keypoints(tmp_path / "b.nc")["time"].values
    np.testing.assert_allclose(found - found[0], np.arange(6) / 5, atol=1e-6)
