"""The pages that stages write: figures of `view` joined with tables of their figures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

import multipose.view as view
from multipose.calibration import Calibration
from multipose.camera import CameraRig
from multipose.pose2d import Evaluation, PoseDataset
from multipose.skeleton import Skeleton

_PICTURES_SHOWN = 6


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


def evaluation_page(
    title: str, evaluation: Evaluation, dataset: PoseDataset, judged_on: str, history: pd.DataFrame | None = None
) -> view.Page:
    """Errors of a network: overall, by key point, the best and the worst pictures, and how training went.

    Args:
        dataset: holds the pictures that were evaluated, by their names.
        judged_on: what pictures these are, in words.
        history: of training.
    """
    facts = view.Facts(
        {
            "mean distance (px)": _figure(evaluation.mean_px, 2),
            "median distance (px)": _figure(evaluation.median_px, 2),
            "root mean square (px)": _figure(evaluation.rmse_px, 2),
            "within 5 px (%)": _figure(100 * evaluation.pck5, 1),
            "labelled points": str(evaluation.n),
        }
    )
    means = evaluation.keypoint_mean_px()
    table = pd.DataFrame({"key point": list(means), "mean distance (px)": list(means.values())})
    ranked = evaluation.ranked().tolist()
    few = min(_PICTURES_SHOWN, len(ranked))
    sections = [
        view.Section("Error", (facts, view.Table(table, "", {"mean distance (px)": ".2f"}))),
        view.Section("Worst pictures", (_compared(evaluation, dataset, ranked[::-1][:few]),)),
        view.Section("Best pictures", (_compared(evaluation, dataset, ranked[:few]),)),
    ]
    if history is not None and len(history):
        panels = {"loss": ["loss"], "error on held-out pictures (px)": ["held_out_mean_px", "held_out_median_px"]}
        sections.append(view.Section("Training", (view.training_curve(history, x="seconds", panels=panels),)))
    return view.Page(title, tuple(sections), subtitle=judged_on)


def _compared(evaluation: Evaluation, dataset: PoseDataset, chosen: list[int]) -> view.Pictures:
    place = {name: item for item, name in enumerate(dataset.names)}
    pictures = []
    for item in chosen:
        name = evaluation.names[item]
        drawn = view.draw_comparison(
            dataset.picture(place[name]), evaluation.truth[item], evaluation.position[item], dataset.skeleton
        )
        error = float(evaluation.picture_mean_px()[item])
        pictures.append(view.Picture(drawn, f"{name}: {error:.1f} px (crosses: labels)"))
    return view.Pictures(tuple(pictures))


def player_page(name: str, tracks: xr.Dataset, rig: CameraRig, skeleton: Skeleton) -> view.Page:
    """The 3D player of a recording, and its reprojection errors."""
    sections = [
        view.Section("Trajectories", (view.trajectories(tracks, rig, skeleton, title=name),)),
    ]
    if np.isfinite(tracks["reprojection_error"].values).any():
        sections.append(view.Section("Reprojection error", (view.reprojection_errors(tracks),)))
    return view.Page(name, tuple(sections), subtitle=f"lengths in {tracks.attrs['unit']}", wide=True)
