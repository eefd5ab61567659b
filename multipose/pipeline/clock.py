"""The rig's clock: which frame of each view belongs to which moment.

Without a statement all views must have the same number of frames, and frame i of one belongs to frame i of the others.
Offsets say which frame of a view falls on the rig's time 0. Timestamps (files of the manifest, or the videos' own where
their rate varies) match each moment of the view that ran longest with the nearest frame of the others. Nothing is cut
off: where a view has no frame its index is -1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from multipose.errors import ProjectError
from multipose.project import Recording
from multipose.video import FrameSource

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_MOST_IDLE = 1_000_000  # frames between views that offsets may leave without any; more is a slip, and costs memory
_SAME_RATE = 1e-3  # frame rates that differ by less than this share are one rate, rounded differently by the writers


@dataclass(frozen=True, eq=False)
class Clock:
    """Which frame of each view belongs to which moment.

    Args:
        views: in the order of the first axis.
        index: (view, time) place of the frame in the view's source, -1 where it has none.
        time: (time,) seconds; the number of the frame where no rate is known.
        fps: None where it is unknown or varies.
        rule: what the views were matched by, in words.
    """

    views: tuple[str, ...]
    index: Ints
    time: Floats
    fps: float | None
    rule: str


@dataclass(frozen=True, eq=False)
class Strip:
    """What the clock needs to know of a view's frames: how many, their steady rate if any, their times."""

    count: int
    fps: float | None = None
    times: Floats | None = None

    @classmethod
    def from_source(cls, source: FrameSource) -> Strip:
        known = len(source) > 0 and bool(np.isfinite(source.times).all())
        return cls(len(source), source.fps, source.times if known else None)

    @property
    def varies(self) -> bool:
        """True where the times are known but not steady."""
        return self.fps is None and self.times is not None


def check_overlap(recording: Recording, clock: Clock) -> None:
    """Raise ProjectError where no moment is in two views, so that nothing could be reconstructed."""
    if len(clock.views) > 1 and ((clock.index >= 0).sum(0) < 2).all():
        raise ProjectError(
            f"Recording {recording.name!r}: matched by {clock.rule}, no moment is in two views. Correct these."
        )


def set_clock(recording: Recording, strips: Mapping[str, Strip], stamps: Mapping[str, Floats]) -> Clock:
    """Match the frames of a recording's views.

    Args:
        strips: frames of each view.
        stamps: (frame,) seconds of each view that has a timestamp file.

    Raises:
        ProjectError: the counts differ without a statement, or the statements do not fit the frames.
    """
    views = tuple(strips)
    if stamps:
        return _match_times(recording, views, strips, stamps, "timestamp files")
    if recording.offsets:
        return _apply_offsets(recording, views, strips)
    if any(strip.varies for strip in strips.values()):
        times = {view: strip.times for view, strip in strips.items() if strip.times is not None}
        return _match_times(recording, views, strips, times, "the videos' own times, since a frame rate varies")
    counts = {view: strip.count for view, strip in strips.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{view} {count}" for view, count in counts.items())
        raise ProjectError(
            f"Recording {recording.name!r}: the views have different numbers of frames ({listed}), and nothing says "
            "how they belong together. Say it in recordings.csv: offset_<view> (its frame at the time 0; "
            "0 everywhere if all cameras began together) or timestamps_<view> (a text file with one time in seconds "
            "per frame)."
        )
    count = counts[views[0]]
    fps = _common_rate(strips)
    index = np.tile(np.arange(count), (len(views), 1))
    return Clock(views, index, np.arange(count) / (fps or 1.0), fps, "frame numbers")


def _apply_offsets(recording: Recording, views: tuple[str, ...], strips: Mapping[str, Strip]) -> Clock:
    offsets = {view: recording.offsets.get(view, 0) for view in views}
    start = min(-offset for offset in offsets.values())
    stop = max(strips[view].count - offset for view, offset in offsets.items())
    if stop - start > sum(strip.count for strip in strips.values()) + _MOST_IDLE:
        listed = ", ".join(f"{view} {offset} of {strips[view].count} frames" for view, offset in offsets.items())
        raise ProjectError(
            f"Recording {recording.name!r}: with the offsets in recordings.csv ({listed}) no moment is in two views, "
            "and they lie far apart. Correct them: offset_<view> is the view's frame at the time 0."
        )
    moments = np.arange(start, stop)
    index = np.stack([moments + offsets[view] for view in views])
    counts = np.array([strips[view].count for view in views])[:, None]
    index[(index < 0) | (index >= counts)] = -1
    fps = _common_rate(strips)
    rule = "offsets " + ", ".join(f"{view} {offset}" for view, offset in offsets.items())
    return Clock(views, index, moments / (fps or 1.0), fps, rule)


def _match_times(
    recording: Recording,
    views: tuple[str, ...],
    strips: Mapping[str, Strip],
    times: Mapping[str, Floats],
    rule: str,
) -> Clock:
    missing = [view for view in views if view not in times]
    if missing:
        raise ProjectError(
            f"Recording {recording.name!r}: views are matched by {rule}, but there are no times for "
            f"{', '.join(missing)}. Every view needs a file in its column timestamps_<view>."
        )
    for view in views:
        stamps, count = times[view], strips[view].count
        if stamps.shape != (count,):
            raise ProjectError(
                f"Recording {recording.name!r}, view {view!r}: {count} frames, but {stamps.size} timestamps."
            )
        if count == 0 or not np.isfinite(stamps).all() or (np.diff(stamps) <= 0).any():
            raise ProjectError(
                f"Recording {recording.name!r}, view {view!r}: timestamps must be numbers that increase from frame to "
                f"frame{_first_fault(stamps)}."
            )
    reference = max(views, key=lambda view: float(times[view][-1] - times[view][0]))
    moments = times[reference]
    reach = float(np.median(np.diff(moments))) / 2 if len(moments) > 1 else 0.0
    index = np.stack([_nearest(times[view], moments, reach) for view in views])
    return Clock(views, index, moments.astype(np.float64), None, rule)


def _nearest(stamps: Floats, moments: Floats, reach: float) -> Ints:
    """Place of the nearest stamp to each moment, -1 where it is farther than `reach`; no frame is used twice."""
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


def _common_rate(strips: Mapping[str, Strip]) -> float | None:
    """The frame rate that all views which state one agree on."""
    rates = [strip.fps for strip in strips.values() if strip.fps is not None]
    if not rates or max(rates) - min(rates) > _SAME_RATE * max(rates):
        return None
    return float(rates[0])
