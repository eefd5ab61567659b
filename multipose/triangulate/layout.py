"""2D points and their first 3D points, laid out for smoothing: an even grid of frames, individuals side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from multipose.camera import CameraRig
from multipose.errors import DataError
from multipose.tracks import CALIBRATED_ON_LABELS, check_trajectories3d
from multipose.triangulate.motion import implausible
from multipose.triangulate.points import FloatArray
from multipose.triangulate.posterior import Posterior, Scene
from multipose.triangulate.reconstruction import observations
from multipose.triangulate.tails import LIGHTEST_TAILS, variance_ratio

POINT = ("time", "individual", "keypoint")

_FIRM = 3  # views that agree on a point are believed, whatever the movement
_JITTER = 0.3  # of the step; times may be so far off an even grid
_LEAST_CONFIDENCE = 0.5  # of 2D points that count where covariances say how little a doubtful one tells
_GAUSSIAN = 20.0  # degrees of freedom from which tails are none
_MOST_MISSING = 20  # frames of the grid per frame of the recording
_NEARBY = 1000  # frames in which the next known point is looked for first


@dataclass(frozen=True, eq=False)
class Layout:
    """What is to be smoothed. Scenes, positions and errors are made for a stretch of frames at a time (a slice of the
    grid), so that those of an hour need no memory.

    tracks: as given; rig: cameras of the key points' views, in their order; individuals side by side on the key point
    axis: px (view, time, keypoint, 2), usable (view, time, keypoint) which count, confidence (view, time, keypoint),
    and covariance (view, time, keypoint, 2, 2) px², or None.
    believed: (view, frame, keypoint) 2D points that the tracks rest on; known, wrong: (frame, keypoint) points that the
    tracks have, and those of them at a place on which views agreed wrongly.
    sd: (keypoint,) typical standard deviation of a coordinate in one frame, NaN for key points without any position.
    rows: (time,) place of each time of the tracks on the grid; step: seconds between frames of the grid.
    share: (keypoint,) of the tracks' covariance that all views share.
    freedom: (keypoint,) degrees of freedom of the 2D errors; None where they are as good as Gaussian.
    scale: (view, keypoint) of the 2D covariances, for the middle of the distribution of the errors.
    """

    tracks: xr.Dataset
    rig: CameraRig
    px: FloatArray
    usable: NDArray[np.bool_]
    confidence: FloatArray
    covariance: FloatArray | None
    believed: NDArray[np.bool_]
    known: NDArray[np.bool_]
    wrong: NDArray[np.bool_]
    sd: FloatArray
    rows: NDArray[np.int64]
    step: float
    share: FloatArray
    freedom: FloatArray | None
    scale: FloatArray

    @classmethod
    def build(cls, tracks: xr.Dataset, keypoints: xr.Dataset, rig: CameraRig) -> Layout:
        """Check, and lay out.

        Raises:
            DataError: the tracks were not made of these key points, or the times are not evenly spaced.
        """
        check_trajectories3d(tracks)
        for dim in ("time", "individual", "keypoint"):
            ours, theirs = tracks[dim].values, keypoints[dim].values
            if ours.shape != theirs.shape or not (ours == theirs).all():
                raise DataError(
                    f"The tracks and the key points differ on the axis {dim}. Smooth tracks with the key points that "
                    "they were reconstructed from."
                )
        if "inlier" not in tracks or "variance_factor" not in tracks:
            raise DataError("Smoothing begins with the result of `reconstruct`; these tracks have no `inlier`.")
        rows, step = _grid(tracks["time"].values)
        least = float(tracks.attrs["min_confidence"])
        if keypoints.attrs.get("covariance_source") == CALIBRATED_ON_LABELS:
            least = min(least, _LEAST_CONFIDENCE)
        seen = observations(keypoints, rig, least)
        n_views, (n_times, n_individuals, n_keypoints) = len(seen.rig), seen.shape
        n, n_frames = n_individuals * n_keypoints, int(rows[-1]) + 1 if len(rows) else 0
        inlier = tracks["inlier"].sel(view=list(seen.rig.names)).values.reshape(n_views, n_times, n)
        believed = on_grid(inlier, rows, slice(0, n_frames), False)
        known, wrong = np.zeros((n_frames, n), bool), np.zeros((n_frames, n), bool)
        typical = np.full(n, np.nan)
        position = tracks["position"].values.reshape(n_times, n, 3)
        covariance = tracks["covariance"].values.reshape(n_times, n, 3, 3)
        for k in range(n):
            there = np.flatnonzero(np.isfinite(position[:, k]).all(axis=-1))
            known[rows[there], k] = True
            sd = np.sqrt(np.trace(covariance[there, k], axis1=-2, axis2=-1) / 3)
            stated = sd[np.isfinite(sd)]
            typical[k] = np.median(stated) if len(stated) else np.nan
            off = implausible(rows[there], position[there, k], sd)
            wrong[rows[there[off]], k] = True
        believed &= ~wrong
        share = tracks["shared_error"].values if "shared_error" in tracks else np.zeros(n_keypoints)
        freedom = _freedom(tracks, n)
        # Of two views no gross error is outvoted: tails are then such errors, which the movement gives away, and the
        # noise is that of the others: between the t distribution's scale and its variance.
        tails: FloatArray | None = None
        middle: FloatArray | float = 1.0
        outvoted = bool((believed.sum(axis=0, dtype=np.int16) >= _FIRM).any())
        if freedom is not None and ("shared_error" in keypoints.attrs or outvoted):
            tails = np.minimum(freedom, LIGHTEST_TAILS)
            middle = 1 / variance_ratio(tails)
        elif freedom is not None:
            middle = variance_ratio(freedom) ** -0.5
        factor = tracks["variance_factor"].sel(view=list(seen.rig.names)).values
        return cls(
            tracks,
            seen.rig,
            seen.px.reshape(n_views, n_times, n, 2),
            seen.usable.reshape(n_views, n_times, n),
            keypoints["confidence"].values.reshape(n_views, n_times, n),
            None if seen.covariance is None else seen.covariance.reshape(n_views, n_times, n, 2, 2),
            believed,
            known,
            wrong,
            typical,
            rows,
            step,
            np.tile(share, n_individuals),
            tails,
            np.tile(factor, (1, n_individuals)) * middle,
        )

    @property
    def n_frames(self) -> int:
        """Of the grid."""
        return len(self.known)

    def scene(self, frames: slice, keypoints: NDArray[np.int64] | slice = slice(None)) -> Scene:
        """The 2D points of some frames and key points."""

        def cut(values: NDArray[Any], empty: float) -> NDArray[Any]:
            return on_grid(values, self.rows, frames, empty)[:, :, keypoints]

        own = np.eye(2) * float(self.tracks.attrs["noise_px"]) ** 2
        px = cut(self.px, np.nan)
        covariance: FloatArray = np.broadcast_to(own, (*px.shape, 2))
        if self.covariance is not None:
            stated = cut(self.covariance, np.nan)
            known = np.isfinite(stated).all(axis=(-2, -1)) & (np.linalg.det(np.nan_to_num(stated)) > 0)
            covariance = np.where(known[..., None, None], stated, own)
        scale = self.scale[:, keypoints][:, None, :, None, None]
        firm = _firm(self.believed[:, frames][:, :, keypoints])
        return Scene.build(px, covariance * scale, cut(self.usable, False), firm, self.rig)

    def position(self, frames: slice, keypoints: NDArray[np.int64] | slice = slice(None)) -> FloatArray:
        """(frame, keypoint, 3) positions of the tracks, gaps bridged."""
        return self._bridged("position", 3, self.known & ~self.wrong, frames, keypoints)

    def shared(self, frames: slice, keypoints: NDArray[np.int64] | slice = slice(None)) -> FloatArray:
        """(frame, keypoint, 3, 3) the part of the tracks' covariance that all views share, gaps bridged."""
        bridged = self._bridged("covariance", 9, self.known, frames, keypoints)
        shared: FloatArray = bridged.reshape(*bridged.shape[:2], 3, 3) * self.share[keypoints][:, None, None]
        return shared

    def guess(self, frames: slice, order: int, keypoints: NDArray[np.int64] | slice = slice(None)) -> Posterior:
        """Where to start for a prior of this order."""
        believed = self.believed[:, frames][:, :, keypoints]
        return Posterior.guess(self.position(frames, keypoints), believed.astype(float), order)

    def find_present(self, order: int) -> NDArray[np.int64]:
        """Key points with enough positions for a prior of this order: more than the order, and four frames of it."""
        if self.n_frames < order + 2:
            return np.empty(0, np.int64)
        return np.flatnonzero(self.supported.sum(axis=0) > order)

    @property
    def supported(self) -> NDArray[np.bool_]:
        """(frame, keypoint) whether two views or more are believed."""
        return np.asarray(self.believed.sum(axis=0, dtype=np.int16) >= 2)

    def times(self, frames: slice) -> slice:
        """The recording's times among some frames of the grid."""
        first, last = np.searchsorted(self.rows, [frames.start, frames.stop])
        return slice(int(first), int(last))

    def _bridged(
        self,
        name: str,
        size: int,
        known: NDArray[np.bool_],
        frames: slice,
        keypoints: NDArray[np.int64] | slice,
    ) -> FloatArray:
        """Values (frame, keypoint, size) of the tracks with straight lines in gaps, the nearest at the ends; NaN if
        none is known."""
        values = self.tracks[name].values.reshape(len(self.rows), known.shape[1], size)
        columns = np.arange(known.shape[1])[keypoints]
        inside = np.arange(frames.start, frames.stop)
        filled = np.full((len(inside), len(columns), size), np.nan)
        for place, column in enumerate(columns):
            at = _known_near(known[:, column], frames)
            own = values[np.searchsorted(self.rows, at), column]
            for axis in range(size if len(at) else 0):
                filled[:, place, axis] = np.interp(inside, at, own[:, axis])
        return filled

    def find_places(self, groups: Sequence[Sequence[str]], size: int) -> NDArray[np.int64]:
        """Places (individual * group, size) of named key points on the key point axis, of each individual in turn.

        Raises:
            DataError: a name is unknown, or a group has another number of names.
        """
        names = [str(name) for name in self.tracks["keypoint"].values]
        for group in groups:
            if len({*group} & {*names}) != size or len(group) != size:
                raise DataError(
                    f"Expected {size} different key points of {', '.join(names)}; got {', '.join(map(str, group))}."
                )
        rows = [
            [individual * len(names) + names.index(name) for name in group]
            for individual in range(self.tracks.sizes["individual"])
            for group in groups
        ]
        return np.array(rows, np.int64).reshape(-1, size)


