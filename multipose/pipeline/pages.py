"""The pages that stages write: figures of `view` joined with tables of their figures."""

from __future__ import annotations

from typing import Any

import pandas as pd

from multipose import view
from multipose.calibration import Calibration


def calibration_page(session: str, calibration: Calibration) -> view.Page:
    """The report of a calibration."""
    report, rig = calibration.report, calibration.rig
    facts = view.Facts(
        {
            "RMS, fitted (px)": _figure(report.rms_px, 3),
            "RMS, boards left out (px)": _figure(report.held_out_rms_px, 3),
            "boards used": str(report.boards_used),
            "error of a square's side, RMS (%)": _figure(report.square_error_percent, 2),
        }
    )
    cameras = pd.DataFrame(
        {
            "camera": list(report.cameras),
            "lens": [camera.lens for camera in report.cameras.values()],
            "RMS, fitted (px)": [camera.rms_px for camera in report.cameras.values()],
            "RMS, left out (px)": [camera.held_out_rms_px for camera in report.cameras.values()],
            "boards": [camera.boards for camera in report.cameras.values()],
            "corners": [camera.corners for camera in report.cameras.values()],
            "rejected": [camera.rejected for camera in report.cameras.values()],
            "coverage (%)": [100 * camera.coverage for camera in report.cameras.values()],
        }
    )
    formats = {"RMS, fitted (px)": ".3f", "RMS, left out (px)": ".3f", "coverage (%)": ".0f"}
    shared = pd.DataFrame(
        [
            {"views": f"{a} and {b}", "boards seen by both": seen, "that agree": agreeing}
            for (a, b), (seen, agreeing) in report.shared_boards.items()
        ]
    )
    verdicts = tuple(
        view.Text(f"{verdict.camera}: {verdict.text}" if verdict.camera else verdict.text, "warning")
        for verdict in report.verdicts
    )
    sections = [
        view.Section("Result", (facts, *(verdicts or (view.Text("Nothing stands out.", "good"),)))),
        view.Section("Cameras", (view.Table(cameras, "RMS: root of the mean of dx² + dy² over corners", formats),)),
        view.Section("Rig", (view.rig(rig, (calibration.corners.board, calibration.world_from_board)),)),
        view.Section("Coverage", (view.coverage(calibration.corners),)),
        view.Section("Residuals", (view.residuals(calibration.corners, calibration.residuals),)),
    ]
    if len(shared):
        sections.insert(2, view.Section("Shared boards", (view.Table(shared),)))
    return view.Page("Calibration", tuple(sections), subtitle=f"session {session}; lengths in {rig.unit}")


def _figure(value: float | None, digits: int) -> str:
    return "–" if value is None or value != value else f"{value:.{digits}f}"


def error_table(evaluation: dict[str, Any]) -> pd.DataFrame:
    """Mean error of each key point, of an evaluation's values."""
    return pd.DataFrame(
        {"key point": list(evaluation["keypoints"]), "mean error (px)": list(evaluation["keypoints"].values())}
    )
