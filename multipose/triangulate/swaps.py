"""Left and right exchanged in single views.

A network (or a person) that takes the left paw for the right one does so in one view, while the others hold on to the
truth. Then both points of that view lie far from what the other views say of them, and near what these say of the
partner. A gross error of one point alone does not look so, nor two partners that are close together in the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from multipose.triangulate.points import FloatArray
from multipose.triangulate.prediction import Prediction, squared_distances
from multipose.triangulate.reconstruction import Observations

_CLEAR_GAIN = 30.0  # twice the log-likelihood that exchanging must gain
_CLEAR_FACTOR = 4.0  # by which it must lower the squared normalised distance
_UNDECIDED = 9.0  # a frame speaks against an exchange that would lose more than this


@dataclass(frozen=True)
class Swap:
    """A left/right pair whose points are exchanged in one view.

    frames: (first, last) frames of the view's source, both exchanged; frames between two exchanged ones in which
        nothing can be told, because the partners coincide or one is not seen or grossly wrong, are counted in.
    n_frames: in how many frames it was seen.
    """

    view: str
    pair: tuple[str, str]
    individual: str
    frames: tuple[tuple[int, int], ...]
    n_frames: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "view": self.view,
            "pair": list(self.pair),
            "individual": self.individual,
            "frames": [list(stretch) for stretch in self.frames],
            "n_frames": self.n_frames,
        }


def find_swaps(
    keypoints: xr.Dataset,
    view: str,
    pairs: Sequence[tuple[str, str]],
    costs: FloatArray,
    normalised: FloatArray,
) -> list[Swap]:
    """Exchanged pairs of one view.

    Args:
        pairs: left and right key points.
        costs: (pair, 2, time, individual) of `swap_costs`.
        normalised: (keypoint,) how many times larger distances are than predicted, by which they are measured where it
            is above 1.
    """
    names = [str(name) for name in keypoints["keypoint"].values]
    source = keypoints["frame"].sel(view=view).values
    found = []
    for (left, right), cost in zip(pairs, costs, strict=True):
        scale = np.fmax(1.0, np.nanmax(normalised[[names.index(left), names.index(right)]], initial=1.0)) ** 2
        for individual, who in enumerate(keypoints["individual"].values):
            kept, exchanged = cost[:, :, individual] / scale
            with np.errstate(invalid="ignore"):
                swapped = (kept - exchanged > _CLEAR_GAIN) & (kept > _CLEAR_FACTOR * exchanged)
                against = (exchanged - kept > _UNDECIDED) & (exchanged > _CLEAR_FACTOR * kept)
            if swapped.any():
                stretches = tuple((int(source[a]), int(source[b])) for a, b in _stretches(swapped, against))
                found.append(Swap(view, (left, right), str(who), stretches, int(swapped.sum())))
    return found


def swap_costs(
    seen: Observations,
    noise: FloatArray,
    view: int,
    prediction: Prediction,
    pairs: Sequence[tuple[int, int]],
) -> FloatArray:
    """Squared normalised distances (pair, 2, time, individual) of both partners' points from their own predictions, and
    from each other's.

    Args:
        seen: a stretch of time; noise: (n, 2, 2) px² of its 2D points in this view.
        prediction: what the others say of these.
        pairs: places of left and right on the key point axis.
    """
    rows = np.arange(seen.px.shape[1]).reshape(seen.shape)
    costs = np.empty((len(pairs), 2, *seen.shape[:2]))
    for pair, places in enumerate(pairs):
        own = rows[:, :, places].reshape(-1, 2)
        for exchanged, order in enumerate(([0, 1], [1, 0])):
            costs[pair, exchanged] = _cost(seen, noise, view, prediction, own, own[:, order]).reshape(seen.shape[:2])
    return costs


def _cost(
    seen: Observations,
    noise: FloatArray,
    view: int,
    prediction: Prediction,
    predicted: NDArray[np.int64],
    observed: NDArray[np.int64],
) -> FloatArray:
    """(m,) squared normalised distance of both partners' points `observed` from those `predicted` (m, 2) rows."""
    total = np.zeros(len(predicted))
    for a, b in zip(predicted.T, observed.T, strict=True):
        known = (seen.weight[view, b] > 0) & np.isfinite(prediction.px[a]).all(-1)
        a, b = a[known], b[known]
        squared = np.full(len(total), np.nan)
        camera = seen.rig.cameras[view]
        squared[known] = squared_distances(seen.px[view, b], noise[b], camera, prediction.select(a))
        total += squared
    return total


def _stretches(swapped: NDArray[np.bool_], against: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last time of each stretch; a stretch goes on until a time that speaks against it."""
    stretches: list[tuple[int, int]] = []
    going = False
    for time in np.flatnonzero(swapped | against).tolist():
        if not swapped[time]:
            going = False
        elif going:
            stretches[-1] = (stretches[-1][0], time)
        else:
            stretches.append((time, time))
            going = True
    return stretches
