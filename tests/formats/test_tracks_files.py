"""Trajectories and key points survive each format: what it has a place for comes back, to the last digit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from multipose.errors import DataError, FormatError
from multipose.formats import anipose, deeplabcut, movement, sleap, table
from multipose.pipeline import foreign
from multipose.synthetic import sample_rig
from multipose.tracks import USUAL_SHARED_ERROR, keypoints2d, trajectories3d
from multipose.triangulate import reconstruct

NAMES = ["nose", "ear, left", "NA"]


def trajectories(individuals: tuple[str, ...] = ("mouse",), fps: float | None = 30.0) -> xr.Dataset:
    random = np.random.default_rng(0)
    shape = (7, len(individuals), len(NAMES))
    position = random.normal(size=(*shape, 3)) * 100
    position[2, 0, 1] = np.nan
    factor = random.normal(size=(*shape, 3, 3))
    return trajectories3d(
        position,
        random.uniform(size=shape),
        np.abs(random.normal(size=shape)),
        random.integers(0, 4, size=shape),
        factor @ factor.swapaxes(-1, -2),
        keypoints=NAMES,
        individuals=individuals,
        fps=fps,
        unit="mm",
    )


def keypoints(individuals: tuple[str, ...] = ("individual_0",), fps: float | None = 25.0) -> xr.Dataset:
    random = np.random.default_rng(1)
    shape = (2, 6, len(individuals), len(NAMES))
    position = random.uniform(0, 500, size=(*shape, 2))
    position[1, 3, 0, 2] = np.nan
    confidence = random.uniform(size=shape)
    confidence[1, 3, 0, 2] = 0.0
    factor = random.normal(size=(*shape, 2, 2))
    frame = np.array([[0, 1, 2, 3, 4, 5], [10, 11, 12, 13, 14, 15]])
    return keypoints2d(
        position, confidence, factor @ factor.swapaxes(-1, -2),
        views=["back", "cam 10"], keypoints=NAMES, individuals=individuals, fps=fps, frame=frame,
        shared_error=USUAL_SHARED_ERROR,
    )  # fmt: skip


@pytest.mark.parametrize("fps", [30.0, None])
@pytest.mark.parametrize("individuals", [("mouse",), ("a", "b")])
def test_csv_and_movement_keep_trajectories_whole(
    tmp_path: Path, individuals: tuple[str, ...], fps: float | None
) -> None:
    tracks = trajectories(individuals, fps)
    (path,) = table.write_trajectories(tracks, tmp_path / "a.csv")
    xr.testing.assert_identical(table.read_trajectories(path), tracks)
    for singular in (False, True):
        (path,) = movement.write_trajectories(tracks, tmp_path / "a.nc", singular=singular)
        xr.testing.assert_identical(movement.read_trajectories(path), tracks)


def test_csv_of_long_recordings_is_one_table(tmp_path: Path) -> None:
    """It is written in stretches of time: one heading, every row once, in order."""
    position = np.random.default_rng(2).normal(size=(20_000, 1, 3, 3))
    tracks = trajectories3d(position, keypoints=NAMES, fps=200.0, unit="mm")
    (path,) = table.write_trajectories(tracks, tmp_path / "a.csv")
    rows = pd.read_csv(path, keep_default_na=False)
    np.testing.assert_array_equal(rows[["x", "y", "z"]].to_numpy(), position.reshape(-1, 3))
    assert rows["frame"].tolist() == [frame for frame in range(20_000) for _ in range(3)]
    assert rows["keypoint"].tolist() == NAMES * 20_000
    px = np.random.default_rng(3).uniform(0, 100, (2, 20_000, 1, 3, 2))
    (path,) = table.write_keypoints(keypoints2d(px, views=["a", "b"], keypoints=NAMES, fps=200.0), tmp_path / "b.csv")
    rows = pd.read_csv(path, keep_default_na=False)
    np.testing.assert_array_equal(rows[["x", "y"]].to_numpy(), px.reshape(-1, 2))
    assert rows["view"].tolist() == ["a"] * 60_000 + ["b"] * 60_000


def test_csv_of_trajectories_says_frames_states_and_how_far_regions_reach(tmp_path: Path) -> None:
    rig = sample_rig(3)
    points = np.random.default_rng(4).uniform(-20, 20, (20, 2, 3))
    px = rig.project(points) + np.random.default_rng(5).normal(0, 0.5, (3, 20, 2, 2))
    px[:, 3, 1] = np.nan
    tracks = reconstruct(keypoints2d(px[:, :, None], views=rig.names, keypoints=["nose", "tail"], fps=25.0), rig)
    (path,) = table.write_trajectories(tracks, tmp_path / "a.csv")
    rows = pd.read_csv(path)
    assert rows["frame"].tolist() == [frame for frame in range(20) for _ in range(2)]
    assert rows["state"][2 * 3 + 1] == "missing"
    assert set(rows["state"]) == {"missing", "consistent"}
    for level in (50, 95):
        wanted = tracks["region_scale"].sel(level=level / 100, keypoint="tail").item()
        assert rows[f"region_scale_{level}"][rows["keypoint"] == "tail"].unique() == pytest.approx([wanted])
    np.testing.assert_array_equal(table.read_trajectories(path)["position"], tracks["position"])
    uneven = tracks.assign_coords(time=tracks["time"] ** 1.1)
    (path,) = table.write_trajectories(uneven, tmp_path / "b.csv")
    assert "frame" not in pd.read_csv(path)


@pytest.mark.parametrize("individuals", [("individual_0",), ("a", "b")])
def test_csv_and_movement_keep_keypoints_whole(tmp_path: Path, individuals: tuple[str, ...]) -> None:
    points = keypoints(individuals)
    (path,) = table.write_keypoints(points, tmp_path / "a.csv")
    xr.testing.assert_identical(table.read_keypoints(path), points)
    (path,) = movement.write_keypoints(points, tmp_path / "a.nc")
    xr.testing.assert_identical(movement.read_keypoints(path), points)
    (path,) = movement.write_keypoints(points, tmp_path / "b.nc", view="cam 10")
    xr.testing.assert_identical(movement.read_keypoints(path, view="cam 10"), points.sel(view=["cam 10"]))
    with pytest.raises(DataError, match="no view 'front'"):
        movement.write_keypoints(points, tmp_path / "c.nc", view="front")


def test_movement_files_are_laid_out_as_movement_wants(tmp_path: Path) -> None:
    """The names are those of movement's own check, ValidPosesInputs: DIM_NAMES, VAR_NAMES and the attributes."""
    (path,) = movement.write_trajectories(trajectories(), tmp_path / "a.nc")
    with xr.open_dataset(path, engine="h5netcdf") as dataset:
        assert dataset["position"].dims == ("time", "space", "keypoints", "individuals")
        assert dataset["confidence"].dims == ("time", "keypoints", "individuals")
        assert dataset["space"].values.tolist() == ["x", "y", "z"]
        assert dataset.attrs["ds_type"] == "poses"
        assert dataset.attrs["time_unit"] == "seconds"
        assert dataset.attrs["fps"] == 30
    (path,) = movement.write_trajectories(trajectories(fps=None), tmp_path / "b.nc", singular=True)
    with xr.open_dataset(path, engine="h5netcdf") as dataset:
        assert dataset["position"].dims == ("time", "space", "keypoint", "individual")
        assert dataset.attrs["time_unit"] == "frames"
        assert "fps" not in dataset.attrs


