"""Board corners over the pictures of the views: where they were seen, and what a calibration leaves unexplained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from multipose.corners import Corners
from multipose.errors import DataError
from multipose.view.scene import spread
from multipose.view.theme import SEQUENTIAL, template, view_colors

if TYPE_CHECKING:
    from multipose.calibration import Calibration

Array = npt.NDArray[np.float64]

CELLS_ALONG_WIDTH = 16
MAX_POINTS = 4000
FEWEST_IN_CELL = 5


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
        n = len(_seen(corners, view))
        headings.append(view_heading(view, f"{boards} boards, {n} corners", f"{filled.sum()} of {filled.size} cells"))
    figure, places = view_grid(corners, headings)
    highest = max(1.0, max(float(count.max()) for count in counts.values()))
    thinned = False
    for view, (row, column) in places.items():
        seen = _seen(corners, view)
        shown = spread(seen, MAX_POINTS)
        thinned |= len(shown) < len(seen)
        figure.add_trace(draw_cells(counts[view], edges[view], ".0f"), row=row, col=column)
        figure.add_trace(
            go.Scatter(
                name=view,
                mode="markers",
                x=shown[:, 0].astype(np.float32),
                y=shown[:, 1].astype(np.float32),
                marker={"size": 2.5, "color": "white", "opacity": 0.6},
                hovertemplate=f"{view}: %{{x:.1f}}, %{{y:.1f}} px<extra></extra>",
                showlegend=False,
            ),
            row=row,
            col=column,
        )
    note = f"<br><sup>at most {MAX_POINTS} corners per view drawn as points; the cells count all</sup>"
    figure.update_layout(
        title={"text": title + (note if thinned else "")}, coloraxis=color_axis("corners<br>per cell", highest)
    )
    return figure


def residuals(calibration: Calibration, *, title: str = "Residuals of the calibration") -> go.Figure:
    """Seen minus projected corners of each view: RMS over the picture above, the cloud of differences below.

    Lines over the picture show the mean difference in each cell, enlarged as the title says. Cells that stand out,
    lines that point the same way over several cells, and a cloud that is not round around zero show what the lens model
    does not explain.

    Args:
        calibration: as `calibrate` returns it.
        title: heading of the figure.

    Raises:
        DataError: no corner was used.
    """
    corners, differences = calibration.corners, calibration.residuals
    used = np.isfinite(differences).all(-1) & corners.seen
    if not used.any():
        raise DataError("The calibration used no corner, so there are no residuals to draw.")
    colors = view_colors(corners.views)
    headings, maps = [], {}
    for place, view in enumerate(corners.views):
        cloud = differences[place][used[place]]
        rms = f"RMS {np.sqrt((cloud**2).sum(-1).mean()):.3f} px" if len(cloud) else "no corner used"
        rejected = calibration.rejected[place].sum()
        headings.append(view_heading(view, rms, f"{len(cloud)} corners, {rejected} rejected"))
        maps[view] = _rms_map(corners.px[place][used[place]], cloud, corners.sizes[view])
    across = _columns(len(corners.views))
    bands = -(-len(corners.views) // across)
    rows = [[""] * across for _ in range(2 * bands)]
    for place, heading in enumerate(headings):
        rows[2 * (place // across)][place % across] = heading
    figure = make_subplots(
        rows=2 * bands,
        cols=across,
        subplot_titles=[heading or " " for row in rows for heading in row],
        vertical_spacing=0.36 / (2 * bands),
        horizontal_spacing=0.18 / across,
    )
    highest = float(np.nanpercentile(np.concatenate([cells.ravel() for cells, _ in maps.values()]), 98))
    reach = 1.1 * float(np.percentile(np.abs(differences[used]), 99.5))
    beyond = 0
    thinned = False
    means = {
        view: _mean_map(corners.px[place][used[place]], differences[place][used[place]], maps[view][1])
        for place, view in enumerate(corners.views)
    }
    enlarged = _enlargement(means, corners.sizes)
    for place, view in enumerate(corners.views):
        row, column = 2 * (place // across) + 1, place % across + 1
        cells, edges = maps[view]
        figure.add_trace(draw_cells(cells, edges, ".2f"), row=row, col=column)
        figure.add_trace(_arrows(means[view], edges, enlarged), row=row, col=column)
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
            row=row + 1,
            col=column,
        )
        _picture_axes(figure, corners.sizes[view], row, column)
        figure.update_xaxes(title_text="dx (px)", range=[-reach, reach], constrain="domain", row=row + 1, col=column)
        anchor = figure.get_subplot(row + 1, column).xaxis.plotly_name.replace("axis", "")
        figure.update_yaxes(
            title_text="dy (px)" if column == 1 else None,
            range=[reach, -reach],
            scaleanchor=anchor,
            constrain="domain",
            constraintoward="top",
            row=row + 1,
            col=column,
        )
    for place in range(len(corners.views), bands * across):
        for row in (2 * (place // across) + 1, 2 * (place // across) + 2):
            _hide(figure, row, place % across + 1)
    notes = [
        f"lines in the pictures: mean difference in each cell, {enlarged:g} times enlarged",
        *([f"{beyond} corners lie outside the clouds' axes"] if beyond else []),
        *([f"at most {MAX_POINTS} corners per view drawn as points"] if thinned else []),
    ]
    figure.update_layout(
        template=template(),
        height=114 + 700 * bands,
        margin={"t": 124, "l": 8, "r": 8, "b": 8},
        coloraxis=color_axis("RMS per<br>cell (px)", highest),
        title={"text": f"{title}<br><sup>{'; '.join(notes)}</sup>"},
    )
    return figure


def view_heading(view: str, *lines: str) -> str:
    return "<br>".join([f"<b>{view}</b>", *(f'<span style="font-size:12px">{line}</span>' for line in lines)])


def _seen(corners: Corners, view: str) -> Array:
    place = corners.views.index(view)
    seen: Array = corners.px[place][corners.seen[place]]
    return seen


def _cell_edges(size: tuple[int, int]) -> tuple[Array, Array]:
    """Edges of about square cells over a picture, along x and along y, px."""
    width, height = size
    rows = max(1, round(CELLS_ALONG_WIDTH * height / width))
    return np.linspace(-0.5, width - 0.5, CELLS_ALONG_WIDTH + 1), np.linspace(-0.5, height - 0.5, rows + 1)


def _rms_map(px: Array, differences: Array, size: tuple[int, int]) -> tuple[Array, tuple[Array, Array]]:
    """Root mean square of the differences (n, 2) at px (n, 2) in each cell, NaN in empty ones, and the cells' edges."""
    edges = _cell_edges(size)
    where, bins = (px[:, 1], px[:, 0]), (edges[1], edges[0])
    total = np.histogram2d(*where, bins=bins, weights=(differences**2).sum(-1))[0]
    number = np.histogram2d(*where, bins=bins)[0]
    with np.errstate(invalid="ignore"):
        return np.sqrt(total / number), edges


