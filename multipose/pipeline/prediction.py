"""The stage `predict`: the videos of a recording -> keypoints2d.nc, by networks or from other programs' files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from multipose.errors import ProjectError
from multipose.files import write_text
from multipose.pipeline.clock import Clock
from multipose.pipeline.plan import keypoints_product
from multipose.pipeline.provenance import Hashes, making
from multipose.pipeline.recordings import match_views, read_tables
from multipose.pipeline.sources import check_files, open_recording
from multipose.pose2d import PoseModel, ViewReport, predict, predict_to_file
from multipose.pose2d.engines import installed_runtimes
from multipose.pose2d.runtime import choose_device
from multipose.pose2d.runtime_choice import WORTH_MEASURING
from multipose.progress import SILENT, Progress
from multipose.project import Project, Recording
from multipose.tracks import USUAL_SHARED_ERROR, keypoints2d, save_tracks

Array = npt.NDArray[np.float64]

FRAMES_TO_LABEL = "frames_to_label.csv"
_MADE = ("runtime", "followed", "unlike")  # attributes that tell how networks' points came about


def predict_recording(
    project: Project,
    recording: Recording,
    hashes: Hashes,
    *,
    batch_size: int | None = None,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Find the key points of a recording.

    Returns:
        views: of each what `pose2d.ViewReport` says; matched_by: how frames of the views belong together; unlike: of
        views that look unlike everything that was labelled, strangeness and frames to_label; frames_to_label: the table
        of these for `label extract --frames`, if there are any.

    Raises:
        ProjectError: a network or a file is missing, or the views' frames cannot be matched.
    """
    product = keypoints_product(project, recording)
    with making(product, hashes):
        check_files(project, recording)
        tables = read_tables(project, recording)
        videos = open_recording(project, recording)
        sources = {view: source for view, source in videos.items() if view not in recording.keypoints}
        clock = match_views(project, recording, videos, tables)
        for note in (f"{len(clock.time)} moments; views matched by {clock.rule}", *clock.notes):
            progress.note(f"{recording.name}: {note}")
        models = _load_models(project, sources)
        frames = {view: clock.index[clock.views.index(view)] for view in sources}
        settings: dict[str, Any] = {
            "frames": frames,
            "time": clock.time,
            "time_unit": clock.time_unit,
            "fps": clock.fps,
            "batch_size": project.config.prediction.batch_size if batch_size is None else batch_size,
            "threads": threads,
            "runtime": project.config.prediction.runtime,
            "follow": project.config.prediction.follow,
            "progress": progress,
        }
        if not tables:
            reports = predict_to_file(
                models,
                sources,
                product.path,
                attributes={"recording": recording.name, "matched_by": clock.rule},
                **settings,
            )
            views = {view: vars(report) for view, report in reports.items()}
            unlike = {view: report.unlikeness for view, report in reports.items() if report.unlike}
            _recommend_openvino(reports.values(), progress)
        else:
            found = predict(models, sources, **settings) if sources else None
            joined = join_keypoints(project, clock, found, tables, progress)
            made = {name: found.attrs[name] for name in _MADE} if found is not None else {}
            unlike = json.loads(made["unlike"]) if made else {}
            joined.attrs |= made | {"recording": recording.name, "matched_by": clock.rule}
            save_tracks(joined, product.path)
            views = {
                view: {
                    "frames": int((clock.index[place] >= 0).sum()),
                    "fps": None,
                    "runtime": f"read from {recording.keypoints[view]}" if view in tables else "network",
                }
                for place, view in enumerate(clock.views)
            }
        frames_to_label = _propose_frames(project, recording, unlike, progress)
    return {
        "views": views,
        "matched_by": clock.rule,
        "keypoints": str(product.path),
        "unlike": unlike,
        "frames_to_label": frames_to_label,
    }


def _propose_frames(
    project: Project, recording: Recording, unlike: Mapping[str, Any], progress: Progress
) -> str | None:
    """Warn of views unlike everything that was labelled, and write the table of their frames to label."""
    path = project.results_folder(recording.name) / FRAMES_TO_LABEL
    path.unlink(missing_ok=True)
    if not unlike:
        return None
    lines = [
        f"{recording.name},{view},{frame}" for view, unlikeness in unlike.items() for frame in unlikeness["to_label"]
    ]
    write_text(path, "\n".join(["recording,view,frame", *lines]) + "\n")
    for view, unlikeness in unlike.items():
        progress.note(
            f"{recording.name}, {view}: looks unlike everything that was labelled (strangeness "
            f"{unlikeness['strangeness']:.1f}, labelled pictures reach 1). Label some of its frames: "
            f"multipose label extract --frames {path}"
        )
    return str(path)


