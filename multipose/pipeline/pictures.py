"""The stage `view`: pictures of what a project has, as self-contained pages, PNG sheets and videos."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from multipose.corners import Corners
from multipose.errors import ProjectError
from multipose.labels import Labels
from multipose.pipeline.labels import find_problems, known_labels, load_labels, read_pictures
from multipose.pipeline.plan import open_hashes, session_pages, tell_stale
from multipose.pipeline.provenance import Product, making, tell_edited
from multipose.pipeline.reconstruction import load_rig
from multipose.pipeline.sources import load_keypoints, open_rig, open_view
from multipose.progress import SILENT, Progress
from multipose.project import Project, Recording
from multipose.sources import FrameSource, write_picture
from multipose.tracks import load_tracks
from multipose.view import (
    Page,
    Section,
    contact_sheet,
    coverage,
    keypoints_on_frame,
    labelled_video,
    labels_page,
    save_figure,
)
from multipose.view import rig as draw_rig
from multipose.view.labels import DRAWN


def rig_page(project: Project, session: str | None, target: Path | None = None) -> Path:
    """The rig of a session; without a target a product of the project, which a new rig makes stale."""
    name = _session(project, session)

    def write(path: Path) -> None:
        save_figure(draw_rig(open_rig(project, name), title=f"Rig, session {name}"), path)

    return _write_page(project, session_pages(project, name)["view rig"], target, write)


def corners_page(project: Project, session: str | None, target: Path | None = None) -> Path:
    """Where the board of a session was seen; without a target a product of the project."""
    product = session_pages(project, _session(project, session))["view corners"]

    def write(path: Path) -> None:
        save_figure(coverage(Corners.load(product.inputs["the corners"])), path)

    return _write_page(project, product, target, write)


def _write_page(project: Project, product: Product, target: Path | None, write: Callable[[Path], None]) -> Path:
    """Write a product's page: to a target, and nothing else; or to its place, with a record of what it was made from.

    Raises:
        ProjectError: what it shows is not there.
    """
    if product.lacking:
        raise ProjectError("\n".join(product.lacking))
    if target is not None:
        write(target)
        return target
    with making(product, open_hashes(project)):
        write(product.path)
    return product.path


def _session(project: Project, session: str | None) -> str:
    if session is not None:
        project.check_session(session, "asked for")
        return session
    if len(project.sessions) != 1:
        raise ProjectError(
            f"Name one of the calibration sessions: {', '.join(project.sessions) or 'there are none yet'}."
        )
    return project.sessions[0]


def _load_keypoints(project: Project, recording: Recording, progress: Progress) -> xr.Dataset:
    tell_edited([project.keypoints_path(recording.name)], open_hashes(project), progress)
    return load_keypoints(project, recording)


def keypoints_page(
    project: Project, recording: Recording, moment: int, target: Path | None = None, *, progress: Progress = SILENT
) -> Path:
    """Key points over the pictures of all views at one moment of the rig's clock, counted from 0."""
    dataset = _load_keypoints(project, recording, progress)
    if moment >= dataset.sizes["time"]:
        raise ProjectError(
            f"Recording {recording.name!r} has the moments 0 to {dataset.sizes['time'] - 1}, no {moment}."
        )
    sections = []
    for view in (str(name) for name in dataset["view"].values):
        number = int(dataset["frame"].sel(view=view).values[moment])
        if view not in recording.videos or number < 0:
            continue
        source = open_view(project, view, str(project.path(recording.videos[view])))
        if not (source.frame_numbers == number).any():  # another program's table is longer than the video
            continue
        picture = next(rgb for _, rgb in source.read([_index_of(source, number, view)]))
        points = dataset.sel(view=view).isel(time=moment)
        figure = keypoints_on_frame(
            picture,
            points["position"].values,
            project.config.skeleton,
            confidence=points["confidence"].values,
            covariance=points["covariance"].values,
            title=f"{view}, frame {number}",
        )
        sections.append(Section(view, (figure,)))
    if not sections:
        raise ProjectError(f"Recording {recording.name!r} has no picture at moment {moment}.")
    path = target or project.results_folder(recording.name) / f"keypoints_{moment:06d}.html"
    Page(f"{recording.name}, moment {moment}", tuple(sections)).save(path)
    return path


def _index_of(source: FrameSource, number: int, view: str) -> int:
    """Place of a frame in a view's video.

    Raises:
        ProjectError: the video has no such frame.
    """
    found = np.flatnonzero(source.frame_numbers == number)
    if not len(found):
        raise ProjectError(
            f"{source.path}, view {view!r}, has no frame {number}, of which there are key points. Find them again."
        )
    return int(found[0])