def test_movement_files_leave_out_what_is_not_a_point(tmp_path: Path) -> None:
    """Smoothed trajectories tell the lengths of limbs, too."""
    tracks = trajectories()
    smoothed = tracks.assign(limb_length=(("individual", "limb"), np.ones((1, 2))))
    (path,) = movement.write_trajectories(smoothed, tmp_path / "a.nc")
    xr.testing.assert_identical(movement.read_trajectories(path), tracks)


def test_movement_reads_our_files(tmp_path: Path) -> None:
    datasets = pytest.importorskip("movement.validators.datasets")
    singular = "keypoint" in datasets.ValidPosesInputs.DIM_NAMES
    (path,) = movement.write_trajectories(trajectories(("a", "b")), tmp_path / "a.nc", singular=singular)
    with xr.open_dataset(path, engine="h5netcdf") as dataset:
        datasets.ValidPosesInputs.validate(dataset)


def test_movement_files_of_others(tmp_path: Path) -> None:
    """A dataset as movement builds it: no covariance, no unit."""
    plain = xr.Dataset(
        {
            "position": (("time", "space", "keypoints", "individuals"), np.arange(24.0).reshape(2, 3, 2, 2)),
            "confidence": (("time", "keypoints", "individuals"), np.full((2, 2, 2), np.nan)),
        },
        {"time": [0.0, 0.1], "space": ["x", "y", "z"], "keypoints": ["a", "b"], "individuals": ["c", "d"]},
        {"ds_type": "poses", "fps": 10.0, "time_unit": "seconds"},
    )
    path = tmp_path / "a.nc"
    plain.to_netcdf(path, engine="h5netcdf")
    with pytest.raises(DataError, match="unit of length"):
        movement.read_trajectories(path)
    tracks = movement.read_trajectories(path, unit="cm")
    assert tracks.attrs["unit"] == "cm"
    assert tracks["position"].sel(time=0.1, individual="d", keypoint="a").values.tolist() == [13, 17, 21]
    with pytest.raises(FormatError, match="positions in x, y, z; expected x, y"):
        movement.read_keypoints(path)


