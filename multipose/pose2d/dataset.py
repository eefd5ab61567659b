"""What a network learns from and is judged on: pictures with the points that somebody labelled in them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from multipose.errors import DataError, LabelError
from multipose.files import content_hash, hash_value
from multipose.labels import STATES, Labels, picture_path
from multipose.opencv import cv2
from multipose.pose2d.posture import animal_length, lies_steadily
from multipose.skeleton import Skeleton
from multipose.sources import check_picture, read_picture

Array = npt.NDArray[np.float64]
Picture = npt.NDArray[np.uint8]

_CACHE_BYTES = 2_000_000_000  # of decoded pictures at the network's scale
# At the network's scale a picture has at most this many pixels (about 640 x 512) ...
_NETWORK_PIXELS = 640 * 512
# ... unless the animal (diagonal of the box around its labelled points, median over the frames) got smaller than this.
_SMALLEST_ANIMAL_PX = 96.0
# Where the animal always lies the same way and fills the picture, the network sees whole pictures with this side.
_WHOLE_PICTURE_PX = 288.0
_FILLED = 0.8  # of the picture's longer side; an animal longer than this fills the picture
_PICTURES_MEASURED = 20  # evenly among the labelled ones, for the median size


@dataclass(frozen=True, eq=False)
class PoseDataset:
    """Labelled pictures of one animal, possibly of unequal sizes.

    Attributes:
        pictures: one a labelled frame: where it lies, or itself (RGB uint8, (h, w, 3)).
        xy: (n, keypoint, 2) px; NaN where there is no position.
        state: (n, keypoint) one of `labels.STATES`: visible and occluded points are in the picture (an occluded one may
            lack its position), absent ones are not, of unlabelled ones nothing is known.
        skeleton: names the key points.
        groups: (n,) what each frame came from (a recording); frames of one group resemble each other.
        names: (n,) unique names of the frames for reports.
        moments: (n,) when each frame was taken within its group (its number); by default their order.
        views: (n,) which view each frame is of; by default all of one without a name.

    Raises:
        DataError: a picture is neither a Path nor RGB uint8, shapes do not fit together, a visible point has no
            position, or no point is labelled at all.
    """

    pictures: tuple[Path | Picture, ...]
    xy: Array
    state: npt.NDArray[np.str_]
    skeleton: Skeleton
    groups: tuple[str, ...]
    names: tuple[str, ...]
    moments: tuple[int, ...] = ()
    views: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n, n_keypoints = len(self.pictures), len(self.skeleton)
        object.__setattr__(self, "pictures", tuple(self.pictures))
        object.__setattr__(self, "xy", np.array(self.xy, dtype=np.float64))
        state = np.asarray(self.state).astype(np.str_)
        object.__setattr__(self, "groups", tuple(self.groups))
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "moments", tuple(self.moments) or tuple(range(n)))
        object.__setattr__(self, "views", tuple(self.views) or ("",) * n)
        if self.xy.shape != (n, n_keypoints, 2) or state.shape != (n, n_keypoints):
            raise DataError(
                f"{n} pictures, {n_keypoints} key points: need xy {(n, n_keypoints, 2)} and state {(n, n_keypoints)}, "
                f"got {self.xy.shape} and {state.shape}."
            )
        for name, picture in zip(self.names, self.pictures, strict=False):
            if not isinstance(picture, Path):
                check_picture(picture, str(name))
        counts = [len(part) for part in (self.groups, self.names, self.moments, self.views)]
        if counts != [n] * 4:
            raise DataError(f"{n} pictures need {n} groups, names, moments and views, got {counts}.")
        unknown = sorted(set(state.ravel().tolist()) - set(STATES))
        if unknown:
            raise DataError(f"The state of a point is one of {', '.join(STATES)}, got {', '.join(map(repr, unknown))}.")
        object.__setattr__(self, "state", state.astype("<U10"))
        self.xy[(self.state == "absent") | (self.state == "unlabelled")] = np.nan
        missing = (self.state == "visible") & ~np.isfinite(self.xy).all(-1)
        if missing.any():
            i, k = (int(index) for index in np.argwhere(missing)[0])
            raise DataError(
                f"{self.names[i]}: {self.skeleton.keypoints[k]} is labelled as visible but has no finite position "
                f"({self.xy[i, k].tolist()}); {int(missing.sum())} such points. Label them, or state them absent."
            )
        if not np.isfinite(self.xy).any():
            raise DataError(f"None of the {n} labelled pictures has a point with a position. Label some first.")

    def __len__(self) -> int:
        return len(self.pictures)

    def picture(self, item: int) -> Picture:
        """One picture, decoded now: RGB uint8 (h, w, 3).

        Raises:
            VideoError: the file is missing or cannot be decoded.
        """
        picture = self.pictures[item]
        return read_picture(picture) if isinstance(picture, Path) else picture

    def subset(self, items: Sequence[int] | npt.NDArray[np.int64]) -> PoseDataset:
        """The dataset of some of the pictures, in the order given."""
        chosen = np.asarray(items, dtype=np.int64)
        return PoseDataset(
            tuple(self.pictures[i] for i in chosen),
            self.xy[chosen],
            self.state[chosen],
            self.skeleton,
            tuple(self.groups[i] for i in chosen),
            tuple(self.names[i] for i in chosen),
            tuple(self.moments[i] for i in chosen),
            tuple(self.views[i] for i in chosen),
        )

    def with_skeleton(self, skeleton: Skeleton) -> PoseDataset:
        """The same pictures with the key points of another skeleton; those that were not there are unlabelled.

        Raises:
            DataError: none of them is labelled here.
        """
        if not set(skeleton.keypoints) & set(self.skeleton.keypoints):
            raise DataError(
                f"These pictures are labelled with {', '.join(self.skeleton.keypoints)}; none of them is among "
                f"{', '.join(skeleton.keypoints)}."
            )
        xy = np.full((len(self), len(skeleton), 2), np.nan)
        state = np.full((len(self), len(skeleton)), "unlabelled", dtype="<U10")
        for place, name in enumerate(skeleton.keypoints):
            if name in self.skeleton.keypoints:
                here = self.skeleton.keypoints.index(name)
                xy[:, place], state[:, place] = self.xy[:, here], self.state[:, here]
        return replace(self, xy=xy, state=state, skeleton=skeleton)

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """(n, keypoint) true where it is known whether the point is in the picture."""
        return np.asarray(self.state != "unlabelled")

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """(n, keypoint) true where the point is known to be in the picture, seen or occluded."""
        return np.isin(self.state, ("visible", "occluded"))

    def picture_hashes(self) -> tuple[str, ...]:
        """(n,) what each picture is known by in whatever file: 16 hex digits of the SHA-256 of its pixels."""
        return tuple(str(_digest(self.picture(item))[1])[:16] for item in range(len(self)))

    def fingerprint(self) -> str:
        """Hash of the labels and the pictures' content; another hash means another dataset."""
        pictures = [
            content_hash(picture) if isinstance(picture, Path) else hash_value(_digest(picture))
            for picture in self.pictures
        ]
        positions = [None if np.isnan(value) else float(value) for value in self.xy.ravel()]
        return hash_value([pictures, positions, self.state.ravel().tolist(), list(self.skeleton.keypoints), self.names])


