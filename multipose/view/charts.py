"""Flat figures of numbers: reprojection errors, offsets of key points, training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from multipose.errors import DataError
from multipose.tracks import check_trajectories3d, time_unit_of
from multipose.view.theme import HUES, SEQUENTIAL, keypoint_styles, template

Array = npt.NDArray[np.float64]

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_LONGEST_LINE = 2000


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
            go.Scatter(name=label, mode="lines", x=seconds, y=line, line={"color": color, "width": 1.2}), row=2, col=1
        )
    size = max(len(block) for block in blocks)
    statement = f"<br><sup>over time: in blocks of {size} times</sup>" if size > 1 else ""
    top = None if max_px is None else [0, max_px]
    figure.update_yaxes(title_text="error (px)", rangemode="tozero", range=top)
    figure.update_xaxes(title_text="time (s)" if time_unit_of(tracks) == "s" else "time (frame number)", row=2, col=1)
    figure.update_layout(
        template=template(),
        title={"text": title + statement},
        height=700,
        margin={"t": 96, "l": 8, "r": 8, "b": 8},
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 0.36, "yanchor": "bottom"},
    )
    return figure


def offsets(estimate: xr.Dataset, *, title: str = "Constant offset of each key point and view") -> go.Figure:
    """A heat map of how far the 2D points of a view lie, on average, from where the other views expect them.

    Args:
        estimate: as `estimate_offsets` returns it: `offset` and `sd` (view, keypoint, space) in px, NaN where unknown.
        title: heading of the figure.

    Raises:
        DataError: a variable is missing or has other dimensions.
    """
    for name in ("offset", "sd"):
        if name not in estimate or set(estimate[name].dims) != {"view", "keypoint", "space"}:
            raise DataError(
                "Offsets are a dataset with `offset` and `sd` (view, keypoint, space); got "
                f"{', '.join(map(str, estimate.data_vars))} with the sizes {dict(estimate.sizes)}."
            )
    values, errors = (estimate[name].transpose("keypoint", "view", "space").values for name in ("offset", "sd"))
    rows = [str(keypoint) for keypoint in estimate["keypoint"].values]
    views = [str(view) for view in estimate["view"].values]
    length = np.linalg.norm(values, axis=-1)
    if not np.isfinite(length).any():
        raise DataError("No offset is known: too few frames determine any of them.")
    text = [["" if np.isnan(cell).any() else ", ".join(map(_signed, cell)) for cell in row] for row in values]
    figure = go.Figure(
        go.Heatmap(
            x=views,
            y=rows,
            z=length,
            text=text,
            texttemplate="%{text}",
            customdata=np.concatenate([values, errors], axis=-1),
            colorscale=SEQUENTIAL,
            zmin=0,
            zmax=float(np.nanmax(length)),
            colorbar={"title": {"text": "length of<br>offset (px)"}, "thickness": 14},
            hovertemplate="<b>%{y}, %{x}</b>: %{z:.2f} px<br>dx %{customdata[0]:.2f} ± %{customdata[2]:.2f} px"
            "<br>dy %{customdata[1]:.2f} ± %{customdata[3]:.2f} px<extra></extra>",
            hoverongaps=False,
            xgap=2,
            ygap=2,
        )
    )
    figure.update_layout(
        template=template(),
        title={"text": f"{title}<br><sup>dx, dy in px: seen minus expected</sup>"},
        height=150 + 28 * len(rows),
        margin={"t": 72, "l": 8, "r": 8, "b": 8},
        xaxis={"title": {"text": "view"}, "showgrid": False, "type": "category"},
        yaxis={"title": {"text": "key point"}, "autorange": "reversed", "showgrid": False, "type": "category"},
    )
    return figure


def training_curve(
    metrics: pd.DataFrame | Mapping[str, pd.DataFrame],
    *,
    x: str = "step",
    panels: Mapping[str, Sequence[str]] | None = None,
    title: str = "Training",
) -> go.Figure:
    """What training recorded, one panel per quantity, one line per column (and per view).

    Args:
        metrics: the table of metrics.csv, or one per view.
        x: column of the horizontal axis.
        panels: for each axis title, with unit, the columns to draw; by default the loss and the mean error on the
            held-out pictures. Rows without a value are passed over.
        title: heading of the figure.

    Raises:
        DataError: a column is missing, or a panel has no value.
    """
    tables = {"": metrics} if isinstance(metrics, pd.DataFrame) else dict(metrics)
    if panels is None:
        panels = {"loss": ["loss"], "held-out mean error (px)": ["held_out_mean_px"]}
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


def _quantile(values: Array, share: float) -> float:
    known = values[np.isfinite(values)]
    return float(np.quantile(known, share)) if len(known) else np.nan


def _signed(value: float) -> str:
    """One digit after the point, always with a sign but never -0.0."""
    return f"{round(value, 1) + 0.0:+.1f}"
