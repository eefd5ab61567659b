"""The section [smoothing] of multipose.toml: what is known of movements beyond what is learned from the recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import radians
from typing import Literal

from multipose.errors import ConfigError


@dataclass(frozen=True)
class SmoothingConfig:
    """How trajectories are smoothed.

    Args:
        enabled: `multipose run` and `multipose reconstruct` smooth every recording.
        prior: what is small between frames.
        limbs: pairs of key points whose distance hardly changes; unsaid, the skeleton's edges.
        limb_lengths: (from, to, length in the rig's unit) of limbs whose length is known; they need not stand in limbs.
        joint_limits: (from, vertex, to, least, largest angle in degrees).
        max_gap: longest gap in frames that is written; unsaid, every gap is.
    """

    enabled: bool = False
    prior: Literal["acceleration", "jerk"] = "acceleration"
    limbs: tuple[tuple[str, str], ...] | None = None
    limb_lengths: tuple[tuple[str, str, float], ...] = ()
    joint_limits: tuple[tuple[str, str, str, float, float], ...] = ()
    max_gap: int | None = None

    def __post_init__(self) -> None:
        if self.max_gap is not None and self.max_gap < 0:
            raise ConfigError(f"max_gap must be 0 frames or more, got {self.max_gap}.")
        for *names, length in self.limb_lengths:
            if not length > 0:
                raise ConfigError(f"limb_lengths: the length of {'-'.join(names)} must be above 0, got {length}.")
        for *names, least, largest in self.joint_limits:
            if not 0 <= least < largest <= 180:
                raise ConfigError(
                    f"joint_limits: the angles of {'-'.join(names)} must rise between 0 and 180 degrees, got {least} "
                    f"and {largest}."
                )

    def check_keypoints(self, known: Sequence[str]) -> None:
        """Raise ConfigError where a name is no key point or stands twice in a limb or joint."""
        groups: list[tuple[str, tuple[str, ...]]] = [("limbs", pair) for pair in self.limbs or ()]
        groups += [("limb_lengths", limb[:2]) for limb in self.limb_lengths]
        groups += [("joint_limits", joint[:3]) for joint in self.joint_limits]
        for key, names in groups:
            unknown = sorted(set(names) - set(known))
            if unknown:
                raise ConfigError(
                    f"[smoothing] {key}: there is no key point {', '.join(unknown)}. Known: {', '.join(known)}."
                )
            if len(set(names)) < len(names):
                raise ConfigError(f"[smoothing] {key}: {'-'.join(names)} names a key point twice.")

    @property
    def lengths(self) -> dict[tuple[str, str], float]:
        """`limb_lengths` as `smooth` takes them."""
        return {(a, b): length for a, b, length in self.limb_lengths}

    @property
    def limits(self) -> dict[tuple[str, str, str], tuple[float, float]]:
        """`joint_limits` as `smooth` takes them, in radians."""
        return {(a, b, c): (radians(least), radians(largest)) for a, b, c, least, largest in self.joint_limits}
