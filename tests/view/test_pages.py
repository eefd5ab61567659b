from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from multipose.errors import DataError
from multipose.view import Facts, Page, Picture, Pictures, Section, Table, Text, save_figure
from multipose.view.theme import template


class Fetches(HTMLParser):
    """Collects what a browser would fetch for a page, and its tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href", "srcset", "data")]


def figures(html: str) -> list[dict[str, object]]:
    found = re.findall(r'<script type="application/json" data-figure="[^"]*">(.*?)</script>', html, re.DOTALL)
    return [json.loads(text) for text in found]


def some_page() -> Page:
    figure = go.Figure(go.Scatter(x=[1, 2], y=[3, 4], name="</script><b>"), layout={"template": template()})
    picture = np.full((8, 12, 3), 200, dtype=np.uint8)
    table = pd.DataFrame({"camera": ["back", "<top>"], "RMS (px)": [0.31254, np.nan], "boards": [80, 3]})
    return Page(
        "Tom & Jerry",
        (
            Section("Numbers", (Facts({"RMS (px)": "0.31"}), Table(table, "Cameras", {"RMS (px)": ".2f"}))),
            Section("Words", (Text("a < b"), Text("careful", "warning"))),
            Section("Figures", (figure, figure)),
            Section("Pictures", (Pictures((Picture(picture, "one"), Picture(picture, 'a "two"'))),)),
        ),
        subtitle="subtitle",
    )


def test_a_page_needs_nothing_else() -> None:
    html = some_page().to_html()
    page = Fetches(html)
    assert len(page.addresses) == 2  # the pictures
    assert all(address.startswith("data:image/jpeg;base64,") for address in page.addresses)
    assert not {"link", "iframe", "base", "object"} & set(page.tags)
    css = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in css
    assert "@import" not in css


def test_plotly_is_there_once() -> None:
    html = some_page().to_html()
    assert html.count("plotly.js v") == 1
    assert len(figures(html)) == 2
    assert len(html) < 6e6


def test_a_page_without_figures_has_no_plotly() -> None:
    html = Page("Words", (Section("", (Text("only words"),)),)).to_html()
    assert "<script" not in html
    assert len(html) < 10_000


def test_figures_keep_their_data_and_lose_their_template() -> None:
    first = figures(some_page().to_html())[0]
    assert first["data"][0]["name"] == "</script><b>"  # type: ignore[index]
    assert first["data"][0]["y"] == [3, 4]  # type: ignore[index]
    assert "template" not in first["layout"]  # type: ignore[operator]


def test_arrays_are_written_as_numbers_of_their_own_width() -> None:
    figure = go.Figure(go.Scatter(y=np.array([1.5, np.nan, 3.0], dtype=np.float32)))
    y = figures(Page("", (Section("", (figure,)),)).to_html())[0]["data"][0]["y"]  # type: ignore[index]
    assert y["dtype"] == "f4"
    decoded = np.frombuffer(base64.b64decode(y["bdata"]), dtype="<f4")
    assert np.array_equal(decoded, [1.5, np.nan, 3.0], equal_nan=True)


def test_texts_are_escaped() -> None:
    html = some_page().to_html()
    assert "<title>Tom &amp; Jerry</title>" in html
    assert '<p class="plain">a &lt; b</p>' in html
    assert "&lt;top&gt;" in html
    assert 'alt="a &quot;two&quot;"' in html
    assert '<p class="warning">careful</p>' in html


def test_tables_format_numbers_and_dash_what_is_unknown() -> None:
    html = some_page().to_html()
    assert '<td class="number">0.31</td>' in html
    assert '<td class="number">–</td>' in html
    assert '<td class="number">80</td>' in html
    assert '<th class="text">camera</th>' in html
    assert "<caption>Cameras</caption>" in html


def test_a_format_for_no_column_is_told() -> None:
    table = Table(pd.DataFrame({"a": [1]}), formats={"b": ".2f"})
    with pytest.raises(DataError, match="the column 'b'; it has a"):
        Page("", (Section("", (table,)),)).to_html()


def test_what_no_page_can_show_is_told() -> None:
    with pytest.raises(DataError, match="got str"):
        Page("", (Section("", ("text",)),)).to_html()  # type: ignore[arg-type]


def test_a_page_follows_light_and_dark() -> None:
    html = some_page().to_html()
    templates = json.loads(re.search(r"const TEMPLATES = (.*);", html)[1])  # type: ignore[index]
    assert templates["light"]["layout"]["paper_bgcolor"] == "#ffffff"
    assert templates["dark"]["layout"]["paper_bgcolor"] == "#171b21"
    assert "prefers-color-scheme: dark" in html


def test_a_figure_alone_is_a_page(tmp_path: Path) -> None:
    figure = go.Figure(go.Scatter(y=[1]), layout={"title": {"text": "day2<br><sup>5 times</sup>"}})
    save_figure(figure, tmp_path / "new" / "player.html")
    html = (tmp_path / "new" / "player.html").read_text(encoding="utf-8")
    assert "<title>day2</title>" in html
    assert "<h1>" not in html
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["player.html"]