def join_datasets(parts: Sequence[PoseDataset]) -> PoseDataset:
    """One dataset of several with the same key points, one after the other.

    Raises:
        DataError: there is none, the key points differ, or two pictures have the same name.
    """
    if not parts or any(part.skeleton.keypoints != parts[0].skeleton.keypoints for part in parts):
        raise DataError("Labelled pictures to join must be at least one set, all of the same key points in one order.")
    names = [name for part in parts for name in part.names]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise DataError(
            f"{len(doubled)} pictures stand in two of the sets to join ({doubled[0]}). Leave them out of one."
        )
    return PoseDataset(
        tuple(picture for part in parts for picture in part.pictures),
        np.concatenate([part.xy for part in parts]),
        np.concatenate([part.state for part in parts]),
        parts[0].skeleton,
        tuple(group for part in parts for group in part.groups),
        tuple(names),
        tuple(moment for part in parts for moment in part.moments),
        tuple(view for part in parts for view in part.views),
    )


def picture_name(recording: str, view: str, frame: int) -> str:
    """What a labelled picture is called in a dataset."""
    return f"{recording}/{view}/{frame:06d}"


def dataset_from_labels(
    labels: Labels,
    pictures: Path | Mapping[tuple[str, str, int], Path],
    views: str | Sequence[str],
    skeleton: Skeleton,
    *,
    individual: str | None = None,
) -> PoseDataset:
    """The labelled pictures of one view, or of several views for a network that they share.

    Args:
        labels: table of labels.
        pictures: folder laid out as `labels.picture_path` says, or the file of each (recording, view, frame).
        views: which view or views.
        skeleton: the key points to learn, in this order.
        individual: whose points, where the labels hold several animals.

    Raises:
        LabelError: a view is not labelled, the key points of labels and skeleton differ, or a picture is missing.
    """
    chosen = [views] if isinstance(views, str) else list(views)
    unknown = sorted(set(chosen) - set(labels.views))
    if unknown or not chosen:
        raise LabelError(
            f"There are no labels of view {', '.join(unknown)}; labelled are {', '.join(labels.views) or 'none'}."
        )
    strange = sorted(set(labels.keypoints) - set(skeleton.keypoints))
    never = sorted(set(skeleton.keypoints) - set(labels.keypoints))
    if strange or never:
        raise LabelError(
            "The key points of the labels are not those of the skeleton: "
            + "; ".join(
                f"{what} {', '.join(names)}"
                for what, names in (("only labelled:", strange), ("only in the skeleton:", never))
                if names
            )
            + ". Make the names agree."
        )
    places: list[Path] = []
    xy: list[Array] = []
    state: list[npt.NDArray[np.str_]] = []
    names: list[str] = []
    groups: list[str] = []
    moments: list[int] = []
    seen_by: list[str] = []
    for view in chosen:
        frames, points, states = labels.points(view, skeleton.keypoints, individual)
        for recording, frame in zip(frames["recording"].astype(str), frames["frame"].astype(int), strict=True):
            place = (
                picture_path(pictures, recording, view, frame)
                if isinstance(pictures, Path)
                else pictures.get((recording, view, frame))
            )
            if place is None or not place.is_file():
                raise LabelError(
                    f"Recording {recording}, view {view}, frame {frame} is labelled, but its picture "
                    f"{'is not listed' if place is None else f'{place} does not exist'}. Extract the frames again."
                )
            places.append(place)
            groups.append(recording)
            names.append(picture_name(recording, view, frame))
            moments.append(int(frame))
            seen_by.append(view)
        xy.append(points)
        state.append(np.asarray(states).astype(np.str_))
    return PoseDataset(
        tuple(places),
        np.concatenate(xy),
        np.concatenate(state),
        skeleton,
        tuple(groups),
        tuple(names),
        tuple(moments),
        tuple(seen_by),
    )


