"""Trajectories over time: what a body can have done, given what the views saw.

`reconstruct` solves every frame by itself. Here all frames of a recording are solved together: the 2D points with their
errors, the smoothness of movements and the lengths of limbs. How smoothly each key point moves, how long errors last
and how stiff limbs are is learned from the recording. The mathematics stand in `posterior`, the learning in `motion`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
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
from multipose.triangulate import smoothing_kernels as kernels
from multipose.triangulate.layout import Layout
from multipose.triangulate.motion import (
    LAGS,
    HeldOutViews,
    autocorrelations,
    choose_strength,
    fit_memory,
    learn_limbs,
    learn_spread,
)
from multipose.triangulate.points import FloatArray
from multipose.triangulate.posterior import Joints, Limbs, MotionModel, Posterior, correlation_inflation, find
from multipose.triangulate.smoothed_tracks import smoothed_tracks

ORDERS = {"acceleration": 2, "jerk": 3}

_WINDOW = 1000  # frames solved at once
_STRETCH = 1000  # frames of a stretch that the model is learned from ...
_STRETCHES = 3  # ... and their number at most
_MEMORY = 10.0  # overlap of windows, in times that the posterior remembers
_SHORTEST_OVERLAP = 20
_LONGEST_OVERLAP = 1000
_HELD_OUT_FRAMES = 500  # in which views are held out, of errors with tails ...
_FEWER_HELD_OUT_FRAMES = 200  # ... and of Gaussian ones, for which two strengths are compared
_JOINT_SD = 0.1  # rad beyond its limits that a joint may well be


def smooth(
    tracks: xr.Dataset,
    keypoints: xr.Dataset,
    rig: CameraRig,
    *,
    motion: xr.Dataset | None = None,
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
        motion: result of `learn_motion`, or of `smooth` on another recording of the same animals and rig. By default it
            is learned from these tracks, as `learn_motion` with prior, limbs, limb_lengths and joint_limits.
        max_gap: points in longer runs of frames that fewer than two views support are NaN; by default none are: they
            have the position that the movement before and after suggests, and a wide covariance.
        threads: how many to use; the result does not depend on it.
        progress: where to report.

    Returns:
        Trajectories3D; n_views, inlier, reprojection_error and confidence are of the 2D points that were believed
        (confidence 0 where there is none). Beyond the schema: `velocity` (time, individual, keypoint, space) in unit
        per second and `velocity_covariance`; `gap` (time, individual, keypoint) = frames of the run without two views
        that the point lies in, 0 outside; and what `learn_motion` returns. Attributes: method, max_gap.

    Raises:
        DataError: the tracks were not made of these key points, an unknown name, times that are not evenly spaced, or
            too few frames.
    """
    if max_gap is not None and (max_gap < 0 or max_gap != int(max_gap)):
        raise DataError(f"max_gap is a number of frames, 0 or more, got {max_gap}.")
    layout = Layout.build(tracks, keypoints, rig)
    if motion is None:
        motion, start = _learn(layout, prior, limbs, limb_lengths or {}, joint_limits or {}, progress)
    elif prior != "acceleration" or limbs or limb_lengths or joint_limits:
        raise DataError("prior, limbs, limb_lengths and joint_limits are part of `motion`: give the one or the others.")
    else:
        start = _Start(layout, ORDERS[str(motion.attrs["prior"])])
    model, present = _model(layout, motion)
    return smoothed_tracks(layout, _solve(layout, model, present, start, threads, progress), present, motion, max_gap)


def learn_motion(
    tracks: xr.Dataset,
    keypoints: xr.Dataset,
    rig: CameraRig,
    *,
    prior: Literal["acceleration", "jerk"] = "acceleration",
    limbs: Sequence[tuple[str, str]] = (),
    limb_lengths: Mapping[tuple[str, str], float] | None = None,
    joint_limits: Mapping[tuple[str, str, str], tuple[float, float]] | None = None,
    progress: Progress = SILENT,
) -> xr.Dataset:
    """How smoothly the key points of a recording move, how stiff limbs are, and how long 2D errors last.

    Args:
        tracks, keypoints, rig: as for `smooth`.
        prior: what is small between frames: the acceleration, or its change.
        limbs: pairs of key points whose distance hardly changes; how long and how stiff is learned.
        limb_lengths: lengths in the rig's unit of limbs where they are known; they need not be named in `limbs`.
        joint_limits: least and largest angle in radians at the middle one of three key points.
        progress: where to report.

    Returns:
        A dataset with `prior_sd` (individual, keypoint) = scale of the acceleration (jerk) per coordinate in unit/s²
        (unit/s³); `variance_factor` (view, keypoint) of the tracks; `limb_keypoints` (limb, end), `limb_length` and
        `limb_sd` (individual, limb) in the rig's unit, NaN where too few frames show the limb; `joint_keypoints`
        (joint, corner) and `joint_limits` (joint, bound). Attributes: prior, noise_autocorrelation_1, _2, _5, _10
        (frames apart); memory_frames = frames after which a trajectory hardly remembers; noise_px, min_confidence,
        max_error_px and max_error_sd of the tracks.

    Raises:
        DataError: as `smooth`.
    """
    layout = Layout.build(tracks, keypoints, rig)
    return _learn(layout, prior, limbs, limb_lengths or {}, joint_limits or {}, progress)[0]


