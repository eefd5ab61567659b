"""The folder of a project on disk: its configuration, its manifest of recordings, and where everything lies.

::

    multipose.toml                  settings, see multipose.config
    recordings.csv                  the manifest: one row per recording, see `read_manifest`
    calibration/<session>/          <view>.mp4 or <view>/ with pictures; rig.toml, covariance.npz,
                                    report.html, report.json
    labels/                         labels.csv, frames/<recording>/<view>/000123.png
    models/<view>/                  one network per view; models/shared/ of all, models/<view>,<view>/ of some
    recordings/<name>/              keypoints2d.nc, trajectories3d.nc, kinematics.nc, player.html, diagnostics.html

A project is a value: adding recordings gives a new one, and only `save_manifest` writes.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from multipose.config import CONFIG_NAME, ProjectConfig, check_name, load_config
from multipose.documents import check_document
from multipose.errors import ConfigError, FormatError, ProjectError, did_you_mean
from multipose.files import LockOwner, file_lock, lock_owner, natural_key, write_text
from multipose.text import read_rows

MANIFEST_NAME = "recordings.csv"
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".m4v", ".mpg", ".mpeg", ".wmv", ".webm", ".mjpeg", ".h264", ".ts")
SHARED_MODEL = "shared"
_LONGEST_PART = 255
TIME_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
"""Units of timestamp files, and how many of them are a second."""


@dataclass(frozen=True)
class Recording:
    """One row of the manifest. Paths are as written there: relative to the project's folder, or absolute.

    Args:
        name: also the name of its folder of results.
        videos: video file, folder of pictures or pattern of each view that was recorded.
        calibration: the session whose rig holds for it; "" where the project has exactly one.
        offsets: frame number of the view that falls on the rig's time 0; a statement that frame numbers differ.
        timestamps: text file of a view with the time of each frame, one a line.
        keypoints: file of 2D key points of a view that another program made; taken instead of a network's.
        time_unit: of the timestamps, one of TIME_UNITS; "" where it is not said: seconds, if these can be.
    """

    name: str
    videos: Mapping[str, str] = field(default_factory=dict)
    calibration: str = ""
    offsets: Mapping[str, int] = field(default_factory=dict)
    timestamps: Mapping[str, str] = field(default_factory=dict)
    keypoints: Mapping[str, str] = field(default_factory=dict)
    time_unit: str = ""

    def __post_init__(self) -> None:
        check_name(self.name, "recording")
        if self.time_unit not in ("", *TIME_UNITS):
            raise ProjectError(
                f"Recording {self.name!r}: time_unit must be {', '.join(TIME_UNITS)} or empty, got {self.time_unit!r}."
            )
        if not self.videos and not self.keypoints:
            raise ProjectError(f"Recording {self.name!r} has neither a video nor a file of key points in any view.")

    @property
    def is_brought(self) -> bool:
        """True where the 2D key points of all views were made by another program, so that no network is needed."""
        return bool(self.keypoints) and set(self.videos) <= set(self.keypoints)


def read_manifest(path: Path, views: Iterable[str]) -> tuple[Recording, ...]:
    """Read recordings.csv; without the file there are no recordings.

    Columns: `name`; one per view with the path of its video; `calibration`; and, where needed, `offset_<view>` (whole
    frames), `timestamps_<view>` and `keypoints_<view>` (paths), and `time_unit` of the timestamps. Empty cells mean
    nothing is said.

    Raises:
        ProjectError: a column is unknown, a name stands twice, or a cell cannot be read; the line is named.
    """
    if not path.exists() and not path.is_symlink():
        return ()
    check_document(path)
    names = list(views)
    try:
        rows = read_rows(path)
    except FormatError as error:
        raise ProjectError(str(error)) from None
    if not rows.cells:
        raise ProjectError(f"{path} is empty; its first line must name the columns: {','.join(_columns(names, ()))}.")
    header = rows.cells[0]
    known = [
        "name",
        "calibration",
        "time_unit",
        *names,
        *(f"{kind}_{view}" for kind in ("offset", "timestamps", "keypoints") for view in names),
    ]
    for column in header:
        if column not in known:
            hint = did_you_mean(column, known)
            raise ProjectError(f"{path}: unknown column {column!r}.{hint} Known: {', '.join(known)}.")
    doubled = sorted({column for column in header if header.count(column) > 1})
    if doubled or "name" not in header:
        raise ProjectError(f"{path}: " + (f"column {doubled[0]!r} stands twice." if doubled else "no column 'name'."))
    recordings: dict[str, Recording] = {}
    for number, row in zip(rows.lines[1:], rows.cells[1:], strict=True):
        if len(row) != len(header):
            raise ProjectError(f"{path}, line {number}: {len(row)} cells, but {len(header)} columns.")
        cells = dict(zip(header, row, strict=True))
        try:
            recording = _read_row(cells, names)
        except (ProjectError, ConfigError) as error:
            raise ProjectError(f"{path}, line {number}: {error}") from None
        if recording.name in recordings:
            raise ProjectError(f"{path}, line {number}: there is already a recording {recording.name!r}.")
        recordings[recording.name] = recording
    return tuple(recordings.values())


def _read_row(cells: Mapping[str, str], views: list[str]) -> Recording:
    def of_views(prefix: str) -> dict[str, str]:
        return {view: cells[prefix + view] for view in views if cells.get(prefix + view)}

    offsets: dict[str, int] = {}
    for view, text in of_views("offset_").items():
        try:
            offsets[view] = int(text)
        except ValueError:
            raise ProjectError(f"offset_{view} must be a whole number of frames, got {text!r}.") from None
    for cell in cells.values():
        if any(len(part.encode("utf-8", "replace")) > _LONGEST_PART for part in cell.split("/")):
            raise ProjectError(
                f"{cell[:40]!r}... is no path: it has {len(cell)} letters; file systems take at most {_LONGEST_PART} "
                "bytes between two slashes."
            )
    return Recording(
        name=cells["name"],
        videos=of_views(""),
        calibration=cells.get("calibration", ""),
        offsets=offsets,
        timestamps=of_views("timestamps_"),
        keypoints=of_views("keypoints_"),
        time_unit=cells.get("time_unit", ""),
    )


def format_manifest(recordings: Iterable[Recording], views: Iterable[str]) -> str:
    """The text of recordings.csv; columns for offsets, timestamps and key points only where a recording uses them."""
    rows, names = list(recordings), list(views)
    columns = _columns(names, rows)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        cells = {"name": row.name, "calibration": row.calibration, "time_unit": row.time_unit, **row.videos}
        cells |= {f"offset_{view}": str(value) for view, value in row.offsets.items()}
        cells |= {f"timestamps_{view}": value for view, value in row.timestamps.items()}
        cells |= {f"keypoints_{view}": value for view, value in row.keypoints.items()}
        writer.writerow([cells.get(column, "") for column in columns])
    return buffer.getvalue()


def _columns(views: list[str], recordings: Iterable[Recording]) -> list[str]:
    rows = list(recordings)
    used = {
        "offset": {view for row in rows for view in row.offsets},
        "timestamps": {view for row in rows for view in row.timestamps},
        "keypoints": {view for row in rows for view in row.keypoints},
    }
    extra = [f"{kind}_{view}" for kind, names in used.items() for view in views if view in names]
    return ["name", *views, "calibration", *extra, *(["time_unit"] if any(row.time_unit for row in rows) else [])]


@dataclass(frozen=True)
class Project:
    """A project's folder, configuration and recordings."""

    folder: Path
    config: ProjectConfig
    recordings: tuple[Recording, ...]

    @classmethod
    def open(cls, folder: str | Path) -> Project:
        """Read the project in a folder.

        Raises:
            ConfigError: multipose.toml is missing or wrong.
            ProjectError: recordings.csv is wrong.
        """
        place = Path(folder).resolve()
        config = load_config(place / CONFIG_NAME)
        return cls(place, config, read_manifest(place / MANIFEST_NAME, config.views))

    @classmethod
    def find(cls, start: str | Path = ".") -> Project:
        """Read the project that a folder lies in: the folder itself or the nearest one above it.

        Raises:
            ProjectError: none of them holds a multipose.toml.
        """
        place = Path(start).resolve()
        for folder in (place, *place.parents):
            if (folder / CONFIG_NAME).is_file():
                return cls.open(folder)
        raise ProjectError(
            f"There is no {CONFIG_NAME} in {place} or above it. Go into a project's folder, name one with --project, "
            "or make one with `multipose init`."
        )

    @property
    def views(self) -> tuple[str, ...]:
        return self.config.views

    def lock(self) -> AbstractContextManager[None]:
        """Hold the project while its products are written; two processes cannot.

        Raises:
            ProjectError: another process holds it.
        """
        return file_lock(self._lock_path)

    @property
    def worker(self) -> LockOwner | None:
        """The other process that is writing products here now, if any."""
        return lock_owner(self._lock_path)

    @property
    def _lock_path(self) -> Path:
        return self.folder / ".multipose" / "lock"

    def path(self, written: str) -> Path:
        """A path as written in the manifest or the configuration -> where it is."""
        return self.folder / Path(written)

    def relative(self, path: Path) -> str:
        """How a path is written in the manifest: relative where it lies in the project, else absolute."""
        place = path if path.is_absolute() else Path.cwd() / path
        if place.is_relative_to(self.folder):
            return place.relative_to(self.folder).as_posix()
        return place.as_posix()

    # Recordings

    def recording(self, name: str) -> Recording:
        """A recording by its name.

        Raises:
            ProjectError: there is none of that name.
        """
        for recording in self.recordings:
            if recording.name == name:
                return recording
        hint = did_you_mean(name, [recording.name for recording in self.recordings])
        raise ProjectError(f"There is no recording {name!r} in {self.folder / MANIFEST_NAME}.{hint}")

    def select(self, names: Iterable[str]) -> tuple[Recording, ...]:
        """The named recordings, all of them for no names.

        Raises:
            ProjectError: a name is unknown, or the project has no recordings.
        """
        chosen = tuple(self.recording(name) for name in names) or self.recordings
        if not chosen:
            raise ProjectError(f"{self.folder} has no recordings yet. Add them with `multipose add`.")
        return chosen

    def with_recordings(self, added: Iterable[Recording], replace: bool = False) -> Project:
        """The project with more recordings; nothing is written.

        Raises:
            ProjectError: a name is taken and `replace` is false, or a view is unknown.
        """
        rows = {recording.name: recording for recording in self.recordings}
        for recording in added:
            if recording.name in rows and not replace:
                there = rows[recording.name]
                files = ", ".join(f"{view}={path}" for view, path in {**there.videos, **there.keypoints}.items())
                raise ProjectError(
                    f"There is already a recording {recording.name!r} ({files}). Give the new one another name, "
                    "--extend that one by further views, or --replace it."
                )
            for view in (*recording.videos, *recording.offsets, *recording.timestamps, *recording.keypoints):
                self._check_view(view)
            rows[recording.name] = recording
        return dataclasses.replace(self, recordings=tuple(rows.values()))

    def save_manifest(self) -> None:
        """Write recordings.csv."""
        write_text(self.folder / MANIFEST_NAME, format_manifest(self.recordings, self.views))

    def _check_view(self, view: str) -> None:
        if view not in self.views:
            raise ProjectError(f"There is no view {view!r} in this project; it has {', '.join(self.views)}.")

    def select_views(self, names: Iterable[str]) -> tuple[str, ...]:
        """The named views, all of them for no names.

        Raises:
            ProjectError: a name is unknown.
        """
        chosen = tuple(names)
        for view in chosen:
            self._check_view(view)
        return chosen or self.views

    # Calibration

    @property
    def sessions(self) -> tuple[str, ...]:
        """Calibration sessions: folders in calibration/ and those of the configuration, in natural order.

        Sessions that only serve the calibration of others (the board on the floor, close-ups) are not among them.
        """
        folder = self.folder / "calibration"
        found = {child.name for child in folder.iterdir() if child.is_dir()} if folder.is_dir() else set()
        found |= set(self.config.calibration.sessions)
        return tuple(sorted(found - self.config.calibration.side_sessions or found, key=natural_key))

    def session_of(self, recording: Recording) -> str:
        """The calibration session of a recording.

        Raises:
            ProjectError: it names one that does not exist, or none although there is not exactly one.
        """
        if recording.calibration:
            self.check_session(recording.calibration, f"recording {recording.name!r}")
            return recording.calibration
        if len(self.sessions) == 1:
            return self.sessions[0]
        if not self.sessions:
            raise ProjectError(
                "The project has no calibration. Put videos of the board into calibration/<session>/<view>.mp4, "
                "or a rig that was calibrated elsewhere into calibration/<session>/rig.toml."
            )
        raise ProjectError(
            f"Recording {recording.name!r} names no calibration, and the project has {len(self.sessions)} "
            f"({', '.join(self.sessions)}). Write one of them into the column 'calibration' of {MANIFEST_NAME}."
        )

    def check_session(self, session: str, asked_by: str) -> None:
        """Raises ProjectError where there is no such calibration session."""
        if session not in self.sessions:
            listed = ", ".join(self.sessions) or "none"
            raise ProjectError(f"There is no calibration session {session!r} ({asked_by}); there are: {listed}.")

    def session_folder(self, session: str) -> Path:
        return self.folder / "calibration" / session

    def rig_path(self, session: str) -> Path:
        return self.session_folder(session) / "rig.toml"

    def covariance_path(self, session: str) -> Path:
        return self.session_folder(session) / "covariance.npz"

    def board_sources(self, session: str) -> dict[str, str]:
        """Where the board's pictures of each view are: of the configuration, else calibration/<session>/<view>.*.

        Views without any are left out.

        Raises:
            ProjectError: two files could be meant.
        """
        named = self.config.calibration.sessions.get(session, {})
        sources: dict[str, str] = {}
        for view in self.views:
            if view in named:
                sources[view] = str(self.path(named[view]))
                continue
            found = _find_sources(self.session_folder(session), view)
            if len(found) > 1:
                raise ProjectError(
                    f"{self.session_folder(session)} holds more than one source of view {view!r}: "
                    f"{', '.join(item.name for item in found)}. Keep one, or name it in multipose.toml under "
                    f"[calibration.sessions.{session}]."
                )
            if found:
                sources[view] = str(found[0])
        return sources

    # Labels, models, results

    @property
    def labels_path(self) -> Path:
        return self.folder / "labels" / "labels.csv"

    @property
    def frames_folder(self) -> Path:
        return self.folder / "labels" / "frames"

    def network_of(self, view: str) -> str:
        """Name of the network that a view uses.

        multipose.toml says it; where it does not, a shared network that was trained serves until one of its views has
        another: that of some views until one of these has its own, that of all views until any view has.

        Raises:
            ProjectError: two trained networks that some views share would serve.
        """
        shared = self.config.training.shared
        if shared is None:
            groups = self._trained_groups()
            own = {name for name in self.views if self._is_trained(name)}
            fitting = [name for name, group in groups.items() if view in group and not own & set(group)]
            if len(fitting) > 1:
                raise ProjectError(
                    f"View {view!r} could use each of the networks {' and '.join(fitting)}. Say in multipose.toml, "
                    f"section [training], which: shared = [{json.dumps(groups[fitting[0]])}], for example."
                )
            for_all = not groups and not own and self._is_trained(SHARED_MODEL)
            return fitting[0] if fitting else SHARED_MODEL if for_all else view
        if shared is True:
            return SHARED_MODEL
        group = next((group for group in self.config.training.shared_groups if view in group), (view,))
        return self.network_name(group)

    def network_name(self, views: Iterable[str]) -> str:
        """Name of the network of one view, or of the one that some views share, whatever their order.

        Raises:
            ProjectError: a view is unknown.
        """
        chosen = set(self.select_views(views))
        return ",".join(view for view in self.views if view in chosen)

    def _trained_groups(self) -> dict[str, tuple[str, ...]]:
        """Views of each trained network that some views share, by its name."""
        groups = {}
        for path in sorted((self.folder / "models").glob("*,*/model.toml")):
            views = tuple(path.parent.name.split(","))
            if set(views) <= set(self.views):
                groups[path.parent.name] = views
        return groups

    def _is_trained(self, network: str) -> bool:
        return (self.folder / "models" / network / "model.toml").exists()

    @property
    def model_names(self) -> tuple[str, ...]:
        """Names of the networks' folders, in the order of the views that use them."""
        return tuple(dict.fromkeys(self.network_of(view) for view in self.views))

    def model_folder(self, view: str) -> Path:
        """Folder of the network that a view uses."""
        return self.folder / "models" / self.network_of(view)

    def results_folder(self, recording: str) -> Path:
        return self.folder / "recordings" / recording

    def keypoints_path(self, recording: str) -> Path:
        return self.results_folder(recording) / "keypoints2d.nc"

    def trajectories_path(self, recording: str) -> Path:
        return self.results_folder(recording) / "trajectories3d.nc"

    def smooth_path(self, recording: str) -> Path:
        return self.results_folder(recording) / "trajectories3d_smooth.nc"

    def player_path(self, recording: str) -> Path:
        return self.results_folder(recording) / "player.html"

    def diagnostics_path(self, recording: str) -> Path:
        return self.results_folder(recording) / "diagnostics.html"

    def kinematics_path(self, recording: str) -> Path:
        return self.results_folder(recording) / "kinematics.nc"


def _find_sources(folder: Path, view: str) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        child
        for child in folder.iterdir()
        if (child.is_dir() and child.name == view)
        or (child.is_file() and child.stem == view and child.suffix.lower() in (*VIDEO_SUFFIXES, ".tif", ".tiff"))
    )
