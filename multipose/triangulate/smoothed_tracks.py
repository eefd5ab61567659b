"""Smoothed trajectories from the posteriors of stretches of frames: what a user gets, written stretch by stretch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from multipose.tracks import time_unit_of, trajectories3d
from multipose.triangulate.layout import POINT, Layout, on_grid
from multipose.triangulate.motion import unpack
from multipose.triangulate.points import FloatArray
from multipose.triangulate.posterior import Posterior
from multipose.triangulate.shared_errors import SHARED_MEMORY, SHARED_MEMORY_FRAMES

_UNTOLD = 1.25  # variance of what smoothing leaves of networks' errors over what the model says (docs/smoothing.md)
_LEARNED = (
    "prior_sd",
    "held_out_ratio",
    "variance_factor",
    "limb_keypoints",
    "limb_length",
    "limb_sd",
    "joint_keypoints",
    "joint_limits",
)  # variables of `learn_motion`


def smoothed_tracks(
    layout: Layout,
    parts: Iterable[tuple[slice, Posterior]],
    present: NDArray[np.int64],
    motion: xr.Dataset,
    max_gap: int | None,
) -> xr.Dataset:
    """The posterior as checked Trajectories3D, at the tracks' times."""
    tracks = layout.tracks
    shape = tuple(tracks.sizes[dim] for dim in POINT)
    size = shape[0], shape[1] * shape[2]
    position, error, confidence = np.full((*size, 3), np.nan), np.full(size, np.nan), np.zeros(size)
    covariance, n_views = np.full((*size, 3, 3), np.nan), np.zeros(size, np.int64)
    velocity, velocity_covariance = np.full_like(position, np.nan), np.full_like(covariance, np.nan)
    inlier, gap = np.zeros((len(layout.rig), *size), bool), np.full(size, layout.n_frames)
    supported = np.zeros((layout.n_frames, len(present)), bool)
    for frames, around, inner in _with_neighbours(parts):
        found, times = around.frames(inner), layout.times(frames)
        rows = layout.rows[times] - frames.start
        scene, shared = layout.scene(frames, present), layout.shared(frames, present)
        believed = found.weight > 0.5
        supported[frames] = believed.sum(axis=0) >= 2
        count = believed.sum(axis=0)
        off = np.linalg.norm(scene.px - layout.rig.project(found.position), axis=-1)
        with np.errstate(invalid="ignore"):
            mean = np.where(count > 0, np.where(believed, off, 0.0).sum(axis=0) / count, np.nan)
        stated = on_grid(layout.confidence, layout.rows, frames, 0.0)[:, :, present]
        sure = np.where(believed, np.where(np.isnan(stated), 1.0, stated), 0.0).sum(axis=0)
        speed, speed_covariance = _velocity(around, inner, shared, layout)
        untold = 1.0 if layout.freedom is None else _UNTOLD
        for array, values in (
            (position, found.position),
            (error, mean),
            (confidence, np.clip(sure / np.maximum(scene.known.sum(axis=0), 1), 0.0, 1.0)),
            (covariance, untold * unpack(found.covariance) + shared),
            (n_views, count),
            (velocity, speed),
            (velocity_covariance, speed_covariance),
        ):
            array[times, present] = values[rows]
        inlier[:, times, present] = believed[:, rows]
    for place, column in enumerate(present):
        length = _gaps(supported[:, place])
        gap[:, column] = length[layout.rows]
        if max_gap is not None:
            lost = length > max_gap
            # velocities rest on the frames before and after; at both ends of the recording on the frame itself and one
            beside = np.concatenate([lost[:2].any(keepdims=True), lost[:-2] | lost[2:], lost[-2:].any(keepdims=True)])
            for array in (position, error, covariance):
                array[lost[layout.rows], column] = np.nan
            for array in (velocity, velocity_covariance):
                array[beside[layout.rows], column] = np.nan
            for array in (confidence, n_views):
                array[lost[layout.rows], column] = 0
            inlier[:, lost[layout.rows], column] = False
    dataset = trajectories3d(
        position.reshape(*shape, 3),
        confidence.reshape(shape),
        error.reshape(shape),
        n_views.reshape(shape),
        covariance.reshape(*shape, 3, 3),
        keypoints=[str(name) for name in tracks["keypoint"].values],
        individuals=[str(name) for name in tracks["individual"].values],
        fps=tracks.attrs.get("fps"),
        time=tracks["time"].values,
        time_unit=time_unit_of(tracks),
        unit=layout.rig.unit,
    )
    dataset = dataset.assign_coords(view=list(layout.rig.names))
    dataset["inlier"] = (("view", *POINT), inlier.reshape(-1, *shape))
    dataset["velocity"] = ((*POINT, "space"), velocity.reshape(*shape, 3))
    dataset["velocity_covariance"] = ((*POINT, "space", "space_"), velocity_covariance.reshape(*shape, 3, 3))
    dataset["gap"] = (POINT, gap.reshape(shape))
    for name in _LEARNED:
        if name in motion:
            dataset[name] = motion[name]
    for name in ("shared_error", "degrees_of_freedom", "region_scale"):
        if name in tracks:
            dataset[name] = tracks[name]
    learned = ("prior", "memory_frames", "noise_px", "min_confidence", "max_error_px", "max_error_sd")
    dataset.attrs |= {
        "method": "smoothed",
        "max_gap": -1 if max_gap is None else max_gap,
        **{name: value for name, value in motion.attrs.items() if name in learned or name.startswith("noise_auto")},
    }
    if "shared_error_source" in tracks.attrs:
        dataset.attrs["shared_error_source"] = tracks.attrs["shared_error_source"]
    return dataset


