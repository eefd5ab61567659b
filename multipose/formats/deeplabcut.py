"""DeepLabCut: its tables of labels (CollectedData_*) and of analysed videos, CSV and HDF5.

Both are pandas tables whose columns have the levels scorer, (individuals,) bodyparts and coords. Labels have a row for
each picture, named either by one path ("labeled-data/video/img0012.png") or, since DeepLabCut 2.3, by three columns
("labeled-data", "video", "img0012.png"). Analysed videos have a row for each frame, and likelihood beside x and y.
DeepLabCut's HDF5 files are read and written without PyTables, and nothing that is pickled in them is executed.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from multipose.errors import DataError, FormatError
from multipose.files import atomic_path, path_inside
from multipose.formats.pandas_hdf import read_frame, write_frame
from multipose.labels import Labels
from multipose.sources import read_picture, write_picture
from multipose.tracks import USUAL_SHARED_ERROR, check_keypoints2d, keypoints2d

Pictures = dict[tuple[str, int], Path]
"""The picture of each labelled frame, by recording and frame number."""

_KEY = "df_with_missing"
_LEVELS = ("scorer", "individuals", "bodyparts", "coords")
_INDIVIDUAL = "individual_0"


def read_labels(path: str | os.PathLike[str], *, view: str, recording: str | None = None) -> tuple[Labels, Pictures]:
    """Read a table of labels.

    An empty point of a picture that has any label is absent; in a picture without a label all points are unlabelled.
    Frame numbers are the last whole numbers of the pictures' names; where a name of a recording has none, or two
    pictures share one, that recording's pictures are numbered from 0 in the order of the table.

    Args:
        path: CollectedData_*.csv or .h5, with either kind of index, of one animal or several.
        view: the view that the pictures show.
        recording: name of the recording; by default the folder that holds the picture (the video's name), or the
            table's where that folder is labeled-data itself.

    Returns:
        The labels, and each frame's picture: where it exists relative to the table's folder or one of the two above it,
        as DeepLabCut lays them out, else relative to the table's folder.

    Raises:
        FormatError: the file is missing or no such table.
    """
    place = Path(path)
    table = _read_table(place)
    names = [_picture_name(row) for row in table.index]
    coords = set(table.columns.get_level_values("coords"))
    if coords != {"x", "y"}:
        raise FormatError(
            f"{place} has the columns {', '.join(sorted(map(str, coords)))} for each point; labels have x and y. If it "
            "holds the predictions of a network, read it as key points."
        )
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise FormatError(f"{place} has more than one row for {', '.join(doubled[:5])}. Keep one of them.")
    recordings = [recording or _recording_of(name, place) for name in names]
    frames = _number_pictures(recordings, names)
    base = _find_base(place, names)
    pictures = {(recordings[i], frames[i]): base / name for i, name in enumerate(names)}
    return Labels(_long_table(table, place, view, recordings, frames), _parts(table)), pictures


def write_labels(
    labels: Labels,
    folder: str | os.PathLike[str],
    *,
    scorer: str,
    view: str | None = None,
    pictures: Mapping[tuple[str, int], str | os.PathLike[str]] | None = None,
    one_column_index: bool = False,
) -> list[Path]:
    """Write the labels of a view as labeled-data/<recording>/CollectedData_<scorer>.csv and .h5 in `folder`.

    DeepLabCut knows no states: occluded points are written where they are, absent and unlabelled ones are empty. Labels
    of several individuals get DeepLabCut's multi-animal header.

    Args:
        labels: what to write.
        folder: a DeepLabCut project, or where one will be.
        scorer: who labelled; DeepLabCut wants it as in its config.yaml.
        view: which; may be left out where there is only one.
        pictures: the picture of each (recording, frame), to be copied beside the table as img000123.png. Without them
            the names are written, and the pictures must be put there.
        one_column_index: name pictures by one path, as DeepLabCut before 2.3 did.

    Raises:
        DataError: several views and none was named, nothing to write, a picture is not given, or the name of a
            recording or of the scorer would lead out of the folder.
    """
    if view is None and len(labels.views) != 1:
        raise DataError(f"The labels have the views {', '.join(labels.views)}; say which to write.")
    view = labels.views[0] if view is None else view
    chosen = labels.select(view)
    if not len(chosen):
        raise DataError(f"There are no labels of the view {view!r} to write; there are of {', '.join(labels.views)}.")
    written: list[Path] = []
    for recording in chosen.recordings:
        part = chosen.select(recording=recording)
        target = path_inside(Path(folder) / "labeled-data", recording)
        table = _wide_table(part, view, scorer, one_column_index)
        if pictures is not None:
            for frame in part.frames(view)["frame"].tolist():
                if (recording, frame) not in pictures:
                    raise DataError(f"No picture was given for frame {frame} of {recording}, view {view}.")
                write_picture(target / _picture_file(frame), read_picture(pictures[recording, frame]))
        written += _write_table(table, path_inside(target, f"CollectedData_{scorer}"))
    return written


def read_keypoints(paths: Mapping[str, str | os.PathLike[str]], *, fps: float | None = None) -> xr.Dataset:
    """Read one analysed video (CSV or HDF5) for each view as a Keypoints2D; likelihood becomes confidence.

    Args:
        paths: name of each view and its file.
        fps: frames per second of the videos.

    Raises:
        FormatError: a file is missing or no such table, or the views differ in frames, body parts or individuals.
    """
    if not paths:
        raise FormatError("No DeepLabCut file was given; give one for each view.")
    tables = {view: _read_table(Path(path)) for view, path in paths.items()}
    first_view, first = next(iter(tables.items()))
    for view, table in tables.items():
        coords = set(table.columns.get_level_values("coords"))
        if coords != {"x", "y", "likelihood"}:
            raise FormatError(
                f"{paths[view]} has {', '.join(sorted(map(str, coords)))} for each point; analysed videos have x, y "
                "and likelihood. If it holds labels, read it as labels."
            )
        if not table.index.equals(first.index):
            raise FormatError(
                f"The views {first_view} ({len(first)} frames) and {view} ({len(table)} frames) do not hold the same "
                "frames. Read them one by one, or give the recording's offsets."
            )
        if set(_parts(table)) != set(_parts(first)) or _individuals(table) != _individuals(first):
            raise FormatError(f"The views {first_view} and {view} differ in body parts or individuals.")
    parts, individuals = _parts(first), _individuals(first)
    shape = (len(first), len(individuals), len(parts), 3)
    values = np.stack([_sorted_values(table, individuals, parts).reshape(shape) for table in tables.values()])
    frames = first.index.to_numpy(dtype=np.int64)
    return keypoints2d(
        values[..., :2],
        np.where(np.isfinite(values[..., :2]).all(-1), values[..., 2], 0.0),
        views=list(tables),
        keypoints=parts,
        individuals=individuals,
        fps=fps,
        frame=np.broadcast_to(frames, (len(tables), len(frames))),
        time=frames / (1.0 if fps is None else fps),
        shared_error=USUAL_SHARED_ERROR,
    )


def write_keypoints(
    dataset: xr.Dataset, folder: str | os.PathLike[str], *, name: str = "", scorer: str = "multipose"
) -> list[Path]:
    """Write a Keypoints2D as DeepLabCut's analysed videos: {name}_{view}DLC_{scorer}.csv and .h5 for each view.

    A row is a frame of the view's video; times at which the view has none are left out. Unknown positions are empty.

    Raises:
        DataError: the dataset is no Keypoints2D, or a view's name would lead out of the folder.
    """
    check_keypoints2d(dataset)
    individuals = [str(value) for value in dataset["individual"].values]
    parts = [str(value) for value in dataset["keypoint"].values]
    written: list[Path] = []
    for view in dataset["view"].values:
        one = dataset.sel(view=view)
        frames = one["frame"].values
        position = one["position"].transpose("time", "individual", "keypoint", "space").values
        confidence = one["confidence"].transpose("time", "individual", "keypoint").values
        values = np.concatenate([position, confidence[..., None]], axis=-1).reshape(len(frames), -1)
        table = pd.DataFrame(
            values[frames >= 0],
            index=pd.Index(frames[frames >= 0]),
            columns=_columns(f"DLC_{scorer}", individuals, parts, ("x", "y", "likelihood")),
        )
        stem = f"{name}_{view}" if name else str(view)
        written += _write_table(table, path_inside(folder, f"{stem}DLC_{scorer}"))
    return written


def _read_table(path: Path) -> pd.DataFrame:
    """The table with numeric values; columns have the levels scorer, individuals, bodyparts, coords."""
    if not path.is_file():
        raise FormatError(f"There is no file {path}.")
    table = _read_hdf(path) if path.suffix.lower() in (".h5", ".hdf5") else _read_csv(path)
    if list(table.columns.names) == [level for level in _LEVELS if level != "individuals"]:
        scorers, parts, coords = (table.columns.get_level_values(i) for i in range(3))
        table.columns = pd.MultiIndex.from_arrays([scorers, [_INDIVIDUAL] * len(parts), parts, coords], names=_LEVELS)
    if list(table.columns.names) != list(_LEVELS):
        raise FormatError(
            f"{path} has the column levels {list(table.columns.names)}; DeepLabCut's tables have {', '.join(_LEVELS)} "
            "(individuals may be missing)."
        )
    if table.empty:
        raise FormatError(f"{path} holds no rows.")
    if len(set(table.columns.get_level_values("scorer"))) != 1 or table.columns.has_duplicates:
        raise FormatError(f"{path} holds a point in two columns, or several scorers. Save one scorer's labels alone.")
    try:
        return table.astype(np.float64)
    except ValueError as error:
        raise FormatError(f"{path} holds something that is no number ({error}).") from error


def _read_hdf(path: Path) -> pd.DataFrame:
    table = read_frame(path)
    if not isinstance(table.columns, pd.MultiIndex):
        raise FormatError(f"{path} holds no table as DeepLabCut writes it.")
    return table


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{path} cannot be read as a CSV table ({error}).") from error
    head = [row for row in rows[:4] if row[0] in _LEVELS]
    names = [row[0] for row in head]
    if names not in (list(_LEVELS), [level for level in _LEVELS if level != "individuals"]):
        raise FormatError(
            f"{path} is no table of DeepLabCut: its first rows must begin with {', '.join(_LEVELS)} (individuals only "
            f"with several animals); they begin with {', '.join(row[0] for row in rows[:4]) or 'nothing'}."
        )
    width = len(head[-1])
    # the picture's name takes one column or three; the cells of the header above it are empty
    indexing = 1 + sum(1 for cell in head[-1][1:3] if cell == "")
    body = rows[len(head) :]
    wrong = [i for i, row in enumerate(body) if len(row) != width]
    if wrong:
        raise FormatError(f"{path}, row {wrong[0] + len(head) + 1}: {len(body[wrong[0]])} cells, expected {width}.")
    index = [row[0] if indexing == 1 else "/".join(row[:indexing]) for row in body]
    columns = pd.MultiIndex.from_arrays([row[indexing:] for row in head], names=names)
    cells = [[cell if cell.strip() else "nan" for cell in row[indexing:]] for row in body]
    return pd.DataFrame(cells, index=pd.Index(index), columns=columns)


def _write_table(table: pd.DataFrame, stem: Path) -> list[Path]:
    paths = [stem.with_name(f"{stem.name}.csv"), stem.with_name(f"{stem.name}.h5")]
    with atomic_path(paths[0]) as temporary:
        table.to_csv(temporary, lineterminator="\n")
    write_frame(table, paths[1], _KEY)
    return paths


def _picture_name(row: object) -> str:
    parts = [str(part) for part in row] if isinstance(row, tuple) else [str(row)]
    return "/".join(parts).replace("\\", "/")


def _picture_file(frame: int) -> str:
    return f"img{frame:06d}.png"


def _recording_of(name: str, path: Path) -> str:
    folder = PurePosixPath(name).parent.name
    return folder if folder not in ("", "labeled-data") else path.absolute().parent.name


def _number_pictures(recordings: list[str], names: list[str]) -> list[int]:
    found = [re.findall(r"\d+", PurePosixPath(name).stem) for name in names]
    frames = [int(numbers[-1]) if numbers else -1 for numbers in found]
    for recording in set(recordings):
        rows = [i for i, of in enumerate(recordings) if of == recording]
        numbers = [frames[i] for i in rows]
        if min(numbers) < 0 or len(set(numbers)) < len(numbers):
            for number, i in enumerate(rows):
                frames[i] = number
    return frames


def _find_base(path: Path, names: list[str]) -> Path:
    """The folder that the pictures' names start from: the table's own, or one of the two above it."""
    folder = path.absolute().parent
    candidates = [folder, *folder.parents[:2]]
    return next((base for base in candidates if any((base / name).is_file() for name in names)), folder)


def _parts(table: pd.DataFrame) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(str, table.columns.get_level_values("bodyparts"))))


def _individuals(table: pd.DataFrame) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(str, table.columns.get_level_values("individuals"))))


def _sorted_values(
    table: pd.DataFrame, individuals: tuple[str, ...], parts: tuple[str, ...]
) -> npt.NDArray[np.float64]:
    scorer = table.columns.get_level_values("scorer")[0]
    columns = pd.MultiIndex.from_product([[scorer], individuals, parts, ("x", "y", "likelihood")])
    return table.reindex(columns=columns).to_numpy(dtype=np.float64)


def _columns(scorer: str, individuals: list[str], parts: list[str], coords: tuple[str, ...]) -> pd.MultiIndex:
    if len(individuals) > 1:
        return pd.MultiIndex.from_product([[scorer], individuals, parts, coords], names=_LEVELS)
    levels = [level for level in _LEVELS if level != "individuals"]
    return pd.MultiIndex.from_product([[scorer], parts, coords], names=levels)


def _long_table(table: pd.DataFrame, path: Path, view: str, recordings: list[str], frames: list[int]) -> pd.DataFrame:
    """Rows of Labels from a table of pictures."""
    labelled = table.notna().any(axis=1).to_numpy()
    scorer = str(table.columns.get_level_values("scorer")[0])
    pieces = []
    for individual, part in dict.fromkeys(
        zip(table.columns.get_level_values("individuals"), table.columns.get_level_values("bodyparts"), strict=True)
    ):
        xy = table[[(scorer, individual, part, "x"), (scorer, individual, part, "y")]].to_numpy()
        half = np.flatnonzero(np.isfinite(xy).sum(axis=1) == 1)
        if len(half):
            name = _picture_name(table.index[half[0]])
            raise FormatError(f"{path}, {name}: only one of x and y of {part} is given. Fill it in or empty both.")
        known = np.isfinite(xy).all(axis=1)
        pieces.append(
            pd.DataFrame(
                {
                    "recording": recordings,
                    "view": view,
                    "frame": frames,
                    "individual": str(individual),
                    "keypoint": str(part),
                    "x": xy[:, 0],
                    "y": xy[:, 1],
                    "state": np.where(known, "visible", np.where(labelled, "absent", "unlabelled")),
                    "who": scorer,
                    "when": "",
                    "row": np.arange(len(table)),
                }
            )
        )
    return pd.concat(pieces).sort_values("row", kind="stable").drop(columns="row")


def _wide_table(labels: Labels, view: str, scorer: str, one_column_index: bool) -> pd.DataFrame:
    """The labels of one recording, as DeepLabCut lays them out."""
    frames = labels.frames(view)
    values = np.stack([labels.points(view, individual=name)[1] for name in labels.individuals], axis=1)
    order = np.argsort(frames["frame"].to_numpy(), kind="stable")
    places = [
        ("labeled-data", str(recording), _picture_file(int(frame)))
        for recording, frame in frames.iloc[order].itertuples(index=False)
    ]
    names = [f"{folder}/{recording}/{file}" for folder, recording, file in places]
    index = pd.Index(names, dtype=object) if one_column_index else pd.MultiIndex.from_tuples(places)
    columns = _columns(scorer, list(labels.individuals), list(labels.keypoints), ("x", "y"))
    return pd.DataFrame(values[order].reshape(len(frames), -1), index=index, columns=columns)
