"""Pages of networks: how far their points lie from labels, and how their training goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from multipose.skeleton import Skeleton
from multipose.view.charts import training_curve
from multipose.view.examples import GetPicture, best_and_worst, worst_points
from multipose.view.pages import Facts, Item, Page, Section, Table, Text, number_text, percent_text
from multipose.view.quality import error_curves, label_curve, reliability

if TYPE_CHECKING:
    from multipose.pose2d import Evaluation

INTERVALS = (
    "95 % intervals of the mean of other pictures of the same kind. Errors of neighbouring pictures are alike, so "
    "whole blocks of neighbours were resampled. On skewed errors such intervals hold the mean in about 90 % of cases, "
    "with 20 pictures or fewer in 80 to 90 %."
)
_PX_FORMATS = dict.fromkeys(("mean (px)", "± (px)", "median (px)", "RMS (px)", "95 % below (px)"), ".2f")


def evaluation_page(
    evaluation: Evaluation,
    picture: GetPicture,
    skeleton: Skeleton,
    *,
    title: str = "Evaluation",
    subtitle: str = "",
    metrics: pd.DataFrame | None = None,
    notes: Sequence[str] = (),
    warnings: Sequence[str] = (),
    further: Mapping[str, Evaluation] | None = None,
    curve: Mapping[int, Sequence[Evaluation]] | None = None,
    repeats: Mapping[str, Any] | None = None,
    n_pictures: int = 8,
) -> Page:
    """How far a network's points lie from the labels: figures, key points, worst points and pictures, training.

    Args:
        evaluation: as `evaluate` returns it.
        picture: gives the RGB picture of an index of the evaluation.
        skeleton: the key points.
        title, subtitle: of the page.
        metrics: the table of the training's metrics.csv.
        notes: sentences that say what was held out and how.
        warnings: why the figures may mislead.
        further: more evaluations to put beside it, by name (random and block folds, for example).
        curve: the folds' evaluations by the number of pictures learned from.
        repeats: how far apart a person labelled the same points, as `describe_repeats` says it.
        n_pictures: how many of the best and of the worst pictures are shown; a picture stands in one of the two only.
    """
    values = evaluation.to_dict()
    summary: list[Item] = [
        *(Text(warning, "warning") for warning in warnings),
        Facts(_facts(values)),
        *(Text(note, "note") for note in (*notes, INTERVALS)),
    ]
    if further:
        summary.append(Table(_side_by_side({title: evaluation, **further}), formats=_SIDE_FORMATS))
    sections = [Section("Summary", tuple(summary))]
    views = evaluation.by_view()
    if len(views) > 1:
        sections.append(Section("Views", (Table(_side_by_side(views, "view"), formats=_SIDE_FORMATS),)))
    sections.append(Section("Key points", _keypoints(evaluation)))
    if curve:
        sections.append(Section("Labels", (label_curve(curve),)))
    if repeats:
        sections.append(Section("Label noise", _repeats(repeats)))
    if values["n"]:
        sections.append(Section("Errors and their honesty", _quality(evaluation, title, further or {})))
        sections.append(worst_points(evaluation, picture, skeleton))
    sections += best_and_worst(evaluation, picture, skeleton, n_pictures)
    if metrics is not None and len(metrics):
        sections.append(Section("Training", (_training_figure(metrics, "step"),)))
    return Page(title, tuple(sections), subtitle=subtitle)


def training_page(metrics: pd.DataFrame, *, title: str = "Training", running: bool = False) -> Page:
    """How a training goes, or went: loss, error on the held-out pictures and learning rate, over steps and over time.

    Args:
        metrics: the table of metrics.csv, with at least one row.
        title: of the page.
        running: the page is read anew every 20 seconds.
    """
    last = metrics.iloc[-1]
    judged = metrics.dropna(subset=["held_out_mean_px"])
    facts = {}
    if len(judged):
        facts["held-out mean error (px)"] = number_text(judged["held_out_mean_px"].iloc[-1], ".2f")
        facts["held-out median error (px)"] = number_text(judged["held_out_median_px"].iloc[-1], ".2f")
    facts |= {
        "steps": str(int(last["step"])),
        "minutes": number_text(last["seconds"] / 60, ".1f"),
        "CPU minutes": number_text(last["cpu_seconds"] / 60, ".1f"),
        "loss": number_text(last["loss"], ".3f"),
    }
    note = (
        "Errors are those of the averaged network on a few of the pictures held out from training, which tell it when "
        "to stop: they watch the training, they do not judge the network. The first comes after half of the budget."
    )
    return Page(
        title,
        (
            Section("Now" if running else "End", (Facts(facts), Text(note, "note"))),
            Section("Over the steps", (_training_figure(metrics, "step"),)),
            Section("Over time", (_training_figure(metrics.assign(minutes=metrics["seconds"] / 60), "minutes"),)),
        ),
        refresh=20 if running else 0,
    )


def _facts(values: Mapping[str, Any]) -> dict[str, str]:
    low, high = (number_text(value, ".2f") for value in values["mean_px_interval"])
    return {
        "mean error (px)": number_text(values["mean_px"], ".2f"),
        "its 95 % interval (px)": f"{low} – {high}",
        "median error (px)": number_text(values["median_px"], ".2f"),
        "root mean square error (px)": number_text(values["rmse_px"], ".2f"),
        "95 % of the errors below (px)": number_text(values["p95_px"], ".2f"),
        "at most 5 px off (%)": percent_text(values["pck5"]),
        "at most 0.1 animal's lengths off (%)": percent_text(values["pck_of_length"]["0.1"]),
        "labels in their 50 % ellipses (%)": percent_text(values["within_50"]),
        "labels in their 95 % ellipses (%)": percent_text(values["within_95"]),
        "Brier score of the confidence": number_text(values["brier"], ".3f"),
        "that of the share of points present": number_text(values["base_brier"], ".3f"),
        "calibration error of the confidence": number_text(values["calibration_error"], ".3f"),
        "labelled points": str(values["n"]),
        "pictures": str(values["pictures"]),
    }


def _keypoints(evaluation: Evaluation) -> tuple[Item, ...]:
    table = evaluation.keypoint_table()
    errors = pd.DataFrame(
        {
            "key point": table["keypoint"],
            "mean (px)": table["mean_px"],
            "± (px)": table["se_px"],
            "95 % interval (px)": [
                f"{number_text(low, '.2f')} – {number_text(high, '.2f')}"
                for low, high in zip(table["low_px"], table["high_px"], strict=True)
            ],
            "median (px)": table["median_px"],
            "RMS (px)": table["rmse_px"],
            "95 % below (px)": table["p95_px"],
            "labels": table["n"],
        }
    )
    shares = pd.DataFrame({"key point": table["keypoint"]})
    for name in table.columns:
        if name.startswith("pck_length_"):
            shares[f"{name.removeprefix('pck_length_')} lengths"] = 100 * table[name]
        elif name.startswith("pck_"):
            shares[f"{name.removeprefix('pck_')} px"] = 100 * table[name]
    length = number_text(evaluation.animal_px, ".0f")
    caption = (
        f"Labelled points that are at most so far off (%); the animal is {length} px long (median box of its labels)"
    )
    alone = {
        name: evaluation.select_keypoints([place])
        for place, name in enumerate(evaluation.keypoints)
        if np.isfinite(evaluation.error[:, place]).any()
    }
    curves = (
        [error_curves(alone, title="Share of the labelled points within a distance, by key point")] if alone else []
    )
    return (
        Table(errors, "Errors; ±: standard error of the mean", formats=_PX_FORMATS),
        Table(shares, caption, formats=dict.fromkeys(map(str, shares.columns[1:]), ".1f")),
        *curves,
    )


def _quality(evaluation: Evaluation, title: str, further: Mapping[str, Evaluation]) -> tuple[Item, ...]:
    """How far points are off, and whether ellipses and confidences say so."""
    known = {name: part for name, part in {title: evaluation, **further}.items() if part.n}
    return (
        error_curves(known, title="Share of the labelled points within a distance"),
        reliability(evaluation),
        Text(
            "Every labelled point counts. Points on the dotted lines are honest; ellipses above theirs are too wide.",
            "note",
        ),
    )


def _repeats(repeats: Mapping[str, Any]) -> tuple[Item, ...]:
    rows = [
        {
            "key point": name,
            "labelled twice": values["n"],
            "repeat (px)": values["repeat_px"],
            "label noise (px)": values["label_sd_px"],
            "network (px)": values["network_px"],
        }
        for name, values in repeats["keypoints"].items()
    ]
    whole = {
        "key point": "all",
        "labelled twice": repeats["n"],
        "repeat (px)": repeats["repeat_px"],
        "label noise (px)": None,
        "network (px)": repeats["network_px"],
    }
    low, high = (number_text(value, ".2f") for value in repeats["repeat_px_interval"])
    table = pd.DataFrame([whole, *rows])
    return (
        Table(
            table,
            f"{repeats['pictures']} pictures labelled twice. Repeat: mean distance of the two labels. Label noise: "
            "standard deviation of one along an axis. Network: its mean distance from the first of the two labels.",
            formats=dict.fromkeys(table.columns[2:], ".2f"),
        ),
        Text(
            f"A person repeats himself to {repeats['repeat_px']:.2f} px (95 % interval {low} – {high} px). A network "
            "that always finds the very point that is meant would be off by 0.71 times that, the noise of one label "
            "instead of two.",
            "note",
        ),
    )


_SIDE_FORMATS = _PX_FORMATS | {"at most 5 px off (%)": ".1f"}


def _side_by_side(evaluations: Mapping[str, Evaluation], what: str = "evaluation") -> pd.DataFrame:
    rows = []
    for name, evaluation in evaluations.items():
        values = evaluation.to_dict()
        rows.append(
            {
                what: name,
                "mean (px)": values["mean_px"],
                "± (px)": values["mean_px_se"],
                "median (px)": values["median_px"],
                "RMS (px)": values["rmse_px"],
                "95 % below (px)": values["p95_px"],
                "at most 5 px off (%)": None if values["pck5"] is None else 100 * values["pck5"],
                "labelled points": values["n"],
            }
        )
    return pd.DataFrame(rows)


def _training_figure(metrics: pd.DataFrame, x: str) -> Any:
    panels = {
        "loss": ["loss"],
        "held-out error (px)": ["held_out_mean_px", "held_out_median_px"],
        "learning rate": ["learning_rate"],
    }
    known = {label: [name for name in names if metrics[name].notna().any()] for label, names in panels.items()}
    return training_curve(metrics, x=x, panels={label: names for label, names in known.items() if names}, title="")
