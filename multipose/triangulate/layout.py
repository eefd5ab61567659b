"""2D points and their first 3D points, laid out for smoothing: an even grid of frames, individuals side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from multipose.camera import CameraRig
from multipose.errors import DataError
from multipose.tracks import CALIBRATED_ON_LABELS, check_trajectories3d
from multipose.triangulate.motion import bridge, implausible
from multipose.triangulate.points import FloatArray
from multipose.triangulate.posterior import Posterior, Scene
from multipose.triangulate.reconstruction import Observations, observations
from multipose.triangulate.tails import LIGHTEST_TAILS, variance_ratio

POINT = ("time", "individual", "keypoint")

_FIRM = 3  # views that agree on a point are believed, whatever the movement
_JITTER = 0.3  # of the step; times may be so far off an even grid
_LEAST_CONFIDENCE = 0.5  # of 2D points that count where covariances say how little a doubtful one tells
_GAUSSIAN = 20.0  # degrees of freedom from which tails are none
_MOST_MISSING = 20  # frames of the grid per frame of the recording


@dataclass(frozen=True, eq=False)
class Layout:
    """What is to be smoothed.

    tracks, keypoints: as given; rig: cameras of the key points' views, in their order.
    scene: all 2D points; position: (frame, keypoint, 3) of the tracks, gaps bridged; believed: (view, frame, keypoint)
    2D points that the tracks rest on; sd: (keypoint,) typical standard deviation of
    a coordinate in one frame, NaN for key points without any position.
    rows: (time,) place of each time of the tracks on the grid; step: seconds between frames of the grid.
    shared: (frame, keypoint, 3, 3) the part of the tracks' covariance that all views share, gaps bridged.
    freedom: (keypoint,) degrees of freedom of the 2D errors; None where they are as good as Gaussian.
    """

    tracks: xr.Dataset
    keypoints: xr.Dataset
    rig: CameraRig
    scene: Scene
    position: FloatArray
    believed: NDArray[np.bool_]
    sd: FloatArray
    rows: NDArray[np.int64]
    step: float
    shared: FloatArray
    freedom: FloatArray | None

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
        n = n_individuals * n_keypoints

        def spread(values: NDArray[Any], empty: float) -> NDArray[Any]:
            return _on_grid(values.reshape(n_views, n_times, n, *values.shape[2:]), rows, empty)

        def place(name: str) -> FloatArray:
            values = tracks[name].values
            placed: FloatArray = _on_grid(values.reshape(1, n_times, n, *values.shape[3:]), rows, np.nan)[0]
            return placed

        position, sd = place("position"), np.sqrt(np.trace(place("covariance"), axis1=-2, axis2=-1) / 3)
        inlier = tracks["inlier"].sel(view=list(seen.rig.names)).values.reshape(n_views, n_times, n)
        inlier = _on_grid(inlier, rows, False)
        for k in range(n):
            wrong = implausible(position[:, k], sd[:, k])
            position[wrong, k] = np.nan
            inlier[:, wrong, k] = False
        share = tracks["shared_error"].values if "shared_error" in tracks else np.zeros(n_keypoints)
        shared = place("covariance") * np.tile(share, n_individuals)[:, None, None]
        freedom = _freedom(tracks, n)
        firm = inlier & (inlier.sum(axis=0) >= _FIRM)
        # Of two views no gross error is outvoted: tails are then such errors, which the movement gives away, and the
        # noise is that of the others: between the t distribution's scale and its variance.
        tails: FloatArray | None = None
        middle: FloatArray | float = 1.0
        if freedom is not None and ("shared_error" in keypoints.attrs or firm.any()):
            tails = np.minimum(freedom, LIGHTEST_TAILS)
            middle = 1 / variance_ratio(tails)
        elif freedom is not None:
            middle = variance_ratio(freedom) ** -0.5
        typical = np.array(
            [np.median(column[np.isfinite(column)]) if np.isfinite(column).any() else np.nan for column in sd.T]
        )
        return cls(
            tracks,
            keypoints,
            seen.rig,
            Scene.build(
                spread(seen.px, np.nan),
                _on_grid(_covariances(tracks, seen, middle), rows, np.nan),
                spread(seen.usable, False),
                firm,
                seen.rig,
            ),
            bridge(position),
            inlier,
            typical,
            rows,
            step,
            bridge(shared.reshape(*shared.shape[:2], 9)).reshape(shared.shape),
            tails,
        )

    def of(self, keypoints: NDArray[np.int64]) -> Layout:
        """That of some key points; the tracks stay whole."""
        return replace(
            self,
            scene=self.scene.part(slice(None), keypoints),
            position=self.position[:, keypoints],
            believed=self.believed[:, :, keypoints],
            sd=self.sd[keypoints],
            freedom=None if self.freedom is None else self.freedom[keypoints],
            shared=self.shared[:, keypoints],
        )

    def find_present(self, order: int) -> NDArray[np.int64]:
        """Key points with enough positions for a prior of this order: more than the order, and four frames of it."""
        if len(self.position) < order + 2:
            return np.empty(0, np.int64)
        return np.flatnonzero((self.believed.sum(axis=0) >= 2).sum(axis=0) > order)

    def guess(self, order: int) -> Posterior:
        """Where to start for a prior of this order."""
        return Posterior.guess(self.position, self.believed.astype(float), order)

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

    def spread_out(self, values: NDArray[Any], empty: float) -> NDArray[Any]:
        """Values (view, time, individual, keypoint) of the key points on the grid, individuals side by side."""
        return _on_grid(values.reshape(*values.shape[:2], -1), self.rows, empty)

    def place(self, values: NDArray[np.generic], present: NDArray[np.int64], empty: float) -> NDArray[np.generic]:
        """Values (frame, present key point, ...) as (time, individual, keypoint, ...) of the tracks."""
        shape = tuple(self.tracks.sizes[dim] for dim in POINT)
        full = np.full((shape[0], shape[1] * shape[2], *values.shape[2:]), empty, values.dtype)
        full[:, present] = values[self.rows]
        return full.reshape(*shape, *values.shape[2:])


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


def _on_grid(values: NDArray[Any], rows: NDArray[np.int64], empty: float) -> NDArray[Any]:
    """(view, time, ...) on the grid's frames."""
    full = np.full((len(values), int(rows[-1]) + 1, *values.shape[2:]), empty, values.dtype)
    full[:, rows] = values
    return full


