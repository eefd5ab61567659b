"""Cameras, boards and world axes in three dimensions: the figure of a rig, and the parts that the 3D player shares.

Lengths are drawn true to scale on all axes, in the rig's unit and in the rig's own coordinates; only the eye of the
figure is turned so that what the pictures show as up is up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from multipose.board import Board
from multipose.camera import Camera, CameraRig
from multipose.errors import DataError
from multipose.view.theme import NEUTRAL, SEQUENTIAL, template, view_colors

Array = npt.NDArray[np.float64]

_BORDER_STEPS = 8
_WIDEST_COSINE = 0.35
MAX_BOARDS = 30


def rig(
    rig: CameraRig,
    boards: tuple[Board, npt.ArrayLike] | None = None,
    points: npt.ArrayLike | None = None,
    *,
    title: str = "Camera rig",
    depth: float | None = None,
) -> go.Figure:
    """Where the cameras of a rig stand and look: their frusta with names, the world's axes, boards and points.

    Args:
        rig: the cameras.
        boards: the board and its poses `world_from_board` (n, 4, 4), NaN where unknown. Of more than 30 boards 30
            evenly chosen ones are drawn, and the title says so.
        points: (..., 3) further points in the rig's unit, for example a trajectory.
        title: heading of the figure.
        depth: how far the drawn frusta reach, in the rig's unit; by default an eighth of the scene.

    Raises:
        DataError: the poses or points have the wrong shape.
    """
    cloud = np.empty((0, 3)) if points is None else _points(points)
    outlines, numbers, n_boards = _board_outlines(boards)
    if depth is None:
        depth = frustum_depth(rig, np.concatenate([cloud, outlines]))
    traces = [world_axes(rig, depth), *camera_traces(rig, depth)]
    if len(outlines):
        traces += _board_traces(outlines, numbers, n_boards)
    if len(cloud):
        traces.append(
            go.Scatter3d(
                name="points",
                mode="markers",
                **columns(cloud),
                marker={"size": 2, "color": NEUTRAL},
                hovertemplate=f"%{{x:.4g}}, %{{y:.4g}}, %{{z:.4g}} {rig.unit}<extra></extra>",
            )
        )
    drawn = len(np.unique(numbers))
    statement = f"<br><sup>{drawn} of {n_boards} boards drawn, evenly chosen</sup>" if drawn < n_boards else ""
    figure = go.Figure(traces)
    figure.update_layout(
        template=template(),
        title={"text": title + statement},
        height=680,
        margin={"l": 0, "r": 0, "t": 92, "b": 0},
        legend=flat_legend(),
        scene={
            **box_scene(rig.unit, box_around(trace_points(traces))),
            "camera": eye(rig, np.concatenate([cloud, outlines])),
        },
        uirevision="view",
    )
    return figure


def box_scene(unit: str, box: Array) -> dict[str, Any]:
    """Axes with their unit over a box (2, 3) of lower and upper bounds, true to scale."""
    axes: dict[str, Any] = {
        f"{axis}axis": {"title": {"text": f"{axis} ({unit})"}, "range": bounds.tolist(), "autorange": False}
        for axis, bounds in zip("xyz", box.T, strict=True)
    }
    return {**axes, "aspectmode": "manual", "aspectratio": aspect(box)}


def box_around(points: Array) -> Array:
    """Lower and upper bounds (2, 3) of points (n, 3), NaN passed over, with a margin of 5 % of the largest side."""
    finite = _finite(points)
    low, high = finite.min(0), finite.max(0)
    margin = 0.05 * max(float((high - low).max()), 1e-9)
    return np.stack([low - margin, high + margin])


def aspect(box: Array) -> dict[str, float]:
    """The ratio that draws a box (2, 3) true to scale, its diagonal as long as that of a unit cube, so that it fits."""
    sides = box[1] - box[0]
    ratio = sides * (np.sqrt(3) / np.linalg.norm(sides))
    return dict(zip("xyz", ratio.tolist(), strict=True))


def trace_points(traces: Sequence[go.Scatter3d | go.Mesh3d]) -> Array:
    """All coordinates (n, 3) of some traces."""
    return np.concatenate([np.column_stack([trace.x, trace.y, trace.z]).astype(np.float64) for trace in traces])


def flat_legend() -> dict[str, Any]:
    """A legend in lines above the scene, where it covers nothing."""
    return {
        "orientation": "h",
        "itemsizing": "constant",
        "x": 0.01,
        "xanchor": "left",
        "y": 1.0,
        "yanchor": "bottom",
        "bgcolor": "rgba(0,0,0,0)",
    }


def camera_traces(rig: CameraRig, depth: float) -> list[go.Scatter3d | go.Mesh3d]:
    """Two traces per camera: its frustum with its name, and the pane that its picture's borders span.

    The bar on the pane marks the picture's upper border.
    """
    traces: list[go.Scatter3d | go.Mesh3d] = []
    colors = view_colors(rig.names)
    for camera in rig:
        lines, pane = frustum(camera, depth)
        x, y, z = camera.center
        hover = (
            f"<b>{camera.name}</b><br>{camera.lens.model} lens, {camera.size[0]} x {camera.size[1]} px<br>"
            f"centre {x:.4g}, {y:.4g}, {z:.4g} {rig.unit}"
        )
        text = np.full(len(lines), "", dtype=object)
        text[0] = camera.name
        traces.append(
            go.Scatter3d(
                name=camera.name,
                legendgroup=camera.name,
                mode="lines+text",
                **columns(lines),
                text=text,
                textposition="top center",
                textfont={"color": colors[camera.name], "size": 14, "weight": "bold"},
                line={"color": colors[camera.name], "width": 3},
                hovertemplate=hover + "<extra></extra>",
            )
        )
        traces.append(
            go.Mesh3d(
                legendgroup=camera.name,
                **columns(pane),
                i=np.zeros(len(pane) - 2, dtype=np.int32),
                j=np.arange(1, len(pane) - 1, dtype=np.int32),
                k=np.arange(2, len(pane), dtype=np.int32),
                color=colors[camera.name],
                opacity=0.14,
                hoverinfo="skip",
            )
        )
    return traces


def frustum(camera: Camera, depth: float) -> tuple[Array, Array]:
    """What a camera sees, cut at a depth: lines to draw, and the border of its picture.

    The border follows the lens, so that distortion shows. Where the lens model does not reach the picture's border, the
    line runs along the last pixels that it reaches on the way from the middle.

    Args:
        camera: the camera.
        depth: distance of the cut along the optical axis; rays more than 70 degrees off it are cut at their length.

    Returns:
        lines (n, 3) with NaN between strokes, the first being the camera's centre, and the border (m, 3).
    """
    width, height = camera.size
    steps = np.linspace(0.0, 1.0, _BORDER_STEPS, endpoint=False)
    zeros, ones = np.zeros_like(steps), np.ones_like(steps)
    border = np.concatenate(
        [
            np.stack([steps, zeros], -1),
            np.stack([ones, steps], -1),
            np.stack([1 - steps, ones], -1),
            np.stack([zeros, 1 - steps], -1),
        ]
    )
    px = _reached(camera, border * (width, height) - 0.5)
    origins, directions = camera.rays(px)
    forward = camera.rotation[2]
    cosines = np.clip(directions @ forward, _WIDEST_COSINE, None)
    ends = origins + directions * (depth / cosines)[:, None]
    pane = ends[np.isfinite(ends).all(-1)]
    if len(pane) < 3:
        raise DataError(
            f"Camera {camera.name}: its lens model reaches next to nothing of its {width} x {height} picture, so its "
            "field cannot be drawn. Check the lens's distortion."
        )
    up = -camera.rotation[1]
    gap = np.full((1, 3), np.nan)
    strokes = [camera.center[None], gap]
    for corner in range(0, len(ends), _BORDER_STEPS):
        strokes += [origins[corner][None], ends[corner][None], gap]
    strokes += [ends, ends[:1], gap]
    top = ends[: _BORDER_STEPS + 1] + up * 0.08 * depth
    strokes += [top]
    return np.concatenate(strokes), pane


def _reached(camera: Camera, border: Array) -> Array:
    """The border pixels (n, 2), each moved towards the picture's middle until the lens model reaches it; else NaN."""
    middle = (np.array(camera.size) - 1) / 2
    px = middle + np.linspace(1.0, 0.05, 96)[:, None, None] * (border - middle)
    reached = np.all(np.isfinite(camera.rays(px)[1]), axis=-1)
    chosen = px[reached.argmax(0), np.arange(len(border))]
    return np.where(reached.any(0)[:, None], chosen, np.nan)


