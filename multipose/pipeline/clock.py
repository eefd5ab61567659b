"""The rig's clock: which frame of each view belongs to which moment.

Frames are matched by their own numbers: those of a video count from 0, those of images stand in their names, those of
a table of key points in the table. Videos, and tables without gaps, must have equally many frames unless the recording
says how they belong together: offsets say which frame of a view falls on the rig's time 0. Timestamps (files of the
manifest, the videos' own where their rate varies, or those of tables with a time axis of their own) match each moment
with the nearest frame of every view. Nothing is cut off: where a view has no frame its index is -1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from multipose.errors import ProjectError
from multipose.project import TIME_UNITS, Recording
from multipose.sources import FrameSource, ImageFolder, View
from multipose.tracks import TimeUnit

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_SAME_RATE = 1e-3  # frame rates that differ by less than this share are one rate, rounded differently by the writers
_ONE_CLOCK = 1e-2  # ... by less than this, and with equal counts: one clock whose headers differ (29.97 and 30)
_SLOW = 5.0  # frames this many times farther apart than the video says: is the unit of the timestamps another?
_SLOWEST = 1.0  # s between frames, where no rate is known, above which the unit is asked for
_OWN_MOMENT = 0.75  # of the usual step: a frame farther than this from every moment makes one of its own
_WHOLE_FRAME = 0.05  # of a frame: times that miss frame / fps by more are a time axis of their own
_EXACT = 2.0**53  # float64 holds whole numbers up to here


@dataclass(frozen=True, eq=False)
class Clock:
    """Which frame of each view belongs to which moment.

    Args:
        views: in the order of the first axis.
        index: (view, time) place of the frame in the view's source or table, -1 where it has none.
        time: (time,) seconds; the number of the frame where no rate is known.
        fps: None where it is unknown or varies.
        rule: what the views were matched by, in words.
        time_unit: what `time` counts.
        notes: what a person should know of the matching.
    """

    views: tuple[str, ...]
    index: Ints
    time: Floats
    fps: float | None
    rule: str
    time_unit: TimeUnit = "frame"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Strip:
    """What the clock needs to know of a view's frames.

    Args:
        numbers: (frame,) the source's own numbers, ascending.
        count: how many frames the camera took; None where the numbers themselves tell which are missing.
        fps: their steady rate, if any.
        times: (frame,) seconds, where known.
        in_order: timestamp files have a line for each of these frames, whatever its number (images in a folder).
        notes: what a person should know of them.
    """

    numbers: Ints
    count: int | None
    fps: float | None = None
    times: Floats | None = None
    in_order: bool = False
    notes: tuple[str, ...] = ()

    @classmethod
    def counted(cls, count: int, fps: float | None = None, times: Floats | None = None) -> Strip:
        """Frames 0 to count - 1, as of a video."""
        return cls(np.arange(count), count, fps, times)

    @classmethod
    def from_source(cls, source: FrameSource) -> Strip:
        """The frames of a video, or images by the numbers in their names."""
        known = len(source) > 0 and bool(np.isfinite(source.times).all())
        times = source.times if known else None
        root = _root(source)
        if not isinstance(root, ImageFolder):
            return cls.counted(len(source), source.fps, times)
        notes = (f"{root.path}: frames are numbered by {root.numbering.rule}",) if root.numbering.chosen else ()
        return cls(source.frame_numbers, None, source.fps, times, True, notes)

    @classmethod
    def from_table(cls, table: xr.Dataset, path: Path, source: FrameSource | None) -> Strip:
        """The frames of a table of key points of one view, at the times of its video where that has any.

        Raises:
            ProjectError: the table has frames that its video of variable rate lacks, so that their times are unknown.
        """
        numbers = table["frame"].values[0].astype(np.int64)
        notes = tuple(str(note) for note in table.attrs.get("notes", ()))
        fps = table.attrs.get("fps")
        dense = bool((numbers == np.arange(len(numbers))).all())
        if source is None:
            own = _own_times(table, numbers)
            count = len(numbers) if dense and own is None else None
            return cls(numbers, count, fps if own is None else None, own, notes=notes)
        strip = cls.from_source(source)
        missing = np.setdiff1d(numbers, strip.numbers)
        if len(numbers) != len(strip.numbers) or len(missing):
            held = f"{len(numbers)} frames ({numbers[0]} to {numbers[-1]})" if len(numbers) else "no frame"
            notes += (
                f"{path} has {held}, {source.path} has {len(source)}: the table's are taken, by their numbers; what "
                "it lacks is unknown",
            )
        times = None
        if strip.varies and strip.times is not None:
            if len(missing):
                raise ProjectError(
                    f"{path} has frame {missing[0]}, but {source.path} has the frames {strip.numbers[0]} to "
                    f"{strip.numbers[-1]}, and their rate varies, so that its time is not known ({len(missing)} such). "
                    "Give the video that the table was made of."
                )
            times = strip.times[np.searchsorted(strip.numbers, numbers)]
        rate = None if times is not None else fps if fps is not None else strip.fps
        return cls(numbers, strip.count, rate, times, notes=notes)

    @property
    def varies(self) -> bool:
        """True where the times are known but not steady."""
        return self.fps is None and self.times is not None


def _root(source: FrameSource) -> FrameSource:
    return _root(source.source) if isinstance(source, View) else source


def _own_times(table: xr.Dataset, numbers: Ints) -> Floats | None:
    """A table's times in seconds, where they are others than its frame numbers say."""
    if table.attrs.get("time_unit", "frame") != "s" or not len(numbers):
        return None
    times = table["time"].values.astype(np.float64)
    fps = table.attrs.get("fps")
    even = fps is not None and np.abs(times * fps - numbers).max() < _WHOLE_FRAME
    return None if even else times


