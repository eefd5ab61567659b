"""One HTML page from a title, texts, tables, pictures and figures: a single file that opens without a network.

plotly.js is written into the page once, whatever the number of figures; pictures are embedded. The page follows the
reader's system in being light or dark, and so do its figures: a page replaces each figure's template by its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files as package_files
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
from plotly.io.json import to_json_plotly
from plotly.offline import get_plotlyjs

from multipose.errors import DataError
from multipose.files import write_text
from multipose.view.overlay import jpeg_uri
from multipose.view.theme import template

_ABSENT = "–"


@dataclass(frozen=True)
class Text:
    """A paragraph; `kind` sets it apart: a remark, a warning, or good news."""

    text: str
    kind: Literal["plain", "note", "warning", "good"] = "plain"


@dataclass(frozen=True)
class Facts:
    """A few numbers that matter most, large, each with what it is: {"RMS (px)": "0.31"}."""

    values: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Table:
    """A table.

    Args:
        frame: columns named with their units; an unknown value (NaN, None) is shown as a dash.
        caption: what it is.
        formats: how to write a column's numbers, for example {"mean (px)": ".2f"}; by default four digits.
    """

    frame: pd.DataFrame
    caption: str = ""
    formats: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Picture:
    """An RGB picture (h, w, 3) with a caption."""

    rgb: npt.NDArray[np.uint8]
    caption: str = ""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures side by side, as many in a row as fit when each is `width` px wide or a little more."""

    pictures: tuple[Picture, ...]
    width: int = 300


Item: TypeAlias = Text | Facts | Table | Picture | Pictures | go.Figure


@dataclass(frozen=True, eq=False)
class Section:
    """A heading and what stands under it, in order."""

    title: str
    items: tuple[Item, ...]