def world_axes(rig: CameraRig, depth: float) -> go.Scatter3d:
    """The world's axes at its origin, one round number of units long."""
    length = _round_down(1.4 * depth)
    gap = [np.nan] * 3
    tips = np.eye(3) * length
    rows = np.array([row for tip in tips for row in ([0.0, 0.0, 0.0], tip, gap)])
    text = [label for axis in "xyz" for label in ("", axis, "")]
    return go.Scatter3d(
        name=f"world axes, {length:g} {rig.unit}",
        mode="lines+text",
        **columns(rows),
        text=text,
        textfont={"color": NEUTRAL, "size": 12},
        line={"color": NEUTRAL, "width": 5},
        hovertemplate="world axis %{text}<extra></extra>",
    )


def frustum_depth(rig: CameraRig, points: Array) -> float:
    """A length for frusta that suits the scene: an eighth of its diagonal, or 1 where one camera is all there is."""
    centers = np.array([camera.center for camera in rig])
    diagonal = float(np.linalg.norm(np.ptp(_finite(np.concatenate([centers, points])), axis=0)))
    return diagonal / 8 if diagonal > 0 else 1.0


def eye(rig: CameraRig, points: Array, distance: float = 2.1) -> dict[str, dict[str, float]]:
    """The figure's camera: upright as the rig's pictures are, half from above, from where the cameras stand.

    Args:
        rig: the cameras.
        points: (n, 3) what they look at; may be none.
        distance: from the middle of a scene whose box is as large as a unit cube.
    """
    up = up_direction(rig)
    centers = np.array([camera.center for camera in rig])
    middle = _finite(points).mean(0) if len(_finite(points)) else np.array([c.rotation[2] for c in rig]).mean(0)
    offsets = centers - (middle if len(_finite(points)) else centers.mean(0) + middle)
    level = offsets - np.outer(offsets @ up, up)
    side = level.mean(0)
    if np.linalg.norm(side) < 0.2 * np.linalg.norm(level, axis=1).max(initial=0.0):
        side = level[np.argmax(np.linalg.norm(level, axis=1))]
    if np.linalg.norm(side) < 1e-9:
        side = rig[rig.names[0]].rotation[0]
    side = side / np.linalg.norm(side)
    turned = np.cos(0.6) * side + np.sin(0.6) * np.cross(up, side)
    position = distance * (0.85 * turned + 0.5 * up)
    return {
        "eye": dict(zip("xyz", position.tolist(), strict=True)),
        "up": dict(zip("xyz", up.tolist(), strict=True)),
        "center": dict(zip("xyz", (-0.1 * up).tolist(), strict=True)),
    }


