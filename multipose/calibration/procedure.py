"""From corners to a rig: the steps of a calibration in their order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from multipose.calibration.adjustment import Adjusted, adjust_rig, as_grid, plane_seen
from multipose.calibration.bundle import (
    free_unknowns,
    invert_determined,
    offsets,
    reduced_normals,
    residuals,
)
from multipose.calibration.extrinsics import Pair, join_views
from multipose.calibration.influence import LeftOut, leave_instants_out
from multipose.calibration.intrinsics import LENS_MODELS, ViewFit, fit_camera, fit_view, pose_boards, share_lenses
from multipose.calibration.lens_choice import AUTO, choose_lens
from multipose.calibration.report import Calibration, CalibrationReport, CameraReport, Instant
from multipose.calibration.validation import coverage, measure_boards, rig_of, rms, rms_interval
from multipose.calibration.verdicts import judge
from multipose.camera import CameraRig
from multipose.corners import Corners, fuller_side
from multipose.errors import CalibrationError, DataError
from multipose.files import natural_key
from multipose.lens import Lens
from multipose.progress import SILENT, Progress
from multipose.triangulate.rig_covariance import POSE_NAMES, parameter_names

FloatArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]

_FEWEST_BOARDS = 3


def calibrate(
    corners: Corners,
    *,
    lens: str | Mapping[str, str] = "auto",
    intrinsics: CameraRig | None = None,
    same_camera: Mapping[str, str] | None = None,
    bent_board: bool = False,
    reject_outliers: bool = True,
    min_corners: int = 6,
    min_shared: int = 3,
    progress: Progress = SILENT,
) -> Calibration:
    """Calibrate a rig (or a single camera) from the corners of a board.

    Every view is calibrated alone, pairs of views are put into one rig by the robust average over all pairs, and
    everything is adjusted together with the boards as rigid bodies; corners beyond 5.5 standard deviations are thrown
    out in rounds. Figures for boards left out come from leaving out one instant at a time. The world is the frame of
    the first camera in natural order of names; the order in which the views come does not change the result.

    Args:
        corners: from `detect_board`.
        lens: for all views or by view: "auto", or "k1" (focal length and one term of distortion), "brown", "fisheye"
            or "rational". "auto" takes the first of these that is not clearly worse than the best on boards left out.
        intrinsics: cameras whose lenses are known already, and stay; others are fitted.
        same_camera: views that are parts of the same camera's picture as another view (a mirror's view and the direct
            one), as {"mirror": "direct"}: they get one lens, of which `corners.excerpts` says what each view shows.
        bent_board: whether the board may be bent, as a sheet that is not on glass; the deflection along x and y is
            then estimated too.
        reject_outliers: throw out corners; else all are used.
        min_corners: a board with fewer corners in a view, or with all on one line, is not used there.
        min_shared: boards that two views must share, in agreement, to be connected directly.

    Raises:
        CalibrationError: a view has too few boards, or the views are not connected; the message says which and what to
            do.
        DataError: an unknown lens, a lens for an unknown view, intrinsics of pictures of another size, or views of the
            same camera that are not there or have different lenses.
    """
    corners = corners.select(views=sorted(corners.views, key=natural_key))
    known = _known_lenses(intrinsics, corners)
    models = _lens_models(lens, corners.views)
    leaders = _leaders(same_camera or {}, corners.views, models, known)
    board_xyz = corners.board.corners
    usable = _usable(corners, min_corners)
    _check_boards(corners, usable)
    fits = _fit_views(corners, usable, models, known, leaders, progress)
    joined = join_views(corners.board, corners.views, corners.px, usable, fits, min_shared)
    corners = replace(corners, px=joined.px)
    usable &= corners.seen
    with progress.task("Adjusting all cameras and boards") as task:
        start = replace(joined.state, deflection=np.zeros(2 if bent_board else 0))
        shared = share_lenses(start.lenses, [corners.excerpts[view] for view in corners.views], leaders)
        held = [() if view in leaders else fit.held for view, fit in enumerate(fits)]
        free = free_unknowns(start.lenses, held, shared=shared, deflections=len(start.deflection))
        adjusted = adjust_rig(
            start, corners.board, corners.px, usable, free, reject_outliers=reject_outliers, min_corners=min_corners
        )
        task.advance()
    _check_left(corners, adjusted)
    left = leave_instants_out(adjusted.state, board_xyz, corners.px, adjusted.used, free, progress=progress)
    return _describe(corners, [fit.model for fit in fits], joined.pairs, adjusted, free, left)


def _fit_views(
    corners: Corners, usable: BoolArray, models: dict[str, str], known: dict[str, Lens], leaders: dict[int, int],
    progress: Progress,
) -> list[ViewFit]:  # fmt: skip
    """Every view calibrated alone, or together with those that have the same camera."""
    board_xyz = corners.board.corners
    fits: dict[int, ViewFit] = {}
    with progress.task("Calibrating views", total=len(corners.views)) as task:
        for view, name in enumerate(corners.views):
            if view in leaders:
                continue
            seen = (board_xyz, corners.px[view], usable[view])
            if name in known:
                fits[view] = pose_boards(known[name], *seen)
            elif models[name] == AUTO:
                fits[view] = choose_lens(*seen, corners.excerpts[name])
            else:
                fits[view] = fit_view(*seen, corners.excerpts[name], models[name])
            group = [view, *(follower for follower, leader in leaders.items() if leader == view)]
            if len(group) > 1:
                excerpts = [corners.excerpts[corners.views[member]] for member in group]
                together = fit_camera(board_xyz, corners.px[group], usable[group], excerpts, fits[view], 0)
                fits |= dict(zip(group, together, strict=True))
            task.advance(len(group), note=name)
    return [fits[view] for view in range(len(corners.views))]


def _lens_models(lens: str | Mapping[str, str], views: tuple[str, ...]) -> dict[str, str]:
    models = dict.fromkeys(views, lens) if isinstance(lens, str) else dict(lens)
    if set(models) != set(views):
        raise DataError(f"Lenses are given for the views {sorted(models)}, but the corners have {sorted(views)}.")
    for view, model in models.items():
        if model not in (AUTO, *LENS_MODELS):
            raise DataError(
                f"There is no lens {model!r} to calibrate {view} with: expected one of "
                f"{', '.join((AUTO, *LENS_MODELS))}."
            )
    return models


def _leaders(
    same_camera: Mapping[str, str], views: tuple[str, ...], models: Mapping[str, str], known: Mapping[str, Lens]
) -> dict[int, int]:
    """By index of a view, the view whose lens it shares."""
    leaders = {}
    for view, leader in same_camera.items():
        for name in (view, leader):
            if name not in views:
                raise DataError(f"same_camera names the view {name!r}; the views are {', '.join(views)}.")
        if view == leader or leader in same_camera:
            raise DataError(
                f"same_camera says that {view} has the camera of {leader}; name one view of each camera that the "
                "others are referred to, and not itself."
            )
        if models[view] != models[leader]:
            raise DataError(
                f"{view} and {leader} have the same camera, but the lenses {models[view]} and {models[leader]} were "
                "asked for."
            )
        if view in known or leader in known:
            raise DataError(f"The lens of {view} or {leader} is known already; leave them out of same_camera.")
        leaders[views.index(view)] = views.index(leader)
    return leaders


def _known_lenses(intrinsics: CameraRig | None, corners: Corners) -> dict[str, Lens]:
    """The lenses that are known, by view."""
    known = {} if intrinsics is None else {name: intrinsics[name] for name in corners.views if name in intrinsics}
    for name, camera in known.items():
        if camera.size != corners.sizes[name]:
            raise DataError(
                f"The lens of {name} is known for pictures of {camera.size[0]} x {camera.size[1]} px, but the board "
                f"was filmed with {corners.sizes[name][0]} x {corners.sizes[name][1]} px. Say crop, scale or "
                "quarter_turns of the view, so that both are the same."
            )
    return {name: camera.lens for name, camera in known.items()}


def _usable(corners: Corners, min_corners: int) -> BoolArray:
    """(view, frame, corner) corners seen on boards with enough corners of a side that span its plane."""
    seen = fuller_side(corners.seen, corners.board)
    return seen & plane_seen(as_grid(seen, corners.board), min_corners)[..., None]


def _check_boards(corners: Corners, usable: BoolArray) -> None:
    counts = usable.any(-1).sum(-1)
    for view, name in enumerate(corners.views):
        if name in corners.diagnoses:
            raise CalibrationError(f"View {name}: {corners.diagnoses[name]}")
        if counts[view] >= _FEWEST_BOARDS:
            continue
        partial = int((corners.counts()[view] > 0).sum()) - int(counts[view])
        also = f" ({partial} more show too few corners or corners on one line)" if partial else ""
        raise CalibrationError(
            f"View {name} has {counts[view]} usable boards in {len(corners.frames)} instants{also}; at least "
            f"{_FEWEST_BOARDS} are needed, and 20 or more, tilted and all over the picture, for a good calibration."
        )


def _check_left(corners: Corners, adjusted: Adjusted) -> None:
    boards = adjusted.used.any(-1).sum(-1)
    for view, name in enumerate(corners.views):
        if boards[view] < _FEWEST_BOARDS:
            raise CalibrationError(
                f"View {name}: only {boards[view]} boards agree with the other views, the others were thrown out as "
                "outliers. The view may be "
                "mirrored, not synchronous with the others, or its files mixed up with another view's."
            )


def _covariance(
    adjusted: Adjusted, board_xyz: FloatArray, px: FloatArray, free: FloatArray, inflation: float
) -> FloatArray:
    """(U, U) of all common unknowns: the noise times the inverse of the second derivative with the boards eliminated,
    inflated for corners that err together.
    """
    normals, _ = reduced_normals(adjusted.state, board_xyz, px, adjusted.used)
    error = residuals(adjusted.state, board_xyz, px)[adjusted.used]
    unknowns = free.shape[1] + 6 * int(adjusted.used.any((0, 2)).sum())
    variance = inflation * (error**2).sum() / max(error.size - unknowns, 1)
    return np.asarray(variance * free @ invert_determined(free.T @ normals @ free) @ free.T)


def _describe(
    corners: Corners,
    models: list[str],
    pairs: Mapping[tuple[int, int], Pair],
    adjusted: Adjusted,
    free: FloatArray,
    left: LeftOut,
) -> Calibration:
    state, board_xyz, used = adjusted.state, corners.board.corners, adjusted.used
    rig = rig_of(state, corners)
    covariance = _covariance(adjusted, board_xyz, corners.px, free, left.inflation)
    sd = np.sqrt(np.diag(covariance))
    error = np.where(used[..., None], residuals(state, board_xyz, corners.px), np.nan)
    boards = np.asarray(used.any((0, 2)))
    n = offsets(state.lenses)[-1]
    report = CalibrationReport(
        unit=rig.unit,
        rms_px=rms(error),
        held_out_rms_px=rms(left.residuals),
        held_out_interval_px=rms_interval(left.residuals),
        boards_used=int(boards.sum()),
        board_views_used=int(used.any(-1).sum()),
        cameras=_camera_reports(rig, models, corners, adjusted, error, left, sd),
        lengths=measure_boards(corners, state, left, used),
        board_deflection=tuple(zip(state.deflection.tolist(), sd[n:].tolist(), strict=True)),
        inflation=left.inflation,
        shared_boards={
            (corners.views[a], corners.views[b]): (pair.shared, pair.agreeing) for (a, b), pair in pairs.items()
        },
        instants=tuple(
            Instant(int(corners.frames[f]), int(used[:, f].any(-1).sum()), rms(error[:, f]), rms(left.residuals[:, f]))
            for f in np.flatnonzero(boards)
        ),
        rounds=adjusted.rounds,
        verdicts=(),
    )
    calibration = Calibration(
        rig=rig,
        report=report,
        covariance=covariance[:n, :n],
        parameter_names=parameter_names(rig),
        corners=corners,
        world_from_board=np.where(boards[:, None, None], state.world_from_board, np.nan),
        residuals=error,
        held_out_residuals=left.residuals,
        rejected=adjusted.rejected,
    )
    return replace(calibration, report=replace(report, verdicts=judge(calibration)))


def _camera_reports(
    rig: CameraRig,
    models: list[str],
    corners: Corners,
    adjusted: Adjusted,
    error: FloatArray,
    left: LeftOut,
    sd: FloatArray,
) -> dict[str, CameraReport]:
    starts = offsets(adjusted.state.lenses)
    reports = {}
    for view, camera in enumerate(rig):
        seen = adjusted.used[view]
        parameters = (*POSE_NAMES, *camera.lens.param_names)
        reports[camera.name] = CameraReport(
            rms_px=rms(error[view]),
            held_out_rms_px=rms(left.residuals[view]),
            lens=models[view],
            size=camera.size,
            coverage=coverage(corners.px[view][seen], camera.size),
            boards=int(seen.any(-1).sum()),
            corners=int(seen.sum()),
            rejected=int(adjusted.rejected[view].sum()),
            sd=dict(zip(parameters, sd[starts[view] : starts[view + 1]].tolist(), strict=True)),
        )
    return reports
