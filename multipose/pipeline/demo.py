"""The main job on the sample project: calibrate, train, predict, reconstruct, and compare with the truth.

The sample project is a small rendered rig of three cameras with known truth. Its recording day1 is labelled; day2 is
for judging alone. The estimated world is brought to the true one by the cameras' poses, rigidly and without a scale, so
that nothing is fitted to what is judged.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from multipose.camera import CameraRig
from multipose.errors import DataError, ProjectError
from multipose.labels import Labels
from multipose.pipeline.calibration import calibrate_session
from multipose.pipeline.plan import open_hashes
from multipose.pipeline.prediction import predict_recording
from multipose.pipeline.reconstruction import make_player, reconstruct_recording
from multipose.pipeline.smoothing import smooth_recording
from multipose.pipeline.training import train_model
from multipose.progress import SILENT, Progress
from multipose.project import SHARED_MODEL, Project
from multipose.tracks import load_tracks
from multipose.triangulate import compare_rigs, position_errors, region_hits

Array = npt.NDArray[np.float64]

JUDGED = "day2"
MINUTES = 22 / 60
"""Wall time to train the network of each view; the whole demo takes under six minutes on two idle cores."""
SHARED_SHARE = 8.0
"""The shared network, with which those of the views begin, gets this many times as long: it learns most of it."""


def run_demo(
    folder: Path,
    *,
    minutes: float = MINUTES,
    labels: int | None = None,
    seed: int = 0,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Copy the sample project to a folder and do the main job there.

    Args:
        folder: must not exist, be empty, or hold a demo that was interrupted, which then goes on.
        minutes: wall time to train the network of each view.
        labels: how many labelled frames of each view to learn from, drawn at random; all 120 by default.
        seed: of the draw and of the trainings.

    Returns:
        seconds; what `compare_with_truth` returns; median_reprojection_px; calibration, views, player.

    Raises:
        ProjectError: the folder holds something else.
        DataError: more labels are asked for than there are.
    """
    progress.note(f"1/5  The sample project goes to {folder}")
    project = copy_sample(folder)
    return run_chain(project, minutes=minutes, labels=labels, seed=seed, threads=threads, progress=progress)


