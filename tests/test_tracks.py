from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from multipose.errors import DataError, FormatError
from multipose.tracks import (
    check_keypoints2d,
    check_trajectories3d,
    keypoints2d,
    load_tracks,
    save_tracks,
    time_unit_of,
    trajectories3d,
)


def some_keypoints(seed: int = 0) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    position = rng.uniform(0, 100, (2, 5, 1, 3, 2))
    position[0, 1, 0, 2] = np.nan
    return keypoints2d(position, views=["back", "top"], keypoints=["nose", "ear", "tail"], fps=50)


def test_defaults_say_what_is_known() -> None:
    dataset = some_keypoints()
    assert dataset["position"].dims == ("view", "time", "individual", "keypoint", "space")
    assert float(dataset["confidence"].sel(view="back", keypoint="tail")[1, 0]) == 0
    assert float(dataset["confidence"].sum()) == 2 * 5 * 3 - 1
    assert dataset["frame"].sel(view="top").values.tolist() == [0, 1, 2, 3, 4]
    assert dataset["time"].values.tolist() == [0, 0.02, 0.04, 0.06, 0.08]
    assert np.isnan(dataset["covariance"]).all()


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=5, max_dims=5, max_side=4), elements=st.floats(-1e3, 1e3)))
def test_any_position_of_the_right_shape_is_kept(position: np.ndarray) -> None:
    views = [f"v{i}" for i in range(position.shape[0])]
    if position.shape[-1] == 2:
        assert np.array_equal(keypoints2d(position, views=views)["position"].values, position)
    else:
        with pytest.raises(DataError, match="must have the shape"):
            keypoints2d(position, views=views)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"views": ["back"]}, "2 on its view axis, but 1 names"),
        ({"views": ["back", "back"]}, "must differ"),
        ({"views": "ab"}, "single string"),
        ({"keypoints": ["a", "b"]}, "3 on its keypoint axis"),
        ({"confidence": np.ones((2, 5, 3))}, "confidence must have the shape"),
        (
            {"confidence": np.full((2, 5, 1, 3), 1.5)},
            "at view back, time 0.0, individual individual_0, keypoint keypoint_0 it is 1.5",
        ),
        ({"covariance": np.ones((2, 5, 1, 3, 2))}, "covariance must have the shape"),
        ({"frame": np.full((2, 5), -2)}, "found a smaller one"),
        ({"time": [0, 1, 2, 2, 3]}, "strictly increasing"),
        ({"time": [0, 1]}, "time must have the shape"),
        ({"fps": 0.0}, "positive"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], message: str) -> None:
    arguments = {"views": ["back", "top"], **change}
    with pytest.raises(DataError, match=message):
        keypoints2d(np.zeros((2, 5, 1, 3, 2)), **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [[[1, 2], [2, 1]], [[1, 0.5], [0, 1]], [[-1, 0], [0, -1]], [[0, 0], [0, 1]]])
def test_covariances_that_cannot_be_are_refused(wrong: list[list[float]]) -> None:
    dataset = keypoints2d(np.zeros((2, 3, 2, 4, 2)), views=["back", "top"])
    dataset["covariance"].values[:] = np.eye(2)
    dataset["covariance"].values[0, 0, 0, 0] = np.nan  # unknown
    check_keypoints2d(dataset)
    dataset["covariance"].values[1, 2, 0, 3] = wrong
    with pytest.raises(DataError, match="1 are not symmetric .* view top, time 2, key point keypoint_3"):
        check_keypoints2d(dataset)


def test_variances_of_trajectories_below_zero_are_refused() -> None:
    tracks = trajectories3d(np.zeros((3, 1, 2, 3)), unit="mm")
    tracks["covariance"].values[:] = np.eye(3)
    check_trajectories3d(tracks)
    tracks["covariance"].values[2, 0, 1, 0, 0] = -1
    with pytest.raises(DataError, match="variances below 0"):
        check_trajectories3d(tracks)


def test_infinite_positions_are_refused() -> None:
    with pytest.raises(DataError, match="infinite"):
        trajectories3d(np.full((2, 1, 1, 3), np.inf), unit="mm")


def test_a_trajectory_needs_its_unit() -> None:
    with pytest.raises(DataError, match="unit"):
        trajectories3d(np.zeros((2, 1, 1, 3)), unit="")


