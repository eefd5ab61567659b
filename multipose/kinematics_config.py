"""What is measured on an animal: angles, distances, speeds and egocentric coordinates, named by their key points."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from multipose.errors import DataError, did_you_mean

WORLD_AXES = ("x", "-x", "y", "-y", "z", "-z")
_RESERVED = {"time", "individual", "keypoint", "space", "space_", "egocentric"}
_SUFFIXES = ("_sd", "_covariance")


@dataclass(frozen=True)
class EgocentricConfig:
    """The animal's own frame: its origin, x to the (mean of the) key points `forward`, z as near to `up` as x allows.

    up: an axis of the world, or a key point that lies above the origin; y is then to the animal's left.
    """

    origin: str
    forward: tuple[str, ...]
    up: str = "z"

    def __post_init__(self) -> None:
        if not self.forward or self.origin in self.forward:
            raise DataError(
                "forward names one or more key points that lie ahead of the origin, for example "
                f'forward = ["nose"]; got {list(self.forward)} with the origin {self.origin!r}.'
            )
        if self.up == self.origin or self.up in self.forward:
            raise DataError(
                f"up must be a world axis ({', '.join(WORLD_AXES)}) or a key point of its own, got {self.up!r}."
            )


@dataclass(frozen=True)
class KinematicsConfig:
    """Quantities by name, each with the key points that define it.

    angles: three key points A, B, C: the angle at B, which is pi where the limb is straight; or four A, B, C, D: the
        angle between the segments from A to B and from C to D.
    inclinations: from a key point, to another, and an axis of the world: the angle of the segment with the axis.
    chains: three key points or more along a spine, tail or finger: the angle at each but the first and last, named
        `<chain>.<key point>`.
    distances: two key points.
    speeds: a key point, or several whose mean is meant.
    egocentric: the frame in which all key points are given too; none: they are not.
    speed_reach: a speed is the slope of the positions over this many frames on either side.
    smoothed: measure on the smoothed trajectories.
    """

    angles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    inclinations: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)
    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    distances: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    speeds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    egocentric: EgocentricConfig | None = None
    speed_reach: int = 1
    smoothed: bool = False

    def __post_init__(self) -> None:
        for name, points in self.angles.items():
            if len(points) not in (3, 4) or len(set(points[:3])) != 3 or points[-1] == points[-2]:
                raise DataError(
                    f"angles, {name}: an angle has three key points, its corner in the middle, or four, two for each "
                    f"of two segments; got {list(points)}."
                )
        for name, (start, end, axis) in self.inclinations.items():
            if start == end or axis not in WORLD_AXES:
                raise DataError(
                    f"inclinations, {name}: say [from, to, axis] with two key points and one of the axes "
                    f"{', '.join(WORLD_AXES)}; got {[start, end, axis]}."
                )
        for kind, fewest in (("chains", 3), ("distances", 2), ("speeds", 1)):
            for name, points in getattr(self, kind).items():
                if len(points) < fewest or len(set(points)) != len(points):
                    raise DataError(f"{kind}, {name}: at least {fewest} different key points, got {list(points)}.")
        if self.speed_reach < 1:
            raise DataError(f"speed_reach must be at least 1 frame, got {self.speed_reach}.")
        self._check_names()

    def _check_names(self) -> None:
        names = self.quantities
        for name in names:
            if name in _RESERVED or name.endswith(_SUFFIXES) or not name.strip() or "/" in name:
                raise DataError(f"A quantity cannot be called {name!r}: that name has another meaning, or none.")
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise DataError(f"Quantities must have different names; {', '.join(doubled)} stands more than once.")

    @property
    def quantities(self) -> list[str]:
        """Names of everything but the egocentric coordinates."""
        simple = [name for kind in ("angles", "inclinations", "distances", "speeds") for name in getattr(self, kind)]
        return simple + [f"{name}.{point}" for name, points in self.chains.items() for point in points[1:-1]]

    @property
    def declared(self) -> bool:
        """Whether there is anything to measure."""
        return bool(self.quantities) or self.egocentric is not None

    def check_keypoints(self, keypoints: Iterable[str]) -> None:
        """Raises DataError where a quantity names a key point that is not there; the nearest one is told."""
        known = list(keypoints)
        for where, names in self._uses():
            for name in names:
                if name not in known:
                    hint = did_you_mean(name, known)
                    raise DataError(
                        f"[kinematics] {where}: there is no key point {name!r}.{hint} Known: {', '.join(known)}."
                    )

    def _uses(self) -> list[tuple[str, tuple[str, ...]]]:
        """Every quantity with the key points it names."""
        uses = [
            (f"{kind}, {name}", tuple(points))
            for kind in ("angles", "chains", "distances", "speeds")
            for name, points in getattr(self, kind).items()
        ]
        uses += [(f"inclinations, {name}", points[:2]) for name, points in self.inclinations.items()]
        if self.egocentric is not None:
            above = () if self.egocentric.up in WORLD_AXES else (self.egocentric.up,)
            uses.append(("egocentric", (self.egocentric.origin, *self.egocentric.forward, *above)))
        return uses

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)
