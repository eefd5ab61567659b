from __future__ import annotations

import numpy as np
import pytest

from multipose.board import CharucoBoard
from multipose.calibration import Calibration, CalibrationReport
from multipose.calibration.report import BoardLengths
from multipose.corners import Corners
from multipose.errors import DataError
from multipose.synthetic import board_corners, board_poses, sample_rig
from multipose.view import coverage, residuals

RIG = sample_rig(3, names=["back", "left", "top"])
BOARD = CharucoBoard(6, 5, 20.0, 15.0)


def some_corners(n_boards: int = 12) -> Corners:
    return board_corners(RIG, BOARD, board_poses(RIG, BOARD, n_boards, seed=1))


def some_calibration(corners: Corners, scale: float = 0.2) -> Calibration:
    """A calibration with given residuals; its figures are not looked at here."""
    rng = np.random.default_rng(0)
    differences = np.where(corners.seen[..., None], rng.normal(0, scale, corners.px.shape), np.nan)
    nothing = {
        "board_deflection": (),
        "inflation": 1.0,
        "shared_boards": {},
        "instants": (),
        "rounds": (),
        "verdicts": (),
    }
    report = CalibrationReport("mm", 0.0, 0.0, (0.0, 0.0), 0, 0, {}, BoardLengths(), **nothing)
    rejected = np.zeros(corners.seen.shape, dtype=bool)
    rejected[0, :, :2] = True
    return Calibration(
        RIG, report, np.eye(1), ("k1",), corners, np.empty((0, 4, 4)), differences, differences, rejected
    )


def test_coverage_shows_all_corners_and_counts_them() -> None:
    corners = some_corners()
    figure = coverage(corners)
    cells = [trace for trace in figure.data if trace.type == "heatmap"]
    points = [trace for trace in figure.data if trace.type == "scatter"]
    for place, view in enumerate(corners.views):
        px = corners.px[place][corners.seen[place]]
        assert np.allclose(np.column_stack([points[place].x, points[place].y]), px, atol=1e-3)
        assert np.nansum(cells[place].z) == len(px)
        heading = figure.layout.annotations[place].text
        assert view in heading
        assert f"{len(px)} corners" in heading
        assert f"{(corners.counts()[place] > 0).sum()} boards" in heading
        x, y = int(px[0, 0] // 30), int(px[0, 1] // 30)  # 16 x 12 cells of 30 px
        inside = ((px + 0.5) // 30 == (x, y)).all(1).sum()
        assert cells[place].z[y, x] == inside
    assert tuple(figure.layout.yaxis.range) == (359.5, -0.5)
    assert figure.layout.yaxis.scaleanchor == "x"
    assert figure.layout.xaxis.title.text == "x (px)"
    assert "corners" in figure.layout.coloraxis.colorbar.title.text


def test_empty_cells_are_blank() -> None:
    cells = next(trace for trace in coverage(some_corners(3)).data if trace.type == "heatmap")
    assert np.isnan(cells.z).any()
    assert np.nanmin(cells.z) >= 1


def test_many_corners_are_thinned_with_a_statement() -> None:
    corners = some_corners(60)
    many = Corners(
        BOARD,
        ("back",),
        {"back": (480, 360)},
        np.arange(600),
        np.tile(corners.px[:1], (1, 10, 1, 1)),
        np.tile(corners.reasons[:1], (1, 10)),
    )
    figure = coverage(many)
    cells, points = figure.data
    assert len(points.x) == 4000
    assert np.nansum(cells.z) == many.seen.sum() > 4000
    assert "at most 4000 corners" in figure.layout.title.text
    assert "at most" not in coverage(corners.select(frames=[0, 1])).layout.title.text


def test_residuals_are_drawn_per_view() -> None:
    corners = some_corners()
    calibration = some_calibration(corners)
    figure = residuals(calibration)
    clouds = [trace for trace in figure.data if trace.type == "scatter" and trace.mode == "markers"]
    maps = [trace for trace in figure.data if trace.type == "heatmap"]
    for place, view in enumerate(corners.views):
        cloud = calibration.residuals[place][corners.seen[place]]
        assert np.allclose(np.column_stack([clouds[place].x, clouds[place].y]), cloud, atol=1e-5)
        rms = np.sqrt((cloud**2).sum(1).mean())
        heading = next(note.text for note in figure.layout.annotations if f"<b>{view}</b>" in note.text)
        assert f"RMS {rms:.3f} px" in heading
        assert f"{calibration.rejected[place].sum()} rejected" in heading
        assert np.nanmax(maps[place].z) <= np.sqrt((cloud**2).sum(1)).max() + 1e-6
    assert "px" in figure.layout.coloraxis.colorbar.title.text
    titles = [axis.title.text for axis in figure.select_xaxes()]
    assert titles.count("x (px)") == titles.count("dx (px)") == 3
    outside = sum(
        int((np.abs(np.column_stack([c.x, c.y])) > figure.layout.xaxis4.range[1]).any(1).sum()) for c in clouds
    )
    assert (f"{outside} corners lie outside" in figure.layout.title.text) == (outside > 0)


def test_a_constant_residual_fills_the_map_with_its_length() -> None:
    corners = some_corners()
    calibration = some_calibration(corners)
    calibration.residuals[:] = np.where(corners.seen[..., None], (0.3, 0.4), np.nan)
    for trace in residuals(calibration).data:
        if trace.type == "heatmap":
            assert np.allclose(trace.z[np.isfinite(trace.z)], 0.5)
        elif trace.mode == "lines":  # 30 px cells: mean differences of 0.5 px are drawn 60 times enlarged
            ends = np.column_stack([trace.x, trace.y]).reshape(-1, 3, 2)
            assert len(ends)
            assert np.allclose(ends[:, 1] - ends[:, 0], (18.0, 24.0), atol=1e-3)


@pytest.mark.parametrize("n_views", [1, 2, 4, 5])
def test_any_number_of_views_has_its_place(n_views: int) -> None:
    rig = sample_rig(n_views)
    corners = board_corners(rig, BOARD, board_poses(rig, BOARD, 8))
    assert sum(trace.type == "heatmap" for trace in coverage(corners).data) == n_views
    drawn = residuals(some_calibration(corners))
    assert sum(trace.type == "scatter" and trace.mode == "markers" for trace in drawn.data) == n_views


def test_a_calibration_without_corners_is_told() -> None:
    calibration = some_calibration(some_corners(3))
    calibration.residuals[:] = np.nan
    with pytest.raises(DataError, match="used no corner"):
        residuals(calibration)
