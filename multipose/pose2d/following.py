"""Follow one animal: find it in the whole picture, then look only at a crop around it, and find it again when lost.

A crop is seen at the network's scale, so its points are as exact as those of the whole picture, at a cost that
depends on the animal's size and not on the picture's. The crop lies where the points of the picture before were, moved
on by as much as they moved last. The animal counts as lost when fewer than half of the points seen at the last find
are seen, or one of them lies at the crop's border; the same picture is then searched as a whole. Every 50 pictures it
is searched as a whole anyway, so that a tracker that holds on to something else lets go of it.

Pictures of which the network would see far more than 640 x 512 pixels are searched more coarsely first: shrunk to that
area, and then a crop around what was found there. If that fails they are searched as a whole at full scale, at once
when the animal was there before, and in every tenth picture while it stays away. In every 50th picture of theirs only
the coarse search is made, and leads elsewhere if the points are surer there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from multipose.errors import DataError
from multipose.pose2d.backbones import INPUT_MULTIPLE
from multipose.pose2d.dataset import Picture
from multipose.pose2d.engines import Engine, create_engine, installed_runtimes
from multipose.pose2d.model import PoseEstimate, PoseModel
from multipose.pose2d.runtime import choose_device, thread_count
from multipose.sources import check_picture

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

SEEN = 0.5  # confidence from which a point counts as seen
_SEEN_COARSELY = (
    0.2  # the same in the coarse search, whose confidence is lower: the network knows no such small animals
)
_HELD = 0.5  # share of the points seen at the last find that must be seen in a crop
_EDGE = 12  # px at the network's scale: a point nearer than this to the crop's border may have left it
_MARGIN = 64  # px at the network's scale between the points and the crop's border, at the least: what the maps rest on
_STEP = 64  # between the sides of the smallest crops
_SMALLEST = 128
_CHECK = 50  # pictures from one search of the whole picture to the next
_COARSE_PIXELS = 640 * 512
_LARGE = 1.5  # times as many pixels make a picture large
_LOST_CHECK = 10  # while a large picture shows no animal, every how many of them is searched at full scale


def following_pays(model: PoseModel, size: tuple[int, int], threads: int) -> bool:
    """Whether crops one after another are less work than whole pictures of this size, one on each of the threads."""
    height, width = model.prepared_size(size)
    return height * width > max(2, threads) * first_side(model) ** 2


def first_side(model: PoseModel) -> int:
    """Side of a crop, px at the network's scale: more around the animal than in training, for what the maps rest on."""
    trained = int(model.training.get("augmentation", {}).get("crop", _SMALLEST))
    return int(np.ceil((trained + _MARGIN) / _STEP) * _STEP)


@dataclass(frozen=True)
class Crop:
    """A part of a picture, in whole px of the picture: its left upper corner and its size."""

    x: int
    y: int
    width: int
    height: int

    def cut(self, picture: Picture) -> Picture:
        """That part of a picture."""
        return picture[self.y : self.y + self.height, self.x : self.x + self.width]


