"""How frames of the views belong together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from multipose.errors import ProjectError
from multipose.pipeline.clock import Clock, Strip, check_overlap, set_clock
from multipose.project import Recording
from multipose.tracks import keypoints2d

PLAIN = Recording("day1", {"a": "a.mp4", "b": "b.mp4"})


def test_equal_counts_go_by_frame_number() -> None:
    clock = set_clock(PLAIN, {"a": Strip.counted(3, 50.0), "b": Strip.counted(3, 50.0)}, {})
    assert clock.index.tolist() == [[0, 1, 2], [0, 1, 2]]
    assert clock.time.tolist() == [0.0, 0.02, 0.04]
    assert clock.fps == 50.0


def test_unequal_counts_are_an_error_with_the_counts() -> None:
    with pytest.raises(ProjectError, match=r"'day1'.*a 300, b 299.*offset_<view>.*timestamps_<view>"):
        set_clock(PLAIN, {"a": Strip.counted(300), "b": Strip.counted(299)}, {})


def test_offsets_cut_nothing_off() -> None:
    shifted = Recording("x", PLAIN.videos, offsets={"b": 2})
    clock = set_clock(shifted, {"a": Strip.counted(3, 10.0), "b": Strip.counted(4, 10.0)}, {})
    assert clock.index.tolist() == [[-1, -1, 0, 1, 2], [0, 1, 2, 3, -1]]
    np.testing.assert_allclose(clock.time, [-0.2, -0.1, 0.0, 0.1, 0.2])


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(-9, 9)), min_size=1, max_size=4))
def test_offsets_use_every_frame_once(views: list[tuple[int, int]]) -> None:
    names = [f"v{i}" for i in range(len(views))]
    recording = Recording(
        "x", dict.fromkeys(names, "f"), offsets={n: o for n, (_, o) in zip(names, views, strict=True)}
    )
    clock = set_clock(recording, {n: Strip.counted(c) for n, (c, _) in zip(names, views, strict=True)}, {})
    for row, (count, offset) in zip(clock.index, views, strict=True):
        assert row[row >= 0].tolist() == list(range(count))
        if 0 <= offset < count:
            assert clock.time[row == offset].tolist() == [0.0]


def test_timestamps_match_the_nearest_frame() -> None:
    stamps = {"a": np.array([0.0, 0.1, 0.2, 0.3]), "b": np.array([0.098, 0.205, 0.9])}
    clock = set_clock(PLAIN, {"a": Strip.counted(4), "b": Strip.counted(3)}, stamps)
    assert clock.index.tolist() == [[-1, -1, -1], [0, 1, 2]] or clock.views == ("a", "b")
    assert clock.time.tolist() == [0.098, 0.205, 0.9]  # b ran longest
    assert clock.index[0].tolist() == [1, 2, 3] or clock.index[0].tolist() == [1, 2, -1]


def test_a_frame_far_from_every_moment_is_not_used() -> None:
    stamps = {"a": np.arange(6) * 0.1, "b": np.array([0.0, 0.1, 0.16, 0.4])}
    clock = set_clock(PLAIN, {"a": Strip.counted(6), "b": Strip.counted(4)}, stamps)
    assert clock.index[0].tolist() == [0, 1, 2, 3, 4, 5]
    assert clock.index[1].tolist() == [0, 1, 2, -1, 3, -1]


@given(st.integers(0, 2**31 - 1))
def test_no_frame_is_used_twice(seed: int) -> None:
    random = np.random.default_rng(seed)
    times = [np.cumsum(random.uniform(0.01, 0.2, size)) for size in random.integers(2, 30, 2)]
    clock = set_clock(
        PLAIN,
        {"a": Strip.counted(len(times[0])), "b": Strip.counted(len(times[1]))},
        dict(zip("ab", times, strict=True)),
    )
    for row in clock.index:
        used = row[row >= 0]
        assert (np.diff(used) > 0).all()


def test_videos_of_varying_rate_go_by_their_own_times() -> None:
    even, uneven = np.arange(4) * 0.1, np.array([0.0, 0.1, 0.3])
    strips = {"a": Strip.counted(4, 10.0, even), "b": Strip.counted(3, None, uneven)}
    with pytest.raises(ProjectError, match="a 4, b 3"):  # that both began together is nobody's statement
        set_clock(PLAIN, strips, {})
    clock = set_clock(Recording("x", PLAIN.videos, offsets={"a": 0, "b": 0}), strips, {})
    assert clock.index.tolist() == [[0, 1, 2, 3], [0, 1, -1, 2]]
    assert "varies" in clock.rule
    assert clock.time_unit == "s"
    shifted = set_clock(Recording("x", PLAIN.videos, offsets={"a": 1}), strips, {})
    assert shifted.index.tolist() == [[0, 1, 2, 3, -1], [-1, 0, 1, -1, 2]]


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ({"a": np.arange(3.0)}, "no times for b"),
        ({"a": np.arange(3.0), "b": np.arange(2.0)}, "'b': 3 frames, but 2 timestamps"),
        ({"a": np.arange(3.0), "b": np.array([0.0, 2.0, 1.0])}, r"increase from frame to frame \(frame 2: 1.0\)"),
        ({"a": np.arange(3.0), "b": np.array([0.0, np.nan, 1.0])}, "must be numbers"),
    ],
)
def test_timestamps_that_do_not_fit(stamps: dict[str, np.ndarray], expected: str) -> None:
    with pytest.raises(ProjectError, match=expected):
        set_clock(PLAIN, {"a": Strip.counted(3), "b": Strip.counted(3)}, stamps)


def test_different_rates_leave_time_in_frames() -> None:
    clock = set_clock(PLAIN, {"a": Strip.counted(2, 30.0), "b": Strip.counted(2, 60.0)}, {})
    assert (clock.fps, clock.time_unit) == (None, "frame")
    assert clock.time.tolist() == [0.0, 1.0]
    assert "a 30, b 60 frames per second: no common rate" in clock.notes[0]


@pytest.mark.parametrize(
    ("rates", "common"), [((30, 29.97, 30), 30), ((59.94, 60, 59.94), 59.94), ((24, 23.976, 24), 24)]
)
def test_headers_that_differ_a_little_are_one_clock_and_told(rates: tuple[float, ...], common: float) -> None:
    recording = Recording("x", dict.fromkeys("abc", "f"))
    clock = set_clock(recording, {view: Strip.counted(4, rate) for view, rate in zip("abc", rates, strict=True)}, {})
    assert (clock.fps, clock.time_unit) == (common, "s")
    np.testing.assert_allclose(clock.time, np.arange(4) / common)
    assert f"one clock of {common:g}" in clock.notes[0]


def strip(*numbers: int, fps: float | None = None) -> Strip:
    """Frames whose own numbers tell which are missing."""
    return Strip(np.array(numbers), None, fps)


@pytest.mark.parametrize(
    ("a", "b", "index"),
    [
        ([0, 1, 2], [1, 2, 3], [[0, 1, 2, -1], [-1, 0, 1, 2]]),
        ([0, 1, 4, 5], [0, 4], [[0, 1, 2, 3], [0, -1, 1, -1]]),
        ([0, 5], [0, 5], [[0, 1], [0, 1]]),
        ([2**60, 2**60 + 1], [2**60 + 1], [[0, 1], [-1, 0]]),
    ],
)
def test_frames_are_matched_by_their_own_numbers(a: list[int], b: list[int], index: list[list[int]]) -> None:
    clock = set_clock(PLAIN, {"a": strip(*a, fps=10.0), "b": strip(*b)}, {})
    assert clock.index.tolist() == index
    first = 2**60 if a[0] == 2**60 else 0
    np.testing.assert_allclose(clock.time, [(number - first) / 10 for number in sorted({*a, *b})])


def test_offsets_are_of_the_frames_numbers() -> None:
    shifted = Recording("x", PLAIN.videos, offsets={"a": 12, "b": 145})
    clock = set_clock(shifted, {"a": strip(12, 13, 15), "b": strip(145, 146, 147)}, {})
    assert clock.index.tolist() == [[0, 1, -1, 2], [0, 1, 2, -1]]
    assert clock.time.tolist() == [0, 1, 2, 3]


@given(st.lists(st.sets(st.integers(0, 30), min_size=1), min_size=1, max_size=4))
def test_every_numbered_frame_is_used_once_beside_its_equals(views: list[set[int]]) -> None:
    strips = {f"v{i}": strip(*sorted(numbers)) for i, numbers in enumerate(views)}
    clock = set_clock(Recording("x", dict.fromkeys(strips, "f")), strips, {})
    for row, numbers in zip(clock.index, views, strict=True):
        found = {int(time): int(place) for time, place in zip(clock.time, row, strict=True) if place >= 0}
        assert found == {number: place for place, number in enumerate(sorted(numbers))}


def test_times_that_the_longest_view_lost_are_not_dropped() -> None:
    """a ran longest, but lost two frames that b has; and b began before it."""
    a, b = np.array([0.0, 0.1, 0.4, 0.5, 0.6, 0.7]), np.array([-0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.4])
    clock = set_clock(PLAIN, {"a": Strip.counted(6), "b": Strip.counted(7)}, {"a": a, "b": b})
    np.testing.assert_allclose(clock.time, [-0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    assert clock.index.tolist() == [[-1, -1, 0, 1, -1, -1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5, 6, -1, -1, -1]]


def test_a_faster_view_adds_no_moments_where_nothing_is_lost() -> None:
    slow, fast = np.arange(10) / 30, np.arange(18) / 60
    clock = set_clock(PLAIN, {"a": Strip.counted(10), "b": Strip.counted(18)}, {"a": slow, "b": fast})
    np.testing.assert_allclose(clock.time, slow)


@pytest.mark.parametrize("later", [1000.0, -50.0, 1.67e9])
def test_a_view_that_shares_no_time_is_named_with_its_count(later: float) -> None:
    stamps = {"a": np.arange(40) / 30, "b": np.arange(40) / 30, "c": np.arange(30) / 30 + later}
    strips = {view: Strip.counted(len(own)) for view, own in stamps.items()}
    clock = set_clock(Recording("x", dict.fromkeys("abc", "f")), strips, stamps)
    assert any("0 of the 30 frames of c fall on a moment of another view" in note for note in clock.notes)
    check_overlap(Recording("x", dict.fromkeys("abc", "f")), clock, strips)


@pytest.mark.parametrize(("factor", "unit"), [(1e3, "ms"), (1e6, "us"), (1e9, "ns")])
@pytest.mark.parametrize("rate", [None, 25.0, 30.0])
def test_timestamps_in_other_units_are_asked_about(factor: float, unit: str, rate: float | None) -> None:
    stamps = {view: np.arange(40) * factor / 30 for view in "ab"}
    strips = {view: Strip.counted(40, rate) for view in "ab"}
    with pytest.raises(ProjectError, match=f"'day1', view 'a'.*--time-unit {unit}, it seems"):
        set_clock(PLAIN, strips, stamps)
    said = Recording("x", PLAIN.videos, time_unit="s")
    assert set_clock(said, strips, stamps).time.tolist() == stamps["a"].tolist()


def test_the_times_of_a_video_of_varying_rate_tell_the_unit_too() -> None:
    own = np.array([0.0, 0.033, 0.1, 0.133])
    strips = {view: Strip.counted(4, None, own) for view in "ab"}
    with pytest.raises(ProjectError, match="--time-unit ms"):
        set_clock(PLAIN, strips, dict.fromkeys("ab", own * 1000))


@pytest.mark.parametrize("real", [500.0, 1000.0, 29.97, 10.0])
def test_timestamps_in_seconds_are_no_question(real: float) -> None:
    """A high-speed camera writes headers of 30 frames per second."""
    clock = set_clock(PLAIN, {view: Strip.counted(9, 30.0) for view in "ab"}, dict.fromkeys("ab", np.arange(9) / real))
    assert clock.time_unit == "s"


# Tables


def table(numbers: list[int], *, fps: float | None = None, time: list[float] | None = None) -> xr.Dataset:
    points = np.zeros((1, len(numbers), 1, 1, 2))
    when = np.array(numbers) / (fps or 1.0) if time is None else time
    unit = "s" if time is not None or fps else None
    return keypoints2d(points, views=["a"], fps=fps, frame=[numbers], time=when, time_unit=unit)


def video(count: int, lost: range = range(0)) -> Still:
    times = np.array([i for i in range(count + len(lost)) if i not in lost]) / 30
    return Still(len(times), times, None if len(lost) else 30.0)


class Still:
    """A source of frames that are never looked at."""

    path, size = Path("front.mkv"), (8, 6)

    def __init__(self, count: int, times: np.ndarray, fps: float | None) -> None:
        self.frame_numbers, self.times, self.fps = np.arange(count), times, fps

    def __len__(self) -> int:
        return len(self.frame_numbers)

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        return self.read(())

    def read(self, indices: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
        return iter(())


FILE = Path("k/front.csv")


@pytest.mark.parametrize(
    ("numbers", "held"),
    [([*range(40)], "40 frames (0 to 39)"), ([*range(10, 43)], "33 frames (10 to 42)"), ([*range(45)], "45 frames")],
)
def test_a_table_of_other_length_than_its_video_is_told_with_both_counts(numbers: list[int], held: str) -> None:
    found = Strip.from_table(table(numbers), FILE, video(43))
    assert found.numbers.tolist() == numbers
    assert (found.count, found.fps) == (43, 30.0)
    assert f"k/front.csv has {held}" in found.notes[0]
    assert "front.mkv has 43" in found.notes[0]


def test_the_times_of_a_video_hold_for_its_table() -> None:
    source = video(8, range(3, 5))
    found = Strip.from_table(table([0, 2, 3, 7]), FILE, source)
    assert found.varies
    np.testing.assert_allclose(found.times, source.times[[0, 2, 3, 7]])
    with pytest.raises(ProjectError, match=r"k/front\.csv has frame 8, but front\.mkv has the frames 0 to 7"):
        Strip.from_table(table([0, 8]), FILE, source)


def test_a_table_with_a_time_axis_of_its_own_goes_by_it() -> None:
    own = Strip.from_table(table([0, 1, 2], time=[0.0, 0.1, 0.25]), FILE, None)
    assert own.varies
    other = Strip.from_table(table([*range(6)], fps=20.0), FILE, None)
    clock = set_clock(Recording("x", PLAIN.videos, offsets={"a": 0}), {"a": own, "b": other}, {})
    assert clock.index.tolist() == [[0, -1, 1, -1, -1, 2], [0, 1, 2, 3, 4, 5]]


@pytest.mark.parametrize("numbers", [[10, 11, 12], [0, 1, 5], [3]])
def test_timestamps_of_a_table_are_of_its_frames(numbers: list[int]) -> None:
    stamps = np.arange(20) * 0.04
    strips = {"a": Strip.from_table(table(numbers), FILE, None), "b": Strip.counted(20)}
    clock = set_clock(PLAIN, strips, dict.fromkeys("ab", stamps))
    assert [round(time / 0.04) for time, row in zip(clock.time, clock.index[0], strict=True) if row >= 0] == numbers
    with pytest.raises(ProjectError, match=f"frames up to {numbers[-1]}, but {numbers[-1]} timestamps"):
        set_clock(PLAIN, strips, {"a": stamps[: numbers[-1]], "b": stamps})


def test_views_without_a_common_frame_are_told_with_their_ranges() -> None:
    strips = {"a": strip(12, 13), "b": strip(145, 146)}
    clock = set_clock(PLAIN, strips, {})
    assert isinstance(clock, Clock)
    with pytest.raises(ProjectError, match=r"no moment is in two views \(frames: a 12 to 13, b 145 to 146\)"):
        check_overlap(PLAIN, clock, strips)