@pytest.mark.parametrize("fps", [30.0, None])
def test_anipose_round_trip(tmp_path: Path, fps: float | None) -> None:
    tracks = trajectories(fps=fps)
    (path,) = anipose.write_trajectories(tracks, tmp_path / "a.csv")
    again = anipose.read_trajectories(path, unit="mm", fps=fps, individual="mouse")
    xr.testing.assert_allclose(again.drop_vars("covariance"), tracks.drop_vars("covariance"), rtol=0, atol=1e-12)
    assert again.attrs == tracks.attrs


def test_anipose_columns(tmp_path: Path) -> None:
    (path,) = anipose.write_trajectories(trajectories(), tmp_path / "a.csv")
    columns = pd.read_csv(path).columns.tolist()
    assert columns[:6] == ["nose_x", "nose_y", "nose_z", "nose_error", "nose_ncams", "nose_score"]
    assert columns[-13:] == [
        *(f"M_{i}{j}" for i in range(3) for j in range(3)),
        "center_0",
        "center_1",
        "center_2",
        "fnum",
    ]


def test_anipose_writes_one_file_for_each_individual(tmp_path: Path) -> None:
    paths = anipose.write_trajectories(trajectories(("a", "b")), tmp_path / "t.csv")
    assert [path.name for path in paths] == ["t_a.csv", "t_b.csv"]
    assert anipose.write_trajectories(trajectories(("a", "b")), tmp_path / "t.csv", individual="b") == [
        tmp_path / "t.csv"
    ]
    with pytest.raises(DataError, match="no individual 'c'"):
        anipose.write_trajectories(trajectories(), tmp_path / "t.csv", individual="c")


def test_anipose_marks_of_points_without_views(tmp_path: Path) -> None:
    (path,) = anipose.write_trajectories(trajectories(), tmp_path / "a.csv")
    columns = pd.read_csv(path)
    columns.loc[0, ["nose_score", "nose_ncams"]] = [2.0, np.nan]
    columns.to_csv(path, index=False)
    again = anipose.read_trajectories(path, unit="mm").isel(time=0, individual=0, keypoint=0)
    assert np.isnan(again["confidence"])
    assert again["n_views"] == 0


@pytest.mark.parametrize("individuals", [("individual_0",), ("a", "b")])
@pytest.mark.parametrize("suffix", [".csv", ".h5"])
def test_deeplabcut_keypoints_round_trip(tmp_path: Path, individuals: tuple[str, ...], suffix: str) -> None:
    points = keypoints(individuals).isel(view=[0])
    paths = deeplabcut.write_keypoints(points, tmp_path, name="day1")
    assert [path.name for path in paths] == ["day1_backDLC_multipose.csv", "day1_backDLC_multipose.h5"]
    again = deeplabcut.read_keypoints({"back": next(p for p in paths if p.suffix == suffix)}, fps=25.0)
    xr.testing.assert_allclose(again.drop_vars("covariance"), points.drop_vars("covariance"), rtol=0, atol=1e-12)