def _recommend_openvino(reports: Iterable[ViewReport], progress: Progress) -> None:
    """Tell once what would make networks faster, where they run on a CPU and took long enough."""
    slow = any(report.frames >= WORTH_MEASURING and report.limited_by == "network" for report in reports)
    cpu = choose_device()
    if slow and cpu.type == "cpu" and "openvino" not in installed_runtimes(cpu):
        progress.note("OpenVINO runs networks 2 to 4 times as fast on a CPU: pip install 'multipose[openvino]'")


def _load_models(project: Project, views: Mapping[str, Any]) -> dict[str, PoseModel]:
    settings = project.config.prediction
    loaded: dict[str, PoseModel] = {}
    for folder in dict.fromkeys(project.model_folder(view) for view in views):
        model = PoseModel.load(folder)
        thorough = model.thorough if settings.thorough is None else settings.thorough
        model = dataclasses.replace(model, mirror=settings.mirror, thorough=thorough)
        loaded[folder.name] = model
        if model.skeleton.keypoints != project.config.skeleton.keypoints:
            raise ProjectError(
                f"The network in {folder} finds {', '.join(model.skeleton.keypoints)}, but multipose.toml "
                f"lists {', '.join(project.config.skeleton.keypoints)}. Train it again."
            )
    return {view: loaded[project.model_folder(view).name] for view in views}


def join_keypoints(
    project: Project,
    clock: Clock,
    found: xr.Dataset | None,
    tables: Mapping[str, xr.Dataset],
    progress: Progress = SILENT,
) -> xr.Dataset:
    """Key points of networks and of other programs' files on one clock.

    Args:
        found: of networks, on the clock already.
        tables: of files, one view each, one row per frame of the view.

    Raises:
        ProjectError: a file has none of the project's key points, or files name different animals.
    """
    names = project.config.skeleton.keypoints
    individuals = _individuals(tables, found is not None)
    shape = (len(clock.views), len(clock.time), len(individuals), len(names))
    position = np.full((*shape, 2), np.nan)
    confidence = np.zeros(shape)
    covariance = np.full((*shape, 2, 2), np.nan)
    frame = np.full(shape[:2], -1)
    for place, view in enumerate(clock.views):
        if view in tables:
            there = clock.index[place] >= 0
            rows = clock.index[place][there]
            table = _in_order(tables[view], view, names, individuals, progress)
            position[place, there] = table["position"].values[0][rows]
            confidence[place, there] = table["confidence"].values[0][rows]
            covariance[place, there] = table["covariance"].values[0][rows]
            frame[place, there] = table["frame"].values[0][rows]
        elif found is not None:
            chosen = found.sel(view=view)
            position[place, :, 0] = chosen["position"].values[:, 0]
            confidence[place, :, 0] = chosen["confidence"].values[:, 0]
            covariance[place, :, 0] = chosen["covariance"].values[:, 0]
            frame[place] = chosen["frame"].values
    return keypoints2d(
        position,
        confidence,
        covariance,
        views=clock.views,
        keypoints=names,
        individuals=individuals,
        fps=clock.fps,
        frame=frame,
        time=clock.time,
        shared_error=USUAL_SHARED_ERROR,
        time_unit=clock.time_unit,
    )


def _individuals(tables: Mapping[str, xr.Dataset], with_network: bool) -> list[str]:
    """Names of the animals, the same in all files; one animal is individual_0 whatever a file calls it."""
    counts = {view: [str(name) for name in table["individual"].values] for view, table in tables.items()}
    if all(len(names) == 1 for names in counts.values()):
        return ["individual_0"]
    first = next(iter(counts.values()))
    if with_network or any(set(names) != set(first) for names in counts.values()):
        raise ProjectError(
            "The files of key points name different animals, or several while other views come from a network: "
            + "; ".join(f"{view}: {', '.join(names)}" for view, names in counts.items())
        )
    return first


def _in_order(
    table: xr.Dataset, view: str, names: tuple[str, ...], individuals: list[str], progress: Progress
) -> xr.Dataset:
    """A file's key points and animals in the order of these names; key points it lacks are unknown."""
    there = [str(name) for name in table["keypoint"].values]
    if not set(there) & set(names):
        raise ProjectError(
            f"The file of key points of view {view!r} has {', '.join(there)}; none of them is in multipose.toml "
            f"({', '.join(names)})."
        )
    surplus, missing = sorted(set(there) - set(names)), sorted(set(names) - set(there))
    if surplus:
        progress.note(f"View {view}: left out, since multipose.toml does not list them: {', '.join(surplus)}")
    if missing:
        progress.note(f"View {view}: the file of key points has no {', '.join(missing)}")
    if len(individuals) > 1:
        table = table.sel(individual=individuals)
    return table.reindex(keypoint=list(names), fill_value={"confidence": 0.0})