def run_chain(
    project: Project,
    *,
    minutes: float = MINUTES,
    labels: int | None = None,
    seed: int = 0,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """The main job in a project with known truth, one session and a recording day2; as of `run_demo`."""
    started = time.monotonic()
    if labels is not None:
        thin_labels(project, labels, seed)
    hashes = open_hashes(project)
    with project.lock():
        (session,) = project.sessions
        progress.note("2/5  Calibrating the cameras")
        calibration = calibrate_session(project, session, hashes, threads=threads, progress=progress)
        progress.note("3/5  Training a network on all views, for those of the single views to begin with")
        budget = {"minutes": SHARED_SHARE * minutes}
        options: dict[str, Any] = {"seed": seed, "keep": True, "threads": threads, "progress": progress}
        train_model(project, SHARED_MODEL, hashes, budget=budget, **options)
        networks = {}
        for number, view in enumerate(project.views, start=1):
            progress.note(f"3/5  Training network {number} of {len(project.views)}: {view}")
            budget = {"minutes": minutes}
            networks[view] = train_model(project, view, hashes, budget=budget, start=SHARED_MODEL, **options)
        recording = project.recording(JUDGED)
        progress.note(f"4/5  Key points and trajectories of {JUDGED}")
        predict_recording(project, recording, hashes, threads=threads, progress=progress)
        reconstruction = reconstruct_recording(project, recording, hashes, threads=threads, progress=progress)
        smooth_recording(project, recording, hashes, threads=threads, progress=progress)
        player = make_player(project, recording, hashes, progress=progress)
        progress.note("5/5  Comparing with the truth")
        judged = compare_with_truth(project)
    return {
        "seconds": round(time.monotonic() - started, 1),
        **judged,
        "median_reprojection_px": reconstruction["median_reprojection_px"],
        "calibration": {key: calibration[key] for key in ("rms_px", "held_out_rms_px", "boards_used", "page")},
        "views": networks,
        **player,
    }


def copy_sample(folder: Path) -> Project:
    """Copy the sample project; where it is already, it stays as it is.

    Raises:
        ProjectError: the folder holds something else.
    """
    sample = files("multipose.sample_data")
    with as_file(sample) as source:
        parts = [part for part in sorted(source.rglob("*")) if part.is_file() and _is_data(part)]
        if folder.exists() and any(folder.iterdir()) and not (folder / "multipose.toml").exists():
            raise ProjectError(f"{folder} is not empty. Name a folder that does not exist yet.")
        if (folder / "multipose.toml").exists() and not _is_demo(folder, source):
            raise ProjectError(f"{folder} holds a project of your own, no demo. Name a folder that does not exist yet.")
        for part in sorted(parts, key=lambda part: part.name == "multipose.toml"):  # last: a whole copy has one
            target = folder / part.relative_to(source)
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(part, target)
    return Project.open(folder)


def _is_demo(folder: Path, source: Path) -> bool:
    """Whether a folder holds the sample project: it knows the sample's truth."""
    ours, theirs = (place / "truth" / "rig.toml" for place in (source, folder))
    return theirs.is_file() and theirs.read_bytes() == ours.read_bytes()


def thin_labels(project: Project, count: int, seed: int) -> None:
    """Leave the labels of so many times, drawn at random, and drop the others; fewer stay as they are.

    Raises:
        DataError: there are not so many.
    """
    table = Labels.load(project.labels_path, project.config.skeleton.keypoints).table
    times = table[["recording", "frame"]].drop_duplicates()
    if not 2 <= count <= len(times):
        raise DataError(
            f"{project.folder} has {len(times)} labelled frames of each view, of which {count} were asked for. "
            f"Ask for 2 to {len(times)}, or name another folder."
        )
    if count < len(times):
        kept = times.iloc[np.random.default_rng(seed).permutation(len(times))[:count]]
        Labels(table.merge(kept), project.config.skeleton.keypoints).save(project.labels_path)


def _is_data(path: Path) -> bool:
    return path.suffix not in (".py", ".pyc") and not path.name.startswith(".")


def compare_with_truth(project: Project) -> dict[str, Any]:
    """Errors of the rig and of the trajectories of the judged recording against the truth of the sample project.

    Returns:
        median_error, error_90, p95_error of the 3D points, animal_length, camera_center_error (largest) in unit;
        median_error_percent of the animal's length; camera_center_error_percent of the distance to the scene;
        reconstructed_fraction of the points that at least two views see; coverage_50, coverage_95: the shares of the
        points within the regions that are said to hold 50 and 95 %; shared_error and shared_error_source as of
        `reconstruct`; smoothed: median_error, p95_error, coverage_50, coverage_95 of the same points smoothed, and
        filled (number) and filled_median_error of those that only smoothing has.
    """
    truth = project.folder / "truth"
    recording = project.recording(JUDGED)
    rig = CameraRig.load(project.rig_path(project.session_of(recording)))
    true_rig = CameraRig.load(truth / "rig.toml")
    comparison = compare_rigs(rig, true_rig)
    tracks = load_tracks(project.trajectories_path(JUDGED))
    true_tracks = load_tracks(truth / f"{JUDGED}_trajectories3d.nc")
    errors, hits = _judge(tracks, true_tracks, comparison.true_from_estimated)
    smoothed = load_tracks(project.smooth_path(JUDGED))
    smooth_errors, smooth_hits = _judge(smoothed, true_tracks, comparison.true_from_estimated)
    known = np.isfinite(errors)
    filled = smooth_errors[~known & np.isfinite(smooth_errors)]
    seen = load_tracks(truth / f"{JUDGED}_keypoints2d.nc")
    possible = count_views(seen) >= 2
    length = animal_length(true_tracks)
    median = float(np.nanmedian(errors))
    fraction = float(np.isfinite(errors[possible]).mean())
    center = max(comparison.center_error.values())
    return {
        "median_error": median,
        "median_error_percent": 100 * median / length,
        "error_90": float(np.nanquantile(errors, 0.9)),
        **_figures(errors[known], hits[:, known]),
        "shared_error": float(tracks.attrs["typical_shared_error"]),
        "shared_error_source": str(tracks.attrs["shared_error_source"]),
        "smoothed": {
            "median_error": float(np.nanmedian(smooth_errors[known])),
            **_figures(smooth_errors[known], smooth_hits[:, known]),
            "filled": len(filled),
            "filled_median_error": float(np.median(filled)) if len(filled) else float("nan"),
        },
        "animal_length": length,
        "reconstructed_fraction": fraction,
        "camera_center_error": center,
        "camera_center_error_percent": 100 * comparison.center_error_fraction,
        "unit": rig.unit,
    }


def _judge(tracks: xr.Dataset, true_tracks: xr.Dataset, true_from_estimated: Array) -> tuple[Array, Array]:
    """Errors (time, individual, keypoint), and whether the stated regions hold the truth (level, ...)."""
    errors = position_errors(tracks, true_tracks, true_from_estimated).values
    return errors, region_hits(tracks, true_tracks, true_from_estimated).values


def _figures(errors: Array, hits: Array) -> dict[str, float]:
    coverage_50, coverage_95 = np.nanmean(hits, axis=1).tolist()
    return {
        "p95_error": float(np.nanquantile(errors, 0.95)),
        "coverage_50": coverage_50,
        "coverage_95": coverage_95,
    }


def count_views(seen: xr.Dataset) -> npt.NDArray[np.int64]:
    """(time, individual, keypoint) number of views in which a point is in the picture and not hidden."""
    counts: npt.NDArray[np.int64] = (
        (np.isfinite(seen["position"].values).all(-1)) & (seen["confidence"].values > 0.5)
    ).sum(0)
    return counts


def animal_length(tracks: xr.Dataset, ends: Mapping[str, str] | None = None) -> float:
    """Median distance from nose to tail base."""
    names = ends or {"front": "nose", "back": "tail_base"}
    position = tracks["position"]
    away = position.sel(keypoint=names["front"]) - position.sel(keypoint=names["back"])
    return float(np.nanmedian(np.linalg.norm(away.values, axis=-1)))
