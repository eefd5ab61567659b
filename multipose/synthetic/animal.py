"""A mouse of about 90 mm (nose to tail base) made of tapered capsules and ellipsoids, and how it walks.

The spine follows the neck along a route, so the body bends as it turns. Paws stand still on the floor during stance and
swing to the next place; now and then the animal stops, looks about and rears. All lengths in mm, times in seconds,
z up, the floor at z = 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multipose.errors import DataError
from multipose.skeleton import Skeleton
from multipose.synthetic.kernels import CONE, ELLIPSOID
from multipose.synthetic.route import Route, wander

Array = NDArray[np.float64]

SKELETON = Skeleton(
    keypoints=(
        "nose", "ear_left", "ear_right", "neck", "spine", "paw_front_left", "paw_front_right", "paw_hind_left",
        "paw_hind_right", "tail_base", "tail_mid", "tail_tip",
    ),
    edges=(
        ("nose", "ear_left"), ("nose", "ear_right"), ("ear_left", "neck"), ("ear_right", "neck"), ("neck", "spine"),
        ("spine", "tail_base"), ("tail_base", "tail_mid"), ("tail_mid", "tail_tip"), ("neck", "paw_front_left"),
        ("neck", "paw_front_right"), ("tail_base", "paw_hind_left"), ("tail_base", "paw_hind_right"),
    ),
    pairs=(
        ("ear_left", "ear_right"), ("paw_front_left", "paw_front_right"), ("paw_hind_left", "paw_hind_right"),
    ),
    definitions={
        "nose": "upper front of the pink nose",
        "ear_left": "highest point of the left ear's rim",
        "ear_right": "highest point of the right ear's rim",
        "neck": "middle of the neck on the back, where the dark hood ends",
        "spine": "middle of the back, in the middle of the pale belt",
        "paw_front_left": "top of the toes of the left front paw",
        "paw_front_right": "top of the toes of the right front paw",
        "paw_hind_left": "top of the toes of the left hind paw",
        "paw_hind_right": "top of the toes of the right hind paw",
        "tail_base": "top of the tail where it leaves the fur",
        "tail_mid": "middle of the tail, where it turns from dark to pale",
        "tail_tip": "end of the tail",
    },
)  # fmt: skip
KEYPOINTS = SKELETON.keypoints

_NECK_TO_TAIL = np.array([12.0, 20.0, 18.0, 10.0])  # neck - chest - mid - hip - tail base
_TAIL = np.full(8, 9.0)
_CHAIN = np.concatenate([_NECK_TO_TAIL, _TAIL])
_HEIGHT = np.array([17.0, 15.5, 16.5, 15.0, 10.0, 6.0, 3.6, 2.6, 2.2, 2.0, 1.8, 1.6, 1.4])
_REARING = np.array([13.0, 9.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
_RADIUS = np.array([8.5, 10.5, 12.0, 11.0, 4.2, 2.9, 2.6, 2.4, 2.2, 2.0, 1.8, 1.6, 1.2])
_SKULL, _SNOUT = 11.0, 16.0  # neck to skull, skull to nose
_SKULL_RADIUS, _NOSE_RADIUS = 8.0, 2.8
_STRIDE = 48.0  # one full step of a paw along the route
_STANCE = 0.62  # share of the stride that a paw stands
_LIFT = 5.0


@dataclass(frozen=True)
class _Leg:
    """Where a leg is fixed and how it steps; lengths in mm, `side` is 1 for left and -1 for right."""

    joint: int  # of the chain: 1 chest, 3 hip
    side: float
    phase: float  # of the stride
    behind: float  # arc length from the neck back to the middle of the stance
    width: float  # sideways distance of the paw from the route
    upper: float
    lower: float
    foot: float
    bend: float  # 1: the knee points forward, -1: backward
    radii: tuple[float, float, float, float]  # at the body, knee, ankle, toes


_FRONT, _HIND = (5.0, 3.0, 2.0, 1.8), (6.5, 3.8, 2.2, 1.9)
_LEGS = (
    _Leg(1, 1.0, 0.25, 4.0, 14.0, 11.0, 11.0, 6.0, -1.0, _FRONT),
    _Leg(1, -1.0, 0.75, 4.0, 14.0, 11.0, 11.0, 6.0, -1.0, _FRONT),
    _Leg(3, 1.0, 0.0, 41.0, 19.0, 13.0, 13.0, 11.0, 1.0, _HIND),
    _Leg(3, -1.0, 0.5, 41.0, 19.0, 13.0, 13.0, 11.0, 1.0, _HIND),
)

# Part by part: kind and coat. The coats are the rows of `COATS` in scene.py.
_CHAIN_COATS = ("hood", "belt_front", "belt_back", "rump", "tail_dark", "tail_dark", "tail_dark", "tail_dark",
                "tail_pale", "tail_pale", "tail_pale", "tail_pale")  # fmt: skip
PART_COATS = (
    *_CHAIN_COATS, "head", "head", "nose", "ear", "ear", "eye", "eye",
    *(coat for leg in _LEGS for coat in (("hood" if leg.joint == 1 else "rump"), "shin", "paw")),
)  # fmt: skip
PART_KINDS = np.array([CONE] * (len(_CHAIN_COATS) + 2) + [ELLIPSOID] * 5 + [CONE] * (3 * len(_LEGS)), dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Body:
    """The parts of an animal at some instants.

    world_from_part: (time, part, 4, 4); a cone's axis is its z, x is the dorsal side.
    dimensions: (time, part, 3): of a cone its length and the radii at its start and end, of an ellipsoid the half axes.
    """

    world_from_part: Array
    dimensions: Array


@dataclass(frozen=True, eq=False)
class _Waves:
    """A smooth random signal: a sum of sines of zero mean and amplitude about 1."""

    frequency: Array
    phase: Array

    def __call__(self, times: Array) -> Array:
        angle = 2.0 * np.pi * self.frequency * times[..., None] + self.phase
        signal: Array = np.sin(angle).sum(axis=-1) / np.sqrt(len(self.phase) / 2.0) / 1.4
        return signal


@dataclass(frozen=True, eq=False)
class Walk:
    """The movement of one animal: its body and key points at any time.

    n_frames, fps: the frames of the recording; frame i is at the time i / fps.
    """

    n_frames: int
    fps: float
    route: Route
    clock: Array  # (n,) times at which `travelled` is known
    travelled: Array  # (n,) arc length of the neck along the route
    rearing: Array  # (n,) 0 on four paws, 1 upright
    yaw: _Waves
    pitch: _Waves
    sway: _Waves

    @property
    def times(self) -> Array:
        """(time,) seconds of the frames."""
        return np.arange(self.n_frames) / self.fps

    @property
    def points(self) -> Array:
        """(time, keypoint, 3) key points of all frames, in the order of `KEYPOINTS`."""
        return self.keypoints_at(self.times)

    def keypoints_at(self, times: Array) -> Array:
        """Key points (time, keypoint, 3) at any times, seconds."""
        return _keypoints(_pose(self, np.asarray(times, dtype=np.float64)))

    def body_at(self, times: Array) -> Body:
        """The body's parts at any times, seconds."""
        return _body(_pose(self, np.asarray(times, dtype=np.float64)))


