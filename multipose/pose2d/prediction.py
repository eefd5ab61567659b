"""Networks over videos: pictures in, a Keypoints2D dataset or file out, in exact frame order and bounded memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import h5netcdf
import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from multipose.errors import DataError, VideoError
from multipose.files import atomic_path
from multipose.pose2d.engines import REFERENCE, Engine, create_engine
from multipose.pose2d.familiarity import Onlooker
from multipose.pose2d.following import Tracker, following_pays
from multipose.pose2d.keypoints_file import write_empty, write_view
from multipose.pose2d.model import PoseEstimate, PoseModel, check_same_keypoints
from multipose.pose2d.reports import ViewReport, summarize_reports
from multipose.pose2d.runtime import (
    Stopwatch,
    Workers,
    choose_batch_size,
    choose_device,
    read_ahead,
    share_threads,
    thread_count,
)
from multipose.pose2d.runtime_choice import SAMPLES, WORTH_MEASURING, choose_runtime
from multipose.progress import SILENT, Progress
from multipose.sources import FrameSource, SourceSpec
from multipose.tracks import CALIBRATED_ON_LABELS, USUAL_SHARED_ERROR, TimeUnit, keypoints2d
from multipose.video import count_corrupt, open_source, tell_damage

Ints = npt.NDArray[np.int64]
Array = npt.NDArray[np.float64]
Picture = npt.NDArray[np.uint8]

_SAME_AREA = 0.01  # by which the area of pictures may differ from that of the labelled ones, where places are known


@dataclass(frozen=True)
class _Settings:
    """How to go about it; as the arguments of `predict`, chosen where those left it open."""

    batch_size: int
    threads: int
    device: torch.device
    runtime: str
    follow: bool | None

    @classmethod
    def choose(
        cls, batch_size: int | None, threads: int | None, device: str, runtime: str, follow: bool | None
    ) -> _Settings:
        place = choose_device(device)
        batch_size = choose_batch_size(place) if batch_size is None else batch_size
        if batch_size < 1:
            raise DataError(f"batch_size must be at least 1, got {batch_size}.")
        return cls(batch_size, thread_count(threads), place, runtime, follow)


@dataclass(frozen=True, eq=False)
class _Plan:
    """Which picture of which view falls on which time of the rig's clock."""

    sources: dict[str, FrameSource]
    keypoints: tuple[str, ...]
    indices: dict[str, Ints]  # (time,) index into the source, -1 where the view has no picture
    fps: float | None
    time: Array
    time_unit: TimeUnit

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
            time_unit=self.time_unit,
            shared_error=USUAL_SHARED_ERROR,
        ).assign_attrs(covariance_source=CALIBRATED_ON_LABELS)


def predict(
    models: Mapping[str, PoseModel],
    sources: Mapping[str, SourceSpec],
    *,
    frames: Mapping[str, npt.ArrayLike] | None = None,
    time: npt.ArrayLike | None = None,
    time_unit: TimeUnit = "s",
    fps: float | None = None,
    batch_size: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    runtime: str = "auto",
    follow: bool | None = None,
    progress: Progress = SILENT,
) -> xr.Dataset:
    """Find the key points in the videos of a rig.

    Args:
        models: a network for each view (the same one for several, where they share it).
        sources: for each view a video, a folder or list of pictures, or a FrameSource.
        frames: for each view, which of its pictures (from 0; -1 for none) falls on each time of the rig's clock.
            Without it the views must have equally many pictures, and the same ones belong together.
        time: (time,) of the rig's clock; by default the first view's timestamps.
        time_unit: what `time` counts, "s" or "frame".
        fps: frames per second of `time`, where it is even.
        batch_size: pictures that the network gets at once; by default as of `runtime.choose_batch_size`.
        threads: of the CPU; None for all.
        device: as for `runtime.choose_device`.
        runtime: one of `engines.RUNTIMES`; "auto" takes the fastest that leaves the points where they are (see
            `runtime_choice`), and for fewer than 200 pictures torch in float32.
        follow: look at crops around the animal instead of whole pictures (see `following`); None where that is less
            work.
        progress: is told of every picture.

    Returns:
        A Keypoints2D in memory, with the views in the order of `sources`; its attributes tell the runtime, which
        views were followed, and which look unlike all that was labelled, with their frames to label. For long videos
        use `predict_to_file`.

    Raises:
        DataError: views without a network, or frames that do not go together (the message says the counts).
        InstallationError, ModelError: the networks find different key points; the runtime or device is not there.
        VideoError: a video cannot be read, or ends before its end.
    """
    plan = _make_plan(models, sources, frames, time, time_unit, fps)
    settings = _Settings.choose(batch_size, threads, device, runtime, follow)
    dataset = plan.empty(len(plan.time))
    reports: dict[str, ViewReport] = {}
    for view, place, estimate in _estimates(plan, models, settings, progress, reports):
        for name, values in (
            ("position", estimate.position),
            ("confidence", estimate.confidence),
            ("covariance", estimate.covariance),
        ):
            dataset[name].values[list(plan.sources).index(view), place, 0] = values
    return dataset.assign_attrs(summarize_reports(reports))


