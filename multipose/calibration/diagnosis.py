"""Why a view shows no board: the usual mistakes are tried on some of its pictures, and the one that works is named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from multipose.board import AprilGrid, Board, CharucoBoard, Chessboard
from multipose.calibration.patterns import MarkerSearch, board_finder, grid_search
from multipose.calibration.refinement import local_scales
from multipose.opencv import cv2
from multipose.prints import dictionary_names, marker_dictionary

Gray: TypeAlias = NDArray[np.uint8]

_ENLARGED = 3
_REDUCED = 4
# Drawn boards in pictures of 640 x 480 were read wholly with cells of 2 px and more, in part with 1.75 px.
_SMALLEST_CELL_PX = 2.0
_UNIFORM_SD = 4.0
_FAR_MORE = 3
# Markers of one dictionary are contained in the larger ones of its family, so only the largest of each family is tried.
_FAMILIES = ("4X4_1000", "5X5_1000", "6X6_1000", "7X7_1000", "ARUCO_ORIGINAL", "APRILTAG_16H5", "APRILTAG_25H9",
             "APRILTAG_36H10", "APRILTAG_36H11", "ARUCO_MIP_36H12")  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Trial:
    """Something else to look for. advice: what to do if it works, with the number of pictures still to be put in as
    {count}.
    """

    board: Board
    advice: str
    change: Callable[[Gray], Gray] | None = None


def shows_negative(board: Board, pictures: Sequence[Gray]) -> bool:
    """Whether some of the gray pictures show the board with black and white exchanged.

    A chessboard is the same board then, and is found anyway.
    """
    trial = _Trial(board, "", invert)
    return not isinstance(board, Chessboard) and any(_finds(trial, picture) for picture in pictures)


def invert(picture: Gray) -> Gray:
    """The negative of a gray picture."""
    return np.asarray(255 - picture, dtype=np.uint8)


def diagnose(board: Board, pictures: Sequence[Gray], reasons: Sequence[str], found: int = 0) -> str:
    """One or two sentences on why none, or few, of a view's pictures show the board, and what would work.

    pictures: some of the view's, gray.
    reasons: what was said of the pictures of the view, "" left out.
    found: how many pictures of the view show the board. If there are any, they may do so by chance: then something else
        is only named if it is seen in most of the pictures that were tried and far more often, and else the answer is
        "".
    """
    n = len(pictures)
    said = max(set(reasons), key=list(reasons).count) if reasons else "no pictures were looked at"
    if found:
        return _diagnose_few(board, pictures, found)
    found_nothing = f"No board was found ({said})"
    if not n:
        return f"{found_nothing}."
    if max(float(picture.std()) for picture in pictures) < _UNIFORM_SD:
        level = np.mean([picture.mean() for picture in pictures])
        return (
            f"{found_nothing}: the pictures are nearly uniform, with a mean gray of {level:.0f}. Is the camera's cap "
            "on, or the light off?"
        )
    tried = []
    for kind, trials in _trials(board, pictures):
        count, advice = _best_trial(trials, pictures)
        if count:
            return f"{found_nothing}. {advice}"
        tried.append(kind)
    if isinstance(board, AprilGrid):
        numbers = [number for number, count in _count_markers(board, pictures).items() if count >= min(2, n)]
        if numbers:
            return f"{found_nothing}. {_say_foreign(board, sorted(numbers), board.first, board.n_tags)}"
    if isinstance(board, CharucoBoard):
        unread = _unread_markers(board, pictures)
        if unread:
            return f"{found_nothing}. {unread}"
        tried.append("a plain chessboard")
        numbers = _foreign_markers(board, pictures)
        if numbers:
            return f"{found_nothing}. {_say_foreign(board, numbers, 0, board.sides * board.n_markers)}"
    return (
        f"{found_nothing}. On {n} of its pictures these were tried in vain: {', '.join(tried)}. Look at the "
        "pictures: the board must lie wholly in "
        "the picture (a chessboard with a white rim), flat, sharp and without glare."
    )


def _diagnose_few(board: Board, pictures: Sequence[Gray], found: int) -> str:
    """What to say of a view with few boards: another board that is seen far more often, or ""."""
    own = sum(_finds(_Trial(board, ""), picture) for picture in pictures)
    for _, trials in _trials(board, pictures):
        count, advice = _best_trial(trials, pictures)
        if count >= max(2, _FAR_MORE * own) and count > len(pictures) / 2:
            return f"Only {found} pictures pass for the board that was described, by chance it seems. {advice}"
    return ""


def _best_trial(trials: Sequence[_Trial], pictures: Sequence[Gray]) -> tuple[int, str]:
    """In how many pictures the best of the trials finds its board, and its advice; (0, "") if none finds any."""
    counts = [sum(_finds(trial, picture) for picture in pictures) for trial in trials]
    most = max(counts, default=0)
    if not most:
        return 0, ""
    equal = [trial for trial, count in zip(trials, counts, strict=True) if count == most]
    best = min(equal, key=lambda trial: _markers_missed(trial.board, pictures))
    return most, best.advice.format(count=f"{most} of {len(pictures)} pictures tried")


def _say_foreign(board: CharucoBoard | AprilGrid, numbers: Sequence[int], first: int, count: int) -> str:
    shown = ", ".join(map(str, numbers[:8])) + (" ..." if len(numbers) > 8 else "")
    return (
        f"There are markers of {board.dictionary} with other numbers ({shown}) than this board's, {first} to "
        f"{first + count - 1}, or in other places: it is another board, or one printed from another first number."
    )


def _markers_missed(board: Board, pictures: Sequence[Gray]) -> int:
    """How far the number of a board's markers is from that of the markers seen; 0 for a chessboard."""
    if isinstance(board, Chessboard):
        return 0
    first, n = (board.first, board.n_tags) if isinstance(board, AprilGrid) else (0, board.sides * board.n_markers)
    return abs(max(_count_markers(board, pictures), default=-1) + 1 - first - n)


