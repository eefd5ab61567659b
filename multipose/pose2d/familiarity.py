"""Whether pictures look like those that were labelled, by what the backbone makes of them; and which to label if not.

Each labelled picture is described twice: the whole of it, small, and a square around the animal. A description is the
mean of the backbone's features of strides 16 and more, over the picture. The labelled descriptions make a Gaussian
(shrunk covariance) [1]; how far the labelled pictures themselves lie from it when they are left out of it, a tenth at a
time, is the limit of what is familiar.

[1] K. Lee, K. Lee, H. Lee, J. Shin: A simple unified framework for detecting out-of-distribution samples and
adversarial attacks. NeurIPS 2018.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from multipose.opencv import cv2
from multipose.pose2d.backbones import INPUT_MULTIPLE
from multipose.pose2d.dataset import Picture, PoseDataset, shrink
from multipose.pose2d.network import PoseNetwork

Array = npt.NDArray[np.float64]

_FEWEST_PICTURES = 8
_MOST_PICTURES = 200  # labelled ones that are described, evenly among all
_WHOLE_PIXELS = 192 * 144
_ANIMAL_SIDE = 96  # px of the square that is shown of the animal ...
_ANIMAL_MARGIN = 10.0  # ... which is the longer side of the box around its points, and so many px more
_STRIDE = 16
_EVERY = 100  # pictures of a video from one that is looked at to the next, ...
_LOOKS = (6, 40)  # ... but at least and at most so many are; describing one costs about as much as finding its points
UNLIKE = 1.1
"""Median strangeness above which a video looks unlike all that was labelled; the farthest labelled picture has 1."""

_SEEN = 0.5  # confidence of the points that the animal's box holds
_TO_LABEL = 8  # frames proposed, at most
_SHRINKAGE = 0.3  # of the covariance of standardised features towards the unit matrix
_FOLDS = 10


@dataclass(frozen=True, eq=False)
class Glimpse:
    """What is kept of a picture to describe it: the whole, small (h, w, 3), and the animal (side, side, 3) or None."""

    whole: Picture
    animal: Picture | None

    @classmethod
    def catch(cls, picture: Picture, points: Array) -> Glimpse:
        """Of a picture (h, w, 3) with the animal's points (n, 2) in it; those that are not finite do not count."""
        whole, _ = shrink(picture, min(1.0, float(np.sqrt(_WHOLE_PIXELS / (picture.shape[0] * picture.shape[1])))))
        there = points[np.isfinite(points).all(-1)]
        if not len(there):
            return cls(whole, None)
        low, high = there.min(0), there.max(0)
        zoom = _ANIMAL_SIDE / (float((high - low).max()) + _ANIMAL_MARGIN)
        shift = (_ANIMAL_SIDE - 1) / 2 - zoom * (low + high) / 2
        matrix = np.column_stack([zoom * np.eye(2), shift])
        animal = cv2.warpAffine(picture, matrix, (_ANIMAL_SIDE, _ANIMAL_SIDE), flags=cv2.INTER_AREA)
        return cls(whole, np.asarray(animal, dtype=np.uint8))


def describe_glimpses(network: PoseNetwork, glimpses: Iterable[Glimpse]) -> Array:
    """Descriptions (n, 2, feature): of the wholes and of the animals; NaN where there is no animal."""
    rows = []
    for glimpse in glimpses:
        whole = _describe(network, glimpse.whole)
        animal = np.full_like(whole, np.nan) if glimpse.animal is None else _describe(network, glimpse.animal)
        rows.append(np.stack([whole, animal]))
    return np.stack(rows)


def _describe(network: PoseNetwork, picture: Picture) -> Array:
    """Mean features (feature,) of one picture."""
    height, width = picture.shape[:2]
    down, right = -height % INPUT_MULTIPLE, -width % INPUT_MULTIPLE
    padded = np.pad(picture, ((0, down), (0, right), (0, 0)), mode="edge")
    with torch.inference_mode():
        levels = network.features(torch.from_numpy(padded[None]).to(network.mean.device))
        coarse = [level for level, stride in zip(levels, network.backbone.strides, strict=True) if stride >= _STRIDE]
        means = torch.cat([level.mean((2, 3)).flatten() for level in coarse])
    return means.double().cpu().numpy()