def check_overlap(recording: Recording, clock: Clock, strips: Mapping[str, Strip]) -> None:
    """Raise ProjectError where no moment is in two views, so that nothing could be reconstructed."""
    if len(clock.views) > 1 and ((clock.index >= 0).sum(0) < 2).all():
        reach = ", ".join(
            f"{view} {strip.numbers[0]} to {strip.numbers[-1]}" for view, strip in strips.items() if len(strip.numbers)
        )
        raise ProjectError(
            f"Recording {recording.name!r}: matched by {clock.rule}, no moment is in two views (frames: {reach}). "
            "Correct these, or say in recordings.csv how they belong together: offset_<view> or timestamps_<view>."
        )


def set_clock(recording: Recording, strips: Mapping[str, Strip], stamps: Mapping[str, Floats]) -> Clock:
    """Match the frames of a recording's views.

    Args:
        recording: whose offsets and unit of time hold.
        strips: frames of each view.
        stamps: seconds of each view that has a timestamp file, one for each frame.

    Raises:
        ProjectError: the counts differ without a statement, or the statements do not fit the frames.
    """
    if stamps:
        times = {view: _stamp(recording, view, strips[view], own) for view, own in stamps.items() if view in strips}
        return _match_times(recording, strips, times, "timestamp files")
    counts = {view: strip.count for view, strip in strips.items() if strip.count is not None}
    if len(set(counts.values())) > 1 and not recording.offsets:
        listed = ", ".join(f"{view} {count}" for view, count in counts.items())
        raise ProjectError(
            f"Recording {recording.name!r}: the views have different numbers of frames ({listed}), and nothing says "
            "how they belong together. Say it in `multipose add`, or in columns of recordings.csv: --offset VIEW=N, "
            "offset_<view> (its frame at the time 0; 0 everywhere if all cameras began together), or --timestamps "
            "VIEW=FILE, timestamps_<view> (a text file with one time in seconds per frame)."
        )
    if any(strip.varies for strip in strips.values()):
        rule = "the views' own times, since a frame rate varies"
        if recording.offsets:
            rule += f", from {_say_offsets(recording, strips)} on"
        known = {view: _since_offset(strip, recording.offsets.get(view, 0)) for view, strip in strips.items()}
        return _match_times(
            recording, strips, {view: times for view, times in known.items() if times is not None}, rule
        )
    return _match_numbers(recording, strips)


def _say_offsets(recording: Recording, strips: Mapping[str, Strip]) -> str:
    return "offsets " + ", ".join(f"{view} {recording.offsets.get(view, 0)}" for view in strips)


def _match_numbers(recording: Recording, strips: Mapping[str, Strip]) -> Clock:
    """Frames of one number, after the offsets, belong together."""
    shifted = {view: strip.numbers - recording.offsets.get(view, 0) for view, strip in strips.items()}
    moments = np.unique(np.concatenate(list(shifted.values())))
    index = np.stack([_find(numbers, moments) for numbers in shifted.values()])
    fps, notes = _common_rate(strips)
    if len(moments) and max(abs(int(moments[0])), abs(int(moments[-1]))) > _EXACT:
        notes = (*notes, f"times count from the first frame, {moments[0]}: as they stand the numbers are too large")
        moments = moments - moments[0]
    rule = _say_offsets(recording, strips) if recording.offsets else "frame numbers"
    unit: TimeUnit = "frame" if fps is None else "s"
    clock = Clock(tuple(strips), index, moments / (fps or 1.0), fps, rule, unit)
    return _with_notes(clock, strips, notes)