def test_deeplabcut_layout_for_pandas(tmp_path: Path) -> None:
    _, path = deeplabcut.write_keypoints(keypoints().isel(view=[1]), tmp_path)
    frame = pd.read_hdf(path, "df_with_missing")
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns.names) == ["scorer", "bodyparts", "coords"]
    assert frame.index.tolist() == [10, 11, 12, 13, 14, 15]
    assert frame.columns[2] == ("DLC_multipose", "nose", "likelihood")
    _, path = deeplabcut.write_keypoints(keypoints(("a", "b")).isel(view=[1]), tmp_path)
    frame = pd.read_hdf(path)
    assert list(frame.columns.names) == ["scorer", "individuals", "bodyparts", "coords"]


def test_times_without_a_frame_are_left_out(tmp_path: Path) -> None:
    points = keypoints().isel(view=[0]).copy(deep=True)
    points["frame"][0, :2] = -1
    _, path = deeplabcut.write_keypoints(points, tmp_path)
    assert pd.read_hdf(path).index.tolist() == [2, 3, 4, 5]


def test_views_are_matched_by_frame_numbers_and_names(tmp_path: Path) -> None:
    """`back` has the frames 0 to 5, `cam 10` the frames 10 to 15: no frame is in both."""
    points = keypoints()
    paths = deeplabcut.write_keypoints(points, tmp_path)
    both = deeplabcut.read_keypoints({"back": paths[1], "cam 10": paths[3]})
    assert both["frame"].values.tolist() == [[*range(6), *[-1] * 6], [*[-1] * 6, *range(10, 16)]]
    np.testing.assert_allclose(both["position"].values[1, 6:], points["position"].values[1])
    assert np.isnan(both["position"].values[1, :6]).all()
    other = deeplabcut.write_keypoints(points.isel(view=[0], keypoint=[0, 1]), tmp_path / "other")
    with pytest.raises(FormatError, match="differ in keypoints: .*only"):
        deeplabcut.read_keypoints({"back": paths[1], "side": other[1]})


def write_sleap(path: Path, tracks: np.ndarray, nodes: list[str], names: list[str], scores: np.ndarray | None) -> Path:
    with h5py.File(path, "w") as file:
        file["tracks"] = tracks
        file["node_names"] = np.array(nodes, dtype="S")
        file["track_names"] = np.array(names, dtype="S")
        if scores is not None:
            file["point_scores"] = scores
    return path


def test_sleap_axes_and_scores(tmp_path: Path) -> None:
    tracks = np.arange(2 * 2 * 3 * 4, dtype=float).reshape(2, 2, 3, 4)  # track, xy, node, frame
    tracks[1, :, 2, 3] = np.nan
    scores = np.full((2, 3, 4), 0.5)
    scores[0, 0, 0], scores[0, 0, 1] = 0.0, 1.07
    path = write_sleap(tmp_path / "a.h5", tracks, ["n", "e", "t"], ["m", "f"], scores)
    points = sleap.read_keypoints({"top": path}, fps=20)
    assert points["position"].sel(view="top", individual="f", keypoint="e").isel(time=2).values.tolist() == [
        tracks[1, 0, 1, 2], tracks[1, 1, 1, 2],
    ]  # fmt: skip
    confidence = points["confidence"].sel(view="top")
    assert confidence.sel(individual="m", keypoint="n").values.tolist() == [1.0, 1.0, 0.5, 0.5]
    assert confidence.sel(individual="f", keypoint="t").values.tolist() == [0.5, 0.5, 0.5, 0.0]


