"""How every figure looks: the colours of key points and cameras, and a light and a dark template for plotly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from multipose.skeleton import Skeleton, guess_pairs

HUES = (
    "#0077bb",
    "#ee7733",
    "#009988",
    "#ee3377",
    "#33bbee",
    "#cc3311",
    "#bbcc33",
    "#aa4499",
    "#775533",
)
"""Hues that people with red-green blindness tell apart too, readable on white and on near-black; most of them from Paul
Tol's schemes (Colour Schemes, SRON/EPS/TN/09-002, issue 3.2, 2021)."""

NEUTRAL = "#8a94a6"
"""Lines and texts that mean no key point and no camera: grey that reads on both backgrounds."""

SEQUENTIAL = "Viridis"
"""Colour scale of quantities from zero on; its lightness grows evenly, so it survives a grey print."""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True)
class KeypointStyle:
    """Look of one key point: colour `#rrggbb` and symbol. The right one of a pair is paler and a diamond."""

    name: str
    color: str
    right: bool

    @property
    def symbol(self) -> str:
        """Plotly's name of the marker."""
        return "diamond" if self.right else "circle"

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Colour as 0..255 red, green, blue."""
        return hex_to_rgb(self.color)


def keypoint_styles(keypoints: Sequence[str], skeleton: Skeleton | None = None) -> tuple[KeypointStyle, ...]:
    """One style per key point, in order: different hues, but one hue for the left and right of a pair.

    Args:
        keypoints: names.
        skeleton: whose left/right pairs count; without one, the pairs that the names suggest.
    """
    pairs = guess_pairs(keypoints) if skeleton is None else skeleton.pairs
    left_of = {right: left for left, right in pairs}
    group: dict[str, int] = {}
    for name in keypoints:
        leader = left_of.get(name, name)
        group.setdefault(leader, len(group))
    styles = []
    for name in keypoints:
        place = group[left_of.get(name, name)]
        color = HUES[place % len(HUES)]
        if place >= len(HUES):
            color = mix(color, "#000000", 0.4)
        right = name in left_of
        styles.append(KeypointStyle(name, mix(color, "#ffffff", 0.45) if right else color, right))
    return tuple(styles)


def view_colors(views: Sequence[str]) -> dict[str, str]:
    """One colour per camera."""
    return {view: HUES[place % len(HUES)] for place, view in enumerate(views)}


def hex_to_rgb(color: str) -> tuple[int, int, int]:
    """`#rrggbb` as 0..255 red, green, blue."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def mix(color: str, other: str, share: float) -> str:
    """A colour with a share (0..1) of another in it, all `#rrggbb`."""
    mixed = (round(a + (b - a) * share) for a, b in zip(hex_to_rgb(color), hex_to_rgb(other), strict=True))
    return "#" + "".join(f"{value:02x}" for value in mixed)


def template(dark: bool = False) -> go.layout.Template:
    """The look that all figures share; a page swaps the light for the dark one when the reader's system asks for it."""
    text, grid, strong, line, paper = (
        ("#d5dbe3", "#2e3743", "#3d4856", "#56616f", "#171b21")
        if dark
        else ("#1f2933", "#e3e7ec", "#cfd6de", "#9aa5b1", "#ffffff")
    )
    axis = {
        "gridcolor": grid,
        "linecolor": line,
        "zerolinecolor": grid,
        "tickcolor": line,
        "ticks": "outside",
        "automargin": True,
        "title": {"standoff": 8},
    }
    scene_axis = {
        "backgroundcolor": "rgba(0,0,0,0)",
        "gridcolor": strong,
        "linecolor": line,
        "zerolinecolor": line,
        "showspikes": False,
        "nticks": 6,
        "tickfont": {"size": 12},
    }
    return go.layout.Template(
        layout={
            "font": {"family": FONT, "size": 14, "color": text},
            "title": {
                "x": 0.01,
                "xanchor": "left",
                "y": 1,
                "yref": "container",
                "yanchor": "top",
                "pad": {"t": 14},
                "font": {"size": 18},
            },
            "paper_bgcolor": paper,
            "plot_bgcolor": paper,
            "colorway": list(HUES),
            "colorscale": {"sequential": SEQUENTIAL},
            "hoverlabel": {"font": {"family": FONT}, "align": "left"},
            "xaxis": axis,
            "yaxis": axis,
            "scene": {"xaxis": scene_axis, "yaxis": scene_axis, "zaxis": scene_axis},
            "annotationdefaults": {"font": {"color": text}},
            "updatemenudefaults": {"font": {"color": "#1f2933"}, "bgcolor": "#eef1f5", "bordercolor": line},
            "sliderdefaults": {"font": {"color": text}, "bgcolor": grid, "bordercolor": line, "tickcolor": line},
        }
    )
