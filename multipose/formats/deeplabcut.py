"""DeepLabCut: its tables of labels (CollectedData_*) and of analysed videos, CSV and HDF5.

Both are pandas tables whose columns have the levels scorer, (individuals,) bodyparts and coords. Labels have a row for
each picture, named either by one path ("labeled-data/video/img0012.png") or, since DeepLabCut 2.3, by three columns
("labeled-data", "video", "img0012.png"). Analysed videos have a row for each frame, and likelihood beside x and y.
DeepLabCut's HDF5 files are read and written without PyTables, and nothing that is pickled in them is executed.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from multipose.errors import DataError, FormatError, LabelError
from multipose.files import atomic_path, path_inside
from multipose.formats.joining import ViewPoints, check_confidence, join_views
from multipose.formats.pandas_hdf import read_frame, write_frame
from multipose.labels import Labels
from multipose.numbering import number_names
from multipose.sources import PICTURE_SUFFIXES, read_picture, write_picture
from multipose.text import read_rows, whole_number
from multipose.tracks import check_keypoints2d

Pictures = dict[tuple[str, int], Path]
"""The picture of each labelled frame, by recording and frame number."""

_KEY = "df_with_missing"
_LEVELS = ("scorer", "individuals", "bodyparts", "coords")
_COORDS = ("x", "y", "likelihood")
_INDIVIDUAL = "individual_0"
_NOTHING = ("", "na", "n/a", "#n/a", "nan", "none", "null")


def read_labels(path: str | os.PathLike[str], *, view: str, recording: str | None = None) -> tuple[Labels, Pictures]:
    """Read a table of labels.

    An empty point of a picture that has any label is absent; in a picture without a label all points are unlabelled.
    Frame numbers are those in the pictures' names, of each recording as `multipose.numbering` finds them.

    Args:
        path: CollectedData_*.csv or .h5, with either kind of index, of one animal or several.
        view: the view that the pictures show.
        recording: name of the recording; by default the folder that holds the picture (the video's name), or the
            table's where that folder is labeled-data itself.

    Returns:
        The labels, and each frame's picture: where it exists relative to the table's folder or one of the two above it,
        as DeepLabCut lays them out, or beside the table, where the names are of another computer or folder.

    Raises:
        FormatError: the file is missing or no such table, or a name tells no frame.
    """
    place = Path(path)
    table = _read_table(place)
    names = [_picture_name(row) for row in table.index]
    nameless = [i for i, name in enumerate(names) if not name.strip("/ ")]
    if nameless:
        raise FormatError(
            f"{place}: row {nameless[0] + 1} of the labels names no picture. Fill its name in or delete it."
        )
    coords = set(table.columns.get_level_values("coords"))
    if coords != {"x", "y"}:
        raise FormatError(
            f"{place} has the columns {', '.join(sorted(map(str, coords)))} for each point; labels have x and y. If it "
            "holds the predictions of a network, read it as key points."
        )
    _check_columns(table, place)
    doubled = sorted(name for name, count in Counter(names).items() if count > 1)
    if doubled:
        raise FormatError(f"{place} has more than one row for {', '.join(doubled[:5])}. Keep one of them.")
    recordings = [recording or _recording_of(name, place) for name in names]
    frames = _number_pictures(place, recordings, names)
    found = _find_pictures(place, names)
    pictures = {(recordings[i], frames[i]): found[i] for i in range(len(names))}
    try:
        return Labels(_long_table(table, place, view, recordings, frames), _parts(table)), pictures
    except LabelError as error:
        raise FormatError(f"{place}: {error}") from error


def read_names(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Body parts of a table of labels or of an analysed video.

    Raises:
        FormatError: the file is missing or no such table.
    """
    return _parts(_read_table(Path(path)))


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

    Rows are frames by the numbers that the table gives them, whatever their order; gaps stay gaps, and views are
    matched by these numbers. Predictions on labelled pictures have the numbers in the pictures' names. Columns are read
    by name; others than x, y and likelihood are told in the attribute `notes`. Without a likelihood nothing is said.

    Args:
        paths: name of each view and its file.
        fps: frames per second of the videos.

    Raises:
        FormatError: a file is missing or no such table, a frame's number is missing or stands twice, a likelihood is no
            probability, or the views differ in body parts or individuals.
    """
    if not paths:
        raise FormatError("No DeepLabCut file was given; give one for each view.")
    return join_views({view: _read_view(Path(path), view) for view, path in paths.items()}, fps)


def _read_view(path: Path, view: str) -> ViewPoints:
    table = _read_table(path)
    coords = list(dict.fromkeys(map(str, table.columns.get_level_values("coords"))))
    if not {"x", "y"} <= set(coords):
        raise FormatError(f"{path} has {', '.join(coords)} for each point; analysed videos have x, y and likelihood.")
    if set(coords) == {"x", "y"} and _names_pictures(table.index):
        raise FormatError(
            f"{path} has x and y for each point of pictures; analysed videos have x, y and likelihood. If it holds "
            "labels, read it as labels."
        )
    _check_columns(table, path)
    frames = _number_rows(path, table.index)
    order = np.argsort(frames, kind="stable")
    frames = frames[order]
    doubled = np.flatnonzero(np.diff(frames) == 0)
    if len(doubled):
        raise FormatError(f"{path} has more than one row for frame {frames[int(doubled[0])]}. Keep one of them.")
    parts, individuals = _parts(table), _individuals(table)
    values = _sorted_values(table, individuals, parts).reshape(len(table), len(individuals), len(parts), 3)[order]
    if np.isinf(values).any():
        row, _, part, _ = (int(i) for i in np.argwhere(np.isinf(values))[0])
        raise FormatError(f"{path}, view {view}, keypoint {parts[part]}, frame {frames[row]}: a value is infinite.")
    known = np.asarray(np.isfinite(values[..., :2]).all(-1))
    position = np.where(known[..., None], values[..., :2], np.nan)
    confidence, notes = check_confidence(
        values[..., 2], position, path=path, view=view, frames=frames, individuals=individuals, keypoints=parts
    )
    unused = [name for name in coords if name not in _COORDS]
    if unused:
        notes = (*notes, f"{path}: of each point x, y and likelihood are read, not {', '.join(unused)}")
    return ViewPoints(path, frames, position, confidence, parts, individuals, notes)


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
    except (ValueError, TypeError) as error:
        raise FormatError(f"{path} holds something that is no number ({error}).") from error


def _read_hdf(path: Path) -> pd.DataFrame:
    table = read_frame(path)
    if not isinstance(table.columns, pd.MultiIndex):
        raise FormatError(f"{path} holds no table as DeepLabCut writes it.")
    return table


def _read_csv(path: Path) -> pd.DataFrame:
    rows = read_rows(path)
    cells = rows.cells
    for row in cells[: len(_LEVELS)]:  # of the header; pandas calls columns without a name so
        row[:] = ["" if cell.startswith("Unnamed:") else cell for cell in row]
    if len(cells) > 2 and not cells[0][0] and all(len(row) > 1 and row[1] in _LEVELS for row in cells[:3]):
        for row in cells:  # pandas put an index of its own before the table
            del row[0]
    head = [row for row in cells[: len(_LEVELS)] if row[0] in _LEVELS]
    names = [row[0] for row in head]
    if names not in (list(_LEVELS), [level for level in _LEVELS if level != "individuals"]):
        raise FormatError(
            f"{path} is no table of DeepLabCut: its first rows must begin with {', '.join(_LEVELS)} (individuals only "
            f"with several animals); they begin with {', '.join(repr(row[0]) for row in cells[:4]) or 'nothing'}."
        )
    width = 1 + max(i for i, cell in enumerate(head[-1]) if cell)
    # the picture's name takes one column or three; the cells of the header above it are empty
    indexing = 1 + sum(1 for cell in head[-1][1:3] if cell == "")
    if width <= indexing:
        raise FormatError(f"{path} has no column of a point.")
    for row, line in zip(cells, rows.lines, strict=True):
        if len(row) < width or any(row[width:]):
            raise FormatError(f"{path}, line {line}: {len(row)} cells, expected {width}. Fill the row up.")
    header = [row[indexing:width] for row in head]
    if all(re.fullmatch(re.escape(header[0][0]) + r"(\.\d+)?", name) for name in header[0]):
        header[0] = [header[0][0]] * len(header[0])  # net, net.1, net.2, ...: pandas read and wrote the first row
    columns = pd.MultiIndex.from_arrays(header, names=names)
    body, lines = cells[len(head) :], rows.lines[len(head) :]
    values = np.empty((len(body), len(columns)))
    for place, row in enumerate(body):
        read = [_number(rows.decimal(cell)) for cell in row[indexing:width]]
        if None in read:
            column = read.index(None)
            point = " ".join(str(part) for part in columns[column][1:])
            raise FormatError(f"{path}, line {lines[place]}: {point} is {row[indexing + column]!r}, no number.")
        values[place] = read
    index = [row[0] if indexing == 1 else "/".join(row[:indexing]) for row in body]
    return pd.DataFrame(values, pd.Index(index, dtype=object), columns)


def _number(cell: str) -> float | None:
    """A cell as a number, NaN where it says nothing, None where it is no number."""
    try:
        return float(cell)
    except ValueError:
        return np.nan if cell.lower() in _NOTHING else None


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


def _number_pictures(path: Path, recordings: list[str], names: list[str]) -> list[int]:
    frames = [0] * len(names)
    for recording in dict.fromkeys(recordings):
        rows = [i for i, of in enumerate(recordings) if of == recording]
        try:
            numbers = number_names(
                [PurePosixPath(names[i]).stem for i in rows], f"{path}, recording {recording}"
            ).numbers
        except DataError as error:
            raise FormatError(str(error)) from None
        for i, number in zip(rows, numbers.tolist(), strict=True):
            frames[i] = number
    return frames


def _names_pictures(index: pd.Index[Any]) -> bool:
    return any(isinstance(row, tuple) or PurePosixPath(str(row)).suffix.lower() in PICTURE_SUFFIXES for row in index)


def _number_rows(path: Path, index: pd.Index[Any]) -> npt.NDArray[np.int64]:
    """The frame numbers of the rows of an analysed video, exact."""
    if _names_pictures(index):
        names = [_picture_name(row) for row in index]
        folders = list(dict.fromkeys(str(PurePosixPath(name).parent) for name in names))
        if len(folders) > 1:
            raise FormatError(f"{path} holds pictures of {len(folders)} videos ({', '.join(folders[:3])}). Part it.")
        return np.array(_number_pictures(path, ["its pictures"] * len(names), names), dtype=np.int64)
    numbers = []
    for row, value in enumerate(index, start=1):
        number = whole_number(str(value))
        if number is None or number < 0:
            said = "is empty" if str(value).strip().lower() in _NOTHING else f"is {value!r}, no whole number from 0 on"
            raise FormatError(
                f"{path}: the frame number of row {row} of the points {said}. Write the video's frame numbers, counted "
                "from 0, into the first column."
            )
        numbers.append(number)
    return np.array(numbers, dtype=np.int64)


def _find_pictures(path: Path, names: list[str]) -> list[Path]:
    """Where the pictures of these names are, whatever computer they were named on; where one should be, if nowhere."""
    folder = path.absolute().parent
    one_video = len({PurePosixPath(name).parent for name in names}) == 1
    found = []
    for name in names:
        parts = PurePosixPath(name).parts
        below = "/".join(parts[parts.index("labeled-data") :]) if "labeled-data" in parts else ""
        absolute = name.startswith("/") or re.match(r"[A-Za-z]:/", name) is not None
        relative = [tail for tail in (name if not absolute else "", below) if tail and ".." not in parts]
        candidates = [base / tail for tail in relative for base in (folder, *folder.parents[:2])]
        candidates += [folder / parts[-1]] if one_video or not candidates else []
        found.append(next((place for place in candidates if place.is_file()), candidates[0]))
    return found


def _parts(table: pd.DataFrame) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(str, table.columns.get_level_values("bodyparts"))))


def _individuals(table: pd.DataFrame) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(str, table.columns.get_level_values("individuals"))))


def _check_columns(table: pd.DataFrame, path: Path) -> None:
    """Every point has x and y, and a likelihood where any has one; FormatError names what is missing."""
    found: dict[tuple[str, str], set[str]] = {}
    levels = (table.columns.get_level_values(level) for level in ("individuals", "bodyparts", "coords"))
    for individual, part, name in zip(*levels, strict=True):
        found.setdefault((str(individual), str(part)), set()).add(str(name))
    wanted = {"x", "y", "likelihood"} if any("likelihood" in names for names in found.values()) else {"x", "y"}
    for (individual, part), names in found.items():
        missing = [name for name in _COORDS if name in wanted - names]
        if missing:
            whose = f" of {individual}" if individual != _INDIVIDUAL else ""
            raise FormatError(f"{path}: {part}{whose} has no column {missing[0]}. Export the table again.")


def _sorted_values(
    table: pd.DataFrame, individuals: tuple[str, ...], parts: tuple[str, ...]
) -> npt.NDArray[np.float64]:
    scorer = table.columns.get_level_values("scorer")[0]
    columns = pd.MultiIndex.from_product([[scorer], individuals, parts, _COORDS])
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
