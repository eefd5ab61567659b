"""Networks over videos: pictures in, a Keypoints2D dataset or file out, in exact frame order and bounded memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import h5netcdf
import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from multipose.errors import DataError, VideoError
from multipose.files import atomic_path
from multipose.pose2d import runtime
from multipose.pose2d.model import PoseEstimate, PoseModel, check_same_keypoints
from multipose.progress import SILENT, Progress
from multipose.sources import FrameSource, SourceSpec
from multipose.tracks import keypoints2d
from multipose.video import open_source

Ints = npt.NDArray[np.int64]
Array = npt.NDArray[np.float64]

_CHUNK = 256  # frames that a file's chunk holds and that are written at once


@dataclass(frozen=True)
class ViewReport:
    """What prediction did in one view: frames looked at, frames per second of wall time, and what ran the network."""

    frames: int
    fps: float
    runtime: str


@dataclass(frozen=True, eq=False)
class _Plan:
    """Which picture of which view falls on which time of the rig's clock."""

    sources: dict[str, FrameSource]
    keypoints: tuple[str, ...]
    indices: dict[str, Ints]  # (time,) index into the source, -1 where the view has no picture
    fps: float | None
    time: Array

    def frame_numbers(self, view: str) -> Ints:
        indices = self.indices[view]
        return np.where(indices >= 0, self.sources[view].frame_numbers[indices], -1)

    def empty(self, n_times: int) -> xr.Dataset:
        """A Keypoints2D of the first `n_times` times without a single point."""
        shape = (len(self.sources), n_times, 1, len(self.keypoints))
        return keypoints2d(
            np.full((*shape, 2), np.nan),
            np.zeros(shape),
            np.full((*shape, 2, 2), np.nan),
            views=list(self.sources),
            keypoints=self.keypoints,
            fps=self.fps,
            frame=np.stack([self.frame_numbers(view)[:n_times] for view in self.sources]),
            time=self.time[:n_times],
        )