def test_dropped_dimension_is_noticed() -> None:
    with pytest.raises(DataError, match="must have the dimensions"):
        check_keypoints2d(some_keypoints().isel(individual=0))


@pytest.mark.parametrize("kind", ["keypoints2d", "trajectories3d"])
def test_round_trip(tmp_path: Path, kind: str) -> None:
    dataset = (
        some_keypoints()
        if kind == "keypoints2d"
        else trajectories3d(
            np.arange(24.0).reshape(4, 1, 2, 3),
            reprojection_error=np.ones((4, 1, 2)),
            n_views=np.full((4, 1, 2), 3),
            keypoints=["nose", "tail"],
            fps=100,
            unit="mm",
        )
    )
    save_tracks(dataset, tmp_path / "track.nc")
    again = load_tracks(tmp_path / "track.nc")
    xr.testing.assert_identical(again, dataset)


def test_files_that_are_no_tracks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no file"):
        load_tracks(tmp_path / "none.nc")
    save_tracks(some_keypoints(), tmp_path / "whole.nc")
    (tmp_path / "half.nc").write_bytes((tmp_path / "whole.nc").read_bytes()[:900])
    (tmp_path / "empty.nc").touch()
    for name in ("half.nc", "empty.nc"):
        with pytest.raises(FormatError, match=name):
            load_tracks(tmp_path / name)
    xr.Dataset({"a": ("x", [1.0])}).to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    with pytest.raises(FormatError, match=r"other.nc holds no keypoints2d"):
        load_tracks(tmp_path / "other.nc")
    newer = some_keypoints().assign_attrs(schema_version=99)
    save_tracks(newer, tmp_path / "newer.nc")
    with pytest.raises(FormatError, match="newer multipose"):
        load_tracks(tmp_path / "newer.nc")


def test_files_with_values_that_cannot_be_are_refused_by_file(tmp_path: Path) -> None:
    def saved(dataset: xr.Dataset) -> Path:
        dataset.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
        return tmp_path / "a.nc"

    def changed(dataset: xr.Dataset, name: str, value: object) -> xr.Dataset:
        values = dataset[name].values.copy()
        values[(0,) * values.ndim] = value
        return dataset.assign({name: (dataset[name].dims, values)})

    points = some_keypoints()
    known = keypoints2d(
        points["position"].values, covariance=np.broadcast_to(np.eye(2), (2, 5, 1, 3, 2, 2)), views=["a", "b"]
    )
    tracks = trajectories3d(np.ones((4, 1, 2, 3)), covariance=np.broadcast_to(np.eye(3), (4, 1, 2, 3, 3)), unit="mm")
    skewed = changed(tracks, "covariance", 1.0)
    skewed["covariance"].values[1, 0, 1] = [[1, 0.5, 0], [-0.5, 1, 0], [0, 0, 1]]
    beyond = changed(tracks, "covariance", 1.0)
    beyond["covariance"].values[1, 0, 1] = [[1, 5, 0], [5, 1, 0], [0, 0, 1]]
    for dataset, problem in [
        (
            changed(points, "position", 1e12),
            "view back, time 0.0, .*it is 1e\\+12 px, which is far outside any picture",
        ),
        (changed(known, "covariance", np.nan), "the first at view a, time 0, key point keypoint_0"),
        (changed(known, "covariance", np.inf), "not symmetric and positive definite"),
        (points.assign(position=points["position"].astype(str)), "position must hold numbers"),
        (points.assign_attrs(unit="mm"), "the unit is 'mm'; positions in a picture are in px"),
        (points.assign_attrs(fps=0.0), "fps must be a positive number"),
        (points.assign_attrs(fps=np.nan), "fps must be a positive number"),
        (points.assign_attrs(fps="fast"), "fps must be a positive number"),
        (points.assign_attrs(shared_error=5.0), "shared_error is the share .* it is .*5"),
        (points.assign_attrs(shared_error=np.nan), "shared_error is the share"),
        (points.assign_attrs(shared_error="much"), "shared_error is the share"),
        (skewed, "1 are not symmetric .*time 1, key point keypoint_1"),
        (beyond, "not below 0"),
        (changed(tracks, "covariance", np.nan), "or NaN where they are unknown"),
        (tracks.assign_attrs(unit=3), "states its length unit"),
    ]:
        with pytest.raises(FormatError, match=rf"a\.nc: .*{problem}"):
            load_tracks(saved(dataset))


