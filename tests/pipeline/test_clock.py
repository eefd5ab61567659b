"""How frames of the views belong together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multipose.errors import ProjectError
from multipose.pipeline.clock import Strip, set_clock
from multipose.project import Recording

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
    assert clock.fps is None
    assert clock.time.tolist() == [0.0, 1.0]
