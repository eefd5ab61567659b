"""Training crops: a part of a picture turned, scaled, mirrored, relit, blurred and made noisy, with its points."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from multipose.errors import DataError
from multipose.opencv import cv2
from multipose.pose2d.backbones import INPUT_MULTIPLE
from multipose.pose2d.dataset import PoseDataset, ShrunkPictures, longest_side, shows_whole_pictures
from multipose.pose2d.posture import animal_length, is_seen_from_above, lies_steadily

Array = npt.NDArray[np.float64]
Picture = npt.NDArray[np.uint8]

_CROP_RANGE = (128, 256)  # px at the network's scale
_CROP_PER_ANIMAL = 1.25
_STEADY_TURN = np.radians(10.0)
# Of whole pictures, in which an animal that fills them hardly moves (docs/recipe.md).
_WHOLE_TURN = np.radians(5.0)
_WHOLE_ZOOM = 0.1
_UPRIGHT_TURN = np.radians(30.0)
_ELECTRONS = (200.0, 2000.0)  # that a white pixel collects in full light: a fast camera's few to a good one's many
_SHIFT = 0.08  # of the picture's sides, by which crops of whole pictures are shifted at most


@dataclass(frozen=True)
class Augmentation:
    """How training crops differ from the labelled pictures.

    Attributes:
        crop: side of the square crop, px at the network's scale, a multiple of 32.
        turn: the crop is turned by up to this angle (rad) to either side.
        flip: half of the crops are mirrored; the skeleton's left and right key points then change places.
        zoom: the scale is multiplied by up to exp(zoom), or divided by it.
        whole: crops show the whole picture, but for the zoom and a small shift; the crop's side should be at least the
            picture's.
        around_point: share of the crops that lie around a labelled point; the others lie anywhere in the picture.
            Of 0.85 a network learns the points faster, but knows the background less: on real pictures it then found
            an ear 600 px off the mouse, with a confidence of 0.91.
        contrast: contrast is changed by up to this share.
        brightness: grey values are shifted by up to this.
        gamma: exponent of the grey values is changed by up to exp(gamma).
        blur: share of the crops with motion blur, of up to `blur_px`.
        noise: standard deviation of the strongest noise, grey values; a third of the crops is made noisy.
        dark: share of the crops that are shown as by a fraction of the light, with the shot noise that goes with it.
        darkest: the least fraction of the light.
    """

    crop: int
    turn: float = np.pi
    flip: bool = False
    zoom: float = 0.25
    whole: bool = False
    around_point: float = 0.7
    contrast: float = 0.3
    brightness: float = 30.0
    gamma: float = 0.35
    blur: float = 0.2
    blur_px: int = 7
    noise: float = 10.0
    dark: float = 0.1
    darkest: float = 0.1

    def __post_init__(self) -> None:
        if self.crop < INPUT_MULTIPLE or self.crop % INPUT_MULTIPLE:
            raise DataError(f"A training crop is a multiple of {INPUT_MULTIPLE} px, got {self.crop}.")


def choose_augmentation(dataset: PoseDataset, scale: float) -> Augmentation:
    """The augmentation that suits the labels.

    Where the animal always lies the same way in the picture (on a treadmill, say), crops are turned by 10 degrees at
    most and never mirrored, and where it fills the picture they show all of it, turned by 5 degrees and zoomed by a
    tenth at most: only the whole tells left from right and a mirrored view from the direct one. Elsewhere the crop is
    1.25 animals wide, between 128 and 256 px. It is mirrored if the skeleton names left and right, and turned: freely
    where the animal looks the same whichever way it heads (the camera looks straight down), by 30 degrees at most where
    it does not (then pictures have an up and a down).
    """
    if shows_whole_pictures(dataset):
        crop = int(np.ceil(scale * longest_side(dataset) / INPUT_MULTIPLE)) * INPUT_MULTIPLE
        return Augmentation(crop, turn=float(_WHOLE_TURN), zoom=_WHOLE_ZOOM, whole=True)
    wanted = _CROP_PER_ANIMAL * animal_length(dataset.xy) * scale
    crop = int(np.clip(np.ceil(wanted / INPUT_MULTIPLE) * INPUT_MULTIPLE, *_CROP_RANGE))
    if lies_steadily(dataset.xy):
        return Augmentation(crop, turn=float(_STEADY_TURN))
    turn = np.pi if is_seen_from_above(dataset.xy) else _UPRIGHT_TURN
    return Augmentation(crop, turn=float(turn), flip=bool(dataset.skeleton.pairs))


def augment(
    picture: Picture, xy: Array, settings: Augmentation, swap: npt.NDArray[np.int64], random: np.random.Generator
) -> tuple[Picture, Array, npt.NDArray[np.int64]]:
    """One training crop.

    Args:
        picture: RGB uint8 (h, w, 3) at the network's scale.
        xy: (keypoint, 2) px in it; NaN where unknown.
        settings: how to change it.
        swap: `Skeleton.swap`, for mirrored crops.
        random: source of all chance.

    Returns:
        The crop (crop, crop, 3), black where it leaves the picture; the points (keypoint, 2) in its pixels, some
        outside it; and for each key point which one of the picture it was, (keypoint,), which tells of a mirrored crop.
    """
    height, width = picture.shape[:2]
    side = settings.crop
    zoom = np.exp(random.uniform(-settings.zoom, settings.zoom))
    turn = random.uniform(-settings.turn, settings.turn)
    mirrored = settings.flip and random.random() < 0.5
    placed = np.flatnonzero(np.isfinite(xy).all(1))
    if settings.whole:
        center = (np.array([width, height]) - 1) / 2 + random.uniform(-_SHIFT, _SHIFT, 2) * (width, height)
    elif len(placed) and random.random() < settings.around_point:
        center = xy[random.choice(placed)] + random.uniform(-0.3, 0.3, 2) * side / zoom
    else:
        center = random.uniform((0.0, 0.0), (width - 1.0, height - 1.0))
    cosine, sine = zoom * np.cos(turn), zoom * np.sin(turn)
    matrix = np.array([[cosine, -sine], [sine, cosine]])
    if mirrored:
        matrix[0] = -matrix[0]
    shift = (side - 1) / 2 - matrix @ center
    crop = cv2.warpAffine(picture, np.column_stack([matrix, shift]), (side, side), flags=cv2.INTER_LINEAR)
    points = xy @ matrix.T + shift
    order = swap if mirrored else np.arange(len(xy))
    return _disturb(crop, settings, random), points[order], order


def make_crops(dataset: PoseDataset, scale: float, settings: Augmentation, count: int, seed: int) -> PoseDataset:
    """Crops of all pictures as training makes them, in their own light, as pictures at the network's scale.

    Points outside a crop are absent from it: so a few pictures tell much of which points a network finds to be there.

    Args:
        dataset: labelled pictures.
        scale: of the network.
        settings: the augmentation.
        count: how many crops in all, at least one of each picture.
        seed: of the chance.
    """
    plain = replace(settings, contrast=0.0, brightness=0.0, gamma=0.0, blur=0.0, noise=0.0, dark=0.0)
    pictures = ShrunkPictures(dataset, scale)
    crops, points, states, names = [], [], [], []
    for number in range(max(count, len(dataset))):
        item = number % len(dataset)
        random = np.random.default_rng((seed, 4, number))
        crop, xy, order = augment(*pictures[item], plain, dataset.skeleton.swap, random)
        state = dataset.state[item][order]
        placed = np.isfinite(xy).all(-1)
        outside = placed & np.any((xy <= -0.5) | (xy >= settings.crop - 0.5), axis=-1)
        state = np.where((state == "occluded") & ~placed, "unlabelled", np.where(outside, "absent", state))
        crops.append(crop)
        points.append(np.where(outside[:, None], np.nan, xy))
        states.append(state)
        names.append(f"{dataset.names[item]}, crop {number}")
    return PoseDataset(tuple(crops), np.stack(points), np.stack(states), dataset.skeleton, tuple(names), tuple(names))


def _disturb(crop: Picture, settings: Augmentation, random: np.random.Generator) -> Picture:
    """Other light, motion blur, noise, less light."""
    if random.random() < settings.blur:
        crop = cv2.filter2D(crop, -1, _motion_kernel(int(random.integers(3, settings.blur_px + 1)), random))
    grey = np.arange(256, dtype=np.float64)
    if random.random() < 0.8:
        gain = 1 + random.uniform(-settings.contrast, settings.contrast)
        grey = (grey - 128) * gain + 128 + random.uniform(-settings.brightness, settings.brightness)
    if random.random() < 0.3:
        grey = 128 * (grey.clip(0, 255) / 128) ** np.exp(random.uniform(-settings.gamma, settings.gamma))
    lit = cv2.LUT(crop, grey.clip(0, 255).round().astype(np.uint8))
    if random.random() < 1 / 3:
        strength = random.uniform(0.2, 1.0) * settings.noise
        noise = random.standard_normal(crop.shape[:2], dtype=np.float32) * np.float32(strength)
        lit = (lit + noise[:, :, None]).clip(0, 255).astype(np.uint8)
    if random.random() < settings.dark:
        lit = _darken(lit, np.exp(random.uniform(np.log(settings.darkest), 0.0)), random)
    return np.asarray(lit, dtype=np.uint8)


def _darken(crop: Picture, light: float, random: np.random.Generator) -> Picture:
    """The crop by a fraction of the light: shot noise has the variance of the electrons counted."""
    electrons = np.exp(random.uniform(*np.log(_ELECTRONS)))
    dim = crop.astype(np.float32) * np.float32(light)
    deviation = np.sqrt(dim.mean(-1, keepdims=True) * np.float32(255 / electrons))
    noise = random.standard_normal((*crop.shape[:2], 1), dtype=np.float32)
    return np.asarray((dim + deviation * noise).clip(0, 255).round().astype(np.uint8))


def _motion_kernel(length: int, random: np.random.Generator) -> npt.NDArray[np.float32]:
    """A line of `length` px in any direction, summing to one."""
    line = np.zeros((length, length), np.float32)
    line[length // 2] = 1.0
    middle = (length - 1) / 2
    turned = cv2.warpAffine(
        line, cv2.getRotationMatrix2D((middle, middle), random.uniform(0, 180), 1.0), (length, length)
    )
    return np.asarray(turned / turned.sum(), dtype=np.float32)