def _learn(
    layout: Layout,
    prior: str,
    limbs: Sequence[tuple[str, str]],
    lengths: Mapping[tuple[str, str], float],
    limits: Mapping[tuple[str, str, str], tuple[float, float]],
    progress: Progress,
) -> tuple[xr.Dataset, _Start]:
    """`learn_motion`, and a better start of all frames."""
    if prior not in ORDERS:
        raise DataError(f"prior must be one of {', '.join(ORDERS)}, got {prior!r}.")
    _check_limits(layout, limits)
    if not kernels.observe.is_compiled:
        progress.note("Compiling the smoothing for this machine, once: about 15 s.")
    for (first, second), length in lengths.items():
        if not (np.isfinite(length) and length > 0):
            raise DataError(f"The length of the limb from {first} to {second} must be above 0, got {length}.")
    stated = {frozenset(limb): length for limb, length in lengths.items()}
    if len(stated) < len(lengths):
        raise DataError(f"A limb has two lengths, one for each of its directions: {dict(lengths)}. Give it one.")
    limbs = list({frozenset(limb): limb for limb in [*limbs, *lengths]}.values())  # whichever way they are named
    pairs = layout.find_places(limbs, 2)
    given = np.tile([stated.get(frozenset(limb), np.nan) for limb in limbs], layout.tracks.sizes["individual"])
    present = layout.find_present(ORDERS[prior])
    if not len(present):
        raise DataError(
            f"Nothing can be smoothed: a key point needs positions in more than {ORDERS[prior]} of at least "
            f"{ORDERS[prior] + 2} frames, and none of {len(layout.rows)} frames' key points has that."
        )
    stretches = _stretches(layout.n_frames)
    scenes = [layout.scene(stretch, present) for stretch in stretches]
    correlations = _correlations(layout, stretches)
    starts = [layout.guess(stretch, ORDERS[prior], present) for stretch in stretches]
    freedom = None if layout.freedom is None else layout.freedom[present]
    model = MotionModel(*fit_memory(correlations), ORDERS[prior], np.ones(len(present)), freedom=freedom)
    shape = layout.tracks.sizes["individual"], layout.tracks.sizes["keypoint"]
    with progress.task("learn the motion", total=1) as task:
        spread, free = learn_spread(scenes, starts, model, layout.sd[present])
        evident = spread
        spread, ratio = _weakened(layout, stretches, present, replace(model, spread=evident), free)
        if not np.array_equal(spread, evident):
            weaker = replace(model, spread=spread)
            free = [find(scene, weaker, one, reweigh=True) for scene, one in zip(scenes, free, strict=True)]
        known = learn_limbs(_renumber(pairs, present, shape[0] * shape[1]), given, free)
        task.advance(1)
    scale, held_out = np.full(shape[0] * shape[1], np.nan), np.full(shape[0] * shape[1], np.nan)
    scale[present] = spread / layout.step ** ORDERS[prior]
    held_out[present] = ratio
    names = {dim: layout.tracks[dim].values for dim in ("individual", "keypoint")}
    motion = xr.Dataset(
        {
            "prior_sd": (("individual", "keypoint"), scale.reshape(shape)),
            "held_out_ratio": (("individual", "keypoint"), held_out.reshape(shape)),
        },
        coords={**names, "view": list(layout.rig.names)},
        attrs={
            "prior": prior,
            "memory_frames": overlap(layout.sd[present], replace(model, spread=spread)),
            **{f"noise_autocorrelation_{lag}": value for lag, value in correlations.items()},
            **{
                name: layout.tracks.attrs[name]
                for name in ("noise_px", "min_confidence", "max_error_px", "max_error_sd")
            },
        },
    )
    motion["variance_factor"] = layout.tracks["variance_factor"]
    if limbs:
        motion["limb_keypoints"] = (("limb", "end"), np.array(limbs))
        motion["limb_length"] = (("individual", "limb"), known.length.reshape(shape[0], -1))
        motion["limb_sd"] = (("individual", "limb"), known.sd.reshape(shape[0], -1))
    if limits:
        motion["joint_keypoints"] = (("joint", "corner"), np.array(list(limits)))
        motion["joint_limits"] = (("joint", "bound"), np.array(list(limits.values())))
    return motion, _Start(layout, ORDERS[prior], tuple(stretches), tuple(free))


