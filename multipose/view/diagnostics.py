"""What a recording says of its own errors: which view disagrees, and by how much limbs change their length."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from multipose.errors import DataError
from multipose.view.pages import Facts, Item, Page, Section, Table, Text
from multipose.view.theme import HUES, template

if TYPE_CHECKING:
    from multipose.triangulate import Diagnostics, ErrorCalibration

_AS_PREDICTED = 1.0
_STEEPEST = 4.0  # where the colour scale ends


def disagreement(found: Diagnostics, *, title: str = "Each view against the others") -> go.Figure:
    """A heat map of the distance of each view's key points from what the other views predict, in predicted standard
    deviations; 1 is what the errors are said to be.

    Raises:
        DataError: no view could be compared.
    """
    cells = found.keypoints.transpose("keypoint", "view")
    values = cells["normalised"].values
    if not np.isfinite(values).any():
        raise DataError("No view could be compared with the others: that needs points that three views see.")
    text = [["" if np.isnan(value) else f"{value:.1f}" for value in row] for row in values]
    views, rows = ([str(name) for name in cells[dim].values] for dim in ("view", "keypoint"))
    extra = np.stack([cells[name].values for name in ("median_px", "within_95", "points")], axis=-1)
    figure = go.Figure(
        go.Heatmap(
            x=views,
            y=rows,
            z=values,
            text=text,
            texttemplate="%{text}",
            customdata=extra,
            colorscale=[[0, HUES[0]], [_AS_PREDICTED / _STEEPEST, "#f2f2f2"], [1, HUES[5]]],
            zmin=0,
            zmax=_STEEPEST,
            textfont={"color": "#1f2933"},
            colorbar={"title": {"text": "predicted<br>standard<br>deviations"}, "thickness": 14},
            hovertemplate="<b>%{y}, %{x}</b>: %{z:.2f} predicted standard deviations<br>median %{customdata[0]:.2f} px"
            "<br>%{customdata[1]:.0%} within 95 %<br>%{customdata[2]:.0f} points<extra></extra>",
            hoverongaps=False,
            xgap=2,
            ygap=2,
        )
    )
    figure.update_layout(
        template=template(),
        title={"text": f"{title}<br><sup>robust distance from the other views' prediction; 1 = as predicted</sup>"},
        height=150 + 28 * len(rows),
        margin={"t": 72, "l": 8, "r": 8, "b": 8},
        xaxis={"title": {"text": "view"}, "showgrid": False, "type": "category"},
        yaxis={"autorange": "reversed", "showgrid": False, "type": "category"},
    )
    return figure


def limb_lengths(found: Diagnostics, *, title: str = "Limb lengths") -> go.Figure:
    """The lengths of the skeleton's edges (box: quartiles; whiskers: 5 % and 95 %).

    Raises:
        DataError: no limb is known.
    """
    limbs = found.limbs[found.limbs["points"] > 0]
    if limbs.empty:
        raise DataError("No limb could be measured: the skeleton has no edges, or no point of them is known.")
    figure = go.Figure()
    for place, row in enumerate(np.flatnonzero(found.limbs["points"] > 0).tolist()):
        limb, known = found.limbs.iloc[row], found.lengths[row]
        q1, q3 = np.nanquantile(known, [0.25, 0.75])
        name = f"{limb['from']} – {limb['to']}"
        figure.add_trace(
            go.Box(
                name=name,
                y=[name],
                orientation="h",
                lowerfence=[limb["p05"]],
                q1=[q1],
                median=[limb["median"]],
                q3=[q3],
                upperfence=[limb["p95"]],
                marker={"color": HUES[place % len(HUES)]},
                showlegend=False,
            )
        )
    figure.update_layout(
        template=template(),
        title={"text": f"{title}<br><sup>box: quartiles; whiskers: 5 % and 95 %</sup>"},
        height=140 + 34 * len(limbs),
        margin={"t": 72, "l": 8, "r": 8, "b": 8},
        xaxis={"title": {"text": f"length ({found.unit})"}, "rangemode": "tozero"},
        yaxis={"autorange": "reversed"},
    )
    return figure


def reliability(errors: ErrorCalibration, *, title: str = "3D error regions") -> go.Figure:
    """For regions that should hold so many of the points, how many they hold of those that held-out labels show."""
    table = 100 * errors.reliability
    figure = go.Figure(
        [
            go.Scatter(
                x=[0, 100], y=[0, 100], mode="lines", line={"dash": "dot", "color": "#8a94a0"}, name="as said",
                hoverinfo="skip",
            ),
            go.Scatter(
                x=table["level"], y=table["held"], mode="lines+markers", line={"color": HUES[0]}, name="labels",
                hovertemplate="of regions for %{x:.0f} %: %{y:.1f} % hold<extra></extra>",
            ),
        ]
    )  # fmt: skip
    said = f"{errors.n_points} points at {errors.n_times} labelled times that no network learned from"
    figure.update_layout(
        template=template(),
        title={"text": f"{title}<br><sup>{said}</sup>"},
        height=420,
        margin={"t": 72, "l": 8, "r": 8, "b": 8},
        xaxis={"title": {"text": "should hold (% of the points)"}, "range": [0, 101]},
        yaxis={"title": {"text": "hold (%)"}, "range": [0, 101]},
    )
    return figure


def diagnostics_page(
    found: Diagnostics,
    errors: ErrorCalibration | None = None,
    *,
    title: str = "How wrong is the 3D",
    subtitle: str = "",
) -> Page:
    """Everything that `diagnose` found, with what to make of it, and what held-out labels say of the errors in 3D."""
    sections = [_views_section(found), _swaps_section(found), _limbs_section(found)]
    return Page(title, (*sections[:1], _labels_section(errors), *sections[1:]), subtitle=subtitle)


def _labels_section(errors: ErrorCalibration | None) -> Section:
    if errors is None:
        said = (
            "No points at labelled times held out in two views are known, so that what the errors of all views have in "
            "common is not measured: of points that networks found or people labelled it is taken from other networks."
        )
        return Section("Errors in 3D on labels", (Text(said, "note"),))
    unit = errors.unit
    shared = "variance in common to all views (%)"
    names = {"median": f"median ({unit})", "p95": f"95 % below ({unit})", "keypoint": "key point", "shared": shared}
    table = errors.errors.assign(shared=100 * errors.errors["shared"]).rename(columns=names)
    formats = {names["median"]: ".2f", names["p95"]: ".2f", shared: ".0f"}
    said = (
        "Labelled times that no network learned from show how far points in space are off, labels' own noise included. "
        "Errors that all views have in common make no disagreement between them. The last column is their share of a "
        "point's variance; it rests on these labels and on what other networks have in common."
    )
    return Section(
        "Errors in 3D on labels",
        (
            Text(said),
            Table(table, "Distance from the labelled points.", formats),
            reliability(errors),
        ),
    )


def _views_section(found: Diagnostics) -> Section:
    table = found.views
    if not table["median_px"].notna().any():
        said = "Two views cannot be judged by each other: an error of either goes unseen."
        return Section("Views", (Text(said, "warning"),))
    first = str(table.index[0])
    worst = table.iloc[0]
    items: list[Item] = [
        Facts({"most suspect view": first, "its points within 95 % (%)": f"{100 * worst['within_95']:.0f}"}),
        Text(
            "Every view is left out in turn; the others say where its points should be, and how surely. The views "
            "stand in the order of suspicion: by how often a view is clearly off and farther off than every other."
        ),
        Table(
            pd.DataFrame(
                {
                    "view": table.index,
                    "most off (%)": 100 * table["most_off"].to_numpy(),
                    "within 95 % (%)": 100 * table["within_95"].to_numpy(),
                    "median (px)": table["median_px"].to_numpy(),
                    "95 % below (px)": table["p95_px"].to_numpy(),
                    "noise (px)": table["noise_px"].to_numpy(),
                    "in predicted sd": table["normalised"].to_numpy(),
                    "left out of the 3D (%)": 100 * table["left_out"].to_numpy(),
                    "points": table["points"].to_numpy(),
                }
            ),
            "Each view against the others.",
            {
                "median (px)": ".2f",
                "95 % below (px)": ".2f",
                "noise (px)": ".2f",
                "in predicted sd": ".2f",
                "within 95 % (%)": ".1f",
                "left out of the 3D (%)": ".1f",
                "most off (%)": ".1f",
            },
        ),
        disagreement(found),
    ]
    return Section("Views", tuple(items))


def _swaps_section(found: Diagnostics) -> Section:
    if not found.pairs:
        said = "Not looked at: that needs left/right pairs in the skeleton, and three views."
        return Section("Left and right", (Text(said),))
    if not found.swaps:
        said = "No view has left and right exchanged for as much as a frame."
        return Section("Left and right", (Text(said, "good"),))
    rows = [
        {
            "view": swap.view,
            "pair": " / ".join(swap.pair),
            "individual": swap.individual,
            "frames": ", ".join(f"{first}–{last}" if last > first else f"{first}" for first, last in swap.frames),
            "seen in": swap.n_frames,
        }
        for swap in found.swaps
    ]
    said = (
        "Left and right are exchanged in these frames: exchange them back, or label some of the frames and train again."
    )
    return Section("Left and right", (Text(said, "warning"), Table(pd.DataFrame(rows))))


def _limbs_section(found: Diagnostics) -> Section:
    limbs = found.limbs[found.limbs["points"] > 0]
    if limbs.empty:
        return Section("Limbs", (Text("The skeleton has no edges, or none is known."),))
    table = pd.DataFrame(
        {
            "limb": limbs["from"] + " – " + limbs["to"],
            "spread (%)": 100 * limbs["cv"],
            f"median ({found.unit})": limbs["median"],
            f"5 % below ({found.unit})": limbs["p05"],
            f"95 % below ({found.unit})": limbs["p95"],
            "times": limbs["points"],
        }
    )
    formats = {str(name): "#.4g" for name in table.columns if f"({found.unit})" in str(name)} | {"spread (%)": ".1f"}
    said = (
        "A bone keeps its length; soft parts and skin do not. Spread is the robust standard deviation (quartile "
        "range / 1.349) over the median."
    )
    return Section("Limbs", (Text(said, "note"), Table(table, formats=formats), limb_lengths(found)))
