"""Which lens model suits a camera: the one that predicts best where corners are on boards that it was not fitted to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from multipose.calibration.bundle import RigState, free_unknowns, minimise, residuals
from multipose.calibration.influence import leave_instants_out
from multipose.calibration.intrinsics import LENS_MODELS, ViewFit, fit_view, spread
from multipose.excerpt import Excerpt

FloatArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]

AUTO = "auto"
_MOST_BOARDS = 40
_FEWEST_CORNERS = 6
# A corner counts up to this many times the median error of the view, so that wrong corners do not choose the lens.
_CAP_MEDIANS = 6.0
_GRID = 24


def choose_lens(board_xyz: FloatArray, px: FloatArray, used: BoolArray, excerpt: Excerpt) -> ViewFit:
    """One view calibrated with each lens model; of these the simplest that none beats clearly.

    The models are compared by their errors on boards left out of the fit of the lens, one at a time, of which only the
    pose is estimated. To beat the model chosen so far, a later one must be better by more than one standard error of
    the boards' differences, and by the share `LensModel.gain` of the RMS. Without enough boards to leave any out the
    first model is taken.

    Arguments as of `fit_view`.
    """
    fits, boards = _fit_all(board_xyz, px, used, excerpt)
    if boards is None:
        return fits[0]
    chosen = 0
    for number, model in enumerate(LENS_MODELS.values()):
        better = boards[chosen] - boards[number]
        doubt = float(better.std(ddof=1) / np.sqrt(len(better)))
        if better.mean() > max(doubt, (1 - (1 - model.gain) ** 2) * boards[chosen].mean()):
            chosen = number
    return fits[chosen]


@dataclass(frozen=True)
class LensTrial:
    """A lens model as one view fits it.

    model: name in LENS_MODELS. held_out_rms_px: root of the mean of dx² + dy² on boards left out, where a corner counts
    up to 6 times the median error; NaN with too few boards. folded: share of the picture where its distortion folds
    back, so that there is no ray.
    """

    model: str
    held_out_rms_px: float
    folded: float


def try_lenses(board_xyz: FloatArray, px: FloatArray, used: BoolArray, excerpt: Excerpt) -> tuple[LensTrial, ...]:
    """What each lens model would make of a view; arguments as of `fit_view`."""
    fits, boards = _fit_all(board_xyz, px, used, excerpt)
    errors = np.full(len(fits), np.nan) if boards is None else np.sqrt(boards.mean(1))
    grid = np.stack(np.meshgrid(*(np.linspace(0, side - 1, _GRID) for side in excerpt.size)), axis=-1).reshape(-1, 2)
    return tuple(
        LensTrial(fit.model, float(error), float(np.isnan(fit.lens.unproject(grid)[1]).any(-1).mean()))
        for fit, error in zip(fits, errors, strict=True)
    )


def _fit_all(
    board_xyz: FloatArray, px: FloatArray, used: BoolArray, excerpt: Excerpt
) -> tuple[list[ViewFit], FloatArray | None]:
    """The view fitted with each lens model, and (model, board) mean squared errors of the boards left out, px²; None
    without enough boards.
    """
    fits = [fit_view(board_xyz, px, used, excerpt, model) for model in LENS_MODELS]
    errors = [_held_out_errors(board_xyz, px, used, fit) for fit in fits]
    medians = [np.median(error[np.isfinite(error)]) for error in errors if np.isfinite(error).any()]
    if not medians:
        return fits, None
    cap = _CAP_MEDIANS * min(medians)
    return fits, np.stack([np.nanmean(np.minimum(error, cap) ** 2, axis=-1) for error in errors])


def _held_out_errors(board_xyz: FloatArray, px: FloatArray, used: BoolArray, fit: ViewFit) -> FloatArray:
    """(board, corner) error of the used corners of boards left out, px; infinite outside the lens's field, else NaN."""
    boards = spread(np.flatnonzero(used.any(-1)), _MOST_BOARDS)
    poses = fit.camera_from_board[boards, 0]
    known = np.isfinite(poses).all((1, 2))
    errors = np.where(used[boards], np.inf, np.nan)
    if known.any():
        state = RigState((fit.lens,), np.eye(4)[None], poses[known])
        seen = px[boards[known]][None]
        mine = used[boards[known]][None] & np.isfinite(residuals(state, board_xyz, seen)).all(-1)
        free = free_unknowns(state.lenses, [fit.held])
        state = minimise(state, board_xyz, seen, mine, free=free, huber_px=2.0, max_steps=30, tolerance=1e-6).state
        off = np.linalg.norm(residuals(state, board_xyz, seen), axis=-1)
        mine &= off <= _CAP_MEDIANS * np.median(off[mine])
        mine &= (mine.sum(-1) >= _FEWEST_CORNERS)[..., None]
        state = minimise(state, board_xyz, seen, mine, free=free, max_steps=30, tolerance=1e-6).state
        left = leave_instants_out(state, board_xyz, seen, mine, free).residuals[0]
        distance = np.linalg.norm(left, axis=-1)
        errors[known] = np.where(np.isfinite(distance), distance, errors[known])
    return np.asarray(errors)