def up_direction(rig: CameraRig) -> Array:
    """What is up for the rig: the unit vector at right angles to the cameras' x axes, as far as they agree.

    The pictures of a level camera have a horizontal x axis, even where it looks straight down. Nearly parallel cameras
    leave a choice, which the mean of their upward axes makes.
    """
    right = np.array([camera.rotation[0] for camera in rig])
    upward = np.mean([-camera.rotation[1] for camera in rig], axis=0)
    values, vectors = np.linalg.eigh(right.T @ right / len(right) - 0.005 * np.outer(upward, upward))
    up: Array = vectors[:, np.argmin(values)]
    return up if up @ upward >= 0 else -up


def columns(xyz: npt.ArrayLike) -> dict[str, npt.NDArray[np.float32]]:
    """Points (..., 3) as the x, y, z of a trace: single precision, so that files stay small."""
    rows = np.asarray(xyz, dtype=np.float32).reshape(-1, 3)
    return {"x": rows[:, 0], "y": rows[:, 1], "z": rows[:, 2]}


def _points(points: npt.ArrayLike) -> Array:
    rows = np.asarray(points, dtype=np.float64)
    if rows.shape[-1:] != (3,):
        raise DataError(f"points must have the shape (..., 3), got {rows.shape}.")
    return rows.reshape(-1, 3)