def _find(numbers: Ints, wanted: Ints) -> Ints:
    """Place of each wanted number among ascending ones, -1 where it is not there."""
    if not len(numbers):
        return np.full(len(wanted), -1, dtype=np.int64)
    at = np.minimum(np.searchsorted(numbers, wanted), len(numbers) - 1)
    return np.where(numbers[at] == wanted, at, -1).astype(np.int64)


def _with_notes(clock: Clock, strips: Mapping[str, Strip], notes: tuple[str, ...] = ()) -> Clock:
    """The clock with what a person should know: of the frames, of views with gaps, of views that share no moment."""
    told = [*notes, *(f"{view}: {note}" for view, strip in strips.items() for note in strip.notes)]
    there = clock.index >= 0
    if len(clock.views) > 1:
        shared = (there & (there.sum(0) > 1)).sum(1)
        for view, count, total in zip(clock.views, shared.tolist(), there.sum(1).tolist(), strict=True):
            if not count:
                reach = ", ".join(_say_reach(name, row, clock) for name, row in zip(clock.views, there, strict=True))
                told.append(f"0 of the {total} frames of {view} fall on a moment of another view ({reach})")
    if not there.all():
        listed = ", ".join(f"{view} {n}" for view, n in zip(clock.views, there.sum(1).tolist(), strict=True))
        told.append(f"of {len(clock.time)} moments the views have: {listed}")
    return Clock(clock.views, clock.index, clock.time, clock.fps, clock.rule, clock.time_unit, tuple(told))


def _say_reach(view: str, there: npt.NDArray[np.bool_], clock: Clock) -> str:
    times = clock.time[there]
    unit = " s" if clock.time_unit == "s" else ""
    return f"{view} from {times[0]:.10g} to {times[-1]:.10g}{unit}" if len(times) else f"{view} nowhere"


def _stamp(recording: Recording, view: str, strip: Strip, stamps: Floats) -> Floats:
    """(frame,) seconds of a view's frames from its timestamp file.

    Raises:
        ProjectError: there is another number of them, they do not increase, or their unit is in doubt.
    """
    where = f"Recording {recording.name!r}, view {view!r}"
    n, last = len(strip.numbers), int(strip.numbers[-1]) if len(strip.numbers) else -1
    in_order = strip.in_order and stamps.size == n
    fits = stamps.size == strip.count if strip.count is not None else stamps.size > last
    if not in_order and not (fits and last < stamps.size):
        told = f"{strip.count} frames" if strip.count is not None and last < strip.count else f"frames up to {last}"
        raise ProjectError(f"{where}: {told}, but {stamps.size} timestamps. There must be one for every frame.")
    if n == 0 or not np.isfinite(stamps).all() or (np.diff(stamps) <= 0).any():
        raise ProjectError(
            f"{where}: timestamps must be numbers that increase from frame to frame{_first_fault(stamps)}."
        )
    if not recording.time_unit:
        _check_unit(where, strip, stamps)
    return stamps if in_order else stamps[strip.numbers]


def _check_unit(where: str, strip: Strip, stamps: Floats) -> None:
    """Raise ProjectError where timestamps may be milli-, micro- or nanoseconds."""
    if len(stamps) < 2:
        return
    step = float(np.median(np.diff(stamps)))
    own = strip.times if strip.varies else None
    usual = 1 / strip.fps if strip.fps else float(np.median(np.diff(own))) if own is not None and len(own) > 1 else None
    if step <= (_SLOWEST if usual is None else _SLOW * usual):
        return
    likely = min(TIME_UNITS, key=lambda unit: abs(np.log(step / TIME_UNITS[unit] / (usual or 0.03))))
    said = "" if usual is None else f", where the video says {usual:.4g}"
    raise ProjectError(
        f"{where}: the timestamps are {step:.6g} apart as a rule{said} s. Say in which unit they are: --time-unit "
        f"{likely}, it seems, in `multipose add`, or the column time_unit of recordings.csv ({', '.join(TIME_UNITS)})."
    )


