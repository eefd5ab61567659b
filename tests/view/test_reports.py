from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from multipose.board import CharucoBoard
from multipose.calibration import Calibration
from multipose.calibration import calibrate as calibrate_rig
from multipose.skeleton import Skeleton
from multipose.synthetic import board_corners, board_poses, sample_rig
from multipose.view import Facts, Pictures, Table, Text, calibration_page, evaluation_page
from multipose.view.pages import Page

calibrate = partial(calibrate_rig, lens="brown")  # how a lens is chosen is tested elsewhere

SKELETON = Skeleton(("nose", "tail"))


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    rig = sample_rig(2, names=["back", "top"])
    board = CharucoBoard(6, 5, 20.0, 15.0)
    return calibrate(board_corners(rig, board, board_poses(rig, board, 24, seed=2)))


def items(page: Page, title: str) -> tuple[Any, ...]:
    return next(section.items for section in page.sections if section.title == title)


def test_a_calibration_page_says_what_the_report_says(calibration: Calibration) -> None:
    page = calibration_page(calibration, subtitle="session A")
    report = calibration.report
    facts, *texts = items(page, "Summary")
    assert isinstance(facts, Facts)
    assert facts.values["RMS, fitted (px)"] == f"{report.rms_px:.3f}"
    assert facts.values["boards used"] == str(report.boards_used)
    warnings = [text.text for text in texts if isinstance(text, Text) and text.kind == "warning"]
    assert len(warnings) == len(report.verdicts)
    cameras, pairs, places = items(page, "Cameras")
    assert cameras.frame["camera"].tolist() == ["back", "top"]
    assert cameras.frame["RMS, fitted (px)"].tolist() == [report.cameras[view].rms_px for view in ("back", "top")]
    distance = np.linalg.norm(calibration.rig["back"].center - calibration.rig["top"].center)
    assert pairs.frame["between the centres (mm)"].tolist() == [pytest.approx(distance)]
    assert places.frame["x (mm)"].tolist() == [camera.center[0] for camera in calibration.rig]
    (lenses,) = items(page, "Lenses")
    fx = lenses.frame.set_index("parameter").loc["fx", "back"]
    value, error = (float(part) for part in fx.split(" ± "))
    assert value == pytest.approx(calibration.rig["back"].lens.fx, abs=error)
    assert error == pytest.approx(report.cameras["back"].sd["fx"], rel=0.06)
    for title in ("Rig", "Coverage", "Residuals", "Uncertainty of the calibration"):
        assert isinstance(items(page, title)[0], go.Figure)
    assert "session A" in page.to_html()


@dataclass(frozen=True, eq=False)
class Evaluated:
    """Ten pictures whose n-th is n px off at the nose; the tail is labelled in one."""

    keypoints: tuple[str, ...] = SKELETON.keypoints
    names: tuple[str, ...] = tuple(f"day1/{i}" for i in range(10))

    @property
    def truth(self) -> np.ndarray:
        truth = np.full((10, 2, 2), 30.0)
        truth[1:, 1] = np.nan
        return truth

    @property
    def position(self) -> np.ndarray:
        position = np.full((10, 2, 2), 30.0)
        position[:, 0, 0] += np.arange(10)
        return position

    @property
    def error(self) -> np.ndarray:
        return np.asarray(np.linalg.norm(self.position - self.truth, axis=-1))

    def picture_mean_px(self) -> np.ndarray:
        return np.asarray(np.nanmean(self.error, axis=1))

    def ranked(self) -> np.ndarray:
        return np.argsort(self.picture_mean_px())

    def coverage(self, level: float) -> float:
        return level**2

    def reliability(self) -> pd.DataFrame:
        return pd.DataFrame({"confidence": [0.2, 0.9], "present": [0.3, 1.0], "n": [10, 10]})

    def to_dict(self) -> dict[str, Any]:
        figures = {"mean_px": 4.09, "rmse_px": 5.1, "median_px": 4.0, "p95_px": 8.5, "pck5": None, "n": 11}
        return figures | {
            "within_50": 0.25,
            "within_95": 0.9025,
            "brier": 0.03,
            "base_brier": 0.2,
            "calibration_error": None,
        }


def test_an_evaluation_page_shows_the_best_and_the_worst() -> None:
    read: list[int] = []

    def picture(item: int) -> np.ndarray:
        read.append(item)
        return np.full((64, 64, 3), 90, dtype=np.uint8)

    metrics = pd.DataFrame({"step": [0, 1], "loss": [2.0, 1.0], "held_out_mean_px": [5.0, 4.0]})
    page = evaluation_page(
        Evaluated(),
        picture,
        SKELETON,
        metrics=metrics,
        notes=["5 folds"],
        further={"blocks": Evaluated()},
        n_pictures=3,
    )
    facts, note, comparison = items(page, "Summary")
    assert facts.values["mean error (px)"] == "4.09"
    assert facts.values["at most 5 px off (%)"] == "–"
    assert facts.values["labels in their 95 % ellipses (%)"] == "90.2"
    assert facts.values["calibration error of the confidence"] == "–"
    assert note.text == "5 folds"
    assert comparison.frame["evaluation"].tolist() == ["Evaluation", "blocks"]
    (table,) = items(page, "Key points")
    assert isinstance(table, Table)
    assert table.frame["labels"].tolist() == [10, 1]
    assert table.frame["mean (px)"].tolist() == [4.5, 0.0]
    assert read == [9, 8, 7, 0, 1, 2]
    errors, honesty, _ = items(page, "Errors and their honesty")
    assert [trace.name for trace in errors.data] == ["Evaluation", "blocks"]
    np.testing.assert_allclose(errors.data[0].x, [0, 0, *range(1, 10)])
    assert errors.data[0].y[-1] == 1
    ellipses, confidences = honesty.data[1], honesty.data[3]
    np.testing.assert_allclose(ellipses.y, np.square(ellipses.x))
    assert list(confidences.y) == [0.3, 1.0]
    worst = items(page, "Worst pictures")[1]
    assert isinstance(worst, Pictures)
    assert [shown.caption for shown in worst.pictures] == [f"day1/{i}: mean {i:.2f} px" for i in (9, 8, 7)]
    assert worst.pictures[0].rgb.std() > 0
    assert isinstance(items(page, "Training")[0], go.Figure)


def test_few_pictures_are_shown_once() -> None:
    read: list[int] = []

    def picture(item: int) -> np.ndarray:
        read.append(item)
        return np.zeros((64, 64, 3), dtype=np.uint8)

    page = evaluation_page(Evaluated(), picture, SKELETON, n_pictures=8)
    assert sorted(read) == list(range(10))
    assert [section.title for section in page.sections] == [
        "Summary",
        "Key points",
        "Errors and their honesty",
        "Worst pictures",
        "Best pictures",
    ]