def predict_to_file(
    models: Mapping[str, PoseModel],
    sources: Mapping[str, SourceSpec],
    path: str | os.PathLike[str],
    *,
    frames: Mapping[str, npt.ArrayLike] | None = None,
    time: npt.ArrayLike | None = None,
    time_unit: TimeUnit = "s",
    fps: float | None = None,
    attributes: Mapping[str, Any] | None = None,
    batch_size: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    runtime: str = "auto",
    follow: bool | None = None,
    progress: Progress = SILENT,
) -> dict[str, ViewReport]:
    """The same as `predict`, into a file that `tracks.load_tracks` reads; memory does not grow with the videos.

    Args:
        path: netCDF file; appears whole or not at all.
        attributes: more attributes of the file (hashes of its inputs, say).
        models, sources, frames, time, time_unit, fps, batch_size, threads, device, runtime, follow, progress: as for
            `predict`.

    Returns:
        For each view what was done.

    Raises:
        DataError, InstallationError, ModelError, VideoError: as of `predict`.
    """
    plan = _make_plan(models, sources, frames, time, time_unit, fps)
    settings = _Settings.choose(batch_size, threads, device, runtime, follow)
    reports: dict[str, ViewReport] = {}
    with atomic_path(path) as temporary:
        numbers = np.stack([plan.frame_numbers(view) for view in plan.sources])
        write_empty(plan.empty(0), plan.time, numbers, temporary, attributes or {})
        with h5netcdf.File(temporary, "r+") as file:
            estimates = _estimates(plan, models, settings, progress, reports)
            for view, parts in groupby(estimates, key=lambda part: part[0]):
                write_view(file, list(plan.sources).index(view), ((place, estimate) for _, place, estimate in parts))
            file.attrs.update(summarize_reports(reports))
    return reports