class Tracker:
    """Finds the points in pictures that come one after another, for closed-loop experiments and long videos.

    It remembers where the animal was, so a tracker belongs to one camera, and its pictures come in order.

    Args:
        model: the network.
        size: (width, height) of the pictures.
        engine: what runs it; by default, in float32, OpenVINO where it is installed and there is no GPU, else torch.
        threads: of the CPU for the default engine; None for all.

    Attributes:
        engine: what runs the network.
        searches: how often the whole picture was searched so far.
    """

    def __init__(
        self, model: PoseModel, size: tuple[int, int], engine: Engine | None = None, *, threads: int | None = None
    ) -> None:
        if engine is None:
            place = choose_device()
            name = "openvino" if "openvino" in installed_runtimes(place) else "torch"
            engine = create_engine(name, model.on(place), place, threads=thread_count(threads))
        self.engine = engine
        self._model = model
        self._size = size
        height, width = model.prepared_size(size)
        coarser = float(np.sqrt(_COARSE_PIXELS / (height * width)))
        large = height * width > _LARGE * _COARSE_PIXELS
        self._coarse = replace(model, scale=model.scale * coarser) if large else None
        self._side = first_side(model)
        self._sides = _crop_sides(self._side, max(height, width))
        self._crop: Crop | None = None
        self._points = np.full((len(model.skeleton), 2), np.nan)  # where each was last seen, moved on with the others
        self._expected = 0
        self._age = 0  # pictures since the last search
        self._lost = 0  # pictures in a row without the animal
        self.searches = 0

    def middle_crop(self) -> Crop:
        """A crop of the usual size around the points last seen, or in the middle of the picture without any."""
        known = self._points[np.isfinite(self._points[:, 0])]
        middle = known.mean(0) if len(known) else np.array(self._size) / 2
        return self._crop_around(middle, self._side)

    def track(self, picture: Picture) -> PoseEstimate:
        """Find the points in the next picture, RGB uint8 (h, w, 3); an estimate of n = 1 in the picture's px.

        Raises:
            DataError: it is no such picture, or of another size.
        """
        check_picture(picture, "The next picture")
        if picture.shape[1::-1] != self._size:
            raise DataError(
                f"The tracker was made for pictures of {self._size[0]}x{self._size[1]}, got one of "
                f"{picture.shape[1]}x{picture.shape[0]}. Make another tracker."
            )
        self._age += 1
        due = self._age >= _CHECK
        if self._crop is not None and not (due and self._coarse is None):
            estimate = self._look(picture, self._crop)
            if self._holds(estimate, self._crop):
                if due:
                    estimate = self._check_coarsely(picture, estimate)
                self._follow(estimate)
                return estimate
        return self._search(picture)

    def warm_up(self) -> None:
        """Make the graphs for crops of all sizes and the whole picture now, so that no picture waits for them."""
        blank = np.zeros((self._size[1], self._size[0], 3), np.uint8)
        middle = np.array(self._size) / 2
        for crop in dict.fromkeys(self._crop_around(middle, side) for side in self._sides):  # the last is all of it
            self._look(blank, crop)
        if self._coarse is not None:
            self._look_coarsely(blank)

    @property
    def _whole(self) -> Crop:
        return Crop(0, 0, *self._size)

    def _look(self, picture: Picture, crop: Crop) -> PoseEstimate:
        prepared = self._model.prepare(crop.cut(picture))[None]
        origin = float(crop.x), float(crop.y)
        estimate = self._model.estimate(prepared, (crop.width, crop.height), self.engine, origin=origin)
        return replace(estimate, position=estimate.position + np.array([crop.x, crop.y]))

    def _look_coarsely(self, picture: Picture) -> PoseEstimate:
        model = self._coarse or self._model
        return model.estimate(model.prepare(picture)[None], self._size, self.engine)

    def _holds(self, estimate: PoseEstimate, crop: Crop) -> bool:
        """Whether the animal is in a crop: enough points are seen, none at a border that is not the picture's."""
        points = _seen_points(estimate, SEEN)
        if len(points) < max(1.0, _HELD * self._expected):
            return False
        low, high = np.array([crop.x, crop.y]), np.array([crop.x + crop.width, crop.y + crop.height])
        edge = _EDGE / self._model.scale
        left = (points < low + edge).any(0) & (low > 0)
        right = (points > high - 1 - edge).any(0) & (high < self._size)
        return not (left | right).any()

    def _search(self, picture: Picture) -> PoseEstimate:
        """Look at the whole picture; the next crop lies around what is found."""
        self.searches += 1
        self._age = 0
        estimate = self._search_coarsely(picture) if self._coarse is not None else self._look(picture, self._whole)
        points = _seen_points(estimate, SEEN)
        self._expected = len(points)
        self._points = np.full_like(self._points, np.nan)
        if len(points):
            self._lost = 0
            self._follow(estimate)
        else:
            self._lost += 1
            self._crop = None
        return estimate

    def _check_coarsely(self, picture: Picture, estimate: PoseEstimate) -> PoseEstimate:
        """What a coarse search of the whole picture leads to, if the points are surer there; else what was found."""
        self.searches += 1
        self._age = 0
        _, crop = self._find_coarsely(picture)
        other = self._look(picture, crop)
        if not self._holds(other, crop) or other.confidence.mean() <= estimate.confidence.mean():
            return estimate
        self._points = np.full_like(self._points, np.nan)
        return other

    def _find_coarsely(self, picture: Picture) -> tuple[PoseEstimate, Crop]:
        """The points of the shrunk picture, and a crop around those seen there, or around the surest."""
        rough = self._look_coarsely(picture)
        points = _seen_points(rough, _SEEN_COARSELY)
        if not len(points):
            points = rough.position[0, [int(rough.confidence[0].argmax())]]
        return rough, self._crop_around_points(points)

    def _search_coarsely(self, picture: Picture) -> PoseEstimate:
        rough, crop = self._find_coarsely(picture)
        estimate = self._look(picture, crop)
        self._expected = int((rough.confidence[0] >= SEEN).sum())
        if self._holds(estimate, crop) or self._lost % _LOST_CHECK:
            return estimate
        return self._look(picture, self._whole)

    def _follow(self, estimate: PoseEstimate) -> None:
        """Place the next picture's crop: around the points seen, and those seen before, moved on with them."""
        seen = estimate.confidence[0] >= SEEN
        position = estimate.position[0]
        seen &= self._near(position, seen)
        both = seen & np.isfinite(self._points[:, 0])
        motion = (position[both] - self._points[both]).mean(0) if both.any() else np.zeros(2)
        self._points = np.where(seen[:, None], position, self._points + motion)
        known = self._points[np.isfinite(self._points[:, 0])]
        self._crop = self._crop_around_points(known + motion)

    def _near(self, position: Array, seen: Flags) -> Flags:
        """Which points are no farther from the middle of those seen than an animal is long: others are mistakes."""
        middle = np.median(position[seen], axis=0)
        near = np.hypot(*(position - middle).T) <= self._side / self._model.scale
        return near if (near & seen).any() else seen

    def _crop_around_points(self, points: Array) -> Crop:
        low, high = points.min(0), points.max(0)
        needed = float((high - low).max()) * self._model.scale + 2 * _MARGIN
        side = next((side for side in self._sides if side >= needed), self._sides[-1])
        return self._crop_around((low + high) / 2, side)

    def _crop_around(self, center: Array, side: int) -> Crop:
        """A crop of this side, px at the network's scale, moved into the picture and cut to its size."""
        wanted = round(side / self._model.scale)
        grid = INPUT_MULTIPLE / self._model.scale
        places = []
        for middle, length in zip(center, self._size, strict=True):
            extent = min(wanted, length)
            # On the grid of the whole picture's cells the network's maps are nearly those of the whole picture.
            corner = round(round((middle - extent / 2) / grid) * grid)
            places.append((min(max(corner, 0), length - extent), extent))
        (x, width), (y, height) = places
        return Crop(x, y, width, height)


def _seen_points(estimate: PoseEstimate, threshold: float) -> Array:
    """(m, 2) positions of the points of one picture that are seen."""
    return np.asarray(estimate.position[0][estimate.confidence[0] >= threshold])


def _crop_sides(first: int, longest: int) -> tuple[int, ...]:
    """The sides that crops have, px at the network's scale; the last is at least `longest`, the picture's side.

    They are few, since each needs a graph of its own, which some engines take a second to make.
    """
    sides = [first, first + _STEP, first + 2 * _STEP]
    while sides[-1] < longest:
        sides.append(2 * sides[-1])
    return tuple(sides)