def _count_markers(board: CharucoBoard | AprilGrid, pictures: Sequence[Gray]) -> Counter[int]:
    """In how many of the pictures each marker of the board's dictionary is, by its number."""
    if isinstance(board, AprilGrid):
        search = grid_search(board, whole=True)
    else:
        search = MarkerSearch(board.dictionary, 0, _largest(board.dictionary))
    counts: Counter[int] = Counter()
    for picture in pictures:
        counts.update(int(number) for number in search.find(picture)[1])
    return counts


def _finds(trial: _Trial, picture: Gray) -> bool:
    changed = picture if trial.change is None else trial.change(picture)
    sight = board_finder(trial.board).find(changed)
    seen = np.isfinite(sight.px).all(-1)
    if isinstance(trial.board, Chessboard):
        return bool(seen.all())
    # A wrong layout may still give some corners between markers that happen to agree: ask for a good part of a board.
    return bool(seen.sum() >= max(6, 0.3 * trial.board.n_corners / trial.board.sides))


def _foreign_markers(board: CharucoBoard, pictures: Sequence[Gray]) -> list[int]:
    """Numbers of markers of the board's dictionary that are not on the board and are in two pictures or more (in the
    only one).
    """
    counts = _count_markers(board, pictures)
    needed = min(2, len(pictures))
    return sorted(
        number for number, count in counts.items() if count >= needed and number >= board.sides * board.n_markers
    )


def _trials(board: Board, pictures: Sequence[Gray]) -> Iterator[tuple[str, list[_Trial]]]:
    """Mistakes by kind, the likeliest first."""
    mirrored = "The view is mirrored: with the pictures flipped, {count} show the board. Say flip = true for this view."
    if isinstance(board, AprilGrid):
        yield "the mirrored picture", [_Trial(board, mirrored, _flip)]
        yield "other borders", _grid_borders(board)
        yield "other numbers of tags", _grid_sizes(board)
        yield "other first numbers", _grid_firsts(board, _count_markers(board, pictures))
        yield "other dictionaries", _grid_dictionaries(board)
        return
    if isinstance(board, CharucoBoard):
        yield "the mirrored picture", [_Trial(board, mirrored, _flip)]
        yield "the back of a two-sided board", _charuco_backs(board)
        yield "other numbers of squares, and the legacy pattern", _charuco_layouts(board)
        yield "other dictionaries", _dictionaries(board)
        return
    # Before other sizes: the squares around markers can pass for a chessboard, but nothing passes for markers.
    yield "ChArUco boards", _charuco_instead(board)
    yield "other numbers of inner corners", _chessboard_sizes(board)
    small = (
        f"The board is too small in the picture: enlarged {_ENLARGED} times, {{count}} show it. Bring it nearer, use a "
        "larger board, or do not scale the view down."
    )
    yield "enlarged pictures (board too small)", [_Trial(board, small, _enlarge)]
    blurred = (
        f"The pictures are blurred: at 1/{_REDUCED} of their resolution {{count}} show the board. Focus, light more, "
        "or move the board slower."
    )
    yield "reduced pictures (blur)", [_Trial(board, blurred, _reduce)]


