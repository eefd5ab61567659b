"""Pictures of a scene as a camera takes them, and which key points it can see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from multipose.board import Board
from multipose.camera import Camera
from multipose.errors import DataError
from multipose.opencv import cv2
from multipose.synthetic import kernels
from multipose.synthetic.animal import Walk
from multipose.synthetic.observation import inside_picture
from multipose.synthetic.scene import Light, Scene, coat_table, pack_board, pack_body, pack_scene, print_board

Array = NDArray[np.float64]

VISIBLE, OCCLUDED, ABSENT = "visible", "occluded", "absent"  # as in labels
_SURFACE = 1.5  # a point this near behind the surface that hides it still counts as seen
_BALLS = (1, 2, 3, 13)  # parts of an animal whose spheres shade the floor: shoulders, belly, rump, head


@dataclass(frozen=True)
class Sensor:
    """How light becomes a picture.

    blur_px: standard deviation of the blur of lens and sensor, px.
    exposure: seconds during which moving things smear.
    shot_noise, read_noise: standard deviation of the noise at full brightness that grows with the root of the light,
        and of the noise that is always there, both relative to white.
    gamma: of the tone curve.
    """

    blur_px: float = 0.5
    exposure: float = 0.004
    shot_noise: float = 0.012
    read_noise: float = 0.004
    gamma: float = 2.2


@dataclass(frozen=True, eq=False)
class Moment:
    """What is before the cameras besides the scene, and how light it is.

    animal: its movement, seen at `time` (seconds).
    recoated: coats of the animal that are exchanged for others, by their names in `COAT_NAMES`.
    board: a board, with its poses world_from_board (n, 4, 4) at evenly spaced instants of the exposure; one: it rests.
    """

    animal: Walk | None = None
    time: float = 0.0
    board: Board | None = None
    board_poses: Array = field(default_factory=lambda: np.empty((0, 4, 4)))
    light: Light = field(default_factory=Light)
    recoated: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Stage:
    """A scene before one camera, with all that stays the same from frame to frame.

    samples: rays per pixel along each axis.
    origins, directions: (height * samples, width * samples, 3) rays.
    points, normals: (height, width, 3) where the middle of each pixel meets the scene, seen in a mirror or
        not; NaN: nowhere.
    still: (height, width, 6) light of the empty scene: the surroundings' (r, g, b) and the lamp's.
    spread: width of a pixel per unit of distance; pixel_width: width of a pixel at the camera (telecentric lenses).
    """

    scene: Scene
    camera: Camera
    samples: int
    origins: Array
    directions: Array
    points: Array
    normals: Array
    still: NDArray[np.float32]
    spread: float
    pixel_width: float


def prepare(scene: Scene, camera: Camera, samples: int = 2) -> Stage:
    """Compute the rays of a camera's pixels and the picture of the empty scene, once for all frames.

    Args:
        scene: what stands still.
        camera: one view, of any lens model.
        samples: rays per pixel along each axis: 2 for animals, 3 or 4 for boards whose corners are to be found.

    Raises:
        DataError: fewer than 1 sample, or a lens that has no ray for some pixel.
    """
    if samples < 1:
        raise DataError(f"a picture needs at least 1 sample per pixel, got {samples}")
    width, height = camera.size
    x = (np.arange(width * samples) + 0.5) / samples - 0.5
    y = (np.arange(height * samples) + 0.5) / samples - 0.5
    origins, directions = camera.rays(np.stack(np.meshgrid(x, y), axis=-1))
    if not np.isfinite(directions).all():
        raise DataError(f"the lens of camera {camera.name} has no ray for {np.isnan(directions[..., 0]).sum()} pixels")
    apart = max(np.linalg.norm(np.diff(directions, axis=k), axis=-1).max() for k in (0, 1))
    shifted = max(np.linalg.norm(np.diff(origins, axis=k), axis=-1).max() for k in (0, 1))
    origins, directions = np.ascontiguousarray(origins), np.ascontiguousarray(directions)
    middle = slice(samples // 2, None, samples)
    points, normals = _meet(scene, origins[middle, middle], directions[middle, middle])
    still = np.zeros((height, width, 6), dtype=np.float32)
    stage = Stage(
        scene=scene, camera=camera, samples=samples, origins=origins, directions=directions,
        points=points, normals=normals, still=still,
        spread=float(apart) * samples, pixel_width=float(shifted) * samples,
    )  # fmt: skip
    none = np.empty((1, 0, kernels.SHAPE))
    _trace(stage, none, (), np.ones((2, 2), dtype=np.float32), still, everything=True)
    return stage


def render(stage: Stage, moment: Moment, *, sensor: Sensor | None = None, seed: int = 0) -> NDArray[np.uint8]:
    """The picture (height, width, 3), RGB, that the camera takes of the scene at a moment.

    The same arguments give the same pixels on one machine, whatever the number of threads.

    Args:
        stage: the scene before the camera, from `prepare`.
        moment: what else is there, and the light.
        sensor: blur, exposure and noise; by default those of `Sensor()`.
        seed: of the noise; give every frame of every view another.

    Raises:
        DataError: a moment with a board but without its pose.
    """
    sensor = Sensor() if sensor is None else sensor
    light = radiance(stage, moment, exposure=sensor.exposure)
    if sensor.blur_px > 0.0:
        light = cv2.GaussianBlur(light, (0, 0), sensor.blur_px, borderType=cv2.BORDER_REPLICATE)
    rng = np.random.default_rng((seed, 103))
    spread = np.sqrt(sensor.shot_noise**2 * np.maximum(light, 0.0) + sensor.read_noise**2)
    noisy = light + spread * rng.standard_normal(light.shape, dtype=np.float32)
    tones = np.clip(noisy, 0.0, 1.0) ** (1.0 / sensor.gamma)
    return (tones * 255.0 + 0.5).astype(np.uint8)


def radiance(stage: Stage, moment: Moment, *, exposure: float = 0.0) -> NDArray[np.float32]:
    """Linear light (height, width, 3) of the scene at a moment, without blur and noise; white is 1.

    Each of the samples² rays of a pixel sees its own instant of the exposure (seconds).

    Raises:
        DataError: a moment with a board but without its pose.
    """
    parts: list[Array] = []
    count = stage.samples**2
    if moment.animal is not None:
        times = moment.time + exposure * (np.arange(count) + 0.5) / count - exposure / 2.0
        parts.append(pack_body(moment.animal.body_at(times), moment.recoated))
    print_ = np.ones((2, 2), dtype=np.float32)
    if moment.board is not None:
        if len(moment.board_poses) == 0:
            raise DataError("a moment with a board needs at least one pose of it")
        instants = np.arange(count) * len(moment.board_poses) // count
        parts.append(pack_board(moment.board, moment.board_poses[instants]))
        print_ = print_board(moment.board)
    layers = stage.still.copy()
    if parts:
        _trace(stage, np.concatenate(parts, axis=1), _BALLS if moment.animal is not None else (), print_, layers)
    lamp, surroundings = np.array([moment.light.lamp, moment.light.surroundings], dtype=np.float32)
    seen: NDArray[np.float32] = layers[..., :3] * surroundings + layers[..., 3:] * lamp
    return seen


def visibility(scene: Scene, camera: Camera, animal: Walk, times: Array) -> NDArray[np.str_]:
    """State (time, keypoint) of the animal's key points in a view at some times (seconds).

    "visible"; "occluded" by the animal itself or by the scene; "absent": outside the picture or behind the camera. Only
    what is seen directly counts, not what is seen in a mirror.
    """
    times = np.asarray(times, dtype=np.float64)
    points = animal.keypoints_at(times)
    px = camera.project(points)
    inside = inside_picture(px, camera.size)
    origins, directions = camera.rays(np.where(inside[..., None], px, np.array(camera.size) / 2.0))
    distance = np.sum((points - origins) * directions, axis=-1)
    still, body = pack_scene(scene.shapes), pack_body(animal.body_at(times))
    shapes = np.concatenate([np.repeat(still, len(times), axis=0), body], axis=1)
    hidden = _strike(origins, directions, shapes)[0] < distance - _SURFACE
    return np.where(inside, np.where(hidden, OCCLUDED, VISIBLE), ABSENT)


def _strike(origins: Array, directions: Array, shapes: Array) -> tuple[Array, Array]:
    """How far (...) rays (..., 3) go to the nearest of shapes (time, part, SHAPE), and its normals (..., 3) there.

    Where there are several times, they are the first axis of the rays.
    """
    distances, normals = np.empty(origins.shape[:-1]), np.zeros(origins.shape)
    rays = [np.ascontiguousarray(a).reshape(-1, 3) for a in (origins, directions)]
    kernels.strike(*rays, np.ascontiguousarray(shapes), distances.reshape(-1), normals.reshape(-1, 3))
    return distances, normals


def _meet(scene: Scene, origins: Array, directions: Array) -> tuple[Array, Array]:
    """Where rays (..., 3) meet the scene, after the mirror if they meet that first, and the normals there.

    A ray that meets nothing has NaN.
    """
    solid = pack_scene(shape for shape in scene.shapes if shape is not scene.mirror)
    distance, normals = _strike(origins, directions, solid)
    if scene.mirror is not None:
        glass, facing = _strike(origins, directions, pack_scene([scene.mirror]))
        shining = -scene.mirror.world_from_shape[:3, 2]
        at = ((glass < distance) & (facing @ shining > 0.5))[..., None]
        origins = np.where(at, origins + glass[..., None] * directions, origins)
        turned = directions - 2.0 * (directions @ shining)[..., None] * shining
        directions = np.where(at, turned, directions)
        distance, normals = _strike(origins, directions, solid)
    reached = (distance < kernels.FAR)[..., None]
    return np.where(reached, origins + distance[..., None] * directions, np.nan), normals


def _trace(
    stage: Stage,
    moving: Array,
    balls: tuple[int, ...],
    print_: NDArray[np.float32],
    layers: NDArray[np.float32],
    *,
    everything: bool = False,
) -> None:
    """Trace into `layers` the pixels that the moving shapes (time, part, SHAPE) may change."""
    scene = stage.scene
    hulls = shadows = moving[:1]
    groups = np.zeros((1, 4))
    if moving.shape[1]:
        middles, radii = moving[..., 17:20], moving[..., 20]
        turned = np.linalg.norm(moving[..., 2:11] - moving[:1, :, 2:11], axis=-1)
        travel = (np.linalg.norm(middles - middles[:1], axis=-1) + turned * radii).max(axis=0)
        center = middles.mean(axis=(0, 1))
        reach = float((np.linalg.norm(middles - center, axis=-1) + radii).max())
        corners = stage.origins[:: stage.origins.shape[0] - 1, :: stage.origins.shape[1] - 1]
        far = float(np.linalg.norm(corners - center, axis=-1).max()) + reach
        pixel = stage.spread * far + stage.pixel_width
        heights = stage.points[..., 2][np.isfinite(stage.points[..., 2])]
        height = float(center[2]) + reach - float(heights.min(initial=center[2]))
        hulls = _widened(moving, travel + pixel)
        shadows = _widened(moving, travel + 2.0 * pixel + 2.0 * scene.lamp_radius * height)
        groups = np.array([[*center, reach + pixel]])
        if scene.mirror is not None:
            shining = -scene.mirror.world_from_shape[:3, 2]
            middle = scene.mirror.world_from_shape[:3, 3] + scene.mirror.dimensions[2] * shining
            image = center - 2.0 * float((center - middle) @ shining) * shining
            groups = np.array([[*center, reach + pixel], [*image, reach + pixel]])
    kernels.cast(
        stage.origins,
        stage.directions,
        stage.points,
        stage.normals,
        pack_scene(scene.shapes),
        np.ascontiguousarray(moving),
        hulls,
        shadows,
        groups,
        moving[0][list(balls), 17:21],
        coat_table(),
        print_,
        scene.lamp_directions(stage.samples**2),
        -1.0 if everything else stage.spread,
        layers,
    )


def _widened(shapes: Array, margins: Array) -> Array:
    """Shapes (1, part, SHAPE): those of the first instant with margins (part,) all around."""
    wide = shapes[:1].copy()
    kinds = wide[0, :, 0]
    wide[0, :, 14:17] += margins[:, None] * np.where(kinds == kernels.CONE, [[0.0], [1.0], [1.0]], 1.0).T
    wide[0, :, 20] += 2.0 * margins
    return wide