def walk(
    n_frames: int,
    seed: int = 0,
    *,
    fps: float = 30.0,
    speed: float = 120.0,
    half_size: float = 92.0,
    obstacles: Sequence[tuple[float, float, float]] = (),
) -> Walk:
    """Let the animal wander: it walks, turns either way, stops, looks about and rears.

    Args:
        n_frames: frames of the recording, at least 1.
        seed: the same seed gives the same movement.
        fps: frames per second.
        speed: of a brisk walk, mm/s.
        half_size: half the side of the square about the origin in which the neck stays, mm.
        obstacles: circles (x, y, radius) on the floor; the neck keeps 24 mm clear of them.

    Raises:
        DataError: no frame, or a speed or frame rate that is not positive.
    """
    if n_frames < 1 or fps <= 0.0 or speed <= 0.0:
        raise DataError(f"walk needs at least 1 frame, fps > 0 and speed > 0, got {n_frames}, {fps}, {speed}")
    rng = np.random.default_rng((seed, 102))
    clock = np.arange(-0.5, n_frames / fps + 0.5, 0.01)
    liveliness = _waves(rng, 0.08, 0.45)(clock)
    upright = _waves(rng, 0.1, 0.3)(clock)
    rearing = _ramp((upright - 0.75) / 0.35)
    pace = speed * _ramp((liveliness + 1.0) / 1.1) * (1.0 - rearing)
    arc = 200.0 + np.concatenate([[0.0], np.cumsum(pace[:-1] * np.diff(clock))])
    route = wander(
        float(arc[-1]) + 2.0 * _STRIDE,
        seed,
        half_size=half_size,
        obstacles=[(x, y, radius + 24.0) for x, y, radius in obstacles],
    )
    return Walk(
        n_frames=n_frames, fps=fps, route=route, clock=clock, travelled=arc, rearing=rearing,
        yaw=_waves(rng, 0.2, 1.1), pitch=_waves(rng, 0.2, 1.3), sway=_waves(rng, 0.3, 1.2),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Pose:
    """Joints at some instants, (time, ..., 3)."""

    chain: Array  # (time, 13, 3) neck, chest, mid, hip, tail base, tail 1..8
    skull: Array
    nose: Array
    head_axes: Array  # (time, 3, 3): columns forward, left, up
    legs: Array  # (time, leg, 4, 3): body, knee, ankle, toes


def _waves(rng: np.random.Generator, slowest: float, fastest: float) -> _Waves:
    return _Waves(rng.uniform(slowest, fastest, 4), rng.uniform(0.0, 2.0 * np.pi, 4))


def _ramp(x: Array) -> Array:
    """0 below 0, 1 above 1, smooth between."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def _unit(v: Array) -> Array:
    unit: Array = v / np.linalg.norm(v, axis=-1, keepdims=True)
    return unit


def _aim(azimuth: Array, elevation: Array) -> Array:
    """Unit vectors (..., 3)."""
    return np.stack(
        [np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)], axis=-1
    )


def _up(direction: Array) -> Array:
    """The unit vectors square to `direction` (..., 3) that point up most."""
    vertical = np.array([0.0, 0.0, 1.0])
    return _unit(vertical - direction * direction[..., 2:])


def _pose(animal: Walk, times: Array) -> _Pose:
    arc = np.interp(times, animal.clock, animal.travelled)
    rear = np.interp(times, animal.clock, animal.rearing)
    route = animal.route
    heading = route.direction(arc)

    height = _HEIGHT + rear[:, None] * _REARING
    height[:, 1:4] += 0.6 * np.sin(4.0 * np.pi * arc / _STRIDE)[:, None]
    chain = np.empty((len(times), len(_CHAIN) + 1, 3))
    chain[:, 0, :2], chain[:, 0, 2] = route.position(arc), height[:, 0]
    behind = 0.0
    for j, length in enumerate(_CHAIN):
        azimuth = route.direction(arc - behind - length / 2.0)
        azimuth = azimuth + 0.07 * np.sin(2.0 * np.pi * (arc / _STRIDE) - 0.9 * j)
        tail = max(0, j - 3) / len(_TAIL)
        azimuth = azimuth + tail * (0.8 * animal.sway(times - 0.06 * j) + 0.25 * np.sin(2.0 * np.pi * arc / _STRIDE))
        drop = np.arcsin((height[:, j + 1] - height[:, j]) / length)
        chain[:, j + 1] = chain[:, j] + length * _aim(azimuth + np.pi, drop)
        behind += length

    yaw, pitch = 0.55 * animal.yaw(times), 0.22 * animal.pitch(times) + 0.45 * rear
    skull = chain[:, 0] + _SKULL * _aim(heading + 0.5 * yaw, 0.12 + 0.5 * pitch)
    forward = _aim(heading + yaw, pitch - 0.42)
    left = _unit(np.cross([0.0, 0.0, 1.0], forward))
    axes = np.stack([forward, left, np.cross(forward, left)], axis=-1)
    legs = np.stack([_leg(animal, leg, arc, rear, chain, left) for leg in _LEGS], axis=1)
    return _Pose(chain=chain, skull=skull, nose=skull + _SNOUT * forward, head_axes=axes, legs=legs)


def _leg(animal: Walk, leg: _Leg, arc: Array, rear: Array, chain: Array, left: Array) -> Array:
    """Joints (time, 4, 3) of a leg: at the body, knee, ankle, toes."""
    cycle = arc / _STRIDE + leg.phase
    step = np.floor(cycle)
    share = cycle - step
    swing = _ramp((share - _STANCE) / (1.0 - _STANCE))
    lift = _LIFT * np.sin(np.pi * np.clip((share - _STANCE) / (1.0 - _STANCE), 0.0, 1.0))

    def planted(number: Array) -> tuple[Array, Array]:
        middle = (number + _STANCE / 2.0 - leg.phase) * _STRIDE - leg.behind
        direction = animal.route.direction(middle)
        sideways = np.stack([-np.sin(direction), np.cos(direction)], axis=-1)
        return animal.route.position(middle) + leg.side * leg.width * sideways, direction + 0.25 * leg.side

    (here, turned), (there, turning) = planted(step), planted(step + 1.0)
    ground = here + swing[:, None] * (there - here)
    toe_heading = turned + swing * (turning - turned)
    along = _aim(toe_heading, np.zeros_like(arc))
    toes = np.column_stack([ground, leg.radii[3] + lift]) + leg.foot / 2.0 * along

    axis = _unit(chain[:, leg.joint - 1] - chain[:, leg.joint + 1])
    sideways = _unit(np.cross([0.0, 0.0, 1.0], axis))
    body = chain[:, leg.joint] + leg.side * (7.0 if leg.joint == 1 else 7.5) * sideways - [0.0, 0.0, 3.0]
    if leg.joint == 1:
        hanging = body + 9.0 * axis - [0.0, 0.0, 9.0] - 2.0 * leg.side * sideways
        toes = toes + rear[:, None] * (hanging - toes)
    ankle = toes - leg.foot * along + [0.0, 0.0, leg.radii[2] - leg.radii[3] + 0.15 * leg.foot]
    reach = ankle - body
    distance = np.linalg.norm(reach, axis=-1)
    excess = np.maximum(distance - 0.995 * (leg.upper + leg.lower), 0.0)  # a paw out of reach comes along
    direction = _unit(reach)
    toes, ankle, distance = toes - excess[:, None] * direction, ankle - excess[:, None] * direction, distance - excess
    first = (leg.upper**2 - leg.lower**2 + distance**2) / (2.0 * distance)
    out = np.sqrt(np.maximum(leg.upper**2 - first**2, 0.0))
    pole = leg.bend * axis + 0.5 * leg.side * sideways
    pole = _unit(pole - np.sum(pole * direction, axis=-1, keepdims=True) * direction)
    knee = body + first[:, None] * direction + out[:, None] * pole
    return np.stack([body, knee, ankle, toes], axis=1)


def _ear_axes(pose: _Pose, side: float) -> tuple[Array, Array]:
    """The middle (time, 3) of an ear and the axes (time, 3, 3) of its ellipsoid, the last along its height."""
    forward, left, up = (pose.head_axes[..., k] for k in range(3))
    middle = pose.skull - 2.5 * forward + side * 6.6 * left + 7.0 * up
    tall = _unit(0.8 * up + side * 0.55 * left - 0.25 * forward)
    wide = _unit(np.cross(tall, forward + side * 0.5 * left))
    return middle, np.stack([np.cross(wide, tall), wide, tall], axis=-1)


_EAR = np.array([1.4, 4.0, 5.2])


def _keypoints(pose: _Pose) -> Array:
    forward, up = pose.head_axes[..., 0], pose.head_axes[..., 2]

    def on_back(joint: int) -> Array:
        before, after = max(joint - 1, 0), min(joint + 1, pose.chain.shape[1] - 1)
        direction = _unit(pose.chain[:, before] - pose.chain[:, after])
        back: Array = pose.chain[:, joint] + _RADIUS[joint] * _up(direction)
        return back

    ears = [middle + _EAR[2] * axes[..., 2] for middle, axes in (_ear_axes(pose, 1.0), _ear_axes(pose, -1.0))]
    paws = [pose.legs[:, i, 3] + [0.0, 0.0, leg.radii[3]] for i, leg in enumerate(_LEGS)]
    nose = pose.nose + _NOSE_RADIUS * _unit(forward + 0.6 * up)
    points = [nose, *ears, on_back(0), on_back(2), *paws, on_back(5), on_back(8), on_back(12)]
    return np.stack(points, axis=1)


def _body(pose: _Pose) -> Body:
    n = len(pose.skull)
    placed: list[Array] = []
    sizes: list[Array] = []

    def cone(start: Array, end: Array, radius: float, end_radius: float) -> None:
        axis = end - start
        length = np.linalg.norm(axis, axis=-1)
        direction = axis / length[:, None]
        dorsal = _up(direction)
        place = np.tile(np.eye(4), (n, 1, 1))
        place[:, :3, :3] = np.stack([dorsal, np.cross(direction, dorsal), direction], axis=-1)
        place[:, :3, 3] = start
        placed.append(place)
        sizes.append(np.column_stack([length, np.full(n, radius), np.full(n, end_radius)]))

    def ellipsoid(middle: Array, axes: Array, half_axes: Array) -> None:
        place = np.tile(np.eye(4), (n, 1, 1))
        place[:, :3, :3] = axes
        place[:, :3, 3] = middle
        placed.append(place)
        sizes.append(np.tile(half_axes, (n, 1)))

    for j in range(len(_CHAIN)):
        cone(pose.chain[:, j], pose.chain[:, j + 1], _RADIUS[j], _RADIUS[j + 1])
    cone(pose.chain[:, 0], pose.skull, _RADIUS[0], _SKULL_RADIUS)
    cone(pose.skull, pose.nose, _SKULL_RADIUS, _NOSE_RADIUS - 0.2)
    ellipsoid(pose.nose, pose.head_axes, np.full(3, _NOSE_RADIUS))
    for side in (1.0, -1.0):
        middle, axes = _ear_axes(pose, side)
        ellipsoid(middle, axes, _EAR)
    for side in (1.0, -1.0):
        eye = pose.skull + pose.head_axes @ np.array([6.0, side * 5.0, 3.6])
        ellipsoid(eye, pose.head_axes, np.full(3, 1.6))
    for i, leg in enumerate(_LEGS):
        for j in range(3):
            cone(pose.legs[:, i, j], pose.legs[:, i, j + 1], leg.radii[j], leg.radii[j + 1])
    return Body(world_from_part=np.stack(placed, axis=1), dimensions=np.stack(sizes, axis=1))