def _unread_markers(board: CharucoBoard, pictures: Sequence[Gray]) -> str:
    """What to say if the squares of a ChArUco board are seen but no marker can be read; "" if no squares are seen."""
    squares = Chessboard(max(board.columns - 1, 3), max(board.rows - 1, 3), board.square, board.unit)
    finder = board_finder(squares)
    spacings = []
    for picture in pictures:
        for scale, changed in ((1, picture), (_ENLARGED, _enlarge(picture))):
            px = finder.find(changed).px
            if np.isfinite(px).all():
                spacings.append(float(np.median(local_scales(px, squares))) * squares.square / scale)
                break
    if not spacings:
        return ""
    spacing = float(np.median(spacings))
    cell = spacing * board.marker / board.square / (marker_dictionary(board.dictionary).markerSize + 2)
    seen = (
        f"{len(spacings)} of {len(pictures)} pictures tried show its squares, {spacing:.0f} px wide, but no marker can "
        "be read in them"
    )
    if cell < _SMALLEST_CELL_PX:
        return (
            f"The board is too small in the picture: {seen}, because a cell of a marker is only {cell:.1f} px wide; "
            f"{_SMALLEST_CELL_PX:g} or more are needed. Bring it nearer, use larger squares, or do not scale the view "
            "down."
        )
    return (
        f"{seen}. Either the board has none: then say that it is a chessboard of {squares.columns} x {squares.rows} "
        "inner corners; or the pictures are too blurred for them: focus, light more, or move the board slower."
    )


