"""Key points over a picture: confidence, covariance ellipses and the skeleton."""

from __future__ import annotations

import base64

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from multipose.errors import DataError
from multipose.opencv import cv2
from multipose.skeleton import Skeleton
from multipose.view.theme import KeypointStyle, keypoint_styles, template

Array = npt.NDArray[np.float64]
Picture = npt.NDArray[np.uint8]

CHI2_95 = 5.991464547107979
"""95 % point of the chi-square distribution with two degrees of freedom, -2 ln 0.05."""

_ELLIPSE_STEPS = 36


def keypoints_on_frame(
    picture: Picture,
    xy: npt.ArrayLike,
    skeleton: Skeleton,
    *,
    confidence: npt.ArrayLike | None = None,
    covariance: npt.ArrayLike | None = None,
    title: str = "Key points",
) -> go.Figure:
    """Key points drawn over the picture that they lie in.

    Args:
        picture: (h, w, 3) RGB.
        xy: (keypoint, 2) px, or (individual, keypoint, 2); NaN where unknown.
        skeleton: names and edges.
        confidence: (keypoint,) or (individual, keypoint), 0 to 1: drawn as opacity.
        covariance: (..., keypoint, 2, 2) px²: drawn as the ellipse that holds 95 % of a normal distribution.
        title: heading of the figure.

    Raises:
        DataError: a shape does not fit the skeleton or the picture is not (h, w, 3) uint8.
    """
    points = np.asarray(xy, dtype=np.float64)
    if points.ndim not in (2, 3) or points.shape[-2:] != (len(skeleton), 2):
        raise DataError(
            f"xy must have the shape ({len(skeleton)}, 2) of the skeleton's key points, got {points.shape}."
        )
    points = points.reshape(-1, len(skeleton), 2)
    trust = None if confidence is None else np.asarray(confidence, dtype=np.float64).reshape(points.shape[:2])
    spread = None if covariance is None else np.asarray(covariance, dtype=np.float64).reshape(*points.shape, 2)
    height, width = picture.shape[:2]
    figure = go.Figure()
    figure.add_layout_image(
        source=jpeg_uri(picture),
        xref="x",
        yref="y",
        x=-0.5,
        y=-0.5,
        sizex=width,
        sizey=height,
        sizing="stretch",
        layer="below",
    )
    styles = keypoint_styles(skeleton.keypoints, skeleton)
    for place, individual in enumerate(points):
        figure.add_trace(_edge_trace(individual, skeleton, first=place == 0))
    for keypoint, style in enumerate(styles):
        if spread is not None:
            rings = [
                covariance_ellipse(points[place, keypoint], spread[place, keypoint]) for place in range(len(points))
            ]
            outline = np.concatenate([np.vstack([ring, np.full((1, 2), np.nan)]) for ring in rings])
            figure.add_trace(
                go.Scatter(
                    legendgroup=style.name,
                    showlegend=False,
                    mode="lines",
                    x=outline[:, 0].astype(np.float32),
                    y=outline[:, 1].astype(np.float32),
                    line={"color": style.color, "width": 1.5},
                    hoverinfo="skip",
                )
            )
        values = np.full(len(points), np.nan) if trust is None else trust[:, keypoint]
        certain = "" if trust is None else "<br>confidence %{customdata:.2f}"
        figure.add_trace(_legend_entry(style))
        figure.add_trace(
            go.Scatter(
                name=style.name,
                legendgroup=style.name,
                showlegend=False,
                mode="markers",
                x=points[:, keypoint, 0],
                y=points[:, keypoint, 1],
                customdata=values,
                marker={
                    "color": style.color,
                    "symbol": style.symbol,
                    "size": 9,
                    "opacity": 1.0 if trust is None else np.clip(np.nan_to_num(values, nan=1.0), 0.15, 1.0),
                    "line": {"color": "white", "width": 1},
                },
                hovertemplate=f"<b>{style.name}</b><br>%{{x:.2f}}, %{{y:.2f}} px{certain}<extra></extra>",
            )
        )
    said = [
        *(["opacity: confidence"] if trust is not None else []),
        *(["ellipses: 95 % of the predicted error"] if spread is not None else []),
    ]
    figure.update_layout(
        template=template(),
        title={"text": title + (f"<br><sup>{'; '.join(said)}</sup>" if said else "")},
        height=int(np.clip(900 * height / width, 320, 760)) + 90,
        margin={"l": 8, "r": 8, "t": 60, "b": 8},
        xaxis={"range": [-0.5, width - 0.5], "title": {"text": "x (px)"}, "showgrid": False, "constrain": "domain"},
        yaxis={
            "range": [height - 0.5, -0.5],
            "title": {"text": "y (px)"},
            "showgrid": False,
            "scaleanchor": "x",
            "constrain": "domain",
        },
    )
    return figure


def covariance_ellipse(center: npt.ArrayLike, covariance: npt.ArrayLike, steps: int = _ELLIPSE_STEPS) -> Array:
    """The closed line (steps + 1, 2) around 95 % of a normal distribution; NaN where the covariance is not one.

    Args:
        center: (2,) px.
        covariance: (2, 2) px².
        steps: number of pieces of the line.
    """
    middle, matrix = np.asarray(center, dtype=np.float64), np.asarray(covariance, dtype=np.float64)
    if not (np.isfinite(middle).all() and np.isfinite(matrix).all()):
        return np.full((steps + 1, 2), np.nan)
    values, axes = np.linalg.eigh(matrix)
    if values.min() < 0:
        return np.full((steps + 1, 2), np.nan)
    angle = np.linspace(0, 2 * np.pi, steps + 1)
    circle = np.stack([np.cos(angle), np.sin(angle)], -1)
    ring: Array = middle + np.sqrt(CHI2_95) * (circle * np.sqrt(values)) @ axes.T
    return ring


def jpeg_uri(picture: Picture, quality: int = 88) -> str:
    """The picture as JPEG in a data URI, so that a page needs no second file.

    Raises:
        DataError: the picture is not (h, w, 3) uint8.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise DataError(f"A picture must be (h, w, 3) uint8, got {picture.shape} {picture.dtype}.")
    _, data = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")


def _legend_entry(style: KeypointStyle) -> go.Scatter:
    """A mark for the legend alone, which would else take the opacity of the first individual's point."""
    return go.Scatter(
        name=style.name,
        legendgroup=style.name,
        mode="markers",
        x=[None],
        y=[None],
        marker={"color": style.color, "symbol": style.symbol, "size": 9},
    )


def _edge_trace(points: Array, skeleton: Skeleton, *, first: bool) -> go.Scatter:
    ends = np.full((len(skeleton.edges), 3, 2), np.nan)
    ends[:, :2] = points[skeleton.edge_indices]
    ends[~np.isfinite(ends[:, :2]).all((1, 2))] = np.nan
    lines = ends.reshape(-1, 2).astype(np.float32)
    return go.Scatter(
        name="skeleton",
        legendgroup="skeleton",
        showlegend=first and bool(skeleton.edges),
        mode="lines",
        x=lines[:, 0],
        y=lines[:, 1],
        line={"color": "#c3cad3", "width": 2},
        hoverinfo="skip",
    )