def _weakened(
    layout: Layout,
    stretches: Sequence[slice],
    present: NDArray[np.int64],
    model: MotionModel,
    free: Sequence[Posterior],
) -> tuple[FloatArray, FloatArray]:
    """Scales of the prior that foretell views held out best, and how much better than single frames do they do so."""
    scenes, parts = [], []
    most = _HELD_OUT_FRAMES if model.has_tails else _FEWER_HELD_OUT_FRAMES
    for stretch, one in zip(stretches, free, strict=True):
        count = min(stretch.stop - stretch.start, most // len(stretches))
        frames = slice(stretch.start, stretch.start + count)
        scenes.append(layout.scene(frames, present))
        believed = layout.believed[:, frames][:, :, present]
        parts.append(HeldOutViews.build(scenes[-1], one.frames(slice(0, count)), believed, layout.rig))
    factor, ratio = choose_strength(scenes, parts, model)
    return model.spread * factor, ratio


def _correlations(layout: Layout, stretches: Sequence[slice]) -> dict[int, float]:
    """Autocorrelation of the 2D errors in the points that were solved frame by frame."""
    errors, slopes, used = [], [], []
    for stretch in stretches:
        scene, position = layout.scene(stretch), layout.position(stretch)
        errors.append(scene.standardise(scene.px - layout.rig.project(position)))
        slopes.append(scene.slopes(position, layout.rig))
        used.append(layout.believed[:, stretch] & np.isfinite(errors[-1]).all(axis=-1))
    error, slope = (np.concatenate(parts, axis=1) for parts in (errors, slopes))
    return autocorrelations(error, slope, np.concatenate(used, axis=1))


def _model(layout: Layout, motion: xr.Dataset) -> tuple[MotionModel, NDArray[np.int64]]:
    """What is believed of the present key points, and which these are."""
    for dim in ("individual", "keypoint"):
        ours, known = ([str(name) for name in dataset[dim].values] for dataset in (layout.tracks, motion))
        if ours != known:
            raise DataError(
                f"The motion was learned for the {dim}s {', '.join(known)}, but the tracks have {', '.join(ours)}."
            )
    order = ORDERS[str(motion.attrs["prior"])]
    spread = motion["prior_sd"].values.ravel() * layout.step**order
    present = np.intersect1d(layout.find_present(order), np.flatnonzero(np.isfinite(spread)))
    correlations = {lag: float(motion.attrs[f"noise_autocorrelation_{lag}"]) for lag in LAGS}
    limbs, joints = Limbs(), Joints()
    if "limb_keypoints" in motion:
        pairs = _renumber(layout.find_places(motion["limb_keypoints"].values.tolist(), 2), present, len(spread))
        length, sd = motion["limb_length"].values.ravel(), motion["limb_sd"].values.ravel()
        there = (pairs >= 0).all(axis=1) & np.isfinite(length)
        limbs = Limbs(pairs[there], length[there], sd[there])
    if "joint_keypoints" in motion:
        triples = _renumber(layout.find_places(motion["joint_keypoints"].values.tolist(), 3), present, len(spread))
        bounds = np.tile(motion["joint_limits"].values, (layout.tracks.sizes["individual"], 1))
        there = (triples >= 0).all(axis=1)
        joints = Joints(triples[there], bounds[there, 0], bounds[there, 1], np.full(int(there.sum()), _JOINT_SD))
    memory = fit_memory(correlations)
    freedom = None if layout.freedom is None else layout.freedom[present]
    return MotionModel(*memory, order, spread[present], limbs, joints, freedom), present


@dataclass(frozen=True, eq=False)
class _Start:
    """Where to start: points that were solved frame by frame, and what was learned of the present key points in some
    stretches."""

    layout: Layout
    order: int
    stretches: tuple[slice, ...] = ()
    learned: tuple[Posterior, ...] = ()

    def frames(self, chosen: slice, present: NDArray[np.int64]) -> Posterior:
        """Of some frames of the present key points."""
        start, places = self.layout.guess(chosen, self.order, present), np.arange(len(present))
        for stretch, one in zip(self.stretches, self.learned, strict=True):
            both = slice(max(chosen.start, stretch.start), min(chosen.stop, stretch.stop))
            if both.start < both.stop:
                part = one.frames(slice(both.start - stretch.start, both.stop - stretch.start))
                start = start.replaced([slice(both.start - chosen.start, both.stop - chosen.start)], places, [part])
        return start

    def supported(self, present: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(frame, present key point) whether two views or more count."""
        supported = self.layout.supported[:, present]
        for stretch, one in zip(self.stretches, self.learned, strict=True):
            supported[stretch] = (one.weight > 0).sum(axis=0) >= 2
        return supported


def _solve(
    layout: Layout,
    model: MotionModel,
    present: NDArray[np.int64],
    start: _Start,
    threads: int | None,
    progress: Progress,
) -> Iterator[tuple[slice, Posterior]]:
    """The posterior of the present key points, from overlapping windows: frames one stretch after the other."""
    if not len(present):
        return
    loose = replace(model, limbs=Limbs(), joints=Joints())

    def one(window: tuple[slice, slice]) -> Posterior:
        wide, core = window
        scene = layout.scene(wide, present)
        found = find(scene, loose, start.frames(wide, present), reweigh=True)
        inflation = correlation_inflation(scene, loose, found) if model.has_tails and model.lasting > 0 else None
        if model.binds:
            found = find(scene, model, found, reweigh=False)
        if inflation is not None:
            found = found.inflated(inflation)
        return found.frames(slice(core.start - wide.start, core.stop - wide.start))

    windows = _windows(start.supported(present), overlap(layout.sd[present], model))
    with (
        progress.task("smooth", total=layout.n_frames) as task,
        ThreadPoolExecutor(threads or os.cpu_count()) as pool,
    ):
        for (_, core), part in zip(windows, pool.map(one, windows), strict=True):
            yield core, part
            task.advance(len(part.position))


def _check_limits(layout: Layout, limits: Mapping[tuple[str, str, str], tuple[float, float]]) -> None:
    layout.find_places(list(limits), 3)
    for names, (least, largest) in limits.items():
        if not 0 <= least < largest <= np.pi:
            raise DataError(
                f"The limits of the joint {'-'.join(names)} must be two rising angles between 0 and pi radians, "
                f"got {least:g} and {largest:g}."
            )


def _renumber(places: NDArray[np.int64], present: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Places among the present key points of places among all `count`; -1 for those that are not present."""
    number = np.full(count, -1)
    number[present] = np.arange(len(present))
    renumbered: NDArray[np.int64] = number[places]
    return renumbered


def _stretches(n_frames: int) -> list[slice]:
    """Evenly spread stretches of frames to learn from."""
    count = min(_STRETCHES, max(1, n_frames // _STRETCH))
    length = min(n_frames, _STRETCH)
    return [slice(int(first), int(first) + length) for first in np.linspace(0, n_frames - length, count).round()]


def overlap(sd: FloatArray, model: MotionModel) -> int:
    """Frames after which the posterior hardly remembers: ten times (noise / prior)^(1/order).

    sd: (keypoint,) standard deviation of a coordinate that is solved from one frame.
    """
    reach = _MEMORY * float(((sd * model.inertia / model.spread) ** (1 / model.order)).max())
    return int(np.clip(np.ceil(reach), _SHORTEST_OVERLAP, _LONGEST_OVERLAP))


def _windows(supported: NDArray[np.bool_], reach: int) -> list[tuple[slice, slice]]:
    """(solved, kept) frames of each window; windows overlap by `reach` frames (frame, keypoint) that two views see."""
    n_frames = len(supported)
    count = max(1, round(n_frames / _WINDOW))
    bounds = np.linspace(0, n_frames, count + 1).round().astype(int)
    seen = np.zeros((n_frames + 1, supported.shape[1]), np.int32)
    np.cumsum(supported, axis=0, out=seen[1:])
    windows = []
    for first, last in pairwise(bounds):
        low, high = max(0, first - reach), min(n_frames, last + reach)
        while low > 0 and first - low < _LONGEST_OVERLAP and (seen[first] - seen[low]).min() < reach:
            low = max(0, low - reach)
        while high < n_frames and high - last < _LONGEST_OVERLAP and (seen[high] - seen[last]).min() < reach:
            high = min(n_frames, high + reach)
        windows.append((slice(int(low), int(high)), slice(int(first), int(last))))
    return windows
