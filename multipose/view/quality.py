"""Figures of how honest a network is: how far its points are off, what ellipses hold, what confidences are worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from multipose.view.theme import HUES, NEUTRAL, template

if TYPE_CHECKING:
    from multipose.pose2d import Comparison, Evaluation

Array = npt.NDArray[np.float64]

_LEVELS = np.round(np.arange(0.05, 1.0, 0.05), 2)
_DASHES = ("solid", "dash", "dot")  # of lines beyond the number of hues
_FARTHEST = 0.98  # the curves of errors end at this quantile of the errors ...
_MEDIANS = 6.0  # ... or at so many medians, where gross errors would make the rest unreadable


def reliability(evaluation: Evaluation, *, title: str = "Reliability") -> go.Figure:
    """What the ellipses hold against what they should, and how many points are there against their confidence.

    A perfect network lies on the diagonals; ellipses above it are too wide, and confidences above it too low.

    Args:
        evaluation: as `evaluate` returns it, with at least one label.
        title: heading of the figure.
    """
    figure = make_subplots(rows=1, cols=2, horizontal_spacing=0.14)
    held = [evaluation.coverage(float(level)) for level in _LEVELS]
    bins = evaluation.reliability()
    for column, (name, x, y, hover) in enumerate(
        (
            ("labels in their ellipses", _LEVELS, held, [""] * len(_LEVELS)),
            ("points in the picture", bins["confidence"], bins["present"], [f"{n} points" for n in bins["n"]]),
        ),
        start=1,
    ):
        figure.add_trace(
            go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line={"dash": "dot", "color": "gray"}, showlegend=False),
            row=1,
            col=column,
        )
        figure.add_trace(
            go.Scatter(name=name, x=x, y=y, text=hover, mode="lines+markers", line={"color": HUES[column - 1]}),
            row=1,
            col=column,
        )
    figure.update_xaxes(title_text="size of the ellipse (share it should hold)", range=[0, 1], row=1, col=1)
    figure.update_yaxes(title_text="share of the labels it holds", range=[0, 1.02], row=1, col=1)
    figure.update_xaxes(title_text="confidence", range=[0, 1], row=1, col=2)
    figure.update_yaxes(title_text="share of the points in the picture", range=[0, 1.02], row=1, col=2)
    figure.update_layout(template=template(), title=title, height=430)
    return figure


def error_curves(evaluations: Mapping[str, Evaluation], *, title: str = "Errors") -> go.Figure:
    """For each evaluation, the share of its labelled points that are at most so many px off (PCK).

    Args:
        evaluations: by name, each with at least one label.
        title: heading of the figure.
    """
    errors = {name: np.sort(part.error[np.isfinite(part.error)]) for name, part in evaluations.items()}
    farthest = max(
        min(float(np.quantile(error, _FARTHEST)), _MEDIANS * float(np.median(error))) or float(error[-1])
        for error in errors.values()
    )
    figure = go.Figure()
    for place, (name, error) in enumerate(errors.items()):
        share = np.arange(1, len(error) + 1) / len(error)
        dash = _DASHES[place // len(HUES) % len(_DASHES)]
        line = {"color": HUES[place % len(HUES)], "width": 2, "shape": "hv", "dash": dash}
        figure.add_trace(go.Scatter(name=name, x=error, y=share, mode="lines", line=line))
    figure.update_xaxes(title_text="distance from the label (px)", range=[0, farthest])
    figure.update_yaxes(title_text="share of the points at most so far off", range=[0, 1.02])
    figure.update_layout(template=template(), title=title, height=430, showlegend=len(errors) > 1)
    return figure


def label_curve(
    folds: Mapping[int, Sequence[Evaluation]], *, title: str = "Error over the number of labelled pictures"
) -> go.Figure:
    """Mean and median error against the number of pictures learned from, over all key points and for each.

    Bars span the folds.

    Args:
        folds: the evaluations of the folds, by the number of pictures that their networks learned from.
        title: heading of the figure.
    """
    counts = sorted(folds)
    names = ("all", *folds[counts[0]][0].keypoints)
    figure = make_subplots(
        rows=2,
        cols=2,
        shared_yaxes=True,
        shared_xaxes=True,
        horizontal_spacing=0.05,
        vertical_spacing=0.08,
        subplot_titles=["all key points", "each key point"],
    )
    averages: dict[str, Callable[[Array], Any]] = {"mean": np.mean, "median": np.median}
    for row, (said, average) in enumerate(averages.items(), start=1):
        for place, name in enumerate(names):
            parts = [
                [part.error if name == "all" else part.error[:, place - 1] for part in folds[count]] for count in counts
            ]
            values = np.array([_average(np.concatenate([error.ravel() for error in part]), average) for part in parts])
            ends = np.array([_span([_average(error, average) for error in part]) for part in parts])
            hue = max(0, place - 1)
            figure.add_trace(
                go.Scatter(
                    name=name,
                    legendgroup=name,
                    showlegend=row == 1,
                    x=counts,
                    y=values,
                    mode="lines+markers",
                    line={
                        "color": HUES[hue % len(HUES)],
                        "width": 3 if name == "all" else 1.5,
                        "dash": _DASHES[hue // len(HUES) % len(_DASHES)],
                    },
                    error_y={
                        "array": ends[:, 1] - values,
                        "arrayminus": values - ends[:, 0],
                        "thickness": 1,
                        "width": 4,
                    },
                    hovertemplate=f"<b>{name}</b>, %{{x}} pictures: %{{y:.2f}} px<extra></extra>",
                ),
                row=row,
                col=1 if name == "all" else 2,
            )
        figure.update_yaxes(title_text=f"{said} error (px)", row=row, col=1)
    figure.update_xaxes(type="log", tickvals=counts, ticktext=[str(count) for count in counts])
    figure.update_xaxes(title_text="pictures learned from", row=2)
    figure.update_yaxes(rangemode="tozero")
    figure.update_layout(
        template=template(),
        title={"text": f"{title}<br><sup>bars: best and worst fold</sup>"},
        height=680,
        margin={"t": 90},
    )
    return figure


def differences(comparison: Comparison, names: tuple[str, str], *, title: str = "Which is nearer?") -> go.Figure:
    """Mean differences of two networks' errors with their 95 % intervals, over all key points and for each.

    Args:
        comparison: as `compare_evaluations` returns it.
        names: of the first and the second network.
        title: heading of the figure.
    """
    whole, table = comparison.mean_difference, comparison.keypoint_table()
    rows = ["all", *table["keypoint"]]
    means = np.array([whole.mean, *table["difference_px"]])
    low, high = np.array([whole.low, *table["low_px"]]), np.array([whole.high, *table["high_px"]])
    colors = [HUES[0] if end < 0 else HUES[1] if start > 0 else NEUTRAL for start, end in zip(low, high, strict=True)]
    figure = go.Figure()
    for place, row in enumerate(rows):
        known = np.isfinite(low[place])
        figure.add_trace(
            go.Scatter(
                x=[means[place]],
                y=[row],
                mode="markers",
                marker={"color": colors[place], "size": 11 if row == "all" else 8},
                error_x={
                    "array": [high[place] - means[place]],
                    "arrayminus": [means[place] - low[place]],
                    "color": colors[place],
                    "visible": bool(known),
                },
                hovertemplate=f"<b>{row}</b>: %{{x:+.2f}} px ({low[place]:+.2f} to {high[place]:+.2f})<extra></extra>",
            )
        )
    figure.add_vline(x=0, line={"dash": "dot", "color": "gray"})
    figure.update_xaxes(title_text=f"error of {names[1]} less that of {names[0]} (px); left of 0 {names[1]} is better")
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_layout(template=template(), title=title, height=140 + 28 * len(rows), showlegend=False)
    return figure


def _average(values: Array, average: Callable[[Array], Any]) -> float:
    known = values[np.isfinite(values)]
    return float(average(known)) if len(known) else np.nan


def _span(values: Sequence[float]) -> tuple[float, float]:
    """The lowest and the highest of the values that are there; NaN where none is."""
    known = [value for value in values if np.isfinite(value)]
    return (min(known), max(known)) if known else (np.nan, np.nan)