def _since_offset(strip: Strip, offset: int) -> Floats | None:
    """(frame,) seconds of a view's frames since the one that falls on time 0; None where they are not known."""
    if strip.times is None:
        return None if strip.fps is None else (strip.numbers - offset) / strip.fps
    if not offset:
        return strip.times
    step = float(np.median(np.diff(strip.times))) if len(strip.times) > 1 else 0.0
    numbers = strip.numbers.astype(np.float64)
    before = strip.times[0] + (offset - numbers[0]) * step  # of a frame before the first or after the last
    after = strip.times[-1] + (offset - numbers[-1]) * step
    at = before if offset < numbers[0] else after if offset > numbers[-1] else np.interp(offset, numbers, strip.times)
    return np.asarray(strip.times - at, dtype=np.float64)


def _match_times(recording: Recording, strips: Mapping[str, Strip], times: Mapping[str, Floats], rule: str) -> Clock:
    views = tuple(strips)
    missing = [view for view in views if view not in times]
    if missing:
        raise ProjectError(
            f"Recording {recording.name!r}: views are matched by {rule}, but there are no times for "
            f"{', '.join(missing)}. Every view needs a file in its column timestamps_<view>."
        )
    filled = {view: stamps for view, stamps in times.items() if len(stamps)}
    by_length = sorted(filled, key=lambda view: (filled[view][0] - filled[view][-1], -len(filled[view])))
    moments = filled[by_length[0]].astype(np.float64)
    step = float(np.median(np.diff(moments))) if len(moments) > 1 else 0.0
    for view in by_length[1:]:  # what the view that ran longest lost, or did not see, is not dropped
        moments = _add_moments(moments, filled[view], _OWN_MOMENT * step)
    index = np.stack([_nearest(times[view], moments, step / 2) for view in views])
    return _with_notes(Clock(views, index, moments, None, rule, "s"), strips)


def _add_moments(moments: Floats, stamps: Floats, apart: float) -> Floats:
    """The moments and the stamps that are farther than `apart` from all of them and from each other."""
    right = np.clip(np.searchsorted(moments, stamps), 0, len(moments) - 1)
    distance = np.minimum(np.abs(moments[right] - stamps), np.abs(moments[np.clip(right - 1, 0, None)] - stamps))
    added: list[float] = []
    for stamp in stamps[distance > apart].tolist():
        if not added or stamp - added[-1] > apart:
            added.append(stamp)
    return np.sort(np.concatenate([moments, added]))


def _nearest(stamps: Floats, moments: Floats, reach: float) -> Ints:
    """Place of the nearest stamp to each moment, -1 where it is farther than `reach`; no frame is used twice."""
    if not len(stamps):
        return np.full(len(moments), -1, dtype=np.int64)
    right = np.clip(np.searchsorted(stamps, moments), 0, len(stamps) - 1)
    left = np.clip(right - 1, 0, None)
    nearest = np.where(np.abs(stamps[left] - moments) <= np.abs(stamps[right] - moments), left, right)
    distance = np.abs(stamps[nearest] - moments)
    best = np.full(len(stamps), np.inf)
    np.minimum.at(best, nearest, distance)
    taken = (distance <= reach) & (distance <= best[nearest])
    chosen = np.where(taken, nearest, -1)
    doubled = np.flatnonzero((chosen[1:] == chosen[:-1]) & (chosen[1:] >= 0)) + 1  # a frame exactly between two moments
    chosen[doubled] = -1
    return chosen.astype(np.int64)


def _first_fault(stamps: Floats) -> str:
    wrong = np.flatnonzero(~np.isfinite(stamps[1:]) | (np.diff(stamps) <= 0))
    return f" (frame {int(wrong[0]) + 1}: {stamps[wrong[0] + 1]})" if wrong.size else ""


def _common_rate(strips: Mapping[str, Strip]) -> tuple[float | None, tuple[str, ...]]:
    """The frame rate of all views that state one, and what is to be said of it."""
    rates = {view: float(strip.fps) for view, strip in strips.items() if strip.fps is not None}
    if not rates:
        return None, ()
    low, high = min(rates.values()), max(rates.values())
    if high - low <= _SAME_RATE * high:
        return next(iter(rates.values())), ()
    listed = ", ".join(f"{view} {rate:.6g}" for view, rate in rates.items())
    if high - low <= _ONE_CLOCK * high:
        common = Counter(sorted(rates.values(), reverse=True)).most_common(1)[0][0]
        return common, (f"the views say {listed} frames per second: taken as one clock of {common:.6g}",)
    return None, (
        f"the views say {listed} frames per second: no common rate is known, so times count frames. Say the times of "
        "the frames, timestamps_<view> in recordings.csv",
    )
