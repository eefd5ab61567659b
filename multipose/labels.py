"""Labels: which key point was seen where in which frame, by whom; and checks that find slips of the hand.

A label says one of four things about a point of a frame (its state):

- visible: it is in the picture and was clicked at x, y;
- occluded: it is in the frame but hidden behind something; x, y is where it must be, if whoever labelled it could tell;
- absent: it is not in the picture, and a network learns so;
- unlabelled: nobody has looked yet, and nothing is learned from it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from multipose.errors import DataError, FormatError, LabelError
from multipose.files import SCHEMA_VERSION, atomic_path, check_schema, path_inside
from multipose.picture_sizes import MOST_PX
from multipose.skeleton import Skeleton, guess_pairs
from multipose.text import read_rows, whole_number

STATES = ("visible", "occluded", "absent", "unlabelled")
KEY = ("recording", "view", "frame", "individual", "keypoint")
COLUMNS = (*KEY, "x", "y", "state", "who", "when")
_TEXTS = ("recording", "view", "individual", "keypoint", "state", "who", "when")
_NAMES = ("recording", "view", "individual", "keypoint")
_EXACT = 2.0**53  # below it float64 holds every whole number


@dataclass(frozen=True, eq=False)
class Labels:
    """A table of labels, checked, one row for each point.

    Args:
        table: columns recording, view, frame (from 0), individual, keypoint, x, y (px in the view's picture; NaN where
            there is no position), state, who, when (ISO 8601). A missing column individual, who or when is filled with
            individual_0, "" and "". The table is copied.
        keypoints: names in their order; by default in order of appearance.

    Raises:
        LabelError: a column is missing or unknown, a point stands twice, or a state is unknown or contradicts its
            position.
    """

    table: pd.DataFrame
    keypoints: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        table = _check_table(self.table)
        appeared = tuple(dict.fromkeys(table["keypoint"]))
        names = tuple(self.keypoints) or appeared
        unknown = [name for name in appeared if name not in names]
        if unknown:
            raise LabelError(f"Labels hold key points ({', '.join(unknown)}) that are not among {', '.join(names)}.")
        if len(set(names)) < len(names):
            raise LabelError(f"Key points of labels must have different names, got {', '.join(names)}.")
        object.__setattr__(self, "table", table)
        object.__setattr__(self, "keypoints", names)

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        frames = len(self.table.drop_duplicates(["recording", "view", "frame"]))
        return f"Labels({len(self)} points of {len(self.keypoints)} key points in {frames} pictures)"

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the views in order of appearance."""
        return tuple(dict.fromkeys(self.table["view"]))

    @property
    def recordings(self) -> tuple[str, ...]:
        """Names of the recordings in order of appearance."""
        return tuple(dict.fromkeys(self.table["recording"]))

    @property
    def individuals(self) -> tuple[str, ...]:
        """Names of the individuals in order of appearance."""
        return tuple(dict.fromkeys(self.table["individual"]))

    def select(self, view: str | None = None, recording: str | None = None) -> Labels:
        """The labels of one view, one recording, or both; the key points stay. Nothing found gives empty Labels."""
        kept = np.ones(len(self.table), dtype=bool)
        if view is not None:
            kept &= (self.table["view"] == view).to_numpy()
        if recording is not None:
            kept &= (self.table["recording"] == recording).to_numpy()
        return Labels(self.table[kept], self.keypoints)

    def frames(self, view: str) -> pd.DataFrame:
        """The pictures of a view that have rows: columns recording and frame, each once, in order of appearance."""
        rows = self.table[self.table["view"] == view]
        return rows[["recording", "frame"]].drop_duplicates().reset_index(drop=True)

    def points(
        self, view: str, keypoints: Sequence[str] | None = None, individual: str | None = None
    ) -> tuple[pd.DataFrame, npt.NDArray[np.float64], npt.NDArray[np.str_]]:
        """The labels of a view as arrays.

        Args:
            view: name of the view.
            keypoints: names in the order wanted; by default all.
            individual: whose; may be left out where there is only one.

        Returns:
            The pictures (as of `frames`), xy (picture, keypoint, 2) px with NaN where there is no position, and the
            states (picture, keypoint); a point without a row is unlabelled.

        Raises:
            DataError: no such key point, or several individuals and none was named.
        """
        names = tuple(self.keypoints if keypoints is None else keypoints)
        unknown = [name for name in names if name not in self.keypoints]
        if unknown:
            raise DataError(f"Labels hold no key point {', '.join(unknown)}; they hold {', '.join(self.keypoints)}.")
        rows = self.table[self.table["view"] == view]
        owners = tuple(dict.fromkeys(rows["individual"]))
        if individual is None and len(owners) > 1:
            raise DataError(f"The labels of view {view} are of several individuals ({', '.join(owners)}); name one.")
        frames = self.frames(view)
        if individual is not None:
            rows = rows[rows["individual"] == individual]
        rows = rows[rows["keypoint"].isin(names)]
        xy = np.full((len(frames), len(names), 2), np.nan)
        state = np.full((len(frames), len(names)), "unlabelled", dtype="<U10")
        pictures = pd.MultiIndex.from_frame(frames)
        place = pictures.get_indexer(pd.MultiIndex.from_frame(rows[["recording", "frame"]]))
        column = pd.Index(names).get_indexer(pd.Index(rows["keypoint"]))
        xy[place, column] = rows[["x", "y"]].to_numpy(dtype=np.float64)
        state[place, column] = rows["state"].to_numpy(dtype=str)
        return frames, xy, state

    def merge(self, other: Labels, replace: bool = True) -> Labels:
        """These labels and the other's; where both have a point, the other's holds if `replace`, else this one's."""
        both = pd.concat([self.table, other.table], ignore_index=True)
        places = both[list(KEY)].drop_duplicates()
        kept = both.drop_duplicates(list(KEY), keep="last" if replace else "first")
        ordered = places.merge(kept, on=list(KEY), how="left")
        return Labels(ordered, tuple(dict.fromkeys((*self.keypoints, *other.keypoints))))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a CSV (UTF-8) whole or not at all; positions keep every digit."""
        with atomic_path(path) as temporary:
            self.table.assign(schema_version=SCHEMA_VERSION).to_csv(temporary, index=False, lineterminator="\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str], keypoints: Sequence[str] = ()) -> Labels:
        """Read what `save` wrote, or a table with the same columns made elsewhere.

        Raises:
            FormatError: the file is missing, is no such table, or is of a newer schema.
        """
        place = Path(path)
        rows = read_rows(place)
        table = pd.DataFrame(rows.columns(), dtype=object)
        for name in set(table.columns) & {"x", "y"}:
            table[name] = [rows.decimal(cell) for cell in table[name]]
        if "schema_version" in table:
            for version in table["schema_version"].unique().tolist():
                check_schema(whole_number(version) or version, place)
            table = table.drop(columns="schema_version")
        try:
            return cls(table, tuple(keypoints))
        except LabelError as error:
            raise FormatError(f"{place}: {error}") from error


def empty_labels(keypoints: Sequence[str] = ()) -> Labels:
    """Labels without a row."""
    return Labels(pd.DataFrame({name: [] for name in COLUMNS}), tuple(keypoints))


def labels_from_points(
    recording: str,
    view: str,
    frames: npt.ArrayLike,
    xy: npt.ArrayLike,
    keypoints: Sequence[str],
    *,
    state: npt.ArrayLike | None = None,
    individual: str = "individual_0",
    who: str = "",
    when: str = "",
) -> Labels:
    """Labels from arrays.

    Args:
        recording: name of the recording.
        view: name of the view.
        frames: (n,) frame numbers.
        xy: (n, keypoint, 2) px; NaN where there is no position.
        keypoints: names.
        state: (n, keypoint) states; by default visible where there is a position, else absent.
        individual: whose points these are.
        who: the person or tool.
        when: ISO 8601.

    Raises:
        DataError: shapes that do not go together.
        LabelError: as of Labels.
    """
    numbers = np.asarray(frames)
    points = np.asarray(xy, dtype=np.float64)
    expected = (len(numbers), len(keypoints), 2)
    if points.shape != expected:
        raise DataError(f"xy must have the shape (frame, keypoint, 2) = {expected}, got {points.shape}.")
    states = np.where(np.isfinite(points).all(-1), "visible", "absent") if state is None else np.asarray(state)
    if states.shape != expected[:2]:
        raise DataError(f"state must have the shape (frame, keypoint) = {expected[:2]}, got {states.shape}.")
    table = pd.DataFrame(
        {
            "recording": recording,
            "view": view,
            "frame": np.repeat(numbers, len(keypoints)),
            "individual": individual,
            "keypoint": list(keypoints) * len(numbers),
            "x": points[..., 0].ravel(),
            "y": points[..., 1].ravel(),
            "state": states.ravel().tolist(),
            "who": who,
            "when": when,
        }
    )
    return Labels(table, tuple(keypoints))


def picture_path(folder: str | os.PathLike[str], recording: str, view: str, frame: int) -> Path:
    """Where the picture of a labelled frame is kept: folder/recording/view/000123.png.

    Raises:
        DataError: the recording's or the view's name would lead out of the folder.
    """
    return path_inside(folder, recording, view, f"{frame:06d}.png")


def _check_table(given: pd.DataFrame) -> pd.DataFrame:
    """A clean copy of the table: known columns, right types, no contradictions."""
    table = given.copy()
    for name, filling in (("individual", "individual_0"), ("who", ""), ("when", "")):
        if name not in table:
            table[name] = filling
    missing = [name for name in COLUMNS if name not in table]
    surplus = [str(name) for name in table.columns if name not in COLUMNS]
    if missing or surplus:
        found = f"lacks {', '.join(missing)}" if missing else f"has the unknown columns {', '.join(surplus)}"
        raise LabelError(f"A table of labels has the columns {', '.join(COLUMNS)}; this one {found}.")
    table = table[list(COLUMNS)].reset_index(drop=True)
    for name in _TEXTS:
        _check_rows(table, table[name].isna(), f"{name} is empty")
        table[name] = table[name].astype(str).astype(object)
    for name in _NAMES:
        _check_rows(table, table[name].str.strip() == "", f"{name} is empty")
    for name in ("x", "y"):
        numbers = np.array([_number(cell) for cell in table[name]], dtype=np.float64)
        given_cell = (table[name].notna() & (table[name] != "")).to_numpy()
        _check_rows(table, np.isnan(numbers) & given_cell, f"{name} is not a number")
        table[name] = numbers
    frames = [_frame_number(cell) for cell in table["frame"]]
    _check_rows(table, [frame is None for frame in frames], "frame must be a whole number from 0 on, of 64 bits")
    table["frame"] = np.array(frames, dtype=np.int64)
    _check_rows(table, ~table["state"].isin(STATES), f"the state must be one of {', '.join(STATES)}")
    _check_rows(table, np.isinf(table["x"]) | np.isinf(table["y"]), "the position is infinite")
    far = (table["x"].abs() > MOST_PX) | (table["y"].abs() > MOST_PX)
    _check_rows(table, far, "the position is far outside any picture (in px)")
    _check_rows(table, table["x"].isna() != table["y"].isna(), "only one of x and y is given")
    placed = table["x"].notna()
    _check_rows(table, (table["state"] == "visible") & ~placed, "a visible point needs a position")
    nowhere = table["state"].isin(["absent", "unlabelled"])
    _check_rows(table, nowhere & placed, "an absent or unlabelled point cannot have a position")
    _check_rows(table, table.duplicated(list(KEY)), "the point stands twice")
    return table


def _number(cell: Any) -> float:
    """A cell as a number, NaN where it is none; cell by cell, for pandas may read the last digit otherwise."""
    try:
        return float(cell)
    except (TypeError, ValueError):
        return float("nan")


def _frame_number(cell: Any) -> int | None:
    """A cell as an exact frame number ("7", 7, 7.0, "7.0"), None where it is none."""
    try:
        number = int(cell) if isinstance(cell, str | int | np.integer) else _whole(cell)
    except ValueError:
        number = _whole(cell)
    return number if number is not None and 0 <= number < 2**63 else None


def _whole(cell: Any) -> int | None:
    value = _number(cell)
    return int(value) if value % 1 == 0 and abs(value) < _EXACT else None


def _check_rows(table: pd.DataFrame, wrong: Any, problem: str) -> None:
    rows = np.flatnonzero(np.asarray(wrong, dtype=bool))
    if len(rows):
        where = ", ".join(f"{name} {table[name].iloc[rows[0]]!s}" for name in (*KEY, "x", "y", "state"))
        more = f" ({len(rows) - 1} more rows have the same problem)" if len(rows) > 1 else ""
        raise LabelError(f"Labels, row {rows[0] + 1}: {problem}: {where}{more}.")


@dataclass(frozen=True)
class LabelProblem:
    """One label, or pair of labels, that looks like a slip.

    Attributes:
        code: "outside" (of the picture), "doubled" (two key points on one spot), "swapped" (left and right), "origin"
            (at (0, 0)) or "repeated" (on the same spot in several pictures); of the last two one for each key point, at
            the first of its frames.
        text: the same in words.
    """

    recording: str
    view: str
    frame: int
    individual: str
    keypoint: str
    code: str
    text: str


def check_labels(
    labels: Labels, sizes: Mapping[str, tuple[int, int]] | None = None, skeleton: Skeleton | None = None
) -> list[LabelProblem]:
    """Look for slips of the hand. A problem found is worth a look; it need not be wrong.

    Args:
        labels: what to check.
        sizes: (width, height) px of each view's pictures; views without one are not checked for points outside.
        skeleton: its left/right pairs are checked for swaps; without it the pairs are guessed from the names.

    Returns:
        Problems in the order of the pictures.
    """
    pairs = guess_pairs(labels.keypoints) if skeleton is None else skeleton.pairs
    problems: list[LabelProblem] = []
    for view in labels.views:
        size = None if sizes is None else sizes.get(view)
        for individual in labels.individuals:
            frames, xy, _ = labels.points(view, individual=individual)
            places = [(str(recording), int(frame)) for recording, frame in frames.itertuples(index=False)]
            at_origin = (xy == 0).all(-1)
            found: list[_Found] = []
            rows_of = {
                recording: np.array(
                    sorted((i for i, place in enumerate(places) if place[0] == recording), key=lambda i: places[i][1]),
                    dtype=np.int64,
                )
                for recording in labels.recordings
            }
            for rows in rows_of.values():
                frames_here = [places[i][1] for i in rows]
                repeats = _find_repeated(labels.keypoints, xy[rows], frames_here)
                found += [(int(rows[i]), name, code, text) for i, name, code, text in repeats]
            xy[at_origin] = np.nan
            found += [*_find_outside(labels.keypoints, xy, size), *_find_doubled(labels.keypoints, xy)]
            for rows in rows_of.values():
                swaps = _find_swapped(labels.keypoints, pairs, xy[rows])
                found += [(int(rows[i]), name, code, text) for i, name, code, text in swaps]
            for row, keypoint, code, text in sorted(found, key=lambda problem: problem[0]):
                recording, frame = places[row]
                where = f"{recording}, view {view}, frame {frame}"
                problems.append(LabelProblem(recording, view, frame, individual, keypoint, code, f"{where}: {text}"))
    return problems


_Found = tuple[int, str, str, str]
_SAME_SPOT_PX = 0.5
_REPEATED = 3  # pictures with a point on exactly the same spot that are worth a word
_NEIGHBOURS = 2  # labelled frames to look at on either side
_CLOSER = 0.5  # swapped points must be nearer to a neighbour's than this share of the distance as they stand


def _find_outside(names: Sequence[str], xy: npt.NDArray[np.float64], size: tuple[int, int] | None) -> list[_Found]:
    if size is None:
        return []
    width, height = size
    low, high = np.array([-0.5, -0.5]), np.array([width - 0.5, height - 0.5])
    outside = ((xy < low) | (xy > high)).any(-1)
    return [
        (int(i), names[k], "outside", f"{names[k]} at {_spot(xy[i, k])} is outside the {width}x{height} picture")
        for i, k in np.argwhere(outside)
    ]


def _spot(point: npt.NDArray[np.float64]) -> str:
    return f"({point[0]:.1f}, {point[1]:.1f})"


def _find_repeated(names: Sequence[str], xy: npt.NDArray[np.float64], frames: Sequence[int]) -> list[_Found]:
    """Key points at (0, 0), and those on exactly the same spot in several pictures of one recording.

    On whole pixels, to which some programs round, only a spot of more than half of the pictures counts: an animal may
    hold still.
    """
    found: list[_Found] = []
    for k, name in enumerate(names):
        known = np.flatnonzero(np.isfinite(xy[:, k]).all(-1))
        spots, inverse, counts = np.unique(xy[known, k], axis=0, return_inverse=True, return_counts=True)
        for spot, (point, count) in enumerate(zip(spots, counts.tolist(), strict=True)):
            rows = known[inverse.ravel() == spot]
            listed = ", ".join(str(frames[i]) for i in rows[:5]) + (", ..." if count > 5 else "")
            told = f"in {count} of {len(known)} pictures (frames {listed})"
            if not point.any():
                text = (
                    f"{name} is at (0, 0) {told}: another program's way to say that it is not there? Empty these cells "
                    "and bring the labels again (--replace)"
                )
                found.append((int(rows[0]), name, "origin", text))
            elif count >= _REPEATED and ((point % 1).any() or count * 2 > len(known)):
                text = f"{name} lies on exactly the same spot {_spot(point)} {told}: copied from picture to picture?"
                found.append((int(rows[0]), name, "repeated", text))
    return found


def _find_doubled(names: Sequence[str], xy: npt.NDArray[np.float64]) -> list[_Found]:
    apart = np.linalg.norm(xy[:, :, None] - xy[:, None], axis=-1)
    same = np.triu(apart <= _SAME_SPOT_PX, k=1)
    return [
        (int(i), names[b], "doubled", f"{names[a]} and {names[b]} lie on the same spot {_spot(xy[i, a])}")
        for i, a, b in np.argwhere(same)
    ]


def _find_swapped(names: Sequence[str], pairs: Sequence[tuple[str, str]], xy: npt.NDArray[np.float64]) -> list[_Found]:
    """Pairs that would lie much closer to those of the nearest labelled frames with left and right exchanged.

    The other points' common movement (a similarity, if there are two of them) is taken off each neighbour first: a turn
    of the animal is no swap. A frame is reported if more than half of its neighbours (up to two on either side) say so:
    a swapped frame then does not make its neighbours suspect.
    """
    found: list[_Found] = []
    for left, right in pairs:
        sides = [names.index(left), names.index(right)]
        others = np.array([k for k in range(len(names)) if k not in sides], dtype=np.int64)
        known = np.flatnonzero(np.isfinite(xy[:, sides]).all((-1, -2)))
        for place, row in enumerate(known):
            around = [*known[max(0, place - _NEIGHBOURS) : place], *known[place + 1 : place + 1 + _NEIGHBOURS]]
            votes = sum(_is_closer_swapped(xy[row], xy[near], sides, others) for near in around)
            if votes * 2 > len(around):
                text = f"{left} and {right} look exchanged beside {votes} of {len(around)} labelled neighbours"
                found.append((int(row), left, "swapped", text))
    return found


def _is_closer_swapped(
    here: npt.NDArray[np.float64], near: npt.NDArray[np.float64], sides: list[int], others: npt.NDArray[np.int64]
) -> bool:
    common = others[np.isfinite(here[others]).all(-1) & np.isfinite(near[others]).all(-1)]
    moved = near[sides] @ np.array([1, 1j])
    if len(common) >= 2:
        # the similarity z -> a z + b of the complex plane that carries the neighbour's other points onto these
        source, target = near[common] @ np.array([1, 1j]), here[common] @ np.array([1, 1j])
        spread = source - source.mean()
        weight = float((np.abs(spread) ** 2).sum())
        if weight > 0:
            turn = (spread.conj() * (target - target.mean())).sum() / weight
            moved = turn * (moved - source.mean()) + target.mean()
    points = here[sides] @ np.array([1, 1j])
    kept, swapped = np.abs(points - moved).sum(), np.abs(points[::-1] - moved).sum()
    return bool(swapped < _CLOSER * kept)