def _mean_map(px: Array, differences: Array, edges: tuple[Array, Array]) -> Array:
    """Mean of the differences (n, 2) at px (n, 2) in each cell (row, column, 2), NaN in cells with few."""
    where, bins = (px[:, 1], px[:, 0]), (edges[1], edges[0])
    number = np.histogram2d(*where, bins=bins)[0]
    sums = [np.histogram2d(*where, bins=bins, weights=along)[0] for along in differences.T]
    counted = np.where(number >= FEWEST_IN_CELL, number, np.nan)
    return np.asarray(np.stack(sums, axis=-1) / counted[..., None])


def _enlargement(means: Mapping[str, Array], sizes: Mapping[str, tuple[int, int]]) -> float:
    """A round factor that makes the longer ones of the mean differences about as long as a cell is wide."""
    lengths = np.concatenate([np.linalg.norm(mean, axis=-1).ravel() for mean in means.values()])
    lengths = lengths[np.isfinite(lengths)]
    if not len(lengths) or not lengths.max() > 0:
        return 1.0
    cell = min(width for width, _ in sizes.values()) / CELLS_ALONG_WIDTH
    return float(f"{cell / np.percentile(lengths, 90):.1g}")


def _arrows(means: Array, edges: tuple[Array, Array], enlarged: float) -> go.Scatter:
    """Lines from the middles of the cells along their mean differences."""
    x, y = ((edge[:-1] + edge[1:]) / 2 for edge in edges)
    start = np.stack(np.meshgrid(x, y), axis=-1)
    lines = np.stack([start, start + enlarged * means, np.full_like(start, np.nan)], axis=2)
    lines = lines[np.isfinite(means).all(-1)].reshape(-1, 2)
    return go.Scatter(
        mode="lines", x=lines[:, 0].astype(np.float32), y=lines[:, 1].astype(np.float32),
        line={"color": "white", "width": 1.6}, hoverinfo="skip", showlegend=False,
    )  # fmt: skip


def _hide(figure: go.Figure, row: int, column: int) -> None:
    """Leave a place of the grid empty."""
    figure.update_xaxes(visible=False, row=row, col=column)
    figure.update_yaxes(visible=False, row=row, col=column)


def draw_cells(values: Array, edges: tuple[Array, Array], digits: str) -> go.Heatmap:
    middles = [(edge[:-1] + edge[1:]) / 2 for edge in edges]
    return go.Heatmap(
        x=middles[0],
        y=middles[1],
        z=np.where(values > 0, values, np.nan).astype(np.float32),
        coloraxis="coloraxis",
        hovertemplate=f"%{{z:{digits}}}<extra></extra>",
        hoverongaps=False,
    )


def color_axis(label: str, highest: float) -> dict[str, Any]:
    """The one colour scale that all views of a figure share."""
    bar = {"title": {"text": label}, "thickness": 14}
    return {"cmin": 0, "cmax": highest, "colorscale": SEQUENTIAL, "colorbar": bar}


def view_grid(corners: Corners, headings: list[str]) -> tuple[go.Figure, dict[str, tuple[int, int]]]:
    """A figure with one pair of picture axes per view, and where each view's is (row, column)."""
    n = len(corners.views)
    across = _columns(n)
    down = -(-n // across)
    figure = make_subplots(
        rows=down,
        cols=across,
        subplot_titles=headings,
        vertical_spacing=0.28 / down,
        horizontal_spacing=0.18 / across,
    )
    places = {view: (i // across + 1, i % across + 1) for i, view in enumerate(corners.views)}
    for view, (row, column) in places.items():
        _picture_axes(figure, corners.sizes[view], row, column)
    for place in range(n, down * across):
        _hide(figure, place // across + 1, place % across + 1)
    tallest = max(height / width for width, height in corners.sizes.values())
    figure.update_layout(
        template=template(),
        height=134 + round(down * (90 + min(940 / across * tallest, 620))),
        margin={"t": 124, "l": 8, "r": 8, "b": 8},
    )
    return figure, places


def _columns(n_views: int) -> int:
    """How many views stand side by side."""
    return n_views if n_views < 4 else 2 if n_views == 4 else 3


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
    title = "y (px)" if column == 1 else None
    figure.update_yaxes(title_text=title, range=[height - 0.5, -0.5], scaleanchor=anchor, constraintoward="top", **look)
