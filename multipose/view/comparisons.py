"""The page that says which of two networks is better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from multipose.skeleton import Skeleton
from multipose.view.evaluations import INTERVALS
from multipose.view.examples import DRAWN, GetPicture, example
from multipose.view.pages import Facts, Item, Page, Pictures, Section, Table, Text, number_text, percent_text
from multipose.view.quality import differences, error_curves

if TYPE_CHECKING:
    from multipose.pose2d import Comparison


def comparison_page(
    comparison: Comparison,
    names: tuple[str, str],
    picture: GetPicture,
    skeleton: Skeleton,
    *,
    title: str = "Comparison",
    notes: Sequence[str] = (),
    warnings: Sequence[str] = (),
    n_pictures: int = 6,
) -> Page:
    """Which of two networks lies nearer to the same labels, by how much, and where.

    Args:
        comparison: as `compare_evaluations` returns it.
        names: of the first and the second network, different ones.
        picture: gives the RGB picture of an index of the evaluations.
        skeleton: the key points that are compared.
        title: of the page.
        notes, warnings: as of `evaluation_page`.
        n_pictures: shown of those in which the second gains, and loses, most.
    """
    first, second = comparison.first, comparison.second
    values = comparison.to_dict()
    low, high = (number_text(value, "+.2f") for value in values["interval_px"])
    better = dict(zip(("first", "second"), names, strict=True)).get(values["better"])
    summary: list[Item] = [
        *(Text(warning, "warning") for warning in warnings),
        Facts(
            {
                f"{names[0]}: mean error (px)": number_text(values["first_px"], ".2f"),
                f"{names[1]}: mean error (px)": number_text(values["second_px"], ".2f"),
                f"{names[1]} less {names[0]} (px)": number_text(values["difference_px"], "+.2f"),
                "its 95 % interval (px)": f"{low} to {high}",
                f"points that {names[1]} finds nearer (%)": percent_text(values["nearer"]),
                "points": str(values["n"]),
                "pictures": str(values["pictures"]),
            }
        ),
        Text(f"{better} is better.", "good") if better else Text("The labels do not tell which is better.", "plain"),
        *(Text(note, "note") for note in (*notes, INTERVALS)),
    ]
    table = comparison.keypoint_table()
    table["better"] = table["better"].map({"first": names[0], "second": names[1], "": "-"})
    table["nearer"] *= 100
    table.columns = pd.Index(
        [
            "key point",
            "labels",
            f"{names[0]} (px)",
            f"{names[1]} (px)",
            "difference (px)",
            "from (px)",
            "to (px)",
            f"{names[1]} nearer (%)",
            "better",
        ]
    )
    formats = {str(name): ".2f" for name in table.columns[2:4]} | {str(name): "+.2f" for name in table.columns[4:7]}
    formats[str(table.columns[7])] = ".0f"
    table = table.iloc[:, [0, 8, 4, 5, 6, 2, 3, 7, 1]]  # what decides stands first
    several = "One key point in twenty is called better by chance where there is no difference."
    means = np.array([np.nanmean(row) if np.isfinite(row).any() else np.nan for row in comparison.difference])
    order = np.argsort(means)[: int(np.isfinite(means).sum())]
    shown = min(n_pictures, (len(order) + 1) // 2)
    sections = [
        Section("Summary", tuple(summary)),
        Section("Key points", (Table(table, formats=formats), Text(several, "note"), differences(comparison, names))),
        Section("Errors", (error_curves({names[0]: first, names[1]: second}),)),
    ]
    for heading, items in (
        (f"Where {names[1]} gains most", order[:shown]),
        (f"Where {names[1]} loses most", order[shown:][::-1][:shown]),
    ):
        pictures = [
            example(part, picture, skeleton, int(item), f"{name}, ")
            for item in items
            for name, part in zip(names, (first, second), strict=True)
        ]
        if pictures:
            sections.append(Section(heading, (Text(DRAWN), Pictures(tuple(pictures)))))
    return Page(title, tuple(sections))
