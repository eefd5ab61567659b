"""A smooth way over the arena's floor that keeps clear of its edge and of obstacles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

STEP = 1.0  # arc length between two points of a route, mm
_CHOICE_STEPS = 8  # the curvature is chosen anew every so many steps
_LOOK_AHEAD = np.arange(6.0, 133.0, 6.0)  # arc lengths at which a choice is tried out, mm
_SHARPEST = 1.0 / 38.0  # curvature, 1/mm


@dataclass(frozen=True, eq=False)
class Route:
    """A curve on the floor, by arc length.

    xy: (n, 2) points, `STEP` mm apart.
    heading: (n,) direction of travel, rad, without jumps.
    """

    xy: Array
    heading: Array

    def position(self, arc: Array) -> Array:
        """Points (..., 2) at arc lengths (...), mm."""
        along = np.arange(len(self.xy)) * STEP
        return np.stack([np.interp(arc, along, self.xy[:, k]) for k in range(2)], axis=-1)

    def direction(self, arc: Array) -> Array:
        """Headings (...) at arc lengths (...), rad."""
        heading: Array = np.interp(arc, np.arange(len(self.heading)) * STEP, self.heading)
        return heading


def wander(length: float, seed: int, *, half_size: float, obstacles: Sequence[tuple[float, float, float]]) -> Route:
    """A route of `length` mm from a random start, that turns often and either way.

    Args:
        length: arc length, mm.
        seed: the same seed gives the same route.
        half_size: half the side of the square about the origin in which the route stays, mm.
        obstacles: circles (x, y, radius) on the floor that the route keeps out of, mm.
    """
    rng = np.random.default_rng((seed, 101))
    circles = np.array(obstacles, dtype=np.float64).reshape(-1, 3)
    n = int(np.ceil(length / STEP)) + 1
    curvatures = np.linspace(-_SHARPEST, _SHARPEST, 9)
    position = _free_start(rng, half_size, circles)
    heading = rng.uniform(-np.pi, np.pi)
    curvature, wanted, liking = 0.0, 0.0, 0.0
    xy, headings = np.empty((n, 2)), np.empty(n)
    for i in range(n):
        if i % _CHOICE_STEPS == 0:
            if rng.random() < 0.15:
                liking = rng.uniform(-_SHARPEST, _SHARPEST)
            cost = [
                _cost(position, heading, k, half_size, circles)
                + 4.0 * abs(k - liking) / _SHARPEST
                + 0.5 * abs(k - wanted) / _SHARPEST
                for k in curvatures
            ]
            wanted = float(curvatures[int(np.argmin(cost))])
        curvature += 0.12 * (wanted - curvature)
        xy[i], headings[i] = position, heading
        heading += curvature * STEP
        position = position + STEP * np.array([np.cos(heading), np.sin(heading)])
    return Route(xy=xy, heading=headings)


def _free_start(rng: np.random.Generator, half_size: float, circles: Array) -> Array:
    """The most open of some random places."""
    places = rng.uniform(-0.8, 0.8, (40, 2)) * half_size
    gaps = np.linalg.norm(places[:, None] - circles[:, :2], axis=-1) - circles[:, 2]
    best: Array = places[np.argmax(gaps.min(axis=1, initial=np.inf))]
    return best


def _cost(position: Array, heading: float, curvature: float, half_size: float, circles: Array) -> float:
    """How much going on with a constant curvature would run into the edge or an obstacle."""
    turn = curvature * _LOOK_AHEAD
    half = np.sinc(turn / (2.0 * np.pi))  # chord over arc
    ahead = position + (_LOOK_AHEAD * half)[:, None] * np.stack(
        [np.cos(heading + turn / 2.0), np.sin(heading + turn / 2.0)], axis=-1
    )
    nearness = 1.0 / (1.0 + _LOOK_AHEAD / 30.0)
    outside = np.maximum(0.0, np.abs(ahead) - half_size).sum(axis=-1)
    inside = np.zeros(len(ahead))
    if len(circles):
        gaps = np.linalg.norm(ahead[:, None] - circles[:, :2], axis=-1) - circles[:, 2]
        inside = np.maximum(0.0, -gaps).sum(axis=-1)
    return float(((outside + inside) * nearness).sum())
