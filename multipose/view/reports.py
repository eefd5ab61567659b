"""The pages that the stages of a project leave beside their products: of a calibration and of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from multipose.calibration.uncertainty import picture_uncertainty, volume_uncertainty
from multipose.skeleton import Skeleton
from multipose.view.charts import training_curve
from multipose.view.corners import coverage, residuals
from multipose.view.drawing import apply_affine, crop_around, draw_comparison
from multipose.view.pages import Facts, Item, Page, Picture, Pictures, Section, Table, Text
from multipose.view.quality import error_curves, reliability
from multipose.view.scene import rig as draw_rig
from multipose.view.uncertainty import picture_maps, residual_trends, volume_map

if TYPE_CHECKING:
    from multipose.calibration import Calibration

Rgb = npt.NDArray[np.uint8]


class EvaluationLike(Protocol):
    """Labels and a network's points side by side, as `evaluate` returns them; errors are distances in px."""

    @property
    def keypoints(self) -> tuple[str, ...]:
        """Names of the key points."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the n pictures."""

    @property
    def truth(self) -> npt.NDArray[np.float64]:
        """(n, keypoint, 2) labelled positions px; NaN where there is none."""

    @property
    def position(self) -> npt.NDArray[np.float64]:
        """(n, keypoint, 2) positions that the network found px."""

    @property
    def error(self) -> npt.NDArray[np.float64]:
        """(n, keypoint) distance px; NaN where there is no label."""

    def picture_mean_px(self) -> npt.NDArray[np.float64]:
        """(n,) mean distance in each picture."""

    def ranked(self) -> npt.NDArray[np.int64]:
        """Indices of the pictures with labels, best first."""

    def coverage(self, level: float) -> float:
        """Share of the labelled positions within the ellipses that should hold this share of them."""

    def reliability(self) -> pd.DataFrame:
        """Points in bins of their confidence: mean confidence, share present, and number n of each bin."""

    def to_dict(self) -> dict[str, Any]:
        """mean_px, rmse_px, median_px, p95_px, pck5, n, within_50, within_95, brier, base_brier, calibration_error."""