def _with_neighbours(parts: Iterable[tuple[slice, Posterior]]) -> Iterator[tuple[slice, Posterior, slice]]:
    """Each stretch with one frame more on either side, where there is one, and where the stretch lies within that."""
    before: list[Posterior] = []
    waiting: tuple[slice, Posterior] | None = None
    for frames, part in parts:
        if waiting is not None:
            yield _between(before, *waiting, [part.frames(slice(0, 1))])
            before = [waiting[1].frames(slice(-1, None))]
        waiting = frames, part
    if waiting is not None:
        yield _between(before, *waiting, [])


def _between(
    before: list[Posterior], frames: slice, part: Posterior, after: list[Posterior]
) -> tuple[slice, Posterior, slice]:
    inner = slice(len(before), len(before) + len(part.position))
    return frames, Posterior.joined([*before, part, *after], axis=0), inner


def _gaps(supported: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(frame,) length of the run of unsupported frames around each frame, 0 where it is supported."""
    gap = np.zeros(len(supported), np.int64)
    edges = np.flatnonzero(np.diff(np.concatenate([[True], supported, [True]]).astype(int)))
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        gap[first:last] = last - first
    return gap


def _velocity(around: Posterior, inner: slice, shared: FloatArray, layout: Layout) -> tuple[FloatArray, FloatArray]:
    """Velocity (frame, keypoint, 3) of the inner frames by central differences (one-sided at the ends of the
    recording), and its covariance.

    What the views share lasts: only its change between the two frames makes an error.
    """
    full, step = unpack(around.covariance), layout.step
    velocity = np.gradient(around.position, step, axis=0)
    covariance = np.empty_like(full)
    both = around.lags + np.swapaxes(around.lags, -1, -2)
    covariance[1:-1] = (full[2:] + full[:-2] - both[2:, :, 1]) / (4 * step**2)
    for at, late in ((0, 1), (-1, -1)):
        covariance[at] = (full[late] + full[late - 1] - both[late, :, 0]) / step**2
    apart = np.full((len(full), 1, 1, 1), 2.0)
    apart[[0, -1]] = 1.0
    memory = SHARED_MEMORY if layout.tracks.attrs.get("fps") else SHARED_MEMORY_FRAMES
    changed = 2 * -np.expm1(-apart * step / memory) / (apart * step) ** 2
    return velocity[inner], covariance[inner] + changed[inner] * shared
