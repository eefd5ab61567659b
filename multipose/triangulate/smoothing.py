"""Trajectories over time: what a body can have done, given what the views saw.

`reconstruct` solves every frame by itself. Here all frames of a recording are solved together: the 2D points with their
errors, the smoothness of movements and the lengths of limbs. How smooth each key point moves, how long errors last and
how stiff limbs are is learned from the recording. The mathematics stand in `posterior`, the learning in `motion`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from multipose.camera import CameraRig
from multipose.errors import DataError
from multipose.progress import SILENT, Progress
from multipose.tracks import check_trajectories3d, trajectories3d
from multipose.triangulate import smoothing_kernels as kernels
from multipose.triangulate.motion import (
    autocorrelations,
    bridge,
    implausible,
    learn_limbs,
    learn_spread,
    memory,
    unpack,
)
from multipose.triangulate.points import FloatArray
from multipose.triangulate.posterior import Joints, Limbs, MotionModel, Posterior, Scene, find
from multipose.triangulate.reconstruction import observations

ORDERS = {"acceleration": 2, "jerk": 3}

_WINDOW = 1000  # frames solved at once
_STRETCH = 1000  # frames of a stretch that the model is learned from ...
_STRETCHES = 3  # ... and their number at most
_MEMORY = 10.0  # overlap of windows, in times that the posterior remembers
_SHORTEST_OVERLAP = 20
_LONGEST_OVERLAP = 1000
_FIRM = 3  # views that agree on a point are believed, whatever the movement
_JITTER = 0.3  # of the step; times may be so far off an even grid
_MOST_MISSING = 20  # frames of the grid per frame of the recording
_JOINT_SD = 0.1  # rad beyond its limits that a joint may well be
_POINT = ("time", "individual", "keypoint")


def smooth(
    tracks: xr.Dataset,
    keypoints: xr.Dataset,
    rig: CameraRig,
    *,
    prior: Literal["acceleration", "jerk"] = "acceleration",
    limbs: Sequence[tuple[str, str]] = (),
    limb_lengths: Mapping[tuple[str, str], float] | None = None,
    joint_limits: Mapping[tuple[str, str, str], tuple[float, float]] | None = None,
    max_gap: int | None = None,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> xr.Dataset:
    """The most probable trajectories over time, with their uncertainty.

    Args:
        tracks: Trajectories3D that `reconstruct` made of these key points.
        keypoints: Keypoints2D; offsets between views are taken off beforehand (`remove_offsets`).
        rig: cameras with the names of the key points' views.
        prior: what is small between frames: the acceleration, or its change.
        limbs: pairs of key points whose distance hardly changes; how long and how stiff is learned.
        limb_lengths: lengths in the rig's unit of limbs where they are known; they need not be named in `limbs`.
        joint_limits: least and largest angle in radians at the middle one of three key points.
        max_gap: points in longer runs of frames that fewer than two views support are NaN; by default none are: they
            have the position that the movement before and after suggests, and a wide covariance.
        threads: how many to use; the result does not depend on it.
        progress: where to report.

    Returns:
        Trajectories3D; n_views, inlier, reprojection_error and confidence are of the 2D points that were believed
        (confidence 0 where there is none). Beyond the schema: `velocity` (time, individual, keypoint, space) in unit
        per second and `velocity_covariance`; `gap` (time, individual, keypoint) = frames of the run without two views
        that the point lies in, 0 outside; `prior_sd` (individual, keypoint) = learned standard deviation of the
        acceleration (jerk) per coordinate in unit/s² (unit/s³); `limb_length`, `limb_sd` (individual, limb).
        Attributes: prior, noise_autocorrelation_1, _2, _5, _10 (frames apart), max_gap.

    Raises:
        DataError: the tracks were not made of these key points, an unknown name, times that are not evenly spaced, or
            a recording of fewer than four frames.
    """
    task = _Task.prepare(tracks, keypoints, rig, prior)
    model, correlations, start = task.learn(limbs, limb_lengths or {}, joint_limits or {}, progress)
    found = task.solve(model, start, threads, progress)
    return task.dataset(found, model, correlations, max_gap)


@dataclass(frozen=True, eq=False)
class _Task:
    """What is to be smoothed, on an even grid of frames; key points of all individuals side by side.

    scene: all 2D points; start: positions bridged over gaps and weights; sd: (keypoint,) typical standard deviation of
    a coordinate in one frame; present: (keypoint,) which have enough positions to be smoothed, of all in the tracks;
    rows: (time,) place of each time of the tracks on the grid; step: seconds between frames of the grid.
    """

    tracks: xr.Dataset
    keypoints: xr.Dataset
    rig: CameraRig
    order: int
    scene: Scene
    start: Posterior
    sd: FloatArray
    present: NDArray[np.int64]
    rows: NDArray[np.int64]
    step: float

    @classmethod
    def prepare(cls, tracks: xr.Dataset, keypoints: xr.Dataset, rig: CameraRig, prior: str) -> _Task:
        """Check, and lay out on the grid."""
        check_trajectories3d(tracks)
        if prior not in ORDERS:
            raise DataError(f"prior must be one of {', '.join(ORDERS)}, got {prior!r}.")
        for dim in ("time", "individual", "keypoint"):
            ours, theirs = tracks[dim].values, keypoints[dim].values
            if ours.shape != theirs.shape or not (ours == theirs).all():
                raise DataError(
                    f"The tracks and the key points differ on the axis {dim}. Smooth tracks with the key points that "
                    "they were reconstructed from."
                )
        if "inlier" not in tracks or "variance_factor" not in tracks:
            raise DataError("Smoothing begins with the result of `reconstruct`; these tracks have no `inlier`.")
        order = ORDERS[prior]
        rows, step = _grid(tracks["time"].values)
        if len(rows) < order + 2:
            raise DataError(f"Smoothing needs at least {order + 2} frames, got {len(rows)}.")
        seen = observations(keypoints, rig, float(tracks.attrs["min_confidence"]))
        n_views, shape = len(seen.rig), (len(seen.rig), seen.shape[0], -1)
        frames, n = int(rows[-1]) + 1, seen.shape[1] * seen.shape[2]
        covariance = _covariances(tracks, seen.covariance, seen.shape, n_views)
        px = np.full((n_views, frames, n, 2), np.nan)
        px[:, rows] = seen.px.reshape(*shape, 2)
        usable = np.zeros((n_views, frames, n), bool)
        usable[:, rows] = seen.usable.reshape(shape)
        spread = np.full((n_views, frames, n, 2, 2), np.nan)
        spread[:, rows] = covariance
        position = np.full((frames, n, 3), np.nan)
        position[rows] = tracks["position"].values.reshape(len(rows), n, 3)
        sd = np.full((frames, n), np.nan)
        sd[rows] = np.sqrt(np.trace(tracks["covariance"].values, axis1=-2, axis2=-1) / 3).reshape(len(rows), n)
        inlier = np.zeros((n_views, frames, n), bool)
        inlier[:, rows] = tracks["inlier"].sel(view=list(seen.rig.names)).values.reshape(shape)
        present = np.flatnonzero(np.isfinite(position[..., 0]).sum(axis=0) > order)
        if not len(present):
            raise DataError("No key point has enough positions to be smoothed.")
        for k in present:
            wrong = implausible(position[:, k], sd[:, k])
            position[wrong, k] = np.nan
            inlier[:, wrong, k] = False
        firm = inlier & (inlier.sum(axis=0) >= _FIRM)
        scene = Scene.build(px, spread, usable, firm, seen.rig).part(slice(None), present)
        position, inlier = position[:, present], inlier[:, :, present]
        start = Posterior.guess(bridge(position), inlier.astype(float))
        return cls(
            tracks, keypoints, seen.rig, order, scene, start, np.nanmedian(sd[:, present], axis=0), present, rows, step
        )

    def learn(
        self,
        limbs: Sequence[tuple[str, str]],
        lengths: Mapping[tuple[str, str], float],
        limits: Mapping[tuple[str, str, str], tuple[float, float]],
        progress: Progress,
    ) -> tuple[MotionModel, dict[int, float], Posterior]:
        """The model of this recording, the autocorrelation of its 2D errors, and a better start."""
        if not kernels.observe.is_compiled:
            progress.note("Compiling the smoothing for this machine, once: about 15 s.")
        limbs = list(dict.fromkeys([*limbs, *lengths]))
        pairs = _places(self.tracks, self.present, limbs, 2)
        given = np.tile([lengths.get(limb, np.nan) for limb in limbs], self.tracks.sizes["individual"])
        stretches = _stretches(len(self.start.position))
        scenes = [self.scene.part(stretch) for stretch in stretches]
        starts = [self.start.frames(stretch) for stretch in stretches]
        correlations = self._correlations()
        model = MotionModel(memory(correlations), self.order, np.ones(len(self.present)), joints=self._joints(limits))
        with progress.task("learn the motion", total=2) as task:
            spread, free = learn_spread(scenes, starts, replace(model, joints=Joints()))
            model = replace(model, spread=spread)
            task.advance(1)
            if len(pairs):
                model = replace(model, limbs=learn_limbs(pairs, given, free))
            task.advance(1)
        return model, correlations, self.start.replaced(stretches, free)

    def solve(self, model: MotionModel, start: Posterior, threads: int | None, progress: Progress) -> Posterior:
        """The posterior of all frames, from overlapping windows."""
        windows = _windows(start, self.sd, model)
        loose = replace(model, limbs=Limbs(), joints=Joints())

        def one(window: tuple[slice, slice]) -> Posterior:
            wide, core = window
            scene = self.scene.part(wide)
            found = find(scene, loose, start.frames(wide), reweigh=True)
            if model.binds:
                found = find(scene, model, found, reweigh=False)
            return found.frames(slice(core.start - wide.start, core.stop - wide.start))

        parts = []
        n = len(start.position)
        with progress.task("smooth", total=n) as task, ThreadPoolExecutor(threads or os.cpu_count()) as pool:
            for part in pool.map(one, windows):
                parts.append(part)
                task.advance(len(part.position))
        return Posterior.joined(parts)

    def dataset(
        self, found: Posterior, model: MotionModel, correlations: dict[int, float], max_gap: int | None
    ) -> xr.Dataset:
        """The posterior as checked Trajectories3D, at the tracks' times."""
        shape = tuple(self.tracks.sizes[dim] for dim in _POINT)
        believed = found.weight > 0.5
        gap = _gaps(believed.sum(axis=0) >= 2)
        if max_gap is not None:
            found = found.without(gap > max_gap)
        velocity, velocity_covariance = _velocity(found, self.step)
        off = np.linalg.norm(self.scene.px - self.rig.project(found.position), axis=-1)
        used = np.where(believed & np.isfinite(off), off, 0.0).sum(axis=0)
        n_views = np.where(np.isfinite(found.position[..., 0]), believed.sum(axis=0), 0)
        confidence = self.keypoints["confidence"].sel(view=list(self.rig.names)).fillna(1.0).values
        known = np.zeros((*self.scene.known.shape[:2], shape[1] * shape[2]))
        known[:, self.rows] = confidence.reshape(len(self.rig), shape[0], -1)
        agreed = (known[:, :, self.present] * believed).sum(axis=0) / np.maximum(self.scene.known.sum(axis=0), 1)
        with np.errstate(invalid="ignore"):
            error = np.where(n_views > 0, used / n_views, np.nan)

        def place(values: FloatArray, empty: float) -> NDArray[np.generic]:
            """(frame, present keypoint, ...) as (time, individual, keypoint, ...)."""
            full = np.full((shape[0], shape[1] * shape[2], *values.shape[2:]), empty, values.dtype)
            full[:, self.present] = values[self.rows]
            return full.reshape(*shape, *values.shape[2:])

        dataset = trajectories3d(
            place(found.position, np.nan),
            place(np.clip(np.where(n_views > 0, agreed, 0.0), 0.0, 1.0), 0.0),
            place(error, np.nan),
            place(n_views, 0),
            place(unpack(found.covariance), np.nan),
            keypoints=[str(name) for name in self.tracks["keypoint"].values],
            individuals=[str(name) for name in self.tracks["individual"].values],
            fps=self.tracks.attrs.get("fps"),
            time=self.tracks["time"].values,
            unit=self.rig.unit,
        )
        dataset = dataset.assign_coords(view=list(self.rig.names))
        inlier = [place(believed[view] & (n_views > 0), False) for view in range(len(self.rig))]
        dataset["inlier"] = (("view", *_POINT), np.stack(inlier))
        dataset["velocity"] = ((*_POINT, "space"), place(velocity, np.nan))
        dataset["velocity_covariance"] = ((*_POINT, "space", "space_"), place(velocity_covariance, np.nan))
        dataset["gap"] = (_POINT, place(gap, len(gap)))
        spread = np.full(shape[1] * shape[2], np.nan)
        spread[self.present] = model.spread / self.step**self.order
        dataset["prior_sd"] = (("individual", "keypoint"), spread.reshape(shape[1:]))
        self._describe_limbs(dataset, model.limbs)
        dataset.attrs |= {
            "method": "smoothed",
            "prior": next(name for name, order in ORDERS.items() if order == self.order),
            "max_gap": -1 if max_gap is None else max_gap,
            **{f"noise_autocorrelation_{lag}": value for lag, value in correlations.items()},
        }
        return check_trajectories3d(dataset)

    def _correlations(self) -> dict[int, float]:
        """Autocorrelation of the 2D errors, from the residuals of the points that were solved frame by frame."""
        error = self.scene.standardise(self.scene.px - self.rig.project(self.start.position))
        return autocorrelations(error, (self.start.weight > 0) & np.isfinite(error).all(axis=-1))

    def _joints(self, limits: Mapping[tuple[str, str, str], tuple[float, float]]) -> Joints:
        for names, (least, largest) in limits.items():
            if not 0 <= least < largest <= np.pi:
                raise DataError(
                    f"The limits of the joint {'-'.join(names)} must be two rising angles between 0 and pi radians, "
                    f"got {least:g} and {largest:g}."
                )
        triples = _places(self.tracks, self.present, list(limits), 3)
        bounds = np.tile(np.array(list(limits.values())).reshape(-1, 2), (self.tracks.sizes["individual"], 1))
        there = (triples >= 0).all(axis=1)
        return Joints(triples[there], bounds[there, 0], bounds[there, 1], np.full(int(there.sum()), _JOINT_SD))

    def _describe_limbs(self, dataset: xr.Dataset, limbs: Limbs) -> None:
        """Write the limbs' lengths into the dataset."""
        names = [str(name) for name in self.tracks["keypoint"].values]
        n = len(names)
        n_individuals = self.tracks.sizes["individual"]
        ends = [(int(self.present[a]), int(self.present[b])) for a, b in limbs.pairs]
        labels = list(dict.fromkeys(f"{names[a % n]}-{names[b % n]}" for a, b in ends))
        values = np.full((2, n_individuals, len(labels)), np.nan)
        for (a, b), length, sd in zip(ends, limbs.length, limbs.sd, strict=True):
            values[:, a // n, labels.index(f"{names[a % n]}-{names[b % n]}")] = length, sd
        dataset.coords["limb"] = labels
        dataset["limb_length"] = (("individual", "limb"), values[0])
        dataset["limb_sd"] = (("individual", "limb"), values[1])


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


def _covariances(
    tracks: xr.Dataset, stated: FloatArray | None, shape: tuple[int, int, int], n_views: int
) -> FloatArray:
    """(view, time, keypoint, 2, 2) px², scaled to what the residuals say; key points of all individuals in a row."""
    times, individuals, keypoints = shape
    own = np.eye(2) * float(tracks.attrs["noise_px"]) ** 2
    if stated is None:
        covariance = np.broadcast_to(own, (n_views, times, individuals * keypoints, 2, 2))
    else:
        known = np.isfinite(stated).all(axis=(-2, -1)) & (np.linalg.det(stated) > 0)
        covariance = np.where(known[..., None, None], stated, own).reshape(n_views, times, -1, 2, 2)
    factor = np.tile(tracks["variance_factor"].values, (1, individuals))
    return covariance * factor[:, None, :, None, None]


def _places(
    tracks: xr.Dataset, present: NDArray[np.int64], groups: Sequence[tuple[str, ...]], size: int
) -> NDArray[np.int64]:
    """Places of named key points among the present ones, of each individual in turn; -1 for what is not present.

    Raises:
        DataError: a name is unknown, or a group has another number of names.
    """
    names = [str(name) for name in tracks["keypoint"].values]
    for group in groups:
        unknown = [name for name in group if name not in names]
        if unknown or len(set(group)) != size:
            raise DataError(
                f"Expected {size} different key points of {', '.join(names)}; got {', '.join(map(str, group))}."
            )
    place = np.full(tracks.sizes["individual"] * len(names), -1)
    place[present] = np.arange(len(present))
    rows = [
        [place[individual * len(names) + names.index(name)] for name in group]
        for individual in range(tracks.sizes["individual"])
        for group in groups
    ]
    return np.array(rows, np.int64).reshape(-1, size)


def _stretches(n_frames: int) -> list[slice]:
    """Evenly spread stretches of frames to learn from."""
    count = min(_STRETCHES, max(1, n_frames // _STRETCH))
    length = min(n_frames, _STRETCH)
    return [slice(int(first), int(first) + length) for first in np.linspace(0, n_frames - length, count).round()]


def _windows(start: Posterior, sd: FloatArray, model: MotionModel) -> list[tuple[slice, slice]]:
    """(solved, kept) frames of each window.

    The posterior forgets what is farther away than about (noise / prior)^(1/order) frames; windows overlap by ten times
    that, counted in frames that two views see.
    """
    n_frames = len(start.position)
    count = max(1, round(n_frames / _WINDOW))
    bounds = np.linspace(0, n_frames, count + 1).round().astype(int)
    reach = _MEMORY * float(((sd * model.inertia / model.spread) ** (1 / model.order)).max())
    reach = int(np.clip(np.ceil(reach), _SHORTEST_OVERLAP, _LONGEST_OVERLAP))
    seen = np.vstack([np.zeros((1, start.position.shape[1])), np.cumsum((start.weight > 0).sum(axis=0) >= 2, axis=0)])
    windows = []
    for first, last in pairwise(bounds):
        low, high = max(0, first - reach), min(n_frames, last + reach)
        while low > 0 and first - low < _LONGEST_OVERLAP and (seen[first] - seen[low]).min() < reach:
            low = max(0, low - reach)
        while high < n_frames and high - last < _LONGEST_OVERLAP and (seen[high] - seen[last]).min() < reach:
            high = min(n_frames, high + reach)
        windows.append((slice(low, high), slice(int(first), int(last))))
    return windows


def _gaps(supported: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(frame, keypoint) length of the run of unsupported frames around each frame, 0 where it is supported."""
    gap = np.zeros(supported.shape, np.int64)
    for k in range(supported.shape[1]):
        edges = np.flatnonzero(np.diff(np.concatenate([[True], supported[:, k], [True]]).astype(int)))
        for first, last in zip(edges[::2], edges[1::2], strict=True):
            gap[first:last, k] = last - first
    return gap


def _velocity(found: Posterior, step: float) -> tuple[FloatArray, FloatArray]:
    """Velocity (frame, keypoint, 3) by central differences (one-sided at both ends), and its covariance."""
    full = unpack(found.covariance)
    velocity = np.gradient(found.position, step, axis=0)
    covariance = np.empty_like(full)
    cross = found.lag2[2:] + np.swapaxes(found.lag2[2:], -1, -2)
    covariance[1:-1] = (full[2:] + full[:-2] - cross) / (4 * step**2)
    for at, late in ((0, 1), (-1, -1)):
        cross = found.lag1[late] + np.swapaxes(found.lag1[late], -1, -2)
        covariance[at] = (full[late] + full[late - 1] - cross) / step**2
    return velocity, covariance