@dataclass(frozen=True, eq=False)
class Page:
    """A page: `Page("Calibration", (Section("Cameras", (table, figure)),)).save("report.html")`.

    Args:
        title: heading, and the title of the browser's tab.
        sections: in order.
        subtitle: a line under the heading.
        wide: use the whole width of the window, for a player.
        heading: show title and subtitle above the sections.
        refresh: seconds after which a browser reads the page anew, for one that is still being written; 0 for never.
    """

    title: str
    sections: tuple[Section, ...]
    subtitle: str = ""
    wide: bool = False
    heading: bool = True
    refresh: int = 0

    def to_html(self) -> str:
        """The page as text.

        Raises:
            DataError: a section holds something that cannot be shown.
        """
        numbers = _Numbers()
        body = "\n".join(_section(section, numbers) for section in self.sections)
        heading = f"<h1>{escape(self.title)}</h1>\n" if self.heading else ""
        if self.heading and self.subtitle:
            heading += f'<p class="subtitle">{escape(self.subtitle)}</p>\n'
        scripts = ""
        if numbers.figures:
            templates = {name: template(dark=name == "dark").to_plotly_json() for name in ("light", "dark")}
            scripts = (
                f"<script>{get_plotlyjs()}</script>\n"
                f"<script>const TEMPLATES = {_script_json(json.dumps(templates))};\n{_asset('page.js')}</script>"
            )
        refresh = f'<meta http-equiv="refresh" content="{self.refresh}">\n' if self.refresh else ""
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f'<meta name="color-scheme" content="light dark">\n{refresh}'
            f"<title>{escape(self.title)}</title>\n<style>\n{_asset('page.css')}</style>\n</head>\n"
            f"<body{' class=wide' if self.wide else ''}>\n<main>\n{heading}{body}\n"
            f"</main>\n{scripts}\n</body>\n</html>\n"
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the page, whole or not at all."""
        write_text(path, self.to_html())


def save_figure(figure: go.Figure, path: str | os.PathLike[str]) -> None:
    """Write one figure as a page of its own that fills the window's width; the tab has the figure's title."""
    title = str(figure.layout.title.text or "multipose").split("<br>")[0]
    Page(title, (Section("", (figure,)),), wide=True, heading=False).save(path)


def number_text(value: float | None, form: str) -> str:
    """A number as a page writes it: a dash where it is unknown (None or NaN)."""
    return _ABSENT if value is None or not np.isfinite(value) else format(value, form)


def percent_text(share: float | None) -> str:
    """A share in percent with one digit; a dash where it is unknown."""
    return number_text(None if share is None else 100 * share, ".1f")


class _Numbers:
    """Counts the figures of a page, for their names."""

    def __init__(self) -> None:
        self.figures = 0

    def next_name(self) -> str:
        self.figures += 1
        return f"figure-{self.figures}"


def _section(section: Section, numbers: _Numbers) -> str:
    heading = f"<h2>{escape(section.title)}</h2>\n" if section.title else ""
    return f"<section>\n{heading}" + "\n".join(_item(item, numbers) for item in section.items) + "\n</section>"


def _item(item: Item, numbers: _Numbers) -> str:
    if isinstance(item, Text):
        return f'<p class="{item.kind}">{escape(item.text)}</p>'
    if isinstance(item, Facts):
        facts = "".join(
            f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in item.values.items()
        )
        return f'<dl class="facts">{facts}</dl>'
    if isinstance(item, Table):
        return _table(item)
    if isinstance(item, Picture):
        return _picture(item)
    if isinstance(item, Pictures):
        pictures = "".join(_picture(picture) for picture in item.pictures)
        columns = f"grid-template-columns: repeat(auto-fill, minmax({item.width}px, 1fr))"
        return f'<div class="pictures" style="{columns}">{pictures}</div>'
    if isinstance(item, go.Figure):
        return _figure(item, numbers.next_name())
    raise DataError(
        f"A page shows Text, Facts, Table, Picture, Pictures and plotly figures, got {type(item).__name__}."
    )


def _figure(figure: go.Figure, name: str) -> str:
    spec: dict[str, Any] = figure.to_dict()
    spec["layout"].pop("template", None)
    height = spec["layout"].get("height", 450)
    data = _script_json(to_json_plotly(spec))
    return (
        f'<div class="figure" id="{name}" style="height:{height}px"></div>\n'
        f'<script type="application/json" data-figure="{name}">{data}</script>'
    )


def _script_json(text: str) -> str:
    """JSON that may stand inside a script element: nothing in it can end the element."""
    return text.replace("<", "\\u003c")


def _picture(picture: Picture) -> str:
    caption = f"<figcaption>{escape(picture.caption)}</figcaption>" if picture.caption else ""
    height, width = picture.rgb.shape[:2]
    return (
        f'<figure><img src="{jpeg_uri(picture.rgb)}" width="{width}" height="{height}" '
        f'alt="{escape(picture.caption, quote=True)}">{caption}</figure>'
    )


def _table(table: Table) -> str:
    frame = table.frame
    unknown = sorted(set(table.formats) - set(map(str, frame.columns)))
    if unknown:
        raise DataError(
            f"A table's format names the column {unknown[0]!r}; it has {', '.join(map(str, frame.columns))}."
        )
    numeric = [pd.api.types.is_numeric_dtype(frame[column]) for column in frame.columns]
    kinds = ["number" if right else "text" for right in numeric]
    head = "".join(
        f'<th class="{kind}">{escape(str(name))}</th>' for name, kind in zip(frame.columns, kinds, strict=True)
    )
    rows = []
    for values in frame.itertuples(index=False, name=None):
        cells = (
            f'<td class="{kind}">{escape(_cell(value, table.formats.get(str(column), ".4g")))}</td>'
            for value, column, kind in zip(values, frame.columns, kinds, strict=True)
        )
        rows.append(f"<tr>{''.join(cells)}</tr>")
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    return (
        f'<div class="table"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _cell(value: object, form: str) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return _ABSENT
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return str(value)
    if isinstance(value, float | np.floating):
        return format(float(value), form).removesuffix(".")
    return str(value)


def _asset(name: str) -> str:
    return package_files("multipose.view").joinpath(name).read_text(encoding="utf-8")
