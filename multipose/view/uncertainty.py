"""How far a calibration is to be trusted: over the pictures, in the working volume, over radius and time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from multipose.view.corners import color_axis, view_grid, view_heading
from multipose.view.scene import box_around, box_scene, camera_traces, eye, flat_legend, frustum_depth, trace_points
from multipose.view.theme import NEUTRAL, SEQUENTIAL, template, view_colors

if TYPE_CHECKING:
    from multipose.calibration import Calibration
    from multipose.calibration.uncertainty import PictureUncertainty, VolumeUncertainty

Array = npt.NDArray[np.float64]

_HIGHEST_PX = 2.0
_RADII = 10
_SIGMAS = 2.0
_ELLIPSOID_SHARE = 0.04  # of the scene's size: how large the largest ellipsoid is drawn
_STEPS = 13


def picture_maps(
    calibration: Calibration, pictures: dict[str, PictureUncertainty], *, title: str = "Uncertainty over the pictures"
) -> go.Figure:
    """How well each camera knows where a point falls in its picture, from the calibration alone.

    Args:
        calibration: as `calibrate` returns it.
        pictures: by camera, of `multipose.calibration.uncertainty.picture_uncertainty`.
        title: heading of the figure.
    """
    headings = []
    for name in calibration.rig.names:
        sd = pictures[name].sd_px
        known = sd[np.isfinite(sd)]
        middle = f"median {np.median(known):.2g} px" if len(known) else "nothing known"
        folded = f"{np.isnan(sd).mean():.0%} folded back" if np.isnan(sd).any() else ""
        headings.append(view_heading(name, f"{middle}, largest {known.max():.2g} px" if len(known) else middle, folded))
    figure, places = view_grid(calibration.corners, headings)
    for name, (row, column) in places.items():
        picture = pictures[name]
        figure.add_trace(
            go.Heatmap(
                x=picture.x.astype(np.float32),
                y=picture.y.astype(np.float32),
                z=picture.sd_px.astype(np.float32),
                coloraxis="coloraxis",
                hoverongaps=False,
                hovertemplate="%{x:.0f}, %{y:.0f} px: ± %{z:.3f} px<extra></extra>",
            ),
            row=row,
            col=column,
        )
    note = f"one standard deviation, worst direction; the colours end at {_HIGHEST_PX:g} px; blank: the lens folds back"
    figure.update_layout(
        title={"text": f"{title}<br><sup>{note}</sup>"}, coloraxis=color_axis("± px", _HIGHEST_PX)
    )  # fmt: skip
    return figure


def volume_map(
    calibration: Calibration, volume: VolumeUncertainty, *, title: str = "Uncertainty in the working volume"
) -> go.Figure:
    """How well the rig measures points, from the calibration alone, and ellipsoids of the cameras' places.

    Args:
        calibration: as `calibrate` returns it.
        volume: of `multipose.calibration.uncertainty.volume_uncertainty`, with points.
        title: heading of the figure.
    """
    rig, unit = calibration.rig, calibration.rig.unit
    depth = frustum_depth(rig, volume.xyz)
    cameras = camera_traces(rig, depth)
    box = box_around(np.concatenate([trace_points(cameras), volume.xyz]))
    enlarged = _ellipsoid_scale(volume.centers, float((box[1] - box[0]).max()))
    colors = view_colors(rig.names)
    traces = [
        *cameras,
        *(
            _ellipsoid(camera.name, camera.center, covariance, enlarged, colors[camera.name], unit)
            for camera, covariance in zip(rig, volume.centers, strict=True)
        ),
        go.Scatter3d(
            name="points",
            mode="markers",
            **dict(zip("xyz", volume.xyz.T.astype(np.float32), strict=True)),
            marker={
                "size": 4,
                "color": volume.sd.astype(np.float32),
                "colorscale": SEQUENTIAL,
                "cmin": 0,
                "colorbar": {"title": {"text": f"± {unit}"}, "thickness": 14},
            },
            hovertemplate=f"%{{x:.4g}}, %{{y:.4g}}, %{{z:.4g}} {unit}: ± %{{marker.color:.3g}} {unit}<extra></extra>",
            showlegend=False,
        ),
    ]
    note = (
        f"points: one standard deviation, median {np.median(volume.sd):.2g} {unit}, "
        f"largest {volume.sd.max():.2g} {unit}; "
        f"ellipsoids of the cameras' places: {_SIGMAS:g} standard deviations, {enlarged:g} times enlarged"
    )
    figure = go.Figure(traces)
    figure.update_layout(
        template=template(),
        title={"text": f"{title}<br><sup>{note}</sup>"},
        height=680,
        margin={"l": 0, "r": 0, "t": 92, "b": 0},
        legend=flat_legend(),
        scene={**box_scene(unit, box), "camera": eye(rig, volume.xyz)},
        uirevision="view",
    )
    return figure


def residual_trends(calibration: Calibration, *, title: str = "Residuals over radius and time") -> go.Figure:
    """RMS of each camera over the distance from its picture's middle, and over the instants.

    A rise towards the edge says that the lens model does not reach that far; instants that stand out were blurred, or
    out of step. Solid: fitted; dotted: boards left out.
    """
    colors = view_colors(calibration.rig.names)
    figure = make_subplots(
        rows=1, cols=2, subplot_titles=["over the distance from the middle", "over the instants, boards left out"]
    )
    for view, camera in enumerate(calibration.rig):
        middle = (np.array(camera.size) - 1) / 2
        radius = np.linalg.norm(calibration.corners.px[view] - middle, axis=-1)
        for kind, residuals, dash in (
            ("fitted", calibration.residuals[view], "solid"),
            ("left out", calibration.held_out_residuals[view], "dot"),
        ):
            places, values = _rms_over(radius, residuals, float(np.linalg.norm(middle)))
            figure.add_trace(
                go.Scatter(
                    name=camera.name, legendgroup=camera.name, showlegend=kind == "fitted", mode="lines+markers",
                    x=places.astype(np.float32), y=values.astype(np.float32), marker={"size": 4},
                    line={"color": colors[camera.name], "dash": dash},
                    hovertemplate=f"{camera.name}, {kind}: %{{y:.3f}} px at %{{x:.0f}} px<extra></extra>",
                ),
                row=1,
                col=1,
            )  # fmt: skip
        squared = (calibration.held_out_residuals[view] ** 2).sum(-1)
        seen = np.isfinite(squared).any(-1)
        figure.add_trace(
            go.Scatter(
                name=camera.name, legendgroup=camera.name, showlegend=False, mode="markers",
                x=calibration.corners.frames[seen], y=np.sqrt(np.nanmean(squared[seen], axis=-1)).astype(np.float32),
                marker={"size": 5, "color": colors[camera.name]},
                hovertemplate=f"{camera.name}, frame %{{x}}: %{{y:.3f}} px<extra></extra>",
            ),
            row=1,
            col=2,
        )  # fmt: skip
    figure.update_xaxes(title_text="distance from the middle (px)", rangemode="tozero", row=1, col=1)
    figure.update_xaxes(title_text="frame", row=1, col=2)
    figure.update_yaxes(title_text="RMS (px)", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(rangemode="tozero", row=1, col=2)
    figure.update_layout(
        template=template(), title={"text": title}, height=460, margin={"t": 120, "l": 8, "r": 8, "b": 8}
    )
    return figure


def _rms_over(radius: Array, residuals: Array, largest: float) -> tuple[Array, Array]:
    """Middles and RMS of rings of equal width that hold residuals (..., 2) at a radius (...)."""
    known = np.isfinite(residuals).all(-1)
    squared, ring = (
        (residuals[known] ** 2).sum(-1),
        np.minimum((radius[known] / largest * _RADII).astype(int), _RADII - 1),
    )
    number = np.bincount(ring, minlength=_RADII)
    filled = number > 0
    total = np.bincount(ring, squared, minlength=_RADII)
    return ((np.arange(_RADII) + 0.5) * largest / _RADII)[filled], np.sqrt(total[filled] / number[filled])


def _ellipsoid_scale(centers: Array, size: float) -> float:
    """A round factor that makes the largest ellipsoid visible in a scene of that size."""
    largest = _SIGMAS * float(np.sqrt(np.linalg.eigvalsh(centers)[:, -1].max()))
    return float(f"{_ELLIPSOID_SHARE * size / largest:.1g}") if largest > 0 else 1.0


def _ellipsoid(name: str, center: Array, covariance: Array, enlarged: float, color: str, unit: str) -> go.Surface:
    values, vectors = np.linalg.eigh(covariance)
    axes = vectors * (_SIGMAS * enlarged * np.sqrt(np.maximum(values, 0.0)))
    u, v = np.meshgrid(np.linspace(0, 2 * np.pi, _STEPS), np.linspace(0, np.pi, _STEPS))
    sphere = np.stack([np.cos(u) * np.sin(v), np.sin(u) * np.sin(v), np.cos(v)], axis=-1)
    x, y, z = np.moveaxis((center + sphere @ axes.T).astype(np.float32), -1, 0)
    sd = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    said = " ".join(f"{axis} ± {value:.3g}" for axis, value in zip("xyz", sd, strict=True))
    return go.Surface(
        name=name, x=x, y=y, z=z, opacity=0.55, showscale=False, colorscale=[[0, color], [1, color]],
        hovertemplate=f"{name}: {said} {unit}<extra></extra>", lighting={"ambient": 0.7},
        contours={axis: {"highlight": False, "color": NEUTRAL} for axis in "xyz"},
    )  # fmt: skip