def predict(
    models: Mapping[str, PoseModel],
    sources: Mapping[str, SourceSpec],
    *,
    frames: Mapping[str, npt.ArrayLike] | None = None,
    time: npt.ArrayLike | None = None,
    batch_size: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> xr.Dataset:
    """Find the key points in the videos of a rig.

    Args:
        models: a network for each view (the same one for several, where they share it).
        sources: for each view a video, a folder or list of pictures, or a FrameSource.
        frames: for each view, which of its pictures (from 0; -1 for none) falls on each time of the rig's clock.
            Without it the views must have equally many pictures, and the same ones belong together.
        time: (time,) seconds of the rig's clock; by default the first view's timestamps.
        batch_size: pictures that the network gets at once; by default as of `runtime.choose_batch_size`.
        threads: of the CPU; None for all.
        device: as for `runtime.choose_device`.
        progress: is told of every picture.

    Returns:
        A Keypoints2D in memory, with the views in the order of `sources`. For long videos use `predict_to_file`.

    Raises:
        DataError: views without a network, or frames that do not go together (the message says the counts).
        ModelError: the networks find different key points.
        VideoError: a video cannot be read, or ends before its end.
    """
    plan = _make_plan(models, sources, frames, time)
    dataset = plan.empty(len(plan.time))
    for view, place, estimate in _estimates(plan, models, batch_size, threads, device, progress, {}):
        for name, values in (
            ("position", estimate.position),
            ("confidence", estimate.confidence),
            ("covariance", estimate.covariance),
        ):
            dataset[name].values[list(plan.sources).index(view), place, 0] = values
    return dataset


def predict_to_file(
    models: Mapping[str, PoseModel],
    sources: Mapping[str, SourceSpec],
    path: str | os.PathLike[str],
    *,
    frames: Mapping[str, npt.ArrayLike] | None = None,
    time: npt.ArrayLike | None = None,
    attributes: Mapping[str, Any] | None = None,
    batch_size: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> dict[str, ViewReport]:
    """The same as `predict`, into a file that `tracks.load_tracks` reads; memory does not grow with the videos.

    Args:
        path: netCDF file; appears whole or not at all.
        attributes: more attributes of the file (hashes of its inputs, say).
        models, sources, frames, time, batch_size, threads, device, progress: as for `predict`.

    Returns:
        For each view what was done.

    Raises:
        DataError, ModelError, VideoError: as of `predict`.
    """
    plan = _make_plan(models, sources, frames, time)
    reports: dict[str, ViewReport] = {}
    with atomic_path(path) as temporary:
        _write_empty(plan, temporary, attributes or {})
        with h5netcdf.File(temporary, "r+") as file:
            estimates = _estimates(plan, models, batch_size, threads, device, progress, reports)
            for view, parts in groupby(estimates, key=lambda part: part[0]):
                _write_view(file, list(plan.sources).index(view), ((place, estimate) for _, place, estimate in parts))
    return reports


def _make_plan(
    models: Mapping[str, PoseModel],
    specs: Mapping[str, SourceSpec],
    frames: Mapping[str, npt.ArrayLike] | None,
    time: npt.ArrayLike | None,
) -> _Plan:
    if not specs:
        raise DataError("Prediction needs the video of at least one view.")
    lacking = [view for view in specs if view not in models]
    if lacking:
        raise DataError(
            f"There is no network for view {', '.join(lacking)}; there are networks for {', '.join(models)}."
        )
    keypoints = check_same_keypoints({view: models[view] for view in specs})
    sources = {view: open_source(spec) for view, spec in specs.items()}
    counts = {view: len(source) for view, source in sources.items()}
    if frames is None:
        if len(set(counts.values())) > 1:
            raise DataError(
                f"The views have different numbers of frames ({', '.join(f'{v}: {n}' for v, n in counts.items())}). "
                "State how they belong together (frame offsets or timestamps)."
            )
        indices = {view: np.arange(count) for view, count in counts.items()}
    else:
        indices = {view: np.asarray(frames.get(view, ()), dtype=np.int64) for view in sources}
        lengths = {view: len(index) for view, index in indices.items()}
        if len(set(lengths.values())) > 1 or set(frames) != set(sources):
            raise DataError(f"frames must say for each view which picture falls on each time; got {lengths}.")
        for view, index in indices.items():
            used = index[index >= 0]
            if (index < -1).any() or (used >= counts[view]).any() or (np.diff(used) <= 0).any():
                raise DataError(
                    f"View {view}: frames must rise from 0 to at most {counts[view] - 1}, -1 standing for no picture."
                )
    n_times = len(next(iter(indices.values())))
    rates = {source.fps for source in sources.values()}
    fps = rates.pop() if len(rates) == 1 else None
    first = next(iter(sources.values()))
    if time is None and frames is None and fps is None and np.isfinite(first.times).all():
        time = first.times
    if time is None:
        time = np.arange(n_times) / (fps or 1.0)
    clock = np.asarray(time, dtype=np.float64)
    if clock.shape != (n_times,):
        raise DataError(f"time must have the shape ({n_times},), one value a frame, got {clock.shape}.")
    return _Plan(sources, keypoints, indices, fps, clock)


def _estimates(
    plan: _Plan,
    models: Mapping[str, PoseModel],
    batch_size: int | None,
    threads: int | None,
    device: str,
    progress: Progress,
    reports: dict[str, ViewReport],
) -> Iterator[tuple[str, Ints, PoseEstimate]]:
    """(view, places on the time axis, points) of every batch, view after view; fills in `reports`."""
    place = runtime.choose_device(device)
    batch_size = runtime.choose_batch_size(place) if batch_size is None else batch_size
    if batch_size < 1:
        raise DataError(f"batch_size must be at least 1, got {batch_size}.")
    total = sum(int((index >= 0).sum()) for index in plan.indices.values())
    with runtime.share_threads(threads, place) as workers, progress.task("Predicting", total) as task:
        for view, source in plan.sources.items():
            started = time.perf_counter()
            done = 0
            for times, estimate in _view_estimates(plan, view, models[view], batch_size, place, workers):
                done += len(times)
                task.advance(len(times), view)
                yield view, times, estimate
            expected = int((plan.indices[view] >= 0).sum())
            if done != expected:
                raise VideoError(f"{source.path}, view {view}: only {done} of {expected} frames could be read.")
            reports[view] = ViewReport(
                done, done / max(time.perf_counter() - started, 1e-9), runtime.describe(place, workers.count)
            )


def _view_estimates(
    plan: _Plan, view: str, model: PoseModel, batch_size: int, place: torch.device, workers: runtime.Workers
) -> Iterator[tuple[Ints, PoseEstimate]]:
    source = plan.sources[view]
    times = np.flatnonzero(plan.indices[view] >= 0)
    wanted = plan.indices[view][times]

    def batches() -> Iterator[npt.NDArray[np.uint8]]:
        pictures: list[npt.NDArray[np.uint8]] = []
        frames = iter(source) if np.array_equal(wanted, np.arange(len(source))) else source.read(wanted.tolist())
        for _, picture in frames:
            pictures.append(model.prepare(picture))
            if len(pictures) == batch_size:
                yield np.stack(pictures)
                pictures = []
        if pictures:
            yield np.stack(pictures)

    network = model.on(place)
    done = 0
    with (
        closing(runtime.read_ahead(batches())) as prepared,
        closing(workers.map(lambda batch: model.estimate(batch, source.size, network, place), prepared)) as estimates,
    ):
        for estimate in estimates:
            n = len(estimate.position)
            yield times[done : done + n], estimate
            done += n


def _write_empty(plan: _Plan, path: os.PathLike[str], attributes: Mapping[str, Any]) -> None:
    """A file as `tracks.save_tracks` writes it, of no time yet; then its time axis, and -1 and NaN for all points."""
    dataset = plan.empty(0).assign_attrs(attributes)
    chunk = min(_CHUNK, max(1, len(plan.time)))
    encoding: dict[str, dict[str, Any]] = {}
    for name, variable in dataset.data_vars.items():
        sizes = {dim: max(1, size) for dim, size in variable.sizes.items()} | {"time": chunk, "view": 1}
        shape = tuple(sizes[str(dim)] for dim in variable.dims)
        encoding[str(name)] = {"zlib": True, "complevel": 4, "chunksizes": shape}
    dataset.to_netcdf(path, engine="h5netcdf", encoding=encoding, unlimited_dims=["time"])
    with h5netcdf.File(path, "r+") as file:
        file.resize_dimension("time", len(plan.time))
        file.variables["time"][:] = plan.time
        for number, view in enumerate(plan.sources):
            file.variables["frame"][number] = plan.frame_numbers(view)


def _write_view(file: h5netcdf.File, number: int, parts: Iterator[tuple[Ints, PoseEstimate]]) -> None:
    """Write one view's points, a chunk of the time axis at a time; times without a picture become NaN, confidence 0."""
    n_times = file.dimensions["time"].size
    waiting: list[tuple[Ints, PoseEstimate]] = []
    following = next(parts, None)
    for start in range(0, n_times, _CHUNK):
        end = min(start + _CHUNK, n_times)
        while following is not None and following[0][0] < end:
            waiting.append(following)
            following = next(parts, None)
        for name, empty in (("position", np.nan), ("confidence", 0.0), ("covariance", np.nan)):
            variable = file.variables[name]
            block = np.full((end - start, *variable.shape[2:]), empty)
            for times, estimate in waiting:
                here = (times >= start) & (times < end)
                block[times[here] - start, 0] = getattr(estimate, name)[here]
            variable[number, start:end] = block
        waiting = [part for part in waiting if part[0][-1] >= end]
