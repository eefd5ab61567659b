"""The 3D player: trajectories with a time slider, the skeleton, names, and the cameras that saw them.

It opens on the animal; a button shows the whole rig. The slider tells frame number and time.

The file stays small and the player quick: what stands still is stored once, each frame carries only the coordinates and
the hover values of the points, in single precision, and long recordings are shown at evenly chosen times, which the
title says.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
import xarray as xr

from multipose.camera import CameraRig
from multipose.errors import DataError
from multipose.skeleton import Skeleton
from multipose.tracks import check_trajectories3d, frame_numbers, time_unit_of
from multipose.view.scene import (
    aspect,
    box_around,
    box_scene,
    camera_traces,
    columns,
    eye,
    flat_legend,
    frustum_depth,
    trace_points,
)
from multipose.view.theme import HUES, NEUTRAL, keypoint_styles, template

Array = npt.NDArray[np.float64]

_HEIGHT = 620  # with the page's heading, the whole player fits into a window of 1280 x 800 px
_SPEEDS = ((1.0, "▶ play"), (0.25, "▶ slow, 1/4"))


def trajectories(
    tracks: xr.Dataset,
    rig: CameraRig | None = None,
    skeleton: Skeleton | None = None,
    *,
    title: str = "3D trajectories",
    max_frames: int = 1000,
) -> go.Figure:
    """A player of 3D trajectories: slider, play buttons, skeleton, names, camera frusta; gaps stay gaps.

    It opens on where 99 % of the points are in the whole recording; buttons show all points, or the whole rig with its
    cameras. The axes' ranges do not move with time. A button switches the names beside the points off and on; hovering
    over a point shows its name, coordinates, reprojection error, number of views and confidence.

    Args:
        tracks: Trajectories3D.
        rig: cameras to draw; its unit must be that of the tracks.
        skeleton: edges to draw between key points, and which ones are left and right.
        title: heading of the figure.
        max_frames: of longer recordings every n-th time is shown, and the title says so.

    Raises:
        DataError: the tracks hold no known point, the units differ, or the skeleton has other key points.
    """
    check_trajectories3d(tracks)
    unit = str(tracks.attrs["unit"])
    if rig is not None and rig.unit != unit:
        raise DataError(f"The trajectories are in {unit} and the rig is in {rig.unit}; convert one of them.")
    names = [str(name) for name in tracks["keypoint"].values]
    if skeleton is not None and list(skeleton.keypoints) != names:
        raise DataError(
            f"The skeleton's key points ({', '.join(skeleton.keypoints)}) are not those of the trajectories "
            f"({', '.join(names)})."
        )
    if max_frames < 1:
        raise DataError(f"max_frames must be at least 1, got {max_frames}.")
    position = tracks["position"].transpose("time", "individual", "keypoint", "space").values
    known = np.isfinite(position).all(-1)
    if not known.any():
        raise DataError("The trajectories hold no known point, so there is nothing to play.")
    step = -(-len(position) // max_frames)
    shown = np.arange(0, len(position), step)
    times = tracks["time"].values[shown]
    hover = np.stack(
        [
            tracks[variable].transpose("time", "individual", "keypoint").values[shown]
            for variable in ("reprojection_error", "n_views", "confidence")
        ],
        axis=-1,
    )
    individuals = [str(name) for name in tracks["individual"].values]
    edges = np.empty((0, 2), dtype=np.int64) if skeleton is None else skeleton.edge_indices

    moving = _moving_traces(individuals, names, skeleton, unit)
    states = [_state(position[time], values, edges) for time, values in zip(shown, hover, strict=True)]
    for trace, values in zip(moving, states[0], strict=True):
        trace.update(values)
    still: list[Any] = []
    points = position[known]
    views = {
        "animal": (box_around(np.quantile(points, [0.005, 0.995], axis=0)), False),
        "all points": (box_around(points), False),
    }
    if rig is not None:
        still = camera_traces(rig, frustum_depth(rig, points) * 0.8)
        views["whole rig"] = (box_around(np.concatenate([points, trace_points(still)])), True)
        for trace in still:
            trace.visible = False

    figure = go.Figure(
        data=[*moving, *still],
        frames=[
            {"name": str(time), "data": values, "traces": list(range(len(moving)))}
            for time, values in zip(shown.tolist(), states, strict=True)
        ],
    )
    statement = _statement(tracks, len(shown), step)
    named = [place for place, trace in enumerate(moving) if trace.mode != "lines"]
    figure.update_layout(
        template=template(),
        title={"text": f"{title}<br><sup>{statement}</sup>"},
        height=_HEIGHT,
        margin={"l": 0, "r": 0, "t": 86, "b": 0},
        legend=flat_legend(),
        scene={
            **box_scene(unit, views["animal"][0]),
            "domain": {"y": [0.08, 1.0]},
            "camera": eye(rig, points, 1.8) if rig is not None else {"eye": {"x": 1.1, "y": -1.1, "z": 0.8}},
        },
        uirevision="view",
        updatemenus=[
            _play_menu(times, step),
            _names_menu(named),
            _view_menu(views, list(range(len(moving), len(figure.data)))),
        ],
        sliders=[_slider(shown, times, frame_numbers(tracks), time_unit_of(tracks) == "s")],
    )
    return figure


def _moving_traces(
    individuals: list[str], names: list[str], skeleton: Skeleton | None, unit: str
) -> list[go.Scatter3d]:
    """Per individual one trace of points and one of edges, without coordinates."""
    styles = keypoint_styles(names, skeleton)
    template_text = (
        f"<b>%{{text}}</b><br>%{{x:.2f}}, %{{y:.2f}}, %{{z:.2f}} {unit}"
        "<br>reprojection error %{customdata[0]:.2f} px<br>%{customdata[1]} views"
        "<br>confidence %{customdata[2]:.2f}<extra></extra>"
    )
    traces = []
    for place, individual in enumerate(individuals):
        color = NEUTRAL if len(individuals) == 1 else HUES[place % len(HUES)]
        prefix = "" if len(individuals) == 1 else f"{individual} "
        traces.append(
            go.Scatter3d(
                name=f"{prefix}skeleton",
                mode="lines",
                line={"color": color, "width": 6},
                hoverinfo="skip",
                showlegend=skeleton is not None and bool(skeleton.edges),
            )
        )
        traces.append(
            go.Scatter3d(
                name=f"{prefix}key points",
                mode="markers+text",
                textposition="middle right",
                textfont={"size": 13},
                text=[f"{prefix}{name}" for name in names],
                marker={
                    "color": [style.color for style in styles],
                    "symbol": [style.symbol for style in styles],
                    "size": [14 if style.right else 18 for style in styles],  # plotly draws a list at half its size
                    "opacity": 1,
                    "line": {"width": 0},
                },
                hovertemplate=template_text,
            )
        )
    return traces


def _state(position: Array, hover: Array, edges: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
    """What the moving traces show at one time, from (individual, keypoint, 3) and (individual, keypoint, 3)."""
    state: list[dict[str, Any]] = []
    for xyz, values in zip(position, hover, strict=True):
        ends = np.full((len(edges), 3, 3), np.nan)
        whole = np.isfinite(xyz).all(-1)[edges].all(-1)
        ends[whole, :2] = xyz[edges[whole]]
        state.append({"type": "scatter3d", **columns(ends)})
        state.append({"type": "scatter3d", **columns(xyz), "customdata": values.astype(np.float32)})
    return state


def _statement(tracks: xr.Dataset, n_shown: int, step: int) -> str:
    n_times = tracks.sizes["time"]
    fps = tracks.attrs.get("fps")
    rate = f", {fps:g} per second" if fps else ""
    if step == 1:
        return f"{n_times} times{rate}"
    return f"{n_shown} of {n_times} times{rate}: one in {step} is shown; the file of trajectories holds them all"


def _play_menu(times: Array, step: int) -> dict[str, Any]:
    interval = 1000 * float(np.median(np.diff(times))) if len(times) > 1 else 40.0
    buttons = [
        {
            "label": label,
            "method": "animate",
            "args": [
                None,
                {
                    "mode": "immediate",
                    "fromcurrent": True,
                    "frame": {"duration": round(interval / speed, 2), "redraw": True},
                    "transition": {"duration": 0},
                },
            ],
        }
        for speed, label in _SPEEDS
    ]
    stop = {
        "label": "▮▮ pause",
        "method": "animate",
        "args": [[None], {"mode": "immediate", "frame": {"duration": 0, "redraw": False}}],
    }
    return {
        "type": "buttons",
        "direction": "left",
        "showactive": False,
        "x": 0.01,
        "xanchor": "left",
        "y": 0.0,
        "yanchor": "bottom",
        "pad": {"b": 8},
        "buttons": [*buttons, stop],
    }


def _names_menu(named: list[int]) -> dict[str, Any]:
    """A button that switches the names beside the points of these traces off and on."""
    button = {
        "label": "names",
        "method": "restyle",
        "args": [{"mode": "markers+text"}, named],
        "args2": [{"mode": "markers"}, named],
    }
    return {
        "type": "buttons",
        "active": 0,
        "x": 0.5,
        "xanchor": "center",
        "y": 0.0,
        "yanchor": "bottom",
        "pad": {"b": 8},
        "buttons": [button],
    }


def _view_menu(views: dict[str, tuple[Array, bool]], cameras: list[int]) -> dict[str, Any]:
    """Buttons that show a box each, with or without the traces of cameras."""
    buttons = []
    for label, (box, with_cameras) in views.items():
        changes: dict[str, Any] = {
            f"scene.{axis}axis.range": box[:, place].tolist() for place, axis in enumerate("xyz")
        }
        changes["scene.aspectratio"] = aspect(box)
        buttons.append({"label": label, "method": "update", "args": [{"visible": with_cameras}, changes, cameras]})
    return {
        "type": "buttons",
        "direction": "left",
        "x": 0.99,
        "xanchor": "right",
        "y": 0.0,
        "yanchor": "bottom",
        "pad": {"b": 8},
        "buttons": buttons,
    }


def _slider(
    shown: npt.NDArray[np.int64], times: Array, numbers: npt.NDArray[np.int64] | None, in_seconds: bool
) -> dict[str, Any]:
    """A slider that tells the frame number (without a steady rate the place in the recording, from 0) and the time.

    Args:
        shown: (n,) rows of the recording.
        times: (n,) of these rows.
        numbers: (time,) frame numbers of all rows.
        in_seconds: whether the times are.
    """
    options = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    digits = 3 if len(times) > 1 and float(np.median(np.diff(times))) < 0.02 else 2
    steps = []
    for row, time in zip(shown.tolist(), times.tolist(), strict=True):
        frame = f"moment {row}" if numbers is None else f"frame {numbers[row]}"
        label = f"{frame}, {time:.{digits}f} s" if in_seconds else frame
        steps.append({"label": label, "method": "animate", "args": [[str(row)], options]})
    return {
        "steps": steps,
        "x": 0.05,
        "len": 0.9,
        "pad": {"t": 12, "b": 12},
        "currentvalue": {"prefix": "", "xanchor": "left", "font": {"size": 17}},
    }