def test_a_track_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    save_tracks(some_keypoints(), tmp_path / "a.nc")
    assert load_tracks(tmp_path / "a.nc", "keypoints2d").attrs["kind"] == "keypoints2d"
    with pytest.raises(FormatError, match=r"a\.nc holds no trajectories3d of multipose"):
        load_tracks(tmp_path / "a.nc", "trajectories3d")


@pytest.mark.parametrize("frame", [[[0.5, 1.0]], [[2.0**60, 2.0**61]], [["a", "b"]], [[np.nan, 1.0]]])
def test_frame_numbers_are_whole(frame: list[list[object]]) -> None:
    with pytest.raises(DataError, match="frame must be whole numbers"):
        keypoints2d(np.zeros((1, 2, 1, 1, 2)), views=["a"], frame=frame)


@pytest.mark.parametrize("frame", [[[0, 1]], [[2**60 + 1, 2**60 + 2]], [[5.0, 6.0]]])
def test_frame_numbers_are_kept_exactly(tmp_path: Path, frame: list[list[int]]) -> None:
    save_tracks(keypoints2d(np.zeros((1, 2, 1, 1, 2)), views=["a"], frame=frame), tmp_path / "a.nc")
    found = load_tracks(tmp_path / "a.nc")["frame"]
    assert found.dtype == np.int64
    assert found.values.tolist() == frame


@pytest.mark.parametrize(("fps", "given", "expected"), [(30.0, None, "s"), (None, None, "frame"), (None, "s", "s")])
def test_what_times_count_is_said(fps: float | None, given: str | None, expected: str) -> None:
    points = keypoints2d(np.zeros((1, 2, 1, 1, 2)), views=["a"], fps=fps, time_unit=given)
    assert points.attrs["time_unit"] == time_unit_of(points) == expected
    del points.attrs["time_unit"]  # of files that were written before
    assert time_unit_of(points) == ("frame" if fps is None else "s")
    with pytest.raises(DataError, match="time_unit must be"):
        time_unit_of(points.assign_attrs(time_unit="hours"))


def test_long_recordings_are_looked_at_to_their_end() -> None:
    """Values are checked in parts; what is wrong in a late one is named by its time."""
    position = np.zeros((2, 30_000, 1, 3, 2))
    covariance = np.broadcast_to(np.eye(2), (*position.shape, 2)).copy()
    covariance[1, 29_000, 0, 2] = [[1.0, 2.0], [2.0, 1.0]]
    with pytest.raises(DataError, match="covariance: 1 are not .* view top, time 29000, key point keypoint_2"):
        keypoints2d(position, covariance=covariance, views=["back", "top"])
    position[1, 28_000, 0, 1, 0] = 2e6
    with pytest.raises(DataError, match="position must lie .* view top, time 28000"):
        keypoints2d(position, views=["back", "top"])
    variance = np.broadcast_to(np.eye(3), (30_000, 1, 3, 3, 3)).copy()
    variance[29_999, 0, 1, 2, 2] = -1.0
    with pytest.raises(DataError, match="variances below 0"):
        trajectories3d(np.zeros((30_000, 1, 3, 3)), covariance=variance, unit="mm")


def test_unknown_covariances_of_a_file_take_no_memory(tmp_path: Path) -> None:
    dataset = some_keypoints()
    save_tracks(dataset, tmp_path / "keypoints.nc")
    read = load_tracks(tmp_path / "keypoints.nc")
    assert set(read["covariance"].values.strides) == {0}
    xr.testing.assert_identical(read, dataset)
    save_tracks(read, tmp_path / "again.nc")
    xr.testing.assert_identical(load_tracks(tmp_path / "again.nc"), dataset)
    covariance = np.full((2, 5, 1, 3, 2, 2), np.nan)
    covariance[1, 2, 0, 0] = np.eye(2)
    some = keypoints2d(dataset["position"].values, covariance=covariance, views=["back", "top"])
    save_tracks(some, tmp_path / "some.nc")
    xr.testing.assert_identical(load_tracks(tmp_path / "some.nc"), some)
