"""Labelled times that no network learned from: the networks' points there, and what these say of errors in 3D."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from multipose.camera import CameraRig
from multipose.documents import read_arrays, write_arrays
from multipose.errors import DataError, FormatError, ProjectError
from multipose.files import SCHEMA_VERSION, check_schema
from multipose.picture_sizes import MOST_PX
from multipose.pipeline.plan import held_out_files
from multipose.progress import SILENT, Progress
from multipose.project import Project, Recording
from multipose.tracks import CALIBRATED_ON_LABELS, USUAL_SHARED_ERROR, keypoints2d
from multipose.triangulate import ErrorCalibration, HeldOut, calibrate_errors

if TYPE_CHECKING:
    from multipose.pose2d import Evaluation

Array = npt.NDArray[np.float64]

_NAMES = ("keypoints", "recordings", "moments", "views")
_ARRAYS = ("labelled", "predicted", "confidence", "covariance")
_ALL = (*_NAMES, *_ARRAYS)
_REMEDY = "Delete it, and train the network again."


@dataclass(frozen=True, eq=False)
class HeldOutPoints:
    """A network's points on labelled pictures that it did not learn from.

    Attributes:
        keypoints: names.
        recordings, moments, views: (n,) of each picture; the moment is a frame number on the recording's clock.
        labelled, predicted: (n, keypoint, 2) px; NaN where there is no label.
        confidence: (n, keypoint); covariance: (n, keypoint, 2, 2) px²; of the predicted points.
    """

    keypoints: tuple[str, ...]
    recordings: tuple[str, ...]
    moments: tuple[int, ...]
    views: tuple[str, ...]
    labelled: Array
    predicted: Array
    confidence: Array
    covariance: Array

    @classmethod
    def from_evaluation(cls, evaluation: Evaluation) -> HeldOutPoints:
        """Those of an evaluation on held-out pictures."""
        return cls(
            evaluation.keypoints,
            evaluation.groups,
            evaluation.moments,
            evaluation.views,
            evaluation.truth,
            evaluation.position,
            evaluation.confidence,
            evaluation.covariance,
        )

    def save(self, path: Path) -> None:
        """Write as NPZ with its checksum, whole or not at all."""
        values: dict[str, Any] = {name: np.array(getattr(self, name)) for name in _ALL}
        write_arrays(path, schema_version=SCHEMA_VERSION, **values)

    @classmethod
    def load(cls, path: Path) -> HeldOutPoints:
        """Read what `save` wrote.

        Raises:
            FormatError: the file is missing, damaged or of a newer schema.
        """
        arrays = read_arrays(path, "file of held-out points", _REMEDY)
        try:
            check_schema(arrays["schema_version"].item(), path)
            values: dict[str, Any] = {name: arrays[name] for name in _ALL}
            values |= {name: tuple(arrays[name].tolist()) for name in _NAMES}
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError(f"{path} holds no held-out points of multipose ({error}). {_REMEDY}") from error
        shape = (len(values["moments"]), len(values["keypoints"]))
        wanted = {"labelled": (*shape, 2), "predicted": (*shape, 2), "confidence": shape, "covariance": (*shape, 2, 2)}
        wrong = [name for name in _ARRAYS if values[name].shape != wanted[name]]
        if wrong or len(values["recordings"]) != shape[0] or len(values["views"]) != shape[0]:
            raise FormatError(
                f"{path}: the shapes of {', '.join(wrong) or 'recordings and views'} do not fit. {_REMEDY}"
            )
        fault = _fault_of(values)
        if fault:
            raise FormatError(f"{path}: {fault}. {_REMEDY}")
        return cls(**values)

    def of_view(self, view: str) -> HeldOutPoints:
        """Those of the pictures of one view."""
        own = np.array([name == view for name in self.views], dtype=bool)
        chosen: dict[str, Any] = {
            name: tuple(value for value, kept in zip(getattr(self, name), own, strict=True) if kept)
            for name in ("recordings", "moments", "views")
        }
        chosen |= {name: getattr(self, name)[own] for name in _ARRAYS}
        return HeldOutPoints(self.keypoints, **chosen)


def _fault_of(values: Mapping[str, Any]) -> str:
    """Why values of the right shapes cannot be those of points in pictures, "" if they can."""
    if not all(isinstance(name, str) for key in ("keypoints", "recordings", "views") for name in values[key]):
        return "names are no texts"
    if not all(isinstance(moment, int) for moment in values["moments"]):
        return "moments are no whole numbers"
    for name in _ARRAYS:
        if values[name].dtype.kind != "f" or np.isinf(values[name]).any():
            return f"{name} holds something else than finite numbers"
    for name in ("labelled", "predicted"):
        if (np.abs(values[name]) > MOST_PX).any():
            return f"{name} holds positions far outside any picture"
    if ((values["confidence"] < 0) | (values["confidence"] > 1)).any():
        return "a confidence is not between 0 and 1"
    covariance = values["covariance"]
    if (np.diagonal(covariance, axis1=-2, axis2=-1) < 0).any():
        return "a variance is below 0"
    return ""


def measure_errors(
    project: Project, recording: Recording, rig: CameraRig, *, min_confidence: float, progress: Progress = SILENT
) -> ErrorCalibration | None:
    """What held-out labels say of the errors in space of the networks that serve a recording.

    Args:
        recording: whose networks they are; the labels may be of any recording with a calibrated rig.
        rig: the recording's.
        min_confidence: as of `reconstruct`.

    Returns:
        None where fewer than two networks or no times in two views are known.
    """
    by_view = _held_out_of_views(project, recording, rig, progress)
    recordings = sorted({name for points in by_view.values() for name in points.recordings})
    parts = []
    for name in recordings:
        its_rig = _rig_of(project, name, recording, rig)
        if its_rig is not None:
            views = [view for view in by_view if view in its_rig]
            try:
                part = _join_views({view: by_view[view] for view in views}, name, its_rig)
            except DataError as error:
                files = ", ".join(str(path) for path in held_out_files(project, recording).values())
                progress.note(f"The held-out points in {files} are not used: {error} {_REMEDY}")
                continue
            if part is not None:
                parts.append(part)
    return calibrate_errors(parts, min_confidence=min_confidence) if parts else None


def _held_out_of_views(
    project: Project, recording: Recording, rig: CameraRig, progress: Progress
) -> dict[str, HeldOutPoints]:
    """For each view that a network serves: its points on held-out pictures of that view."""
    found = {}
    loaded: dict[Path, HeldOutPoints] = {}
    for view, path in held_out_files(project, recording).items():
        if view not in rig:
            continue
        try:
            if path not in loaded:
                loaded[path] = HeldOutPoints.load(path)
        except FormatError as error:
            progress.note(str(error))
            continue
        own = loaded[path].of_view(view)
        if not own.moments or own.keypoints != project.config.skeleton.keypoints:
            progress.note(f"{path} has no held-out points of view {view} and this skeleton, and is not used. {_REMEDY}")
            continue
        found[view] = own
    return found


def _join_views(by_view: Mapping[str, HeldOutPoints], recording: str, rig: CameraRig) -> HeldOut | None:
    """The held-out times of one recording in all views; None where none is known in two."""
    rows = {
        view: {
            moment: place
            for place, (name, moment) in enumerate(zip(points.recordings, points.moments, strict=True))
            if name == recording
        }
        for view, points in by_view.items()
    }
    counts = Counter(moment for places in rows.values() for moment in places)
    moments = sorted(moment for moment, count in counts.items() if count > 1)
    if not moments:
        return None
    keypoints = next(iter(by_view.values())).keypoints
    shape = len(by_view), len(moments), 1, len(keypoints)
    labelled, predicted = np.full((*shape, 2), np.nan), np.full((*shape, 2), np.nan)
    confidence, covariance = np.zeros(shape), np.full((*shape, 2, 2), np.nan)
    for at, (view, points) in enumerate(by_view.items()):
        times = [time for time, moment in enumerate(moments) if moment in rows[view]]
        places = [rows[view][moments[time]] for time in times]
        labelled[at, times, 0] = points.labelled[places]
        predicted[at, times, 0] = points.predicted[places]
        confidence[at, times, 0] = points.confidence[places]
        covariance[at, times, 0] = points.covariance[places]
    names: dict[str, Any] = {"views": list(by_view), "keypoints": keypoints, "time": np.array(moments, dtype=float)}
    found = keypoints2d(predicted, confidence, covariance, shared_error=USUAL_SHARED_ERROR, **names)
    return HeldOut(found.assign_attrs(covariance_source=CALIBRATED_ON_LABELS), keypoints2d(labelled, **names), rig)


def _rig_of(project: Project, name: str, recording: Recording, rig: CameraRig) -> CameraRig | None:
    """The rig of a labelled recording in the same unit; None where it is not calibrated, or its clock is unknown."""
    labelled = {row.name: row for row in project.recordings}.get(name)
    if labelled is None or labelled.timestamps:
        return None  # frames of its views are not matched by their numbers
    try:
        session = project.session_of(labelled)
        if session == project.session_of(recording):
            return rig
        path = project.rig_path(session)
        other = CameraRig.load(path) if path.exists() else None
    except (ProjectError, FormatError):
        return None
    return other if other is not None and other.unit == rig.unit else None
