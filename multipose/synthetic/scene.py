"""What can be put before the cameras: shapes and their coats, an arena with clutter, a mirror, the lamp."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multipose.board import Board
from multipose.errors import DataError
from multipose.geometry import pose, rotation_from_vector
from multipose.synthetic import kernels
from multipose.synthetic.animal import PART_COATS, PART_KINDS, Body

Array = NDArray[np.float64]
Color = tuple[float, float, float]

_KINDS: Mapping[str, int] = MappingProxyType(
    {"cone": kernels.CONE, "ellipsoid": kernels.ELLIPSOID, "box": kernels.BOX, "cylinder": kernels.CYLINDER}
)

_BOARD_TEXELS = 40  # pixels of the printed picture per square
_BOARD_MARGIN = 20  # pixels of white about the squares
_BOARD_THICKNESS = 3.0


def _coat(
    first: Color,
    second: Color | None = None,
    *,
    pattern: int = kernels.FUR,
    frequency: float = 0.55,
    turn: float = 9.0,
    contrast: float = 0.45,
    stretch: float = 0.45,
    gloss: float = 0.0,
) -> tuple[float, ...]:
    return (*first, *(second or first), float(pattern), frequency, turn, contrast, stretch, gloss)


def _grained(
    first: Color, second: Color, frequency: float, *, contrast: float, stretch: float = 1.0
) -> tuple[float, ...]:
    return _coat(first, second, pattern=kernels.NOISE, frequency=frequency, contrast=contrast, stretch=stretch)


_DARK, _TAN, _CREAM = (0.075, 0.055, 0.045), (0.33, 0.20, 0.11), (0.80, 0.74, 0.64)
_PINK = (0.72, 0.40, 0.36)
_COATS: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "head": _coat(_DARK),
        "hood": _coat(_DARK, _TAN, turn=0.2),
        "belt_front": _coat(_TAN, _CREAM, turn=0.55),
        "belt_back": _coat(_CREAM, _DARK, turn=0.5),
        "rump": _coat(_DARK),
        "shin": _coat(_DARK, _PINK, turn=0.7),
        "tail_dark": _coat((0.17, 0.11, 0.10), contrast=0.2),
        "tail_pale": _coat((0.82, 0.58, 0.53), contrast=0.2),
        "pale": _coat((0.80, 0.76, 0.70), (0.62, 0.58, 0.53), turn=0.5),
        "dappled": _coat((0.80, 0.76, 0.70), (0.30, 0.29, 0.30), frequency=0.12, turn=0.5),
        "nose": _coat((0.85, 0.40, 0.38), contrast=0.1, gloss=0.1),
        "ear": _coat((0.70, 0.36, 0.32), contrast=0.2),
        "eye": _coat((0.01, 0.01, 0.01), contrast=0.0, gloss=0.8),
        "paw": _coat(_PINK, contrast=0.2),
        "floor": _grained((0.36, 0.35, 0.33), (0.52, 0.50, 0.46), 0.09, contrast=0.25),
        "rim": _grained((0.30, 0.33, 0.36), (0.36, 0.39, 0.42), 0.05, contrast=0.1),
        "table": _grained((0.13, 0.08, 0.05), (0.24, 0.15, 0.09), 0.02, contrast=0.3),
        "brick": _grained((0.42, 0.13, 0.07), (0.60, 0.24, 0.14), 0.25, contrast=0.4),
        "ringed": _coat((0.09, 0.22, 0.42), (0.70, 0.70, 0.66), pattern=kernels.STRIPES, frequency=0.2, turn=0.085),
        "checked": _coat(
            (0.16, 0.30, 0.12), (0.62, 0.60, 0.30), pattern=kernels.CHECKS, turn=0.13, frequency=0.3, contrast=0.2
        ),
        "wood": _grained((0.34, 0.20, 0.10), (0.58, 0.40, 0.22), 0.15, contrast=0.3, stretch=0.2),
        "board": _coat((1.0, 1.0, 1.0), (0.55, 0.55, 0.55), pattern=kernels.BOARD),
        "mirror": _coat((0.9, 0.9, 0.9), (0.1, 0.1, 0.1), pattern=kernels.MIRROR),
        "white": _coat((0.95, 0.95, 0.95), contrast=0.0),
        "black": _coat((0.0, 0.0, 0.0), contrast=0.0),
    }
)  # fmt: skip
COAT_NAMES = tuple(_COATS)


@dataclass(frozen=True, eq=False)
class Shape:
    """One solid.

    kind: "cone" (a tapered capsule along z from the origin), "ellipsoid", "box" or "cylinder" (about z).
    coat: a name of `COAT_NAMES`; a "mirror" reflects on its side towards -z.
    dimensions: cone: length, radius at the start, at the end; ellipsoid: half axes; box: half sides; cylinder: radius,
        0, half height.
    world_from_shape: (4, 4).
    """

    kind: str
    coat: str
    dimensions: tuple[float, float, float]
    world_from_shape: Array

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise DataError(f"a shape is one of {', '.join(_KINDS)}, got {self.kind!r}")
        if self.coat not in COAT_NAMES:
            raise DataError(f"a coat is one of {', '.join(COAT_NAMES)}, got {self.coat!r}")


@dataclass(frozen=True)
class Light:
    """The brightness of a moment: linear (r, g, b) of the lamp and of the surroundings."""

    lamp: Color = (0.80, 0.77, 0.72)
    surroundings: Color = (0.36, 0.38, 0.41)

    def dimmed(self, lamp: float, surroundings: float | None = None) -> Light:
        """The light with both parts multiplied; the surroundings as the lamp unless told."""
        other = lamp if surroundings is None else surroundings
        return Light(
            (self.lamp[0] * lamp, self.lamp[1] * lamp, self.lamp[2] * lamp),
            (self.surroundings[0] * other, self.surroundings[1] * other, self.surroundings[2] * other),
        )


@dataclass(frozen=True, eq=False)
class Scene:
    """What stands still.

    shapes: the solids, at most one of them a mirror.
    lamp_direction: (3,) from the scene to the lamp, any length.
    lamp_radius: half the lamp's angular size, rad; makes shadows soft.
    obstacles: circles (x, y, radius) on the floor that an animal walks around.
    """

    shapes: tuple[Shape, ...]
    lamp_direction: tuple[float, float, float] = (0.35, -0.45, 1.0)
    lamp_radius: float = 0.05
    obstacles: tuple[tuple[float, float, float], ...] = field(default=())

    def __post_init__(self) -> None:
        if sum(shape.coat == "mirror" for shape in self.shapes) > 1:
            raise DataError("a scene can hold one mirror, got more")

    @property
    def mirror(self) -> Shape | None:
        """The mirror, if there is one."""
        return next((shape for shape in self.shapes if shape.coat == "mirror"), None)

    def with_shapes(self, *shapes: Shape) -> Scene:
        """The scene with more shapes."""
        return Scene((*self.shapes, *shapes), self.lamp_direction, self.lamp_radius, self.obstacles)

    def lamp_directions(self, count: int) -> Array:
        """(count, 3) unit directions spread over the lamp, the middle one through its centre."""
        middle = np.array(self.lamp_direction) / np.linalg.norm(self.lamp_direction)
        side = np.cross(middle, [1.0, 0.0, 0.0])
        side /= np.linalg.norm(side)
        place = (np.arange(count) - count // 2) / max(1, count)
        radius, angle = self.lamp_radius * np.sqrt(2.0 * np.abs(place)), 2.399963 * np.arange(count)
        offset = (radius * np.cos(angle))[:, None] * side + (radius * np.sin(angle))[:, None] * np.cross(middle, side)
        directions: Array = (middle + offset) / np.linalg.norm(middle + offset, axis=1, keepdims=True)
        return directions


def arena(*, half_size: float = 125.0, clutter: bool = True) -> Scene:
    """A square box with a low rim on a table, lit from above, with blocks and posts in it; lengths in mm.

    The floor is z = 0 and its middle the world's origin.
    """
    rim_height, rim = 14.0, 3.0
    shapes = [
        _box("floor", (half_size, half_size, 2.0), (0.0, 0.0, -2.0)),
        _box("table", (1500.0, 1500.0, 3.0), (0.0, 0.0, -9.0)),
    ]
    for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        half = (rim if x else half_size + 2 * rim, rim if y else half_size, rim_height / 2)
        shapes.append(_box("rim", half, ((half_size + rim) * x, (half_size + rim) * y, rim_height / 2)))
    obstacles: list[tuple[float, float, float]] = []
    if clutter:
        shapes += [
            _box("brick", (15.0, 9.0, 9.0), (45.0, 33.0, 9.0), 0.5),
            _cylinder("ringed", 9.0, 30.0, (-47.0, -36.0)),
            _cylinder("wood", 7.0, 20.0, (-38.0, 58.0)),
            _box("checked", (8.0, 8.0, 8.0), (104.0, -102.0, 8.0), 0.3),
            _box("wood", (10.0, 6.0, 5.0), (-106.0, 104.0, 5.0), -0.4),
        ]
        obstacles = [(45.0, 33.0, 15.0), (-47.0, -36.0, 9.0), (-38.0, 58.0, 7.0)]
    return Scene(tuple(shapes), obstacles=tuple(obstacles))


def mirror(point: ArrayLike, normal: ArrayLike, *, half_width: float = 80.0, half_height: float = 50.0) -> Shape:
    """A flat mirror: the middle (3,) of its shining side, its normal (3,), and half its sides; upright if it can be."""
    outward = np.asarray(normal, dtype=np.float64) / np.linalg.norm(normal)
    up = np.array([0.0, 0.0, 1.0]) if abs(outward[2]) < 0.99 else np.array([0.0, 1.0, 0.0])
    z = -outward
    x = np.cross(up, z)
    x /= np.linalg.norm(x)
    rotation = np.column_stack([x, np.cross(z, x), z])
    thickness = 1.0
    return Shape(
        "box", "mirror", (half_width, half_height, thickness),
        pose(rotation, np.asarray(point, dtype=np.float64) - thickness * outward),
    )  # fmt: skip


def pack_shapes(kinds: NDArray[np.int64], coats: tuple[str, ...], world_from_shape: Array, dimensions: Array) -> Array:
    """Rows (time, part, SHAPE) for the kernels from poses (time, part, 4, 4) and dimensions (time, part, 3)."""
    rows = np.empty((*dimensions.shape[:2], kernels.SHAPE))
    rows[..., 0] = kinds
    rows[..., 1] = [COAT_NAMES.index(coat) for coat in coats]
    rows[..., 2:11] = world_from_shape[..., :3, :3].reshape(*dimensions.shape[:2], 9)
    rows[..., 11:14] = world_from_shape[..., :3, 3]
    rows[..., 14:17] = dimensions
    is_cone, is_ball = kinds == kernels.CONE, kinds == kernels.ELLIPSOID
    middle = np.where(is_cone, dimensions[..., 0] / 2.0, 0.0)
    rows[..., 17:20] = rows[..., 11:14] + middle[..., None] * world_from_shape[..., :3, 2]
    rows[..., 20] = np.where(
        is_cone,
        middle + dimensions[..., 1:].max(axis=-1),
        np.where(is_ball, dimensions.max(axis=-1), np.linalg.norm(dimensions, axis=-1)),
    )
    return rows


def pack_scene(shapes: Iterable[Shape]) -> Array:
    """Rows (1, part, SHAPE) of shapes that stand still."""
    listed = list(shapes)
    return pack_shapes(
        np.array([_KINDS[shape.kind] for shape in listed], dtype=np.int64),
        tuple(shape.coat for shape in listed),
        np.array([shape.world_from_shape for shape in listed]).reshape(1, -1, 4, 4),
        np.array([shape.dimensions for shape in listed]).reshape(1, -1, 3),
    )


def pack_body(body: Body, recoated: Mapping[str, str] | None = None) -> Array:
    """Rows (time, part, SHAPE) of an animal; some of its coats may be exchanged for others.

    Raises DataError for a coat that there is not.
    """
    coats = tuple((recoated or {}).get(coat, coat) for coat in PART_COATS)
    unknown = sorted({*coats, *(recoated or {})} - set(COAT_NAMES))
    if unknown:
        raise DataError(f"a coat is one of {', '.join(COAT_NAMES)}, got {', '.join(unknown)}")
    return pack_shapes(PART_KINDS, coats, body.world_from_part, body.dimensions)


def pack_board(board: Board, world_from_board: Array) -> Array:
    """Rows (time, 1, SHAPE) of a board at poses (time, 4, 4): a thin plate whose printed side is the board's z = 0."""
    texel = board.square / _BOARD_TEXELS
    height, width = print_board(board).shape
    half = np.array([width * texel, height * texel, _BOARD_THICKNESS]) / 2.0
    left, top = (edge - _BOARD_MARGIN * texel for edge in board.print_area[:2])
    middle = half + np.array([left, top, 0.0])
    board_from_plate = pose(np.eye(3), middle)
    plates = (world_from_board @ board_from_plate)[:, None]
    return pack_shapes(np.array([kernels.BOX]), ("board",), plates, np.broadcast_to(half, (len(plates), 1, 3)))


def print_board(board: Board) -> NDArray[np.float32]:
    """The board's print as reflectances (height, width).

    Raises DataError for a two-sided board: the plate's back is plain.
    """
    if board.sides > 1:
        raise DataError(f"Only boards with one print are rendered, got a {board}.")
    picture = board.draw(_BOARD_TEXELS, _BOARD_MARGIN)[..., 0]
    return (0.04 + 0.76 * picture / 255.0).astype(np.float32)


def coat_table() -> Array:
    """All coats (coat, COAT), in the order of `COAT_NAMES`."""
    return np.array([_COATS[name] for name in COAT_NAMES])


def _box(coat: str, half: Color, middle: Color, turn: float = 0.0) -> Shape:
    return Shape("box", coat, half, pose(rotation_from_vector(np.array([0.0, 0.0, turn])), np.array(middle)))


def _cylinder(coat: str, radius: float, height: float, place: tuple[float, float]) -> Shape:
    middle = np.array([*place, height / 2.0])
    return Shape("cylinder", coat, (radius, 0.0, height / 2.0), pose(np.eye(3), middle))