def test_sleap_views_in_other_orders_and_lengths(tmp_path: Path) -> None:
    tracks = np.random.default_rng(0).uniform(size=(1, 2, 3, 4))
    one = write_sleap(tmp_path / "a.h5", tracks, ["n", "e", "t"], [], None)
    two = write_sleap(tmp_path / "b.h5", tracks[:, :, [2, 0, 1]], ["t", "n", "e"], [], None)
    points = sleap.read_keypoints({"a": one, "b": two})
    xr.testing.assert_equal(points["position"].sel(view="a", drop=True), points["position"].sel(view="b", drop=True))
    short = write_sleap(tmp_path / "c.h5", tracks[..., :3], ["n", "e", "t"], [], None)
    with pytest.raises(FormatError, match="unequal numbers of frames: a 4, c 3"):
        sleap.read_keypoints({"a": one, "c": short})
    odd = write_sleap(tmp_path / "d.h5", tracks.transpose(3, 2, 1, 0), ["n", "e", "t"], [], None)
    with pytest.raises(FormatError, match="tracks must have the shape"):
        sleap.read_keypoints({"d": odd})


def test_real_sleap_files(recordings: Callable[[str], Path]) -> None:
    folder = recordings("mouse_four_views")
    views = ("back", "mid", "side", "top")
    points = sleap.read_keypoints({view: folder / view / "keypoints.analysis.h5" for view in views}, fps=30)
    assert dict(points.sizes) == {"view": 4, "time": 120, "individual": 1, "keypoint": 15, "space": 2, "space_": 2}
    assert points["keypoint"].values.tolist()[:3] == ["Nose", "Ear_R", "Ear_L"]
    assert float(points["position"].sel(view="back").isnull().mean()) == pytest.approx(0.2178, abs=1e-4)


@pytest.mark.parametrize("name", ["missing", "garbage", "cut"])
def test_broken_files_are_told(tmp_path: Path, name: str) -> None:
    csv, nc = tmp_path / "a.csv", tmp_path / "a.nc"
    if name == "garbage":
        csv.write_bytes(b"\xff\xfe\x00 nothing, of use\n1\n2,3,4")
        nc.write_bytes(b"nothing of use")
    if name == "cut":
        table.write_trajectories(trajectories(), csv)
        csv.write_text("\n".join(csv.read_text().splitlines()[:-1]))
        movement.write_trajectories(trajectories(), nc)
        nc.write_bytes(nc.read_bytes()[:2000])
    readers: list[tuple[Callable[[Path], object], Path]] = [
        (table.read_trajectories, csv),
        (table.read_keypoints, csv),
        (lambda path: anipose.read_trajectories(path, unit="mm"), csv),
        (lambda path: deeplabcut.read_keypoints({"top": path}), csv),
        (lambda path: deeplabcut.read_keypoints({"top": path}), nc.rename(tmp_path / "a.h5") if nc.exists() else nc),
        (lambda path: sleap.read_keypoints({"top": path}), tmp_path / "a.h5"),
        (movement.read_trajectories, tmp_path / "a.h5"),
    ]
    for read, path in readers:
        with pytest.raises(FormatError, match=path.name):
            read(path)


def test_newer_tables_are_refused(tmp_path: Path) -> None:
    (path,) = table.write_trajectories(trajectories(), tmp_path / "a.csv")
    frame = pd.read_csv(path, keep_default_na=False)
    frame.assign(schema_version=2).to_csv(path, index=False)
    with pytest.raises(FormatError, match="newer multipose"):
        table.read_trajectories(path)


def sleap_file(path: Path, tracks: np.ndarray, nodes: list[str], scores: np.ndarray | None = None) -> Path:
    with h5py.File(path, "w") as file:
        file["tracks"], file["node_names"] = tracks, nodes
        if scores is not None:
            file["point_scores"] = scores
    return path


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("far", r"keypoint tail, space y it is 1e\+12 px, which is far outside any picture"),
        ("negative", r"node nose, track track_0, frame 2: the score is -0\.5"),
        ("twice", "the node 'nose' more than once"),
    ],
)
def test_values_that_cannot_be_are_refused_by_file(tmp_path: Path, change: str, problem: str) -> None:
    tracks, scores, nodes = np.ones((1, 2, 2, 4)), np.ones((1, 2, 4)), ["nose", "tail"]
    if change == "far":
        tracks[0, 1, 1, 3] = 1e12
    elif change == "negative":
        scores[0, 0, 2] = -0.5
    else:
        nodes = ["nose", "nose"]
    path = sleap_file(tmp_path / "s.h5", tracks, nodes, scores)
    with pytest.raises(FormatError, match=r"s\.h5.*" + problem):
        foreign.read_keypoints(path, "front")
