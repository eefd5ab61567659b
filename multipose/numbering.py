"""Frame numbers from the names of images: which of a name's numbers counts frames is decided by the whole folder.

Names are parted into text and whole numbers, and compared:

- Numbers that are the same in all names (a camera, a date) say nothing.
- Year, month, day, hour, minute, second and a fraction that follow each other, or stand in one number of 14 digits and
  more, are one time; it counts in its finest unit since 1970.
- Of what remains, the frame's number tells all names apart and rises in the order in which the names sort. If several
  do, it is the one behind `frame`, `img`, `image` or `pic`, else the last one.

Nothing is ever counted anew: where no number fits, the name that stands in the way is refused.
"""

from __future__ import annotations

import calendar
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from multipose.errors import DataError

_MOST_DIGITS = 100
_LARGEST = 2**63 - 1
_COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})(\d*)")  # 20240305120000123
_DATES = ((4, 2, 2, 2, 2, 2), (8, 6), (14,))  # digits of the numbers that a date and time of day may be parted into
_MOST_PARTS = 7
_FRACTIONS = (3, 6, 9)  # digits of milli-, micro- and nanoseconds
_COUNTS_FRAMES = re.compile(r"(frame|img|image|pic|picture)[ _.-]*$", re.IGNORECASE)
_REMEDY = "Rename it, or take it out of there."


@dataclass(frozen=True, eq=False)
class Numbering:
    """The frame numbers of names.

    Args:
        numbers: (name,) exact whole numbers, all different.
        rule: what they were taken from, with an example.
        chosen: whether the names hold other numbers that vary too, so that the choice is worth telling.
    """

    numbers: npt.NDArray[np.int64]
    rule: str
    chosen: bool


@dataclass(frozen=True)
class _Candidate:
    """What may count frames: a column of the names' numbers, or several that make a time."""

    first: int
    values: tuple[int, ...]
    is_time: bool = False


def number_names(names: Sequence[str], where: str) -> Numbering:
    """The frame numbers of the names of images, without folders and suffixes.

    Args:
        names: all those of one folder or recording.
        where: the folder or file, for messages.

    Raises:
        DataError: a name holds no number or is made otherwise than the others, no number tells all names apart, or it
            has more than 64 bits.
    """
    parts = [re.split(r"(\d+)", name) for name in names]
    bare = [name for name, part in zip(names, parts, strict=True) if len(part) == 1]
    if bare:
        raise DataError(
            f"{where}: the name {bare[0]!r} holds no number, so its frame is not known "
            f"({len(bare)} of {len(names)} such). {_REMEDY}"
        )
    _check_alike(names, [tuple(part[::2]) for part in parts], where)
    digits = [part[1::2] for part in parts]
    columns = len(digits[0])
    for name, numbers in zip(names, digits, strict=True):
        if len(numbers) != columns:
            raise DataError(
                f"{where}: the names {names[0]!r} and {name!r} hold {columns} and {len(numbers)} numbers, so it is not "
                f"known which is a frame's. {_REMEDY}"
            )
    long = next((name for name, row in zip(names, digits, strict=True) if max(map(len, row)) > _MOST_DIGITS), None)
    if long is not None:
        raise DataError(f"{where}: the name {long[:40]!r}... holds a number of over {_MOST_DIGITS} digits. {_REMEDY}")
    texts = parts[0][::2]
    candidates = _candidates(digits)
    order = sorted(range(len(names)), key=lambda i: [int(number) for number in digits[i]])
    fitting = [item for item in candidates if _rises([item.values[i] for i in order])]
    if not fitting:
        raise DataError(_say_unfit(names, candidates, where))
    varying = [item for item in candidates if len(set(item.values)) > 1]
    chosen = next((item for item in fitting if _COUNTS_FRAMES.search(texts[item.first])), fitting[-1])
    if max(chosen.values) > _LARGEST:
        raise DataError(
            f"{where}: the number in the name {names[0]!r} has more than 64 bits. Rename the images by shorter numbers."
        )
    example = f"{names[0]}: {chosen.values[0]}"
    what = "the time" if chosen.is_time else f"number {chosen.first + 1} of {columns}" if columns > 1 else "the number"
    return Numbering(
        np.array(chosen.values, dtype=np.int64), f"{what} in the names ({example})", len(varying) > 1 or chosen.is_time
    )


def _check_alike(names: Sequence[str], texts: list[tuple[str, ...]], where: str) -> None:
    """Raise DataError where few names are made otherwise than most."""
    kinds = Counter(texts)
    usual, count = kinds.most_common(1)[0]
    if len(kinds) > 1 and count * 2 > len(names):
        odd = next(name for name, text in zip(names, texts, strict=True) if text != usual)
        like = next(name for name, text in zip(names, texts, strict=True) if text == usual)
        raise DataError(
            f"{where}: the name {odd!r} is made otherwise than {like!r} and {count - 1} others, so its number need not "
            f"be a frame's ({len(names) - count} of {len(names)} such). {_REMEDY}"
        )


def _candidates(rows: list[list[str]]) -> list[_Candidate]:
    """Times, and the numbers that are not part of one, in the order of the names."""
    n = len(rows[0])
    found: list[_Candidate] = []
    column = 0
    while column < n:
        for width in range(min(_MOST_PARTS, n - column), 0, -1):
            time = _read_times([row[column : column + width] for row in rows])
            if time is not None:
                found.append(_Candidate(column, time, is_time=True))
                column += width
                break
        else:
            found.append(_Candidate(column, tuple(int(row[column]) for row in rows)))
            column += 1
    return found


def _read_times(texts: list[list[str]]) -> tuple[int, ...] | None:
    """The times that numbers next to each other make in all names, None where they make none.

    A date and second that are the same in all names, with a number behind them, are when the recording began.
    """
    shapes = {tuple(map(len, text)) for text in texts}
    shape = next(iter(shapes))
    fraction = shape[-1] if shape[:-1] in _DATES and shape[-1] in _FRACTIONS else 0
    if len(shapes) > 1 or not (fraction or shape in _DATES or (len(shape) == 1 and shape[0] - 14 in _FRACTIONS)):
        return None
    if len(shape) == 1 and max(int(text[0]) for text in texts) <= _LARGEST:
        return None  # stays the number that it is
    if fraction and len({tuple(text[:-1]) for text in texts}) == 1:
        return None
    found = [_COMPACT.fullmatch("".join(text)) for text in texts]
    values = [_time([int(part) for part in match.groups()[:6]], match[7]) for match in found if match is not None]
    known = tuple(value for value in values if value is not None)
    return known if len(known) == len(texts) else None


def _time(parts: list[int], fraction: str) -> int | None:
    year, month, day, hour, minute, second = parts
    if not (1970 <= year < 2200 and 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 61):
        return None
    unit: int = 10 ** len(fraction)
    return calendar.timegm((year, month, day, hour, minute, second)) * unit + int(fraction or 0)


def _rises(values: Sequence[int]) -> bool:
    return all(a < b for a, b in itertools.pairwise(values))


def _say_unfit(names: Sequence[str], candidates: list[_Candidate], where: str) -> str:
    if len(candidates) == 1:
        doubled = Counter(candidates[0].values).most_common(1)[0][0]
        same = [name for name, value in zip(names, candidates[0].values, strict=True) if value == doubled]
        return f"{where}: the names {same[0]!r} and {same[1]!r} have the same number, {doubled}. {_REMEDY}"
    return (
        f"{where}: no number in the names ({names[0]!r}, {names[-1]!r}) tells all {len(names)} apart and rises in "
        "their order, so their frames are not known. Put each series into a folder of its own, or rename the images."
    )