def _make_plan(
    models: Mapping[str, PoseModel],
    specs: Mapping[str, SourceSpec],
    frames: Mapping[str, npt.ArrayLike] | None,
    time: npt.ArrayLike | None,
    time_unit: TimeUnit,
    fps: float | None,
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
    first = next(iter(sources.values()))
    if time is None:
        rates = {source.fps for source in sources.values()}
        fps = rates.pop() if len(rates) == 1 else None
        if frames is None and fps is None and np.isfinite(first.times).all():
            time = first.times
        else:
            time, time_unit = np.arange(n_times) / (fps or 1.0), "frame" if fps is None else "s"
    clock = np.asarray(time, dtype=np.float64)
    if clock.shape != (n_times,):
        raise DataError(f"time must have the shape ({n_times},), one value a frame, got {clock.shape}.")
    return _Plan(sources, keypoints, indices, fps, clock, time_unit)


def _estimates(
    plan: _Plan,
    models: Mapping[str, PoseModel],
    settings: _Settings,
    progress: Progress,
    reports: dict[str, ViewReport],
) -> Iterator[tuple[str, Ints, PoseEstimate]]:
    """(view, places on the time axis, points) of every batch, view after view; fills in `reports`."""
    total = sum(int((index >= 0).sum()) for index in plan.indices.values())
    with progress.task("Predicting", total) as task:
        for view, source in plan.sources.items():
            model = _fit_prior(models[view], source, progress)
            follow = settings.follow
            if follow is None:
                follow = settings.device.type == "cpu" and following_pays(model, source.size, settings.threads)
            with share_threads(settings.threads, settings.device, together=follow) as workers:
                wanted = plan.indices[view][plan.indices[view] >= 0]
                engine = _make_engine(model, source, wanted, settings, workers, follow, total)
                run = _ViewRun(source, wanted, model, engine, settings.batch_size, follow)
                started = time.perf_counter()
                times = np.flatnonzero(plan.indices[view] >= 0)
                done = 0
                for estimate in run.estimates(workers):
                    here = times[done : done + len(estimate.position)]
                    run.tell(done, estimate)
                    done += len(here)
                    task.advance(len(here), view)
                    yield view, here, estimate
                if done != len(times):
                    raise VideoError(f"{source.path}, view {view}: only {done} of {len(times)} frames could be read.")
                strangeness, places = run.judge()
                seconds = max(time.perf_counter() - started, 1e-9)
            to_label = tuple(source.frame_numbers[wanted[places]].tolist())
            tell_damage({view: source}, progress)
            reports[view] = ViewReport(
                done,
                done / seconds,
                str(engine),
                follow,
                run.limited_by(workers.count),
                strangeness,
                to_label,
                count_corrupt(source),
            )


def _fit_prior(model: PoseModel, source: FrameSource, progress: Progress) -> PoseModel:
    """The model without its prior of the shape where the pictures have another size than those it speaks of."""
    width, height = source.size
    if model.shape is None or abs(width * height / model.shape.area - 1) < _SAME_AREA:
        return model
    progress.note(
        f"{source.path}: pictures of {width} x {height} px are not as large as those that were labelled. The network "
        "finds each point by itself there, without what it knows of how the points lie together."
    )
    return replace(model, shape=None)


def _make_engine(
    model: PoseModel,
    source: FrameSource,
    wanted: Ints,
    settings: _Settings,
    workers: Workers,
    follow: bool,
    total: int,
) -> Engine:
    """What runs the network on a view, chosen or as asked for."""
    name = settings.runtime
    if name == "auto" and (total < WORTH_MEASURING or not len(wanted)):
        name = REFERENCE
    network = model.on(settings.device)
    samples: list[Picture] = []
    if len(wanted) and (name == "auto" or name.endswith("-bfloat16")):
        samples = _samples(model, source, wanted, create_engine(REFERENCE, network, settings.device), follow)
    if name == "auto":
        name = choose_runtime(
            model, samples, settings.device, threads=settings.threads, streams=workers.count, expected=total
        )
    return create_engine(
        name,
        network,
        settings.device,
        threads=settings.threads,
        streams=workers.count,
        samples=[model.prepare(sample)[None] for sample in samples],
    )


def _samples(model: PoseModel, source: FrameSource, wanted: Ints, reference: Engine, follow: bool) -> list[Picture]:
    """Pictures evenly over a view as the network will get them; of one that is followed, the first crop's size."""
    chosen = wanted[np.unique(np.linspace(0, len(wanted) - 1, SAMPLES).astype(int))]
    pictures = [picture for _, picture in source.read(chosen.tolist())]
    if not follow:
        return pictures
    crops = []
    for picture in pictures:
        tracker = Tracker(model, source.size, reference)
        tracker.track(picture)
        crops.append(tracker.middle_crop().cut(picture))
    return crops


class _ViewRun:
    """One view's pictures through decoding, preparation and the network, each in its own thread or threads."""

    def __init__(
        self, source: FrameSource, wanted: Ints, model: PoseModel, engine: Engine, batch_size: int, follow: bool
    ) -> None:
        self._source, self._wanted = source, wanted
        self._model, self._engine = model, engine
        self._batch_size = batch_size
        self._tracker = Tracker(model, source.size, engine) if follow else None
        self._watches = {name: Stopwatch() for name in ("decoding", "pre-processing", "network")}
        self._onlooker = (
            Onlooker(model.familiarity, model.network, len(wanted))
            if model.familiarity is not None and len(wanted)
            else None
        )

    def estimates(self, workers: Workers) -> Iterator[PoseEstimate]:
        """The points of batch after batch, in order."""
        network = self._watches["network"]
        if self._tracker is not None:
            with closing(read_ahead(self._pictures(), depth=4)) as pictures:
                yield from workers.map(network.watch(self._tracker.track), pictures)
            return
        with (
            closing(read_ahead(self._pictures())) as pictures,
            closing(read_ahead(self._batches(pictures))) as batches,
            closing(workers.map(network.watch(self._estimate), batches)) as estimates,
        ):
            yield from estimates

    def tell(self, first: int, estimate: PoseEstimate) -> None:
        """Let the onlooker hear what was found from the picture `first` on."""
        if self._onlooker is not None:
            self._onlooker.hear(first, estimate.position, estimate.confidence)

    def judge(self) -> tuple[float | None, list[int]]:
        """As of `Onlooker.judge`; None without one."""
        return (None, []) if self._onlooker is None else self._onlooker.judge()

    def limited_by(self, workers: int) -> str:
        """Which part was busy for the longest time."""
        busy = {name: watch.seconds for name, watch in self._watches.items()}
        busy["network"] /= workers
        return max(busy, key=busy.__getitem__)

    def _estimate(self, prepared: Picture) -> PoseEstimate:
        return self._model.estimate(prepared, self._source.size, self._engine)

    def _pictures(self) -> Iterator[Picture]:
        in_order = np.array_equal(self._wanted, np.arange(len(self._source)))
        frames = iter(self._source) if in_order else self._source.read(self._wanted.tolist())
        for place, (_, picture) in enumerate(self._watches["decoding"].watch_items(frames)):
            if self._onlooker is not None:
                self._onlooker.see(place, picture)
            yield picture

    def _batches(self, pictures: Iterator[Picture]) -> Iterator[Picture]:
        prepare = self._watches["pre-processing"].watch(self._model.prepare)
        prepared: list[Picture] = []
        for picture in pictures:
            prepared.append(prepare(picture))
            if len(prepared) == self._batch_size:
                yield np.stack(prepared)
                prepared = []
        if prepared:
            yield np.stack(prepared)
