"""Flat figures of numbers: corner coverage and residuals of a calibration, reprojection errors, offsets, training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from multipose.board import Corners
from multipose.errors import DataError
from multipose.tracks import check_trajectories3d
from multipose.view.scene import spread
from multipose.view.theme import HUES, SEQUENTIAL, keypoint_styles, template, view_colors

Array = npt.NDArray[np.float64]

CELLS_ALONG_WIDTH = 16
MAX_POINTS = 4000
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_LONGEST_LINE = 2000


def coverage(corners: Corners, *, title: str = "Where the boards were seen") -> go.Figure:
    """The corners that each view saw, over its picture, and how many fell into each cell of a grid.

    Empty cells stay blank: there the lens is not held by anything. Of more than 4000 corners per view evenly chosen
    ones are drawn as points (the cells count all), and the title says so.

    Args:
        corners: detected board corners.
        title: heading of the figure.
    """
    counts, edges = {}, {}
    for view in corners.views:
        edges[view] = _cell_edges(corners.sizes[view])
        seen = _seen(corners, view)
        counts[view] = np.histogram2d(seen[:, 1], seen[:, 0], bins=(edges[view][1], edges[view][0]))[0]
    headings = []
    for view, boards in zip(corners.views, (corners.counts() > 0).sum(1), strict=True):
        filled = counts[view] > 0
        headings.append(
            f"{view}: {boards} boards, {len(_seen(corners, view))} corners, {filled.sum()} of {filled.size} cells"
        )
    figure, places = _view_grid(corners, headings)
    highest = max(1.0, max(float(count.max()) for count in counts.values()))
    thinned = False
    for view, (row, column) in places.items():
        seen = _seen(corners, view)
        shown = spread(seen, MAX_POINTS)
        thinned |= len(shown) < len(seen)
        figure.add_trace(_cells(counts[view], edges[view], ".0f"), row=row, col=column)
        figure.add_trace(
            go.Scatter(
                name=view,
                mode="markers",
                x=shown[:, 0].astype(np.float32),
                y=shown[:, 1].astype(np.float32),
                marker={"size": 2.5, "color": HUES[1], "opacity": 0.7},
                hovertemplate=f"{view}: %{{x:.1f}}, %{{y:.1f}} px<extra></extra>",
                showlegend=False,
            ),
            row=row,
            col=column,
        )
    note = f"<br><sup>at most {MAX_POINTS} corners per view drawn as points; the cells count all</sup>"
    figure.update_layout(
        title={"text": title + (note if thinned else "")}, coloraxis=_color_axis("corners<br>per cell", highest)
    )
    return figure


def residuals(
    corners: Corners, residual_px: npt.ArrayLike, *, title: str = "Residuals of the calibration"
) -> go.Figure:
    """Measured minus projected corners of each view: RMS over the picture above, the cloud of differences below.

    A cloud that is not round around zero, or cells that stand out, show what the lens model does not explain.

    Args:
        corners: the corners that the calibration used.
        residual_px: (view, frame, corner, 2) measured minus projected px; NaN where a corner was not used.
        title: heading of the figure.

    Raises:
        DataError: the residuals' shape is not that of the corners.
    """
    differences = np.asarray(residual_px, dtype=np.float64)
    if differences.shape != corners.px.shape:
        raise DataError(f"residual_px must have the shape {corners.px.shape} of the corners, got {differences.shape}.")
    used = np.isfinite(differences).all(-1) & corners.seen
    if not used.any():
        raise DataError("No corner has a residual, so there is nothing to draw.")
    squares = np.where(used, (differences**2).sum(-1), 0.0)
    colors = view_colors(corners.views)
    headings, maps = [], {}
    for place, view in enumerate(corners.views):
        n = int(used[place].sum())
        rms = f"RMS {np.sqrt(squares[place].sum() / n):.3f} px" if n else "no corner used"
        headings.append(f"{view}: {rms}, {n} corners")
        edges = _cell_edges(corners.sizes[view])
        px = corners.px[place][used[place]]
        bins = (edges[1], edges[0])
        total = np.histogram2d(px[:, 1], px[:, 0], bins=bins, weights=squares[place][used[place]])[0]
        number = np.histogram2d(px[:, 1], px[:, 0], bins=bins)[0]
        with np.errstate(invalid="ignore"):
            maps[view] = (np.sqrt(total / number), edges)
    n_views = len(corners.views)
    figure = make_subplots(
        rows=2, cols=n_views, subplot_titles=headings, vertical_spacing=0.16, horizontal_spacing=0.25 / n_views / 2
    )
    highest = float(np.nanpercentile(np.concatenate([cells.ravel() for cells, _ in maps.values()]), 98))
    reach = 1.1 * float(np.percentile(np.abs(differences[used]), 99.5))
    beyond = 0
    thinned = False
    for place, view in enumerate(corners.views):
        cells, edges = maps[view]
        figure.add_trace(_cells(cells, edges, ".2f"), row=1, col=place + 1)
        cloud = differences[place][used[place]]
        beyond += int((np.abs(cloud) > reach).any(-1).sum())
        shown = spread(cloud, MAX_POINTS)
        thinned |= len(shown) < len(cloud)
        figure.add_trace(
            go.Scatter(
                name=view,
                mode="markers",
                x=shown[:, 0].astype(np.float32),
                y=shown[:, 1].astype(np.float32),
                marker={"size": 3, "color": colors[view], "opacity": 0.5},
                hovertemplate=f"{view}: %{{x:.2f}}, %{{y:.2f}} px<extra></extra>",
                showlegend=False,
            ),
            row=2,
            col=place + 1,
        )
        _picture_axes(figure, corners.sizes[view], 1, place + 1)
        figure.update_xaxes(title_text="dx (px)", range=[-reach, reach], constrain="domain", row=2, col=place + 1)
        anchor = figure.get_subplot(2, place + 1).xaxis.plotly_name.replace("axis", "")
        figure.update_yaxes(
            title_text="dy (px)", range=[reach, -reach], scaleanchor=anchor, constrain="domain", row=2, col=place + 1
        )
    notes = [
        *([f"{beyond} corners lie outside the clouds' axes"] if beyond else []),
        *([f"at most {MAX_POINTS} corners per view drawn as points"] if thinned else []),
    ]
    figure.update_layout(
        template=template(),
        height=720,
        margin={"t": 96, "l": 8, "r": 8, "b": 8},
        coloraxis=_color_axis("RMS per<br>cell (px)", highest),
        title={"text": title + (f"<br><sup>{'; '.join(notes)}</sup>" if notes else "")},
    )
    return figure


def reprojection_errors(
    tracks: xr.Dataset, *, max_px: float | None = None, title: str = "Reprojection error"
) -> go.Figure:
    """The reprojection error of each key point (quantiles) and over time (median and 95 % of all key points).

    Args:
        tracks: Trajectories3D.
        max_px: where the axes of errors end; by default they show everything.
        title: heading of the figure.

    Raises:
        DataError: no point has a reprojection error.
    """
    check_trajectories3d(tracks)
    errors = tracks["reprojection_error"].transpose("keypoint", "time", "individual").values
    errors = errors.reshape(errors.shape[0], errors.shape[1], -1)
    if not np.isfinite(errors).any():
        raise DataError("No point of these trajectories has a reprojection error.")
    names = [str(name) for name in tracks["keypoint"].values]
    figure = make_subplots(
        rows=2,
        cols=1,
        vertical_spacing=0.2,
        subplot_titles=["per key point (box: quartiles; whiskers: 5 % and 95 %)", "over time"],
    )
    for name, style, values in zip(names, keypoint_styles(names), errors, strict=True):
        known = values[np.isfinite(values)]
        if not len(known):
            continue
        low, q1, median, q3, high = np.quantile(known, _QUANTILES)
        figure.add_trace(
            go.Box(
                name=f"{name}",
                x=[name],
                lowerfence=[low],
                q1=[q1],
                median=[median],
                q3=[q3],
                upperfence=[high],
                marker={"color": style.color},
                showlegend=False,
            ),
            row=1,
            col=1,
        )
    by_time = np.moveaxis(errors, 1, 0).reshape(errors.shape[1], -1)
    blocks = np.array_split(np.arange(len(by_time)), min(len(by_time), _LONGEST_LINE))
    median, high = (np.array([_quantile(by_time[block], share) for block in blocks]) for share in (0.5, 0.95))
    seconds = np.array([tracks["time"].values[block].mean() for block in blocks])
    for label, line, color in (("95 % of the points below", high, HUES[1]), ("median", median, HUES[0])):
        figure.add_trace(
            go.Scatter(name=label, mode="lines", x=seconds, y=line, line={"color": color, "width": 1.5}), row=2, col=1
        )
    size = max(len(block) for block in blocks)
    statement = f"<br><sup>over time: in blocks of {size} times</sup>" if size > 1 else ""
    top = None if max_px is None else [0, max_px]
    figure.update_yaxes(title_text="error (px)", rangemode="tozero", range=top)
    figure.update_xaxes(title_text="time (s)" if tracks.attrs.get("fps") else "time (frame number)", row=2, col=1)
    figure.update_layout(
        template=template(),
        title={"text": title + statement},
        height=640,
        margin={"t": 96, "l": 8, "r": 8, "b": 8},
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 0.42, "yanchor": "bottom"},
    )
    return figure


def offsets(offset: xr.DataArray, *, title: str = "Constant offset of each key point and view") -> go.Figure:
    """A heat map of how far the 2D points of a view lie, on average, from the projected 3D points.

    Args:
        offset: dims view, keypoint, space (and individual, then one row per individual and key point), px.
        title: heading of the figure.

    Raises:
        DataError: the array has other dimensions.
    """
    wanted = {"view", "keypoint", "space"}
    if not wanted <= set(offset.dims) or set(offset.dims) - wanted - {"individual"}:
        raise DataError(f"Offsets must have the dims view, keypoint, space (and individual), got {offset.dims}.")
    if "individual" in offset.dims:
        table = offset.transpose("individual", "keypoint", "view", "space")
        several = offset.sizes["individual"] > 1
        rows = [
            f"{individual} {keypoint}" if several else str(keypoint)
            for individual in table["individual"].values
            for keypoint in table["keypoint"].values
        ]
    else:
        table = offset.transpose("keypoint", "view", "space")
        rows = [str(keypoint) for keypoint in table["keypoint"].values]
    values = table.values.reshape(len(rows), -1, 2)
    views = [str(view) for view in offset["view"].values]
    length = np.linalg.norm(values, axis=-1)
    text = [["" if np.isnan(cell).any() else f"{cell[0]:+.1f}, {cell[1]:+.1f}" for cell in row] for row in values]
    figure = go.Figure(
        go.Heatmap(
            x=views,
            y=rows,
            z=length,
            text=text,
            texttemplate="%{text}",
            colorscale=SEQUENTIAL,
            zmin=0,
            colorbar={"title": {"text": "length of<br>offset (px)"}, "thickness": 14},
            hovertemplate="%{y}, %{x}: %{z:.2f} px (dx, dy: %{text})<extra></extra>",
            hoverongaps=False,
            xgap=2,
            ygap=2,
        )
    )
    figure.update_layout(
        template=template(),
        title={"text": f"{title}<br><sup>dx, dy in px: measured minus projected</sup>"},
        height=150 + 28 * len(rows),
        margin={"t": 72, "l": 8, "r": 8, "b": 8},
        xaxis={"title": {"text": "view"}, "showgrid": False, "type": "category"},
        yaxis={"title": {"text": "key point"}, "autorange": "reversed", "showgrid": False, "type": "category"},
    )
    return figure


def training_curve(
    metrics: pd.DataFrame | Mapping[str, pd.DataFrame],
    *,
    x: str,
    panels: Mapping[str, Sequence[str]],
    title: str = "Training",
) -> go.Figure:
    """What training recorded, one panel per quantity, one line per column (and per view).

    Args:
        metrics: the table of metrics.csv, or one per view.
        x: column of the horizontal axis, with its unit in the name, for example `step` or `minutes`.
        panels: for each axis title, with unit, the columns to draw, for example
            {"mean error (px)": ["held_out_mean_px"]}. Rows without a value are passed over.
        title: heading of the figure.

    Raises:
        DataError: a column is missing, or a panel has no value.
    """
    tables = {"": metrics} if isinstance(metrics, pd.DataFrame) else dict(metrics)
    figure = make_subplots(rows=len(panels), cols=1, shared_xaxes=True, vertical_spacing=0.06)
    for row, (label, names) in enumerate(panels.items(), start=1):
        for place, view in enumerate(tables):
            for order, name in enumerate(names):
                table = tables[view]
                missing = [column for column in (x, name) if column not in table.columns]
                if missing:
                    raise DataError(
                        f"The metrics{f' of {view}' if view else ''} have no column {', '.join(missing)}; "
                        f"they have {', '.join(map(str, table.columns))}."
                    )
                known = table[[x, name]].dropna()
                if known.empty:
                    raise DataError(f"The column {name}{f' of {view}' if view else ''} holds no value.")
                color = HUES[(place if len(tables) > 1 else order) % len(HUES)]
                figure.add_trace(
                    go.Scatter(
                        name=f"{view} {name}".strip(),
                        mode="lines+markers" if len(known) < 60 else "lines",
                        x=known[x].to_numpy(),
                        y=known[name].to_numpy(),
                        line={"color": color, "width": 2, "dash": "dot" if order and len(tables) > 1 else "solid"},
                    ),
                    row=row,
                    col=1,
                )
        figure.update_yaxes(title_text=label, rangemode="tozero", row=row, col=1)
    figure.update_xaxes(title_text=x, row=len(panels), col=1)
    figure.update_layout(
        template=template(),
        title={"text": title},
        height=120 + 240 * len(panels),
        margin={"t": 64, "l": 8, "r": 8, "b": 8},
        hovermode="x unified",
    )
    return figure


def _seen(corners: Corners, view: str) -> Array:
    place = corners.views.index(view)
    seen: Array = corners.px[place][corners.seen[place]]
    return seen


def _cell_edges(size: tuple[int, int]) -> tuple[Array, Array]:
    """Edges of about square cells over a picture, along x and along y, px."""
    width, height = size
    rows = max(1, round(CELLS_ALONG_WIDTH * height / width))
    return np.linspace(-0.5, width - 0.5, CELLS_ALONG_WIDTH + 1), np.linspace(-0.5, height - 0.5, rows + 1)


def _cells(values: Array, edges: tuple[Array, Array], digits: str) -> go.Heatmap:
    middles = [(edge[:-1] + edge[1:]) / 2 for edge in edges]
    return go.Heatmap(
        x=middles[0],
        y=middles[1],
        z=np.where(values > 0, values, np.nan).astype(np.float32),
        coloraxis="coloraxis",
        hovertemplate=f"%{{z:{digits}}}<extra></extra>",
        hoverongaps=False,
    )


def _color_axis(label: str, highest: float) -> dict[str, Any]:
    """The one colour scale that all views of a figure share."""
    bar = {"title": {"text": label}, "thickness": 14}
    return {"cmin": 0, "cmax": highest, "colorscale": SEQUENTIAL, "colorbar": bar}


def _view_grid(corners: Corners, headings: list[str]) -> tuple[go.Figure, dict[str, tuple[int, int]]]:
    """A figure with one pair of picture axes per view, and where each view's is (row, column)."""
    n = len(corners.views)
    across = 1 if n == 1 else 2
    down = -(-n // across)
    figure = make_subplots(rows=down, cols=across, subplot_titles=headings, vertical_spacing=0.24 / down)
    places = {view: (i // across + 1, i % across + 1) for i, view in enumerate(corners.views)}
    for view, (row, column) in places.items():
        _picture_axes(figure, corners.sizes[view], row, column)
    figure.update_layout(template=template(), height=80 + 400 * down, margin={"t": 96, "l": 8, "r": 8, "b": 8})
    return figure, places


def _picture_axes(figure: go.Figure, size: tuple[int, int], row: int, column: int) -> None:
    """Axes of a view's picture: its pixels, y down, equal aspect, with a frame around it."""
    width, height = size
    look: dict[str, Any] = {
        "constrain": "domain",
        "showgrid": False,
        "zeroline": False,
        "mirror": True,
        "showline": True,
        "row": row,
        "col": column,
    }
    figure.update_xaxes(title_text="x (px)", range=[-0.5, width - 0.5], **look)
    anchor = figure.get_subplot(row, column).xaxis.plotly_name.replace("axis", "")
    figure.update_yaxes(title_text="y (px)", range=[height - 0.5, -0.5], scaleanchor=anchor, **look)


def _quantile(values: Array, share: float) -> float:
    known = values[np.isfinite(values)]
    return float(np.quantile(known, share)) if len(known) else np.nan