def _chessboard_sizes(board: Chessboard) -> list[_Trial]:
    c, r = board.columns, board.rows
    counted = (
        "{{count}} show a chessboard of {} x {} inner corners: its squares were counted. Give the inner corners, "
        "columns = {} and rows = {}."
    )
    other = "{{count}} show a chessboard of {} x {} inner corners. Give columns = {} and rows = {}."
    sizes = [(c - 1, r - 1, counted), (r - 1, c - 1, counted)]
    near = [(c + i, r + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    sizes += [(i, j, other) for i, j in near if (i, j) not in ((c, r), (c - 1, r - 1))]
    unique = {tuple(sorted(size)): (size, text) for *size, text in reversed(sizes)}
    return [
        _Trial(replace(board, columns=i, rows=j), text.format(i, j, i, j))
        for (i, j), text in reversed(unique.values())
        if min(i, j) >= 3 and {i, j} != {c, r}
    ]


def _charuco_backs(board: CharucoBoard) -> list[_Trial]:
    if board.sides == 2 or 2 * board.n_markers > _largest(board.dictionary):
        return []
    text = (
        "{count} show the back of a two-sided board. Say its thickness, the distance between its prints, as thickness "
        f"= ... in {board.unit}."
    )
    return [_Trial(replace(board, thickness=board.square), text)]


def _charuco_layouts(board: CharucoBoard) -> list[_Trial]:
    c, r = board.columns, board.rows
    trials = [
        _Trial(
            replace(board, legacy=not board.legacy),
            f"{{count}} show the board with the {'present' if board.legacy else 'legacy'} pattern. Say legacy = "
            f"{str(not board.legacy).lower()}.",
        )
    ]
    sizes = [(c + 1, r + 1), (r, c), (r + 1, c + 1), *((c + i, r + j) for i in (-1, 0, 1) for j in (-1, 0, 1))]
    for i, j in dict.fromkeys(sizes):
        if (i, j) == (c, r) or min(i, j) < 3 or board.sides * (i * j // 2) > _largest(board.dictionary):
            continue
        counted = ": its inner corners were counted" if (i, j) in ((c + 1, r + 1), (r + 1, c + 1)) else ""
        text = (
            f"{{count}} show a ChArUco board of {i} x {j} squares{counted}. Give the squares, columns = {i} and "
            f"rows = {j}."
        )
        trials.append(_Trial(replace(board, columns=i, rows=j), text))
    return trials


def _grid_sizes(board: AprilGrid) -> list[_Trial]:
    c, r = board.columns, board.rows
    trials = []
    for i, j in dict.fromkeys([(r, c), *((c + i, r + j) for i in (-1, 0, 1) for j in (-1, 0, 1))]):
        if (i, j) == (c, r) or min(i, j) < 2 or board.first + i * j > _largest(board.dictionary):
            continue
        text = f"{{count}} show a grid of {i} x {j} tags. Give the tags, columns = {i} and rows = {j}."
        trials.append(_Trial(replace(board, columns=i, rows=j), text))
    return trials


def _grid_borders(board: AprilGrid) -> list[_Trial]:
    return [
        _Trial(replace(board, border=border), f"{{count}} show tags with a border of {border}. Say border = {border}.")
        for border in (1, 2)
        if border != board.border
    ]


def _grid_firsts(board: AprilGrid, counts: Counter[int]) -> list[_Trial]:
    """Grids that hold all numbers seen: first those that begin at a multiple of their number of tags, as the boards of
    a series do, then those that begin with a number seen.
    """
    if not counts:
        return []
    low, high, n = min(counts), max(counts), board.n_tags
    firsts = [low // n * n, low]
    return [
        _Trial(
            replace(board, first=first), f"{{count}} show a grid whose tags begin with {first}. Say first = {first}."
        )
        for first in dict.fromkeys(firsts)
        if first != board.first and first <= low and high < first + n <= _largest(board.dictionary)
    ]


def _grid_dictionaries(board: AprilGrid) -> list[_Trial]:
    return [
        _Trial(
            replace(board, dictionary=name, border=border),
            f'{{count}} show the grid with tags of {name}. Say dictionary = "{name}" and border = {border}.',
        )
        for name in _FAMILIES
        for border in (1, 2)
        if name in dictionary_names()
        and name != board.dictionary.upper().removeprefix("DICT_")
        and _largest(name) >= board.first + board.n_tags
    ]


def _dictionaries(board: CharucoBoard) -> list[_Trial]:
    trials = []
    for name in _FAMILIES:
        needed = board.sides * board.n_markers
        known = name in dictionary_names() and _largest(name) >= needed
        if known and name.split("_")[0] != board.dictionary.upper().removeprefix("DICT_").split("_")[0]:
            text = (
                f"{{count}} show the board with markers of the dictionary family of {name}. Say dictionary = "
                f'"{_smallest(name, needed)}", or the larger one of the family that the board was made with.'
            )
            trials.append(_Trial(replace(board, dictionary=name), text))
    return trials


def _charuco_instead(board: Chessboard) -> list[_Trial]:
    trials = []
    for name in ("4X4_1000", "5X5_1000", "6X6_1000", "APRILTAG_36H11"):
        charuco = CharucoBoard(board.columns + 1, board.rows + 1, board.square, 0.75 * board.square, board.unit, name)
        smallest = _smallest(name, charuco.n_markers)
        text = (
            f"{{count}} show a ChArUco board of {charuco.columns} x {charuco.rows} squares with markers of {smallest}. "
            "Say that the board is a ChArUco "
            "board, and give the side of its markers."
        )
        trials.append(_Trial(charuco, text))
    return trials


def _smallest(dictionary: str, needed: int) -> str:
    """The smallest dictionary of a family (4X4_50 of 4X4_1000) with as many markers as needed."""
    family, _, count = dictionary.rpartition("_")
    if not count.isdecimal():
        return dictionary
    members = [name for name in dictionary_names() if name.rpartition("_")[0] == family and _largest(name) >= needed]
    return min(members, key=_largest)


def _largest(dictionary: str) -> int:
    return len(marker_dictionary(dictionary).bytesList)


def _flip(picture: Gray) -> Gray:
    return np.ascontiguousarray(picture[:, ::-1])


def _enlarge(picture: Gray) -> Gray:
    return np.asarray(
        cv2.resize(picture, None, fx=_ENLARGED, fy=_ENLARGED, interpolation=cv2.INTER_CUBIC), dtype=np.uint8
    )


def _reduce(picture: Gray) -> Gray:
    return np.asarray(
        cv2.resize(picture, None, fx=1 / _REDUCED, fy=1 / _REDUCED, interpolation=cv2.INTER_AREA), dtype=np.uint8
    )