def _finite(rows: Array) -> Array:
    return rows[np.isfinite(rows).all(-1)]


def _board_outlines(
    boards: tuple[Board, npt.ArrayLike] | None,
) -> tuple[Array, npt.NDArray[np.int64], int]:
    """Outlines (n, 3) with NaN between boards, the number of the pose of each row, and how many poses are known."""
    if boards is None:
        return np.empty((0, 3)), np.empty(0, dtype=np.int64), 0
    board, given = boards
    poses = np.asarray(given, dtype=np.float64)
    if poses.ndim != 3 or poses.shape[1:] != (4, 4):
        raise DataError(f"Board poses world_from_board must have the shape (n, 4, 4), got {poses.shape}.")
    known = np.flatnonzero(np.isfinite(poses).all((1, 2)))
    chosen = spread(known, MAX_BOARDS)
    left, top, width, height = board.print_area
    right, bottom = left + width, top + height
    corners = np.array(
        [[left, top], [right, top], [right, bottom], [left, bottom], [left, top], [0.0, 0.0], [np.nan, np.nan]]
    )
    flat = np.column_stack([corners, np.where(np.isnan(corners[:, 0]), np.nan, 0.0)])
    outlines = np.einsum("nij,cj->nci", poses[chosen, :3, :3], flat) + poses[chosen, None, :3, 3]
    return outlines.reshape(-1, 3), np.repeat(chosen, len(flat)), len(known)


def _board_traces(outlines: Array, numbers: npt.NDArray[np.int64], n_boards: int) -> list[go.Scatter3d]:
    """The boards, and an entry of the legend in one colour that switches them off."""
    entry = go.Scatter3d(
        name=f"boards ({n_boards})",
        legendgroup="boards",
        mode="lines",
        x=[None],
        y=[None],
        z=[None],
        line={"color": NEUTRAL, "width": 2},
    )
    lines = go.Scatter3d(
        name="boards",
        legendgroup="boards",
        showlegend=False,
        mode="lines",
        **columns(outlines),
        line={
            "color": numbers.astype(np.float32),
            "colorscale": SEQUENTIAL,
            "width": 2,
            "colorbar": {"title": {"text": "board pose number"}, "len": 0.5, "thickness": 12},
            "showscale": True,
        },
        customdata=numbers.astype(np.int32),
        hovertemplate="board pose %{customdata}<extra></extra>",
    )
    return [entry, lines]


def spread(items: Sequence[Any] | npt.NDArray[Any], limit: int) -> Any:
    """At most `limit` of the items, evenly spread over them, the first and the last included."""
    if len(items) <= limit:
        return items
    places = np.round(np.linspace(0, len(items) - 1, limit)).astype(int)
    return np.asarray(items)[places]


def _round_down(length: float) -> float:
    """The largest 1, 2 or 5 times a power of ten that is not above the length."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(max(step * power for step in (1, 2, 5) if step * power <= length * (1 + 1e-12)))