def calibration_page(calibration: Calibration, *, title: str = "Calibration", subtitle: str = "") -> Page:
    """What a calibration found and how far to trust it: verdicts, figures of each camera, rig, coverage, residuals.

    Args:
        calibration: as `calibrate` returns it.
        title, subtitle: of the page.
    """
    report = calibration.report
    unit, lengths = report.unit, report.lengths
    facts = {
        "RMS, fitted (px)": _number(report.rms_px, ".3f"),
        "RMS, boards left out (px)": _number(report.held_out_rms_px, ".3f"),
        "its 95 % interval (px)": " – ".join(_number(value, ".3f") for value in report.held_out_interval_px),
        "boards used": str(report.boards_used),
        "pictures of boards used": str(report.board_views_used),
        "diagonals of boards, mean error (%)": _number(lengths.diagonal_mean_percent, ".3f"),
        "diagonals of boards, RMS error (%)": _number(lengths.diagonal_rms_percent, ".3f"),
        "sides of squares, RMS error (%)": _number(lengths.square_error_percent, ".3f"),
        f"corners off their boards' planes, RMS ({unit})": _number(lengths.flatness, ".3g"),
        f"measured bow of the board, x and y ({unit})": _values_with_errors(lengths.bow, lengths.bow_sd),
        "variance, times that of independent corners": _number(report.inflation, ".2f"),
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
            f"are measured by that rig, every corner triangulated by itself. Lengths are in {unit}.",
            "note",
        )
    )
    cameras = pd.DataFrame(
        {
            "camera": name,
            "lens": camera.lens,
            "picture (px)": f"{camera.size[0]} x {camera.size[1]}",
            "boards": camera.boards,
            "corners": camera.corners,
            "rejected": camera.rejected,
            "RMS, fitted (px)": camera.rms_px,
            "RMS, left out (px)": camera.held_out_rms_px,
            "coverage (%)": 100 * camera.coverage,
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


def evaluation_page(
    evaluation: EvaluationLike,
    picture: Callable[[int], Rgb],
    skeleton: Skeleton,
    *,
    title: str = "Evaluation",
    subtitle: str = "",
    metrics: pd.DataFrame | None = None,
    notes: Sequence[str] = (),
    further: Mapping[str, EvaluationLike] | None = None,
    n_pictures: int = 8,
) -> Page:
    """How far a network's points lie from the labels: figures, key points, best and worst pictures, training.

    Args:
        evaluation: as `evaluate` returns it.
        picture: gives the RGB picture of an index of the evaluation.
        skeleton: the key points.
        title, subtitle: of the page.
        metrics: the table of the training's metrics.csv.
        notes: sentences that say what was held out and how.
        further: more evaluations to put beside it, by name (random and block folds, for example).
        n_pictures: how many of the best and of the worst pictures are shown; a picture stands in one of the two only.
    """
    values = evaluation.to_dict()
    facts = {
        "mean error (px)": _number(values["mean_px"], ".2f"),
        "median error (px)": _number(values["median_px"], ".2f"),
        "root mean square error (px)": _number(values["rmse_px"], ".2f"),
        "95 % of the errors below (px)": _number(values["p95_px"], ".2f"),
        "at most 5 px off (%)": _percent(values["pck5"]),
        "labels in their 50 % ellipses (%)": _percent(values["within_50"]),
        "labels in their 95 % ellipses (%)": _percent(values["within_95"]),
        "Brier score of the confidence": _number(values["brier"], ".3f"),
        "that of the share of points present": _number(values["base_brier"], ".3f"),
        "calibration error of the confidence": _number(values["calibration_error"], ".3f"),
        "labelled points": str(values["n"]),
    }
    summary: list[Item] = [Facts(facts), *(Text(note, "note") for note in notes)]
    if further:
        summary.append(Table(_comparison({title: evaluation, **further}), formats=_COMPARISON_FORMATS))
    order = evaluation.ranked()
    shown = min(n_pictures, (len(order) + 1) // 2)
    best, worst = order[:shown], order[shown:][::-1][:shown]
    sections = [
        Section("Summary", tuple(summary)),
        Section("Key points", (Table(_keypoint_errors(evaluation), formats=_KEYPOINT_FORMATS),)),
        *([Section("Errors and their honesty", _quality(evaluation, title, further or {}))] if values["n"] else []),
        *(
            Section(
                heading,
                (
                    Text("Cross: label. Disc or diamond: network. The parts shown hold all labelled points."),
                    Pictures(tuple(_example(evaluation, picture, skeleton, int(item)) for item in items)),
                ),
            )
            for heading, items in (("Worst pictures", worst), ("Best pictures", best))
            if len(items)
        ),
    ]
    if metrics is not None and len(metrics):
        sections.append(Section("Training", (training_curve(metrics),)))
    return Page(title, tuple(sections), subtitle=subtitle)


_KEYPOINT_FORMATS = dict.fromkeys(("mean (px)", "median (px)", "RMS (px)", "95 % below (px)"), ".2f")
_COMPARISON_FORMATS = dict.fromkeys(("mean (px)", "median (px)", "RMS (px)"), ".2f") | {"at most 5 px off (%)": ".1f"}


def _keypoint_errors(evaluation: EvaluationLike) -> pd.DataFrame:
    rows = []
    for name, column in zip(evaluation.keypoints, evaluation.error.T, strict=True):
        known = column[np.isfinite(column)]
        rows.append(
            {
                "key point": name,
                "labels": len(known),
                "mean (px)": known.mean() if len(known) else np.nan,
                "median (px)": np.median(known) if len(known) else np.nan,
                "RMS (px)": np.sqrt((known**2).mean()) if len(known) else np.nan,
                "95 % below (px)": np.quantile(known, 0.95) if len(known) else np.nan,
            }
        )
    return pd.DataFrame(rows)


def _quality(evaluation: EvaluationLike, title: str, further: Mapping[str, EvaluationLike]) -> tuple[Item, ...]:
    """How far points are off, and whether ellipses and confidences say so."""
    known = {name: part for name, part in {title: evaluation, **further}.items() if part.to_dict()["n"]}
    return (
        error_curves(known, title="Share of the labelled points within a distance"),
        reliability(evaluation),
        Text(
            "Every labelled point counts. Points on the dotted lines are honest; ellipses above theirs are too wide.",
            "note",
        ),
    )


def _percent(share: float | None) -> str:
    return _number(None if share is None else 100 * share, ".1f")


def _comparison(evaluations: Mapping[str, EvaluationLike]) -> pd.DataFrame:
    rows = []
    for name, evaluation in evaluations.items():
        values = evaluation.to_dict()
        rows.append(
            {
                "evaluation": name,
                "labelled points": values["n"],
                "mean (px)": values["mean_px"],
                "median (px)": values["median_px"],
                "RMS (px)": values["rmse_px"],
                "at most 5 px off (%)": None if values["pck5"] is None else 100 * values["pck5"],
            }
        )
    return pd.DataFrame(rows)


def _example(evaluation: EvaluationLike, picture: Callable[[int], Rgb], skeleton: Skeleton, item: int) -> Picture:
    truth, found = evaluation.truth[item], evaluation.position[item]
    found = np.where(np.isfinite(truth), found, np.nan)
    part, affine = crop_around(picture(item), truth)
    drawn = draw_comparison(part, apply_affine(affine, truth), apply_affine(affine, found), skeleton, radius=4.5)
    return Picture(drawn, f"{evaluation.names[item]}: mean {evaluation.picture_mean_px()[item]:.2f} px")


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


def _number(value: float | None, form: str) -> str:
    return "–" if value is None or not np.isfinite(value) else format(value, form)