def _grid(times: FloatArray) -> tuple[NDArray[np.int64], float]:
    """Place of each time on an even grid, and the grid's step in seconds.

    Raises:
        DataError: the times lie on no even grid.
    """
    if len(times) < 2:
        return np.zeros(len(times), np.int64), 1.0
    steps = np.diff(times)
    step = float(np.median(steps))
    counts = np.rint(steps / step).astype(np.int64)
    uneven = np.flatnonzero((counts < 1) | (np.abs(steps - counts * step) > _JITTER * step))
    if len(uneven):
        at = int(uneven[0])
        raise DataError(
            f"Smoothing needs evenly spaced times (frames may be missing). Frames are {step:.6g} s apart as a rule, "
            f"but at {times[at]:.6g} s the next one comes after {steps[at]:.6g} s."
        )
    if counts.sum() > _MOST_MISSING * len(times):
        raise DataError(
            f"Smoothing needs a recording without long interruptions: of {counts.sum() + 1} frames between the first "
            f"and the last time only {len(times)} are there. Smooth its parts one by one."
        )
    return np.concatenate([[0], np.cumsum(counts)]), step


def on_grid(values: NDArray[Any], rows: NDArray[np.int64], frames: slice, empty: float) -> NDArray[Any]:
    """(view, time, ...) on some of the grid's frames."""
    first, last = np.searchsorted(rows, [frames.start, frames.stop])
    full = np.full((len(values), frames.stop - frames.start, *values.shape[2:]), empty, values.dtype)
    full[:, rows[first:last] - frames.start] = values[:, first:last]
    return full


def _known_near(known: NDArray[np.bool_], frames: slice) -> NDArray[np.int64]:
    """Known frames among some, and the nearest ones before and after them."""
    before = after = np.empty(0, np.int64)
    for reach in (_NEARBY, len(known)):
        if not len(before):
            first = max(0, frames.start - reach)
            before = first + np.flatnonzero(known[first : frames.start])[-1:]
        if not len(after):
            after = frames.stop + np.flatnonzero(known[frames.stop : frames.stop + reach])[:1]
    return np.concatenate([before, frames.start + np.flatnonzero(known[frames]), after])


def _firm(believed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(view, frame, keypoint) of points that are believed whatever the movement, as enough views agree on them."""
    firm: NDArray[np.bool_] = believed & (believed.sum(axis=0, dtype=np.int16) >= _FIRM)
    return firm


def _freedom(tracks: xr.Dataset, n_keypoints: int) -> FloatArray | None:
    """(keypoint,) degrees of freedom of 2D errors, individuals in a row; None where they are as good as Gaussian."""
    if "degrees_of_freedom" not in tracks:
        return None
    known = np.tile(tracks["degrees_of_freedom"].values, n_keypoints // tracks.sizes["keypoint"])
    return None if np.median(known) >= _GAUSSIAN else known
