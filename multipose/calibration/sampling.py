"""Which instants of a long recording to look for the board at.

Boards are shown for a small part of a long recording, often by hand, now here and now there. Looking at instants that
are evenly spread spends nearly all of them on an empty rig. So first only some are spread evenly, on key frames where
there are any, which are read without decoding others. Then, round after round, intervals between instants looked at are
halved: those first beside which a board was seen, the more the farther it moved and the less often its views, and pairs
of views, saw one; then, up to as many, the longest ones.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]

_COARSE = 0.4  # share of the instants that are spread evenly
_ROUNDS = 16  # into which the others are divided
_MOVED = 0.1  # of the picture's diagonal: a board that moved so far is in a new place
_RESTING = 0.05  # worth of an interval in which the board rests, as a share of one in which it moves


def first_instants(count: int, budget: int, cheap: IntArray) -> IntArray:
    """Places (n,) among `count` instants to look at first, ascending: all of them if the budget allows.

    cheap: ascending places that are read fast, of key frames.
    """
    if count <= budget:
        return np.arange(count, dtype=np.int64)
    coarse = max(2, round(_COARSE * budget))
    ends = np.linspace(0, count - 1, min(coarse, budget))
    half = (count - 1) / max(coarse - 1, 1) / 2
    return np.unique([_nearest(place, half, cheap) for place in ends])


def further_instants(
    looked: IntArray, px: FloatArray, sizes: FloatArray, count: int, budget: int, cheap: IntArray
) -> IntArray:
    """Places to look at next, ascending; none if the budget is spent.

    Args:
        looked: (n,) ascending places that were looked at.
        px: (view, n, corner, 2) what was seen there; NaN = not seen.
        sizes: (view, 2) width and height of the pictures.
        count, budget, cheap: as for `first_instants`.
    """
    left = min(budget, count) - len(looked)
    if left <= 0:
        return np.empty(0, dtype=np.int64)
    size = min(left, -(-budget // _ROUNDS))
    ends = np.concatenate([[-1], looked, [count]])
    lengths = np.diff(ends)
    worths = _worths(px, sizes)
    open_ = lengths > 1
    order = np.lexsort((np.arange(len(lengths)), -lengths, -worths))
    order = order[open_[order]]
    promising = int((worths[order] > 0).sum())
    # While boards are found, no more instants are spent on looking for others than on following these.
    chosen = order[: min(size, 2 * promising or size)]
    middles, quarters = (ends[chosen] + ends[chosen + 1]) / 2, lengths[chosen] / 4
    return np.unique([_nearest(middle, reach, cheap) for middle, reach in zip(middles, quarters, strict=True)])


def _nearest(place: float, reach: float, cheap: IntArray) -> int:
    """The cheap place nearest to a place, if one is less than `reach` away; else the place itself, rounded."""
    if len(cheap):
        at = int(np.searchsorted(cheap, place))
        near = cheap[max(at - 1, 0) : at + 1]
        best = int(near[np.argmin(np.abs(near - place))])
        if abs(best - place) < reach:
            return best
    return round(place)


def _worths(px: FloatArray, sizes: FloatArray) -> FloatArray:
    """(n + 1,) worth of the intervals before, between and after n instants; 0 where no board was seen beside it."""
    seen: BoolArray = np.asarray(np.isfinite(px).all(-1))
    views: BoolArray = np.asarray(seen.any(-1))  # (view, n)
    rare_views = 1 / (1 + views.sum(-1))
    common = (views[:, None] & views[None]).sum(-1)
    rare_pairs = np.triu(1 / (1 + common), k=1)
    # What an instant adds that shows the board in these views and pairs of views.
    gain = rare_views @ views + np.einsum("uv,un,vn->n", rare_pairs, views.astype(float), views.astype(float))
    beside = np.concatenate([[0.0], gain]) + np.concatenate([gain, [0.0]])
    moved = np.concatenate([[1.0], _movements(px, seen, sizes), [1.0]])
    worths: FloatArray = beside * np.clip(moved, _RESTING, 1.0)
    return worths


def _movements(px: FloatArray, seen: BoolArray, sizes: FloatArray) -> FloatArray:
    """(n - 1,) how far the board moved between neighbouring instants, in units of `_MOVED`, in the view where it moved
    farthest; 1 where no view saw the same corners at both.
    """
    both = seen[:, 1:] & seen[:, :-1]
    steps = np.linalg.norm(np.where(both[..., None], np.diff(px, axis=1), 0.0), axis=-1)
    numbers = both.sum(-1)
    mean = steps.sum(-1) / np.maximum(numbers, 1) / (_MOVED * np.linalg.norm(sizes, axis=-1))[:, None]
    result: FloatArray = np.where(numbers.any(0), np.where(numbers > 0, mean, 0.0).max(0), 1.0)
    return result
