"""A lens and board poses for one view alone: where bundle adjustment starts.

The focal length is found by trying a row of them and keeping the one under which planar poses explain the boards best;
that needs no closed form, works for every perspective lens, and does not fail on noisy or frontal boards. Then the view
is bundle-adjusted by itself. A planar pose has two solutions that may fit almost equally well (Schweighofer & Pinz
2006); both are kept, and the rig decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from multipose.calibration.bundle import LensShare, RigState, boards_only, free_unknowns, minimise, residuals
from multipose.errors import DataError
from multipose.excerpt import Excerpt
from multipose.geometry import pose, rotation_from_vector
from multipose.lens import BrownLens, FisheyeLens, Lens, RationalLens
from multipose.opencv import corners_nx2, cv2

FloatArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]
Item = TypeVar("Item", bound=np.generic)


@dataclass(frozen=True)
class LensModel:
    """What is fitted of a lens.

    kind: of the lens; held: its parameters that stay 0.
    gain: by what share its RMS on boards left out must be below that of the models before it, to be taken for one of
        them. A flexible lens that gains little where boards were seen is more wrong where none was.
    """

    kind: type[BrownLens] | type[RationalLens] | type[FisheyeLens]
    held: tuple[str, ...] = ()
    gain: float = 0.0


LENS_MODELS: dict[str, LensModel] = {
    "k1": LensModel(BrownLens, ("k2", "p1", "p2", "k3")),
    "brown": LensModel(BrownLens),
    "fisheye": LensModel(FisheyeLens, gain=0.1),
    "rational": LensModel(RationalLens, gain=0.1),
}
"""By name; where two predict equally well, the earlier one is the better choice: simpler, or known to more programs."""
GIVEN = "given"
"""What stands for the model of a lens that was known before."""
# Focal lengths tried, as shares of the picture's larger side: 0.15 is a fisheye of 180 degrees, 20 a view of 3 degrees.
_FOCAL_SHARES = np.geomspace(0.15, 20, 30)
_BOARDS_FOR_FOCAL = 12
_BOARDS_FOR_LENS = 40
# Corners further than this from the homography of most others do not take part in a board's first pose: the larger of
# px and times the median.
_HOMOGRAPHY_OUTLIER_PX = 5.0
_HOMOGRAPHY_OUTLIER_MEDIANS = 6.0


@dataclass(frozen=True, eq=False)
class ViewFit:
    """One view calibrated alone.

    model: name of its lens model in LENS_MODELS, or GIVEN.
    held: parameters of the lens that stay as they are.
    lens: its lens.
    camera_from_board: (frame, 2, 4, 4) the two planar poses of every board, the better one first; NaN where there is
        none.
    rms_px: (frame, 2) their errors.
    """

    model: str
    held: tuple[str, ...]
    lens: Lens
    camera_from_board: FloatArray
    rms_px: FloatArray


def fit_view(board_xyz: FloatArray, px: FloatArray, used: BoolArray, excerpt: Excerpt, model: str) -> ViewFit:
    """Fit lens and poses of one view.

    board_xyz: (corner, 3); px: (frame, corner, 2); used: (frame, corner).
    excerpt: the part of a camera's picture that the view shows: the lens's centre is sought near the middle of the
        whole picture.
    model: a name in LENS_MODELS.
    Raises DataError for an unknown model.
    """
    if model not in LENS_MODELS:
        raise DataError(f"There is no lens {model!r} to calibrate: expected one of {', '.join(LENS_MODELS)}.")
    clean = np.stack([_homography_inliers(board_xyz, *frame) for frame in zip(px, used, strict=True)])
    lens = _start_lens(board_xyz, px, clean, excerpt, model)
    chosen = spread(np.flatnonzero(clean.any(-1)), _BOARDS_FOR_LENS)
    poses, rms = planar_poses(lens, board_xyz, px[chosen], clean[chosen])
    known = np.isfinite(rms[:, 0])
    state = RigState((lens,), np.eye(4)[None], poses[known, 0])
    data = (board_xyz, px[chosen][known][None], clean[chosen][known][None])
    fixed = LENS_MODELS[model].held
    for held in (_all_but_first(lens), fixed):
        in_field = data[2] & np.isfinite(residuals(state, *data[:2])).all(-1)
        state = minimise(
            state,
            *data[:2],
            in_field,
            free=free_unknowns(state.lenses, [held]),
            huber_px=2.0,
            max_steps=30,
            tolerance=1e-6,
        ).state
    lens = state.lenses[0]
    poses, rms = planar_poses(lens, board_xyz, px, clean)
    poses, rms = _refine(lens, board_xyz, px, clean, poses, rms)
    return ViewFit(model, fixed, lens, poses, rms)


def pose_boards(lens: Lens, board_xyz: FloatArray, px: FloatArray, used: BoolArray) -> ViewFit:
    """The board poses of one view whose lens is known and stays; arguments as of `fit_view`."""
    clean = np.stack([_homography_inliers(board_xyz, *frame) for frame in zip(px, used, strict=True)])
    poses, rms = planar_poses(lens, board_xyz, px, clean)
    poses, rms = _refine(lens, board_xyz, px, clean, poses, rms)
    return ViewFit(GIVEN, lens.param_names, lens, poses, rms)


def share_lenses(lenses: Sequence[Lens], excerpts: Sequence[Excerpt], leaders: Mapping[int, int]) -> list[LensShare]:
    """How the lenses of views follow those of their leaders (by index of the view), whose camera is the same."""
    return [
        LensShare(
            view, leader,
            excerpts[view].derivative(lenses[leader]) @ np.linalg.inv(excerpts[leader].derivative(lenses[leader])),
        )
        for view, leader in sorted(leaders.items())
    ]  # fmt: skip


def fit_camera(
    board_xyz: FloatArray, px: FloatArray, used: BoolArray, excerpts: Sequence[Excerpt], pilot: ViewFit, leader: int
) -> list[ViewFit]:
    """Fit several views that are parts of one camera's picture, with one lens; from one of them calibrated alone.

    px: (view, frame, corner, 2), used: (view, frame, corner), of these views only.
    excerpts: of the views; pilot: the fit of the view `leader`.
    """
    # What one part says of the distortion need not hold in the others, so that begins anew.
    whole = excerpts[leader].whole_lens(pilot.lens)
    centre = [(side - 1) / 2 for side in excerpts[leader].size]
    start = whole.with_params(np.r_[whole.params[:2], centre, np.zeros(len(whole.distortion))])
    lenses = [excerpt.lens(start) for excerpt in excerpts]
    fits = [pose_boards(lens, board_xyz, p, u) for lens, p, u in zip(lenses, px, used, strict=True)]
    chosen = [spread(np.flatnonzero(np.isfinite(fit.rms_px[:, 0])), _BOARDS_FOR_LENS) for fit in fits]
    # Every view has boards of its own here: which of the two poses is right need not be the same in all.
    state = RigState(
        tuple(lenses),
        np.broadcast_to(np.eye(4), (len(fits), 4, 4)),
        np.concatenate([fit.camera_from_board[frames, 0] for fit, frames in zip(fits, chosen, strict=True)]),
    )
    owner = np.repeat(np.arange(len(fits)), [len(frames) for frames in chosen])
    seen_px = np.concatenate([px[:, frames] for frames in chosen], axis=1)
    seen = np.concatenate([used[:, frames] for frames in chosen], axis=1)
    seen &= (owner == np.arange(len(fits))[:, None])[..., None]
    shared = share_lenses(lenses, excerpts, {view: leader for view in range(len(fits)) if view != leader})
    for held in (_all_but_first(whole), pilot.held):
        in_field = seen & np.isfinite(residuals(state, board_xyz, seen_px)).all(-1)
        by_view = [held if view == leader else () for view in range(len(fits))]
        free = free_unknowns(lenses, by_view, shared=shared, poses_move=False)
        state = minimise(state, board_xyz, seen_px, in_field, free=free, huber_px=2.0, tolerance=1e-6).state
    return [
        replace(pose_boards(lens, board_xyz, p, u), model=pilot.model, held=pilot.held)
        for lens, p, u in zip(state.lenses, px, used, strict=True)
    ]


def _all_but_first(lens: Lens) -> tuple[str, ...]:
    """Names of the parameters that a fit from a rough start holds first: all but the focal length and the strongest
    distortion. All at once can run into a bent-back distortion.
    """
    return tuple(name for name in lens.param_names if name not in ("fx", "fy", "k1"))


def planar_poses(lens: Lens, board_xyz: FloatArray, px: FloatArray, used: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Both planar poses (frame, 2, 4, 4) of boards seen through a lens and their RMS errors (frame, 2), the better one
    first.

    By infinitesimal plane-based pose estimation (Collins & Bartoli 2014). NaN where a board has fewer than 4 corners or
    the pose fails. The used corners of a picture lie in one plane z of the board, that of the side it shows.
    """
    rms = np.full((len(px), 2), np.nan)
    plane = np.where(used[..., None], lens.undistort(px), np.nan)
    turns, shifts, depths = np.full((len(px), 2, 3), np.nan), np.full((len(px), 2, 3), np.nan), np.zeros(len(px))
    for frame, points in enumerate(plane):
        known = np.isfinite(points).all(-1)
        if known.sum() < 4:
            continue
        depths[frame] = board_xyz[known][0, 2]
        on_plane = board_xyz[known] * [1, 1, 0]
        count, turn, shift, _ = cv2.solvePnPGeneric(
            on_plane, points[known], np.eye(3), np.zeros(5), flags=cv2.SOLVEPNP_IPPE
        )
        for k in range(min(count, 2)):
            turns[frame, k], shifts[frame, k] = np.ravel(turn[k]), np.ravel(shift[k])
    rotations = rotation_from_vector(turns)
    shifts -= depths[:, None, None] * rotations[..., 2]
    poses = np.where(np.isfinite(turns[..., :1, None]), pose(rotations, shifts), np.nan)
    for k in range(2):
        rms[:, k] = _rms(lens, board_xyz, px, used, poses[:, k])
    return _sort(poses, rms)


