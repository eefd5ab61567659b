from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from multipose.board import CharucoBoard
from multipose.calibration import Calibration
from multipose.calibration import calibrate as calibrate_rig
from multipose.synthetic import board_corners, board_poses, sample_rig
from multipose.view import Facts, Text, calibration_page
from multipose.view.pages import Page

calibrate = partial(calibrate_rig, lens="brown")  # how a lens is chosen is tested elsewhere


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
