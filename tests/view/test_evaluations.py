"""Pages of networks, made from errors that are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from multipose.pose2d import Evaluation, compare_evaluations
from multipose.skeleton import Skeleton
from multipose.view import Pictures, comparison_page, evaluation_page, judged_picture, label_curve, training_page
from multipose.view.pages import Page

SKELETON = Skeleton(("nose", "tail"))
METRICS = pd.DataFrame(
    {
        "step": [10, 20],
        "seconds": [30.0, 60.0],
        "cpu_seconds": [60.0, 120.0],
        "learning_rate": [2e-3, 1e-3],
        "loss": [2.0, 1.0],
        "held_out_mean_px": [np.nan, 4.0],
        "held_out_median_px": [np.nan, 3.0],
    }
)


def items(page: Page, title: str) -> tuple[Any, ...]:
    return next(section.items for section in page.sections if section.title == title)


def evaluated(step: float = 1.0) -> Evaluation:
    """Ten pictures whose n-th is n steps of px off at the nose; the tail is labelled in one, and found."""
    truth = np.full((10, 2, 2), 30.0)
    truth[1:, 1] = np.nan
    position = np.full((10, 2, 2), 30.0)
    position[:, 0, 0] += step * np.arange(10)
    return Evaluation(
        keypoints=SKELETON.keypoints,
        names=tuple(f"day1/{i}" for i in range(10)),
        truth=truth,
        present=np.isfinite(truth[..., 0]).astype(float),
        position=position,
        confidence=np.ones((10, 2)),
        covariance=np.tile(4.0 * np.eye(2), (10, 2, 1, 1)),
        presence_logit=np.ones((10, 2)),
    )


class Reader:
    """Grey pictures, and which of them were asked for."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __call__(self, item: int) -> np.ndarray:
        self.read.append(item)
        return np.full((64, 64, 3), 90, dtype=np.uint8)


def test_an_evaluation_page_shows_figures_key_points_and_the_worst() -> None:
    picture = Reader()
    page = evaluation_page(
        evaluated(),
        picture,
        SKELETON,
        metrics=METRICS,
        notes=["Cross-validated: 5 folds"],
        warnings=["learned"],
        further={"blocks": evaluated()},
        n_pictures=3,
    )
    warning, facts, note, _, comparison = items(page, "Summary")
    assert warning.kind == "warning"
    assert facts.values["mean error (px)"] == "4.09"
    low, high = map(float, facts.values["its 95 % interval (px)"].split(" – "))
    assert 0 <= low < 4.09 < high
    assert facts.values["labels in their 95 % ellipses (%)"] == "54.5"  # up to 4 px off; the ellipse reaches 4.9 px
    assert note.text == "Cross-validated: 5 folds"
    assert comparison.frame["evaluation"].tolist() == ["Evaluation", "blocks"]
    errors, shares, curves = items(page, "Key points")
    assert errors.frame["labels"].tolist() == [10, 1]
    assert errors.frame["mean (px)"].tolist() == [4.5, 0.0]
    assert shares.frame["5 px"].tolist() == [60.0, 100.0]
    assert [trace.name for trace in curves.data] == ["nose", "tail"]
    assert picture.read == [9, 0, 9, 8, 7, 0, 1, 2]
    errors, honesty, _ = items(page, "Errors and their honesty")
    np.testing.assert_allclose(errors.data[0].x, [0, 0, *range(1, 10)])
    assert errors.data[0].y[-1] == 1
    assert honesty.data[1].y[-1] == pytest.approx(6 / 11)
    points = items(page, "Worst point of each key point")[1].pictures
    assert [shown.caption for shown in points] == ["nose, day1/9: 9.00 px", "tail, day1/0: 0.00 px"]
    worst = items(page, "Worst pictures")[1]
    assert isinstance(worst, Pictures)
    assert [shown.caption for shown in worst.pictures] == [f"day1/{i}: mean {i:.2f} px" for i in (9, 8, 7)]
    assert worst.pictures[0].rgb.std() > 0
    assert isinstance(items(page, "Training")[0], go.Figure)
    assert "Views" not in [section.title for section in page.sections]
    assert "4.09" in page.to_html()


