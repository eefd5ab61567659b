from __future__ import annotations

import numpy as np
import pytest

from multipose.calibration.sampling import first_instants, further_instants

NONE = np.empty(0, dtype=np.int64)
SIZES = np.array([[640.0, 480.0], [640.0, 480.0]])


def look(places: np.ndarray, shown: dict[int, range]) -> np.ndarray:
    """Corners (view, n, 1, 2) of a board that each view sees at some places, moving 1 px an instant."""
    px = np.full((2, len(places), 1, 2), np.nan)
    for view, range_ in shown.items():
        at = np.isin(places, list(range_))
        px[view, at, 0] = places[at, None]
    return px


def sample(count: int, budget: int, shown: dict[int, range], cheap: np.ndarray = NONE) -> np.ndarray:
    looked = more = first_instants(count, budget, cheap)
    while len(more):
        assert not np.isin(more, looked).any() or len(looked) == len(more)
        looked = np.union1d(looked, more)
        more = further_instants(looked, look(looked, shown), SIZES, count, budget, cheap)
    return looked


@pytest.mark.parametrize(("count", "budget"), [(1, 300), (300, 300), (301, 300), (1000, 1), (1000, 2), (5000, 37)])
def test_the_budget_is_used_and_no_instant_is_looked_at_twice(count: int, budget: int) -> None:
    looked = sample(count, budget, {})
    assert len(np.unique(looked)) == len(looked) == min(count, budget)
    assert looked.min() >= 0
    assert looked.max() < count


def test_without_any_board_instants_stay_spread() -> None:
    looked = sample(10_000, 200, {})
    assert np.diff(looked).max() < 300


@pytest.mark.parametrize("start", [0, 1234, 7777, 9700])
def test_most_instants_go_to_where_the_board_is(start: int) -> None:
    looked = sample(10_000, 300, {0: range(start, start + 300)})
    shown = ((looked >= start) & (looked < start + 300)).sum()
    assert shown > 120  # spread evenly: 9


def test_pairs_of_views_that_lack_common_boards_come_first() -> None:
    shown = {0: range(1000, 3000), 1: range(2900, 5000)}  # 100 of 10000 instants in common
    looked = sample(10_000, 300, shown)
    assert ((looked >= 2900) & (looked < 3000)).sum() > 12  # spread evenly: 3


def test_key_frames_are_preferred_where_they_are_near() -> None:
    keys = np.arange(0, 54_000, 250)
    assert np.isin(first_instants(54_000, 300, keys), keys)[:-1].all()
    assert np.isin(first_instants(1000, 300, keys[:4]), keys[:4]).sum() <= 4
