"""Figures of how honest a network is: how far its points are off, what ellipses hold, what confidences are worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from multipose.view.theme import HUES, template

Array = npt.NDArray[np.float64]

_LEVELS = np.round(np.arange(0.05, 1.0, 0.05), 2)
_FARTHEST = 0.98  # quantile of all errors at which the curves of errors end


class Judged(Protocol):
    """Labels and a network's points side by side, as `evaluate` returns them."""

    @property
    def error(self) -> Array:
        """(n, keypoint) distance px; NaN where there is no label."""

    def coverage(self, level: float) -> float:
        """Share of the labelled positions within the ellipses that should hold this share of them."""

    def reliability(self) -> pd.DataFrame:
        """Points in bins of their confidence: mean confidence, share present, and number n of each bin."""


def reliability(evaluation: Judged, *, title: str = "Reliability") -> go.Figure:
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


def error_curves(evaluations: Mapping[str, Judged], *, title: str = "Errors") -> go.Figure:
    """For each evaluation, the share of its labelled points that are at most so many px off (PCK).

    Args:
        evaluations: by name, each with at least one label.
        title: heading of the figure.
    """
    errors = {name: np.sort(part.error[np.isfinite(part.error)]) for name, part in evaluations.items()}
    farthest = max(float(np.quantile(error, _FARTHEST)) for error in errors.values())
    figure = go.Figure()
    for place, (name, error) in enumerate(errors.items()):
        share = np.arange(1, len(error) + 1) / len(error)
        line = {"color": HUES[place % len(HUES)], "width": 2, "shape": "hv"}
        figure.add_trace(go.Scatter(name=name, x=error, y=share, mode="lines", line=line))
    figure.update_xaxes(title_text="distance from the label (px)", range=[0, farthest])
    figure.update_yaxes(title_text="share of the points at most so far off", range=[0, 1.02])
    figure.update_layout(template=template(), title=title, height=430, showlegend=len(errors) > 1)
    return figure
