from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from multipose.errors import DataError
from multipose.tracks import trajectories3d
from multipose.view import offsets, reprojection_errors, training_curve

NAMES = ("nose", "ear", "tail")


def tracks(n_times: int = 40) -> xr.Dataset:
    rng = np.random.default_rng(0)
    error = rng.gamma(2.0, 1.0, (n_times, 1, 3))
    error[3] = np.nan
    position = rng.normal(size=(n_times, 1, 3, 3))
    return trajectories3d(position, reprojection_error=error, keypoints=NAMES, fps=10, unit="mm")


def test_reprojection_errors_are_the_quantiles() -> None:
    data = tracks()
    figure = reprojection_errors(data)
    errors = data["reprojection_error"].values[:, 0]
    boxes = [trace for trace in figure.data if trace.type == "box"]
    assert [box.name for box in boxes] == list(NAMES)
    for box, column in zip(boxes, errors.T, strict=True):
        found = [box.lowerfence[0], box.q1[0], box.median[0], box.q3[0], box.upperfence[0]]
        assert np.allclose(found, np.nanquantile(column, [0.05, 0.25, 0.5, 0.75, 0.95]))
    median = next(trace for trace in figure.data if trace.name == "median")
    assert np.allclose(median.x, data["time"])
    assert np.isnan(median.y[3])  # a gap in time stays a gap
    assert np.allclose(np.delete(median.y, 3), np.median(np.delete(errors, 3, axis=0), axis=1))
    assert figure.layout.yaxis.title.text == "error (px)"
    assert figure.layout.xaxis2.title.text == "time (s)"


def test_long_recordings_are_gathered_in_blocks_with_a_statement() -> None:
    data = tracks(5000)
    figure = reprojection_errors(data)
    median = next(trace for trace in figure.data if trace.name == "median")
    assert len(median.x) <= 2000
    assert "blocks of 3 times" in figure.layout.title.text
    assert np.isclose(median.y[1], np.nanmedian(data["reprojection_error"].values[3:6]))


def test_errors_that_nobody_knows_are_not_drawn() -> None:
    unknown = trajectories3d(np.zeros((4, 1, 3, 3)), keypoints=NAMES, unit="mm")
    with pytest.raises(DataError, match="has a reprojection error"):
        reprojection_errors(unknown)


def some_offsets() -> xr.Dataset:
    dims, coords = (
        ("view", "keypoint", "space"),
        {"view": ["back", "top"], "keypoint": list(NAMES), "space": ["x", "y"]},
    )
    values = np.zeros((2, 3, 2))
    values[1, 2] = (3.0, -4.0)
    values[0, 1] = np.nan
    values[0, 0] = (-0.01, 0.02)
    return xr.Dataset({"offset": (dims, values), "sd": (dims, np.full((2, 3, 2), 0.1))}, coords)


def test_offsets_stand_in_their_cells() -> None:
    figure = offsets(some_offsets())
    cells = figure.data[0]
    assert list(cells.x) == ["back", "top"]
    assert list(cells.y) == list(NAMES)
    assert cells.z[2, 1] == pytest.approx(5.0)
    assert cells.text[2][1] == "+3.0, -4.0"
    assert cells.text[0][0] == "+0.0, +0.0"
    assert cells.text[1][0] == ""
    assert np.isnan(cells.z[1, 0])
    assert cells.customdata[2, 1].tolist() == [3.0, -4.0, 0.1, 0.1]
    assert (cells.zmin, cells.zmax) == (0, 5.0)
    assert "px" in cells.colorbar.title.text


def test_offsets_of_another_shape_are_told() -> None:
    with pytest.raises(DataError, match="`offset` and `sd`"):
        offsets(some_offsets().drop_vars("sd"))
    with pytest.raises(DataError, match="too few frames"):
        offsets(some_offsets() * np.nan)


def some_metrics() -> pd.DataFrame:
    return pd.DataFrame({"step": [0, 10, 20], "loss": [2.0, 1.0, 0.5], "held_out_mean_px": [8.0, np.nan, 3.0]})


def test_training_curves_are_the_columns() -> None:
    figure = training_curve(some_metrics())
    loss, error = figure.data
    assert (list(loss.x), list(loss.y)) == ([0, 10, 20], [2.0, 1.0, 0.5])
    assert (list(error.x), list(error.y)) == ([0, 20], [8.0, 3.0])
    assert figure.layout.yaxis2.title.text == "held-out mean error (px)"
    assert figure.layout.xaxis2.title.text == "step"


def test_several_views_have_one_colour_each() -> None:
    figure = training_curve({"back": some_metrics(), "top": some_metrics()})
    assert [trace.name for trace in figure.data] == [
        "back loss",
        "top loss",
        "back held_out_mean_px",
        "top held_out_mean_px",
    ]
    assert figure.data[0].line.color == figure.data[2].line.color != figure.data[1].line.color


def test_a_missing_column_is_named() -> None:
    with pytest.raises(DataError, match="of top have no column minutes"):
        training_curve({"top": some_metrics()}, x="minutes")
    with pytest.raises(DataError, match="loss holds no value"):
        training_curve(some_metrics().assign(loss=np.nan))