def test_few_pictures_are_shown_once_and_views_side_by_side() -> None:
    page = evaluation_page(replace(evaluated(), views=("back", "top") * 5), Reader(), SKELETON, n_pictures=8)
    assert [section.title for section in page.sections] == [
        "Summary",
        "Views",
        "Key points",
        "Errors and their honesty",
        "Worst point of each key point",
        "Worst pictures",
        "Best pictures",
    ]
    (views,) = items(page, "Views")
    assert views.frame[["view", "labelled points"]].to_numpy().tolist() == [["back", 6], ["top", 5]]
    shown = [
        picture.caption.split(":")[0]
        for title in ("Worst", "Best")
        for picture in items(page, f"{title} pictures")[1].pictures
    ]
    assert sorted(shown) == [f"day1/{i}" for i in range(10)]


def test_labels_without_a_position_make_a_page_without_errors() -> None:
    page = evaluation_page(replace(evaluated(), truth=np.full((10, 2, 2), np.nan)), Reader(), SKELETON)
    assert [section.title for section in page.sections] == ["Summary", "Key points"]
    assert "NaN" not in page.to_html()


def test_a_repeat_error_stands_beside_the_network() -> None:
    point = {"n": 3, "repeat_px": 2.5, "label_sd_px": 1.4, "network_px": None}
    repeats = {
        "pictures": 3,
        "n": 3,
        "repeat_px": 2.5,
        "repeat_px_interval": [2.0, 3.0],
        "network_px": 2.2,
        "keypoints": {"nose": point},
    }
    table, note = items(evaluation_page(evaluated(), Reader(), SKELETON, repeats=repeats), "Label noise")
    assert table.frame["repeat (px)"].tolist() == [2.5, 2.5]
    assert "2.50 px" in note.text


def test_a_comparison_page_says_which_is_better_and_where() -> None:
    picture = Reader()
    comparison = compare_evaluations(evaluated(), evaluated(0.5))
    page = comparison_page(comparison, ("old", "new"), picture, SKELETON, n_pictures=2)
    facts, verdict, _ = items(page, "Summary")
    assert facts.values["new less old (px)"] == "-2.05"
    assert verdict.text == "new is better."
    table, _, figure = items(page, "Key points")
    assert table.frame["better"].tolist() == ["new", "-"]
    assert [trace.y[0] for trace in figure.data] == ["all", "nose", "tail"]
    gains = items(page, "Where new gains most")[1].pictures
    assert [shown.caption.split(":")[0] for shown in gains[:2]] == ["old, day1/9", "new, day1/9"]
    assert picture.read == [9, 9, 8, 8, 0, 0, 1, 1]
    undecided = comparison_page(compare_evaluations(evaluated(), evaluated()), ("old", "new"), picture, SKELETON)
    assert "do not tell" in items(undecided, "Summary")[1].text


def test_a_label_curve_spans_the_folds() -> None:
    folds = {40: [evaluated(), evaluated(2.0)], 10: [evaluated(3.0), evaluated(5.0)]}
    whole, nose, _, _, median, _ = label_curve(folds).data
    assert list(whole.x) == [10, 40]
    np.testing.assert_allclose(nose.y, [18.0, 6.75])
    np.testing.assert_allclose(median.y, [16.5, 6.0])
    assert (nose.error_y.array[0], nose.error_y.arrayminus[0]) == (4.5, 4.5)


def test_a_training_page_is_read_anew_while_it_runs() -> None:
    begun = training_page(METRICS.iloc[:1], running=True)
    assert 'http-equiv="refresh"' in begun.to_html()
    assert "held-out mean error (px)" not in items(begun, "Now")[0].values
    assert [trace.name for trace in items(begun, "Over time")[0].data] == ["loss", "learning_rate"]
    ended = training_page(METRICS)
    assert 'http-equiv="refresh"' not in ended.to_html()
    assert items(ended, "End")[0].values["held-out mean error (px)"] == "4.00"
    assert list(items(ended, "Over time")[0].data[0].x) == [0.5, 1.0]


def test_a_judged_picture_is_named_and_drawn() -> None:
    plain = np.full((64, 64, 3), 90, dtype=np.uint8)
    drawn = judged_picture(evaluated(), 5, plain, SKELETON)
    assert drawn.shape[1] == 800
    heading, body = drawn[:-800], drawn[-800:]
    assert len(heading) > 40
    assert (heading == 255).mean() > 0.8
    assert heading.min() < 100
    changed = (np.abs(body.astype(int) - 90) > 20).any(-1)
    assert changed[370:400, 370:460].any()  # label at (30, 30), point at (35, 30), 12.5 times as large
    assert not changed[600:].any()
