from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multipose.errors import DataError
from multipose.pose2d.augmentation import Augmentation, augment, choose_augmentation, make_crops
from multipose.pose2d.dataset import PoseDataset, choose_scale
from multipose.skeleton import Skeleton

PLAIN = Augmentation(crop=96, contrast=0.0, brightness=0.0, gamma=0.0, blur=0.0, noise=0.0, dark=0.0, around_point=1.0)
STAY = np.arange(2)


def spot(x: float, y: float) -> npt.NDArray[np.uint8]:
    """A picture (80, 100, 3), black but for a soft spot."""
    column, row = np.meshgrid(np.arange(100), np.arange(80))
    grey = 255 * np.exp(-((column - x) ** 2 + (row - y) ** 2) / 18)
    return np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8)


def centre(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    weight = picture[..., 0].astype(float)
    row, column = np.mgrid[: picture.shape[0], : picture.shape[1]]
    return np.array([(weight * column).sum(), (weight * row).sum()]) / weight.sum()


@given(st.integers(0, 10_000), st.booleans())
def test_points_move_with_their_picture(seed: int, flip: bool) -> None:
    xy = np.array([[41.3, 37.6], [np.nan, np.nan]])
    settings = replace(PLAIN, flip=flip)
    crop, points, _ = augment(spot(*xy[0]), xy, settings, STAY, np.random.default_rng(seed))
    assert crop.shape == (96, 96, 3)
    assert np.isnan(points[1]).all()
    if (points[0] > 15).all() and (points[0] < 80).all():
        np.testing.assert_allclose(centre(crop), points[0], atol=0.15)


@given(st.integers(0, 10_000))
def test_mirrored_crops_swap_left_and_right(seed: int) -> None:
    xy = np.array([[40.0, 30.0], [60.0, 30.0], [50.0, 50.0]])  # left, right, and one in the middle
    swap = np.array([1, 0, 2])
    picture = np.zeros((80, 100, 3), np.uint8)
    crop, points, order = augment(picture, xy, replace(PLAIN, flip=True), swap, np.random.default_rng(seed))
    (ax, ay), (bx, by) = points[1] - points[0], points[2] - points[0]
    assert ax * by - ay * bx > 0  # the animal's own left stays left in every crop
    assert order.tolist() in ([0, 1, 2], [1, 0, 2])
    assert crop.max() == 0


def test_the_same_seed_gives_the_same_crop() -> None:
    settings = Augmentation(crop=64, flip=True)
    xy = np.array([[41.3, 37.6], [20.0, 20.0]])
    crops = [augment(spot(40, 40), xy, settings, STAY, np.random.default_rng(seed)) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(crops[0][0], crops[1][0])
    np.testing.assert_array_equal(crops[0][1], crops[1][1])
    assert not np.array_equal(crops[0][0], crops[2][0])


def test_light_blur_and_noise_change_pictures_but_not_points() -> None:
    xy = np.array([[41.3, 37.6], [20.0, 20.0]])
    settings = Augmentation(crop=96, blur=1.0, turn=0.0, zoom=0.0, around_point=1.0)
    greys = [augment(spot(*xy[0]), xy, settings, STAY, np.random.default_rng(seed))[0] for seed in range(8)]
    assert len({int(grey.mean()) for grey in greys}) > 4
    assert all(grey.dtype == np.uint8 for grey in greys)


def test_frames_without_a_point_give_crops_anywhere() -> None:
    crop, points, _ = augment(spot(5, 5), np.full((2, 2), np.nan), PLAIN, STAY, np.random.default_rng(0))
    assert crop.shape == (96, 96, 3)
    assert np.isnan(points).all()


def test_crops_are_multiples_of_32() -> None:
    with pytest.raises(DataError, match="multiple of 32 px, got 100"):
        Augmentation(crop=100)


def make_animals(angles: npt.NDArray[np.float64], pairs: tuple[tuple[str, str], ...] = (("a", "b"),)) -> PoseDataset:
    shape = np.array([[-60.0, -10.0], [-60.0, 10.0], [60.0, 0.0]])
    turns = np.array([[[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]] for t in angles])
    xy = 200 + np.einsum("nij,kj->nki", turns, shape)
    n = len(angles)
    picture = np.zeros((400, 400, 3), np.uint8)
    state = np.full((n, 3), "visible")
    names = tuple(map(str, range(n)))
    return PoseDataset((picture,) * n, xy, state, Skeleton(("a", "b", "c"), pairs=pairs), names, names)


def test_augmentation_follows_the_labels() -> None:
    anyhow = make_animals(np.linspace(0, 2 * np.pi, 12, endpoint=False))
    free = choose_augmentation(anyhow, 1.0)
    assert free.turn == pytest.approx(np.pi)
    assert free.flip
    assert free.crop in (160, 192)
    assert choose_augmentation(anyhow, 0.5).crop == 128
    steady = choose_augmentation(make_animals(np.linspace(-0.3, 0.3, 12)), 1.0)
    assert steady.turn == pytest.approx(np.radians(10))
    assert not steady.flip
    assert not steady.whole
    assert not choose_augmentation(make_animals(np.linspace(0, 6, 12), pairs=()), 1.0).flip


def test_an_animal_that_fills_the_picture_is_seen_whole() -> None:
    animals = make_animals(np.linspace(-0.1, 0.1, 12))
    filling = replace(animals, xy=200 + 3 * (animals.xy - 200))
    assert choose_scale(filling) == pytest.approx(0.72)
    chosen = choose_augmentation(filling, 0.72)
    assert (chosen.whole, chosen.crop) == (True, 288)
    turning = replace(filling, xy=200 + 3 * (make_animals(np.linspace(0, 6, 12)).xy - 200))
    assert choose_scale(turning) == 1
    assert not choose_augmentation(turning, 1.0).whole


def test_whole_crops_hold_the_picture() -> None:
    """A spot in each corner of a picture of 100 x 80 is in every crop of 128 px that is not zoomed."""
    corners = np.array([[10.0, 10.0], [89.0, 10.0], [10.0, 69.0], [89.0, 69.0]])
    settings = replace(PLAIN, crop=128, whole=True, zoom=0.0, turn=0.1)
    for seed in range(20):
        _, points, _ = augment(spot(50, 40), corners, settings, np.arange(4), np.random.default_rng(seed))
        assert ((points > 0) & (points < 127)).all()
        assert np.abs(points.mean(0) - 63.5).max() < 10


def test_crops_for_judging_know_which_points_they_lost(make_discs: Callable[..., PoseDataset]) -> None:
    dataset = make_discs(3, size=(160, 120), absent=0.4)
    crops = make_crops(dataset, 1.0, replace(PLAIN, crop=64, zoom=0.0), 20, seed=0)
    assert len(crops) == 20
    for number in range(20):
        picture = crops.picture(number)
        assert picture.shape == (64, 64, 3)
        source = dataset.state[number % 3]
        assert (crops.state[number][source == "absent"] == "absent").all()
        for (x, y), seen, colour in zip(crops.xy[number], crops.present[number], (0, 1, 2), strict=True):
            if seen and 4 < x < 59 and 4 < y < 59:
                assert picture[round(y), round(x)].argmax() == colour
    assert 0 < crops.present.sum() < dataset.present.sum() * 20 / 3


def test_dark_crops_have_shot_noise() -> None:
    """Of a picture of one grey: mean and variance of a dark crop fall with the light, by a number of electrons."""
    settings = replace(PLAIN, crop=64, dark=1.0, darkest=0.1)
    picture, xy = np.full((200, 200, 3), 240, np.uint8), np.full((2, 2), 100.0)
    for seed in range(12):
        crop = augment(picture, xy, settings, STAY, np.random.default_rng(seed))[0][8:-8, 8:-8].astype(float)
        assert 0.09 * 240 < crop.mean() < 241
        if crop.mean() < 200:  # brighter ones are cut off at white
            electrons = 255 * crop.mean() / (crop[..., 0].var() - 1 / 12)
            assert 170 < electrons < 2400
            np.testing.assert_array_equal(crop[..., 0], crop[..., 2])


def test_cameras_that_look_aslant_keep_up_and_down_apart() -> None:
    """A box with legs walks in a circle: seen from above it merely turns, seen aslant it also changes its shape."""
    ends = np.array([[-60.0, 0.0], [60.0, 0.0], [-40.0, 20.0], [-40.0, -20.0], [40.0, 20.0], [40.0, -20.0]])
    body = np.column_stack([ends, [40.0, 40.0, 0.0, 0.0, 0.0, 0.0]])
    headings = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    turns = np.array([[[np.cos(t), -np.sin(t), 0], [np.sin(t), np.cos(t), 0], [0, 0, 1]] for t in headings])
    world = np.einsum("nij,kj->nki", turns, body)
    names = tuple(map(str, range(24)))
    skeleton = Skeleton(tuple("abcdef"), pairs=(("c", "d"), ("e", "f")))
    found = []
    for elevation in (90.0, 40.0):
        up = np.radians(elevation)
        xy = np.stack([world[..., 0], -world[..., 1] * np.sin(up) - world[..., 2] * np.cos(up)], -1) + 200
        picture = np.zeros((400, 400, 3), np.uint8)
        dataset = PoseDataset((picture,) * 24, xy, np.full((24, 6), "visible"), skeleton, names, names)
        found.append(choose_augmentation(dataset, 1.0))
    assert [choice.turn for choice in found] == pytest.approx([np.pi, np.radians(30)])
    assert all(choice.flip for choice in found)


def test_one_labelled_frame_says_nothing_about_orientation(make_discs: Callable[..., PoseDataset]) -> None:
    assert choose_augmentation(make_discs(1), 1.0).turn == pytest.approx(np.pi)