@dataclass(frozen=True, eq=False)
class Familiarity:
    """What the labelled pictures look like.

    Attributes:
        descriptions: (n, 2, feature) of labelled pictures, as of `describe_glimpses`.
        limits: (2,) largest distance of a labelled picture from the others, of wholes and of animals.
    """

    descriptions: Array
    limits: Array

    @cached_property
    def _gaussians(self) -> tuple[_Gaussian, _Gaussian]:
        whole, animal = (_fit(_known(self.descriptions[:, part])) for part in (0, 1))
        return whole, animal

    def strangeness(self, descriptions: Array) -> Array:
        """How far (n,) pictures lie from the labelled ones, the farthest labelled one being 1; of whole and animal the
        stranger."""
        distances = [gaussian.distance(descriptions[:, part]) for part, gaussian in enumerate(self._gaussians)]
        return np.asarray(np.fmax.reduce(np.stack(distances, axis=1) / self.limits, axis=1))

    def choose(self, descriptions: Array, count: int) -> list[int]:
        """So many different pictures (at most), each the farthest from the labelled ones and those chosen before.

        Distances are those of the standardised features of whole and animal together.
        """
        mean, spread = np.nanmean(self.descriptions, 0), np.nanstd(self.descriptions, 0) + 1e-9
        known, offered = (
            np.nan_to_num((rows - mean) / spread).reshape(len(rows), -1) for rows in (self.descriptions, descriptions)
        )
        nearest = np.array([np.square(known - row).sum(1).min() for row in offered])
        chosen: list[int] = []
        while len(chosen) < count and nearest.max(initial=0.0) > 0.0:
            chosen.append(int(nearest.argmax()))
            nearest = np.minimum(nearest, np.square(offered - offered[chosen[-1]]).sum(1))
        return chosen


def fit_familiarity(network: PoseNetwork, dataset: PoseDataset) -> Familiarity | None:
    """What labelled pictures look like to a network; None of fewer than eight pictures with the animal in them."""
    placed = np.flatnonzero(np.isfinite(dataset.xy).all(-1).any(-1))
    if len(placed) < _FEWEST_PICTURES:
        return None
    items = placed[np.unique(np.linspace(0, len(placed) - 1, _MOST_PICTURES).round().astype(int))].tolist()
    glimpses = (Glimpse.catch(dataset.picture(item), dataset.xy[item]) for item in items)
    descriptions = describe_glimpses(network, glimpses)
    return Familiarity(descriptions, np.array([_limit(_known(descriptions[:, part])) for part in (0, 1)]))


class Onlooker:
    """Looks at some pictures of a video while their points are found, and tells how strange the video is.

    Args:
        familiarity: what was labelled.
        network: whose backbone describes.
        count: pictures of the video.
    """

    def __init__(self, familiarity: Familiarity, network: PoseNetwork, count: int) -> None:
        looks = min(count, int(np.clip(count // _EVERY, *_LOOKS)))
        self._familiarity, self._network = familiarity, network
        self._wanted = {(2 * look + 1) * count // (2 * looks) for look in range(looks)}
        self._pictures: dict[int, Picture] = {}
        self._glimpses: dict[int, Glimpse] = {}

    def see(self, place: int, picture: Picture) -> None:
        """The picture at a place of the video; it is kept until its points come."""
        if place in self._wanted:
            self._pictures[place] = picture

    def hear(self, first: int, position: Array, confidence: Array) -> None:
        """The points (n, keypoint, 2) of the pictures from the place `first` on, and their confidences."""
        for place in self._wanted & set(range(first, first + len(position))):
            sure = confidence[place - first] >= _SEEN
            points = position[place - first][sure if sure.any() else slice(None)]
            self._glimpses[place] = Glimpse.catch(self._pictures.pop(place), points)

    def judge(self) -> tuple[float, list[int]]:
        """The median strangeness of the pictures looked at, and if it is above `UNLIKE` the places of some to label."""
        places = sorted(self._glimpses)
        descriptions = describe_glimpses(self._network, (self._glimpses[place] for place in places))
        strangeness = self._familiarity.strangeness(descriptions)
        median = float(np.median(strangeness))
        if median <= UNLIKE:
            return median, []
        strange = np.flatnonzero(strangeness > 1.0)
        chosen = self._familiarity.choose(descriptions[strange], _TO_LABEL)
        return median, sorted(places[strange[item]] for item in chosen)


@dataclass(frozen=True, eq=False)
class _Gaussian:
    """Mean and spread (feature,) of descriptions, and the precision (feature, feature) of the standardised ones."""

    mean: Array
    spread: Array
    precision: Array

    def distance(self, rows: Array) -> Array:
        """Mahalanobis distances (n,) of descriptions (n, feature) per root feature."""
        away = (rows - self.mean) / self.spread
        return np.asarray(np.sqrt(np.einsum("ni,ij,nj->n", away, self.precision, away) / rows.shape[1]))


def _known(rows: Array) -> Array:
    return rows[np.isfinite(rows).all(1)]


def _fit(rows: Array) -> _Gaussian:
    mean, spread = rows.mean(0), rows.std(0) + 1e-9
    away = (rows - mean) / spread
    covariance = (1 - _SHRINKAGE) * away.T @ away / len(rows) + _SHRINKAGE * np.eye(rows.shape[1])
    return _Gaussian(mean, spread, np.linalg.inv(covariance))


def _limit(rows: Array) -> float:
    """The largest distance of a picture from those outside its tenth of the pictures."""
    fold = np.arange(len(rows)) % min(_FOLDS, len(rows))
    return max(float(_fit(rows[fold != part]).distance(rows[fold == part]).max()) for part in np.unique(fold))
