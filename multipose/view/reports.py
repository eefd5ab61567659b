"""The page of a calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from multipose.calibration.uncertainty import picture_uncertainty, volume_uncertainty
from multipose.view.corners import coverage, residuals
from multipose.view.pages import Facts, Item, Page, Section, Table, Text, number_text
from multipose.view.scene import rig as draw_rig
from multipose.view.uncertainty import picture_maps, residual_trends, volume_map

if TYPE_CHECKING:
    from multipose.calibration import Calibration


def calibration_page(calibration: Calibration, *, title: str = "Calibration", subtitle: str = "") -> Page:
    """What a calibration found and how far to trust it: verdicts, figures of each camera, rig, coverage, residuals.

    Args:
        calibration: as `calibrate` returns it.
        title, subtitle: of the page.
    """
    report = calibration.report
    unit, lengths = report.unit, report.lengths
    facts = {
        "RMS, fitted (px)": number_text(report.rms_px, ".3f"),
        "RMS, boards left out (px)": number_text(report.held_out_rms_px, ".3f"),
        "its 95 % interval (px)": " – ".join(number_text(value, ".3f") for value in report.held_out_interval_px),
        "boards used": str(report.boards_used),
        "pictures of boards used": str(report.board_views_used),
        "diagonals of boards, mean error (%)": number_text(lengths.diagonal_mean_percent, ".3f"),
        "diagonals of boards, RMS error (%)": number_text(lengths.diagonal_rms_percent, ".3f"),
        "sides of squares, RMS error (%)": number_text(lengths.square_error_percent, ".3f"),
        f"corners off their boards' planes, RMS ({unit})": number_text(lengths.flatness, ".3g"),
        f"measured bow of the board, x and y ({unit})": _values_with_errors(lengths.bow, lengths.bow_sd),
        "variance, times that of independent corners": number_text(report.inflation, ".2f"),
    }
    if report.board_deflection:
        values, sds = zip(*report.board_deflection, strict=True)
        facts[f"fitted bow of the board, x and y ({unit})"] = _values_with_errors(values, sds)
    verdicts = [Text(verdict.text, "warning") for verdict in report.verdicts]
    summary: list[Item] = [Facts(facts), *(verdicts or [Text("No camera gives reason for doubt.", "good")])]
    summary.append(
        Text(
            "RMS is the root of the mean of dx² + dy² over corners. Boards are left out one instant at a time: they "
            "take no part in the fit of the rig, only their own six pose unknowns are estimated, and lengths on them "
            f"are measured by that rig, every corner triangulated by itself. Lengths are in {unit}; the world: "
            f"{calibration.world}.",
            "note",
        )
    )
    cameras = pd.DataFrame(
        {
            "camera": name,
            "RMS, left out (px)": camera.held_out_rms_px,
            "RMS, fitted (px)": camera.rms_px,
            "coverage (%)": 100 * camera.coverage,
            "lens": camera.lens,
            "picture (px)": f"{camera.size[0]} x {camera.size[1]}",
            "boards": camera.boards,
            "corners": camera.corners,
            "rejected": camera.rejected,
        }
        for name, camera in report.cameras.items()
    )
    formats = {"RMS, fitted (px)": ".3f", "RMS, left out (px)": ".3f", "coverage (%)": ".0f"}
    centers = {camera.name: camera.center for camera in calibration.rig}
    places = pd.DataFrame(
        {"camera": name} | {f"{axis} ({unit})": value for axis, value in zip("xyz", center, strict=True)}
        for name, center in centers.items()
    )
    pairs = pd.DataFrame(
        {
            "views": f"{first} and {second}",
            "boards seen by both": shared,
            "of these agreeing": agreeing,
            f"between the centres ({unit})": np.linalg.norm(centers[first] - centers[second]),
        }
        for (first, second), (shared, agreeing) in report.shared_boards.items()
    )
    tables = [
        Table(cameras, formats=formats),
        *([Table(pairs, "Pairs of cameras", {f"between the centres ({unit})": ".5g"})] if len(pairs) else []),
        Table(places, "Camera centres in the world of the rig", {f"{axis} ({unit})": ".2f" for axis in "xyz"}),
    ]
    board = (calibration.corners.board, calibration.world_from_board)
    pictures = {name: picture_uncertainty(calibration, name) for name in calibration.rig.names}
    volume = volume_uncertainty(calibration)
    uncertain: list[Item] = [picture_maps(calibration, pictures)]
    if len(volume.xyz):
        uncertain.append(volume_map(calibration, volume))
    instants = pd.DataFrame([vars(instant) for instant in report.instants])
    instants.columns = pd.Index(["frame", "views", "RMS, fitted (px)", "RMS, left out (px)"])
    return Page(
        title,
        (
            Section("Summary", tuple(summary)),
            Section("Cameras", tuple(tables)),
            Section("Rig", (draw_rig(calibration.rig, board),)),
            Section("Coverage", (coverage(calibration.corners),)),
            Section("Residuals", (residuals(calibration), residual_trends(calibration))),
            Section("Uncertainty of the calibration", tuple(uncertain)),
            Section(
                "Instants",
                (Table(instants, formats={"RMS, fitted (px)": ".3f", "RMS, left out (px)": ".3f"}),),
            ),
            Section(
                "Lenses",
                (
                    Table(
                        _parameters(calibration),
                        "Parameters ± standard deviations, from the scatter of the corners; fx, fy, cx, cy in px; "
                        "scales of a telecentric lens in px per unit",
                    ),
                ),
            ),
        ),
        subtitle=subtitle,
    )


def _parameters(calibration: Calibration) -> pd.DataFrame:
    """Lens parameters with their standard deviations, one row per parameter and one column per camera."""
    table: dict[str, dict[str, str]] = {}
    for camera in calibration.rig:
        sd = calibration.report.cameras[camera.name].sd
        for name, value in zip(camera.lens.param_names, camera.lens.params, strict=True):
            table.setdefault(name, {})[camera.name] = _with_error(float(value), sd.get(name, np.nan))
    rows = [{"parameter": name, **cells} for name, cells in table.items()]
    return pd.DataFrame(rows, columns=["parameter", *calibration.rig.names])


def _with_error(value: float, sd: float) -> str:
    """Value and standard deviation, to two digits of the latter: 535.92 ± 0.31."""
    if not np.isfinite(sd) or sd <= 0:
        return f"{value:.6g}"
    digits = max(0, 1 - int(np.floor(np.log10(sd))))
    return f"{value:.{digits}f} ± {sd:.{digits}f}"


def _values_with_errors(values: Sequence[float], sds: Sequence[float]) -> str:
    known = np.isfinite([*values, *sds]).all()
    return ", ".join(_with_error(*pair) for pair in zip(values, sds, strict=True)) if known else "–"