def _freedom(tracks: xr.Dataset, n_keypoints: int) -> FloatArray | None:
    """(keypoint,) degrees of freedom of 2D errors, individuals in a row; None where they are as good as Gaussian."""
    if "degrees_of_freedom" not in tracks:
        return None
    known = np.tile(tracks["degrees_of_freedom"].values, n_keypoints // tracks.sizes["keypoint"])
    return None if np.median(known) >= _GAUSSIAN else known


def _covariances(tracks: xr.Dataset, seen: Observations, middle: FloatArray | float) -> FloatArray:
    """(view, time, keypoint, 2, 2) px² of the middle of the distribution, scaled to what the residuals say; key points
    of all individuals in a row.
    """
    n_times, n_individuals, n_keypoints = seen.shape
    shape = len(seen.rig), n_times, n_individuals * n_keypoints
    own = np.eye(2) * float(tracks.attrs["noise_px"]) ** 2
    if seen.covariance is None:
        covariance = np.broadcast_to(own, (*shape, 2, 2))
    else:
        known = np.isfinite(seen.covariance).all(axis=(-2, -1)) & (np.linalg.det(seen.covariance) > 0)
        covariance = np.where(known[..., None, None], seen.covariance, own).reshape(*shape, 2, 2)
    factor = np.tile(tracks["variance_factor"].sel(view=list(seen.rig.names)).values, (1, n_individuals))
    scaled: FloatArray = covariance * (factor * middle)[:, None, :, None, None]
    return scaled