def choose_scale(dataset: PoseDataset) -> float:
    """The scale at which a network sees pictures like these, at most 1.

    It bounds the work: a picture is shrunk to 640 x 512 pixels in area, unless the animal would get less than 96
    pixels long; then it is shrunk only so far. Where the animal always lies the same way and fills the picture, the
    picture's longer side is shrunk to 288 pixels, for training then takes whole pictures. None is ever enlarged.
    """
    sizes = _measured_sizes(dataset)
    if shows_whole_pictures(dataset):
        return float(min(1.0, _WHOLE_PICTURE_PX / np.median(sizes.max(1))))
    bounded = float(np.sqrt(_NETWORK_PIXELS / np.median(sizes.prod(1))))
    return float(min(1.0, max(bounded, _SMALLEST_ANIMAL_PX / animal_length(dataset.xy))))


def shows_whole_pictures(dataset: PoseDataset) -> bool:
    """Whether training crops are to show whole pictures: the animal fills them, and always lies the same way."""
    long = animal_length(dataset.xy) > _FILLED * np.median(_measured_sizes(dataset).max(1))
    return bool(long) and lies_steadily(dataset.xy)


def longest_side(dataset: PoseDataset) -> int:
    """The longest side of the pictures looked at, px."""
    return int(_measured_sizes(dataset).max())


def _measured_sizes(dataset: PoseDataset) -> npt.NDArray[np.int64]:
    """Width and height of some pictures, evenly among the labelled ones, (n, 2)."""
    looked_at = np.unique(np.linspace(0, len(dataset) - 1, _PICTURES_MEASURED).astype(int)).tolist()
    return np.array([dataset.picture(item).shape[1::-1] for item in looked_at])


def shrink(picture: Picture, scale: float) -> tuple[Picture, Array]:
    """A picture at the network's scale, and the exact ratio (x, y) of its size to the original's.

    A point x of the original lies at (x + 0.5) * ratio - 0.5.
    """
    height, width = picture.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if size == (width, height):
        return picture, np.ones(2)
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.array(size) / (width, height)


class ShrunkPictures:
    """The pictures and points of a dataset at the network's scale, decoded once and kept while they fit into memory."""

    def __init__(self, dataset: PoseDataset, scale: float) -> None:
        self._dataset = dataset
        self._scale = scale
        self._kept: dict[int, tuple[Picture, Array]] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, item: int) -> tuple[Picture, Array]:
        """Picture (h, w, 3) and points (keypoint, 2) in its pixels."""
        if item in self._kept:
            return self._kept[item]
        picture, ratio = shrink(self._dataset.picture(item), self._scale)
        pair = picture, (self._dataset.xy[item] + 0.5) * ratio - 0.5
        if self._bytes + picture.nbytes <= _CACHE_BYTES:
            self._kept[item] = pair
            self._bytes += picture.nbytes
        return pair


def _digest(picture: Picture) -> list[object]:
    return [list(picture.shape), hashlib.sha256(np.ascontiguousarray(picture).tobytes()).hexdigest()]