def _sort(poses: FloatArray, rms: FloatArray) -> tuple[FloatArray, FloatArray]:
    order = np.argsort(rms, axis=1, kind="stable")  # NaN goes last
    return np.take_along_axis(poses, order[..., None, None], axis=1), np.take_along_axis(rms, order, axis=1)


def _rms(lens: Lens, board_xyz: FloatArray, px: FloatArray, used: BoolArray, poses: FloatArray) -> FloatArray:
    """RMS error (frame,) of each board; NaN where the pose is, or puts a used corner outside the lens's field."""
    error = residuals(RigState((lens,), np.eye(4)[None], poses), board_xyz, px[None])[0]
    squared = np.where(used, (error**2).sum(-1), 0.0)
    count = used.sum(-1)
    result: FloatArray = np.sqrt(squared.sum(-1) / np.where(count, count, np.nan))
    return result


def _refine(
    lens: Lens, board_xyz: FloatArray, px: FloatArray, used: BoolArray, poses: FloatArray, rms: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Each solution moved to its own smallest error."""
    poses, rms = poses.copy(), rms.copy()
    for k in range(2):
        known = np.flatnonzero(np.isfinite(rms[:, k]))
        if not len(known):
            continue
        state = RigState((lens,), np.eye(4)[None], poses[known, k])
        fit = minimise(
            state, board_xyz, px[known][None], used[known][None], free=boards_only(state), huber_px=2.0, max_steps=15,
            tolerance=1e-5,
        )  # fmt: skip
        poses[known, k] = fit.state.world_from_board
        rms[known, k] = _rms(lens, board_xyz, px[known], used[known], poses[known, k])
    return _sort(poses, rms)


def _start_lens(board_xyz: FloatArray, px: FloatArray, used: BoolArray, excerpt: Excerpt, model: str) -> Lens:
    """The lens without distortion, centred in the whole picture, whose focal length explains the boards best."""
    size = excerpt.size
    chosen = spread(np.flatnonzero(used.any(-1)), _BOARDS_FOR_FOCAL)
    best: tuple[float, Lens] | None = None
    for share in _FOCAL_SHARES:
        focal = share * max(size)
        lens = excerpt.lens(LENS_MODELS[model].kind(focal, focal, (size[0] - 1) / 2, (size[1] - 1) / 2))
        _, rms = planar_poses(lens, board_xyz, px[chosen], used[chosen])
        worth = np.where(np.isfinite(rms[:, 0]), rms[:, 0], max(size))
        error = float(np.mean(np.minimum(worth, np.median(worth) * 3)))
        if best is None or error < best[0]:
            best = (error, lens)
    assert best is not None
    return best[1]


def _homography_inliers(board_xyz: FloatArray, px: FloatArray, used: BoolArray) -> BoolArray:
    """The used corners without those far off the homography that fits most of them (least median of squares)."""
    if used.sum() < 4:
        return np.zeros_like(used)
    matrix, _ = cv2.findHomography(board_xyz[used, :2], px[used], cv2.LMEDS)
    if matrix is None:
        return np.zeros_like(used)
    fitted = corners_nx2(cv2.perspectiveTransform(board_xyz[used, None, :2], matrix))
    error = np.linalg.norm(px[used] - fitted, axis=-1)
    inliers = used.copy()
    inliers[used] = error <= max(_HOMOGRAPHY_OUTLIER_PX, _HOMOGRAPHY_OUTLIER_MEDIANS * float(np.median(error)))
    return inliers


def spread(items: NDArray[Item], count: int) -> NDArray[Item]:
    """At most `count` of the items along the first axis, evenly spread."""
    if len(items) <= count:
        return items
    chosen: NDArray[Item] = items[np.linspace(0, len(items) - 1, count).round().astype(int)]
    return chosen