def sheet_picture(
    project: Project,
    recording: Recording,
    view: str | None,
    count: int,
    target: Path | None = None,
    *,
    whole: bool = False,
    progress: Progress = SILENT,
) -> Path:
    """One PNG with frames of a view, evenly chosen, and the key points drawn on them: the animal, or whole frames."""
    dataset = _load_keypoints(project, recording, progress)
    name = view or next(view for view in project.views if view in recording.videos)
    if name not in recording.videos or name not in dataset["view"].values:
        raise ProjectError(f"Recording {recording.name!r} has no video, or no key points, of view {name!r}.")
    source = open_view(project, name, str(project.path(recording.videos[name])))
    points = dataset.sel(view=name)
    frames = points["frame"].values
    there = np.flatnonzero(np.isin(frames, source.frame_numbers))
    if not len(there):
        raise ProjectError(
            f"Recording {recording.name!r}: no key points of view {name} are of a frame of {source.path}."
        )
    chosen = there[np.linspace(0, len(there) - 1, min(count, len(there))).round().astype(int)]
    indices = [_index_of(source, int(frames[moment]), name) for moment in chosen]
    pictures = [rgb for _, rgb in source.read(indices)]
    sheet = contact_sheet(
        pictures,
        points["position"].values[chosen],
        project.config.skeleton,
        confidence=points["confidence"].values[chosen],
        min_confidence=project.config.reconstruction.min_confidence,
        captions=[f"{recording.name} {name} frame {int(frames[moment])}" for moment in chosen],
        crop=not whole,
    )
    path = target or project.results_folder(recording.name) / f"sheet_{name}.png"
    write_picture(path, sheet)
    return path


def labelled_videos(
    project: Project,
    recording: Recording,
    views: Iterable[str],
    target: Path | None = None,
    *,
    names: bool = False,
    reprojected: Literal["", "single", "smoothed"] = "",
    progress: Progress = SILENT,
) -> list[Path]:
    """A video of each view with the key points drawn on it, in a folder.

    Args:
        project, recording: whose.
        views: which; all without any.
        target: the folder; by default the recording's.
        names: write the names beside the points.
        reprojected: draw also the points of the trajectories of single frames, or of the smoothed ones, as the rig
            projects them into the view.
        progress: told about the frames written.

    Raises:
        ProjectError: there is no video of these views, or no such trajectories.
    """
    dataset = _load_keypoints(project, recording, progress)
    rings = _reproject(project, recording, dataset, reprojected == "smoothed", progress) if reprojected else {}
    folder = target or project.results_folder(recording.name)
    paths = []
    for view in project.select_views(views):
        if view in recording.videos and view in dataset["view"].values:
            path = folder / f"labelled_{view}.mp4"
            source = open_view(project, view, str(project.path(recording.videos[view])))
            labelled_video(
                source,
                dataset.assign(frame=dataset["frame"].where(dataset["frame"].isin(source.frame_numbers), -1)),
                view,
                path,
                skeleton=project.config.skeleton,
                min_confidence=project.config.reconstruction.min_confidence,
                names=names,
                reprojected=rings.get(view),
                progress=progress,
            )
            paths.append(path)
    if not paths:
        raise ProjectError(f"Recording {recording.name!r} has no video of these views.")
    return paths


def label_page(
    project: Project,
    views: Iterable[str],
    recordings: Iterable[str] = (),
    count: int = 120,
    target: Path | None = None,
) -> Path:
    """The labelled pictures of views with their points, names and states, and what looks like a slip.

    Args:
        project: whose.
        views: which; all without any.
        recordings: only these, also ones that only labels know; all without any.
        count: pictures on the page, at most.
        target: the page; by default labels/labels.html.

    Raises:
        LabelError: nothing is labelled, or a picture is not there.
        ProjectError: there are no labels of these views and recordings.
    """
    problems = find_problems(project)
    labels = known_labels(load_labels(project))
    wanted, of = project.select_views(views), tuple(recordings)
    strange = [name for name in of if name not in labels.recordings]
    if strange:
        raise ProjectError(
            f"There are no labels of recording {strange[0]!r} in {project.labels_path}; it has labels of "
            f"{', '.join(labels.recordings)}."
        )
    table = labels.table
    rows = table[table["view"].isin(wanted) & (table["recording"].isin(of) | (not of))]
    if not len(rows):
        raise ProjectError(f"There are no labels of view {', '.join(wanted)} in {project.labels_path}.")
    hashes = open_hashes(project)
    page = labels_page(
        Labels(rows, labels.keypoints),
        lambda recording, view, frames: read_pictures(project, recording, view, frames, hashes),
        project.config.skeleton,
        problems,
        count=count,
        subtitle=DRAWN,
    )
    path = target or project.labels_path.with_name("labels.html")
    page.save(path)
    return path


def _reproject(
    project: Project, recording: Recording, keypoints: xr.Dataset, smoothed: bool, progress: Progress
) -> dict[str, npt.NDArray[np.float64]]:
    """By view the trajectories of a recording as its rig projects them, (time, individual, keypoint, 2) px.

    Raises:
        ProjectError: there are none, or they are of other times or points than the key points.
    """
    path = project.smooth_path(recording.name) if smoothed else project.trajectories_path(recording.name)
    command = f"multipose reconstruct {'--smooth ' * smoothed}{recording.name}"
    if not path.is_file():
        raise ProjectError(f"There is no {path}, so no 3D to draw. Make it with `{command}`.")
    tell_stale(project, "smooth" if smoothed else "reconstruct", recording, open_hashes(project), progress)
    tracks = load_tracks(path)
    for dim in ("time", "individual", "keypoint"):
        if not np.array_equal(tracks[dim].values, keypoints[dim].values):
            raise ProjectError(
                f"{path} is not of the key points that are there now: its {dim} is another. Make it anew with "
                f"`{command}`."
            )
    xyz = tracks["position"].transpose("time", "individual", "keypoint", "space").values
    return {camera.name: camera.project(xyz) for camera in load_rig(project, recording, keypoints)}
