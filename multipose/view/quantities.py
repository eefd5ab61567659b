"""Angles, distances and speeds over time, with their 95 % bands."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from multipose.errors import DataError
from multipose.geometry import unit_for_people
from multipose.tracks import time_unit_of
from multipose.view.pages import Page, Section, Table, Text
from multipose.view.theme import HUES, hex_to_rgb, template

Array = npt.NDArray[np.float64]

_KINDS = {"angle": "angles", "inclination": "inclinations", "distance": "distances", "speed": "speeds"}
_LONGEST = 5000


def kinematics(dataset: xr.Dataset, kind: str, *, individual: str | None = None, title: str = "") -> go.Figure:
    """All quantities of one kind over time, one panel each: value and 95 % band; angles in degrees.

    Args:
        dataset: as `multipose.kinematics` returns it.
        kind: angle, inclination, distance or speed.
        individual: which; by default the first.
        title: heading; by default the kind.

    Raises:
        DataError: there is no such kind or individual.
    """
    names = quantity_names(dataset, kind)
    if not names:
        raise DataError(f"There is no {kind} in these data; kinds are {', '.join(_KINDS)}.")
    individuals = [str(one) for one in dataset["individual"].values]
    who = individuals[0] if individual is None else individual
    if who not in individuals:
        raise DataError(f"There is no individual {who!r}; there are {', '.join(individuals)}.")
    chosen = dataset.sel(individual=who)
    shown = slice(0, _LONGEST)
    times = chosen["time"].values[shown]
    figure = make_subplots(rows=len(names), cols=1, shared_xaxes=True, vertical_spacing=min(0.06, 0.3 / len(names)))
    for row, name in enumerate(names, start=1):
        unit, factor = unit_for_people(str(dataset[name].attrs["unit"]))
        values, sd = (factor * chosen[key].values[shown] for key in (name, f"{name}_sd"))
        reach = float(dataset[name].attrs["interval_95"]) * sd
        color = HUES[(row - 1) % len(HUES)]
        rgb = ", ".join(map(str, hex_to_rgb(color)))
        most = 180.0 if unit == "deg" else np.inf
        x, y = _band(times, np.clip(values - reach, 0, most), np.clip(values + reach, 0, most))
        figure.add_trace(
            go.Scatter(
                x=x, y=y, mode="none", fill="toself", fillcolor=f"rgba({rgb}, 0.25)", hoverinfo="skip",
                showlegend=False, name=f"{name}, 95 %",
            ),
            row=row, col=1,
        )  # fmt: skip
        figure.add_trace(
            go.Scatter(
                x=times, y=values, mode="lines", line={"width": 1.4, "color": color}, name=name, showlegend=False,
                customdata=sd, hovertemplate=f"<b>{name}</b> %{{y:.4g}} ± %{{customdata:.2g}} {unit}<extra></extra>",
            ),
            row=row, col=1,
        )  # fmt: skip
        figure.update_yaxes(title_text=f"{name}<br>({unit})", row=row, col=1)
    figure.update_xaxes(
        title_text="time (s)" if time_unit_of(dataset) == "s" else "time (frame number)", row=len(names), col=1
    )
    n_times = chosen.sizes["time"]
    cut = f"; the first {_LONGEST} of {n_times} times" if n_times > _LONGEST else ""
    figure.update_layout(
        template=template(),
        title={"text": f"{title or _KINDS[kind].capitalize()}<br><sup>{who}; bands: 95 % of the errors{cut}</sup>"},
        height=130 + 170 * len(names),
        margin={"t": 80, "l": 8, "r": 8, "b": 8},
        hovermode="x",
    )
    return figure


def quantity_names(dataset: xr.Dataset, kind: str) -> list[str]:
    """Names of the quantities of a kind."""
    return [str(name) for name, values in dataset.data_vars.items() if values.attrs.get("quantity") == kind]


def kinematics_page(dataset: xr.Dataset, *, title: str = "Kinematics", subtitle: str = "") -> Page:
    """A page with all quantities: a table of their sizes and errors, and each over time for every individual."""
    said = dataset.attrs["calibration_error"]
    note = (
        "Standard deviations hold the noise of the 2D points and the calibration's error, which is common to all times."
        if said == "carried on"
        else f"Standard deviations hold the noise of the 2D points alone: the calibration's error is {said}."
    )
    formats = {"known (%)": ".1f", "median": "#.4g", "sd": "#.2g", "sd of the calibration alone": "#.2g"}
    items = [Text(note, "note"), Table(_summary(dataset), "Medians over time.", formats)]
    sections = [Section("Summary", tuple(items))]
    for individual in dataset["individual"].values:
        figures = [
            kinematics(dataset, kind, individual=str(individual)) for kind in _KINDS if quantity_names(dataset, kind)
        ]
        if figures:
            sections.append(Section(str(individual), tuple(figures)))
    return Page(title, tuple(sections), subtitle=subtitle, wide=True)


def _summary(dataset: xr.Dataset) -> pd.DataFrame:
    rows = []
    for kind in _KINDS:
        for name in quantity_names(dataset, kind):
            unit, factor = unit_for_people(str(dataset[name].attrs["unit"]))
            known = np.isfinite(dataset[name].values)
            shared = f"{name}_calibration_sd"
            rows.append(
                {
                    "quantity": name,
                    "median": factor * _median(dataset[name].values),
                    "sd": factor * _median(dataset[f"{name}_sd"].values),
                    "unit": unit,
                    "sd of the calibration alone": factor * _median(dataset[shared].values)
                    if shared in dataset
                    else np.nan,
                    "known (%)": 100 * known.mean(),
                    "what": f"{kind} {dataset[name].attrs['definition']}",
                }
            )
    return pd.DataFrame(rows)


def _band(times: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Outlines (x, y) of the stretches in which both bounds are known, set apart by NaN."""
    known = np.isfinite(low) & np.isfinite(high)
    ends = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]]).astype(int)))
    x, y = [np.empty(0)], [np.empty(0)]
    for start, stop in ends.reshape(-1, 2).tolist():
        part = slice(start, stop)
        x += [times[part], times[part][::-1], np.array([np.nan])]
        y += [high[part], low[part][::-1], np.array([np.nan])]
    return np.concatenate(x), np.concatenate(y)


def _median(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")
