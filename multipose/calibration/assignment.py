"""Whose pictures a view really shows: two views exchanged, or one a copy of another.

Two views of the same points disagree by little if each goes with the camera that took it. Exchanged or copied pictures
disagree by much, and by little again when the right cameras are put to them. Two views of one camera are compared
directly, as pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations, permutations

import numpy as np

from multipose.calibration.pose_changes import FloatArray, Sightings
from multipose.camera import CameraRig
from multipose.triangulate import triangulate

_POINTS_OF_A_PAIR = 400
_FEWEST_POINTS = 20
_SAME_CAMERA = 0.573  # median of |N(0, 1)| over the median length of a 2D normal error
_MOST_PX = 200.0  # beyond it an error is just wrong
_GAIN = 2.5
_GAIN_PX = 4.0
_BELIEVABLE = 0.0075  # share of the picture's diagonal that views that belong together may disagree by, in the median


@dataclass(frozen=True)
class Mixup:
    """Views whose pictures are not their own: camera (view,) which camera took the pictures of a view.

    swapped: pairs of views; copies: (view, the view that it is a copy of); undecided: whether the copy could as well be
    the original (only two views).
    """

    camera: tuple[int, ...]
    swapped: tuple[tuple[int, int], ...]
    copies: tuple[tuple[int, int], ...]
    undecided: bool


class Disagreement:
    """How far two views disagree, in px, for any cameras put to them: the median over points seen by both."""

    def __init__(self, seen: Sightings, rig: CameraRig) -> None:
        self._seen, self._rig = seen, rig
        self.of = cache(self._of)

    def _of(self, first: int, second: int, first_camera: int, second_camera: int) -> float:
        """Of the views `first` and `second` as pictures of these cameras; NaN where they share too few points.

        Epipolar: the distances of both pixels from the projected point nearest to both, as root of the summed squares.
        Rays that do not meet count as very far off.
        """
        both = np.flatnonzero((self._seen.weight[[first, second]] > 0).all(0))
        if len(both) < _FEWEST_POINTS:
            return float("nan")
        both = both[np.unique(np.linspace(0, len(both) - 1, _POINTS_OF_A_PAIR).astype(int))]
        px = self._seen.px[np.ix_([first, second], both)]
        if first_camera == second_camera:
            return min(_MOST_PX, _SAME_CAMERA * float(np.median(np.linalg.norm(px[0] - px[1], axis=-1))))
        cameras = (self._rig.cameras[first_camera], self._rig.cameras[second_camera])
        pair = replace(self._rig, cameras=cameras)
        points = triangulate(px, pair, threads=1)
        squares = ((px - pair.project(points.position)) ** 2).sum((0, -1))
        off = np.where(np.isnan(points.error) | np.isnan(squares), _MOST_PX, np.sqrt(np.maximum(squares, 0)))
        return min(_MOST_PX, float(np.median(off)))

    def pairs(self) -> FloatArray:
        """(V, V) of all pairs as they are named; NaN on the diagonal."""
        n_views = len(self._rig)
        table = np.full((n_views, n_views), np.nan)
        for first, second in combinations(range(n_views), 2):
            table[first, second] = table[second, first] = self.of(first, second, first, second)
        return table

    def mean(self, camera: tuple[int, ...], about: set[int]) -> float:
        """The mean over all pairs with a view of `about`, with the camera of each view given."""
        values = [
            self.of(first, second, camera[first], camera[second])
            for first, second in combinations(range(len(camera)), 2)
            if first in about or second in about
        ]
        known = [value for value in values if value == value]
        return float(np.mean(known)) if known else float("nan")


def find_mixup(disagreement: Disagreement, rig: CameraRig) -> Mixup:
    """The exchanges and copies that make views agree by far better, one after the other."""
    n_views = len(rig)
    camera, undecided = tuple(range(n_views)), False
    swapped: list[tuple[int, int]] = []
    copies: list[tuple[int, int]] = []
    limit = max(_BELIEVABLE * float(np.hypot(*one.size)) for one in rig)
    free = set(range(n_views))
    while True:
        candidates = []
        for about, trial in _trials(camera, free):
            before = disagreement.mean(camera, about)
            if not before > _GAIN_PX:
                continue
            after = disagreement.mean(trial, about)
            if after < limit and after * _GAIN < before and before - after > _GAIN_PX:
                candidates.append((disagreement.mean(trial, set(range(n_views))), trial, about))
        if not candidates:
            return Mixup(camera, tuple(swapped), tuple(copies), undecided)
        candidates.sort(key=lambda one: one[0])
        _, trial, about = candidates[0]
        if len(about) == 2:
            first, second = sorted(about)
            swapped.append((first, second))
        else:
            (view,) = about
            copies.append((view, trial[view]))
            undecided = undecided or n_views == 2
        camera, free = trial, free - about


def _trials(camera: tuple[int, ...], free: set[int]) -> list[tuple[set[int], tuple[int, ...]]]:
    """Every exchange and copy of views not yet at fault: the views concerned, and then the camera of each view."""
    trials = []
    for first, second in combinations(sorted(free), 2):
        trial = list(camera)
        trial[first], trial[second] = camera[second], camera[first]
        trials.append(({first, second}, tuple(trial)))
    for view, original in permutations(sorted(free), 2):
        trial = list(camera)
        trial[view] = camera[original]
        trials.append(({view}, tuple(trial)))
    return trials
