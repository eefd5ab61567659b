"""A tracker on pictures of three discs, with a stand-in for the network that finds them by their colours."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from multipose.errors import DataError
from multipose.pose2d import following
from multipose.pose2d.engines import Engine
from multipose.pose2d.following import Tracker, first_side, following_pays
from multipose.pose2d.model import PoseModel
from multipose.pose2d.network import PoseNetwork
from multipose.skeleton import Skeleton

COLOURS = np.array([[230, 40, 40], [40, 230, 40], [40, 40, 230]])
ANIMAL = np.array([[-20.0, 0.0], [20.0, 4.0], [0.0, 25.0]])
SIZE = (640, 480)


class Colours(Engine):
    """Logits from -8 to 8 by how much of each cell has a key point's colour; counts the pixels it looks at."""

    name, version = "torch", "0"

    def __init__(self) -> None:
        self.pixels: list[int] = []

    def __call__(self, pictures: npt.NDArray[np.uint8]) -> Tensor:
        self.pixels.append(pictures.shape[1] * pictures.shape[2])
        values = torch.from_numpy(pictures).float()
        alike = [1 - (values - torch.tensor(colour)).abs().mean(3) / 80 for colour in COLOURS]
        return functional.avg_pool2d(torch.stack(alike, 1).clamp_min(0), 4) * 16 - 8


def model(scale: float = 1.0) -> PoseModel:
    network = PoseNetwork("efficientnet_lite0", 3, pretrained=False).eval()
    skeleton = Skeleton(("red", "green", "blue"))
    return PoseModel(network, "efficientnet_lite0", skeleton, scale, training={"augmentation": {"crop": 64}})


def draw(points: npt.NDArray[np.float64], size: tuple[int, int] = SIZE, radius: float = 7.0) -> npt.NDArray[np.uint8]:
    picture = np.full((size[1], size[0], 3), 110.0)
    y, x = np.mgrid[: size[1], : size[0]]
    for point, colour in zip(points, COLOURS, strict=True):
        if np.isfinite(point).all():
            inside = np.clip(radius + 0.5 - np.hypot(x - point[0], y - point[1]), 0, 1)[:, :, None]
            picture = picture * (1 - inside) + inside * colour
    return picture.round().astype(np.uint8)


def at(*center: float) -> npt.NDArray[np.float64]:
    return ANIMAL + center


def test_a_followed_animal_costs_a_crop_and_has_the_points_of_the_whole_picture() -> None:
    engine, whole = Colours(), Colours()
    tracker, net = Tracker(model(), SIZE, engine), model()
    for frame in range(12):
        truth = at(100 + 30 * frame, 200 + 80 * np.sin(frame / 2))
        picture = draw(truth)
        found = tracker.track(picture)
        np.testing.assert_allclose(found.position[0], truth, atol=1.5)
        expected = net.estimate(net.prepare(picture)[None], SIZE, whole)
        np.testing.assert_allclose(found.position, expected.position, atol=1e-4)
        np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-5)
        np.testing.assert_allclose(found.covariance, expected.covariance, rtol=1e-2)
    assert tracker.searches == 1
    assert set(engine.pixels[1:]) == {192 * 192}


def test_an_animal_that_jumps_is_found_in_the_same_picture() -> None:
    tracker = Tracker(model(), SIZE, Colours())
    for center in ((100, 100), (102, 100), (500, 400), (498, 398), (30, 430), (33, 427)):
        np.testing.assert_allclose(tracker.track(draw(at(*center))).position[0], at(*center), atol=1.5)
    assert tracker.searches == 3


def test_an_animal_that_goes_and_comes_back() -> None:
    engine = Colours()
    tracker = Tracker(model(), SIZE, engine)
    gone = draw(np.full((3, 2), np.nan))
    confidences = [tracker.track(draw(at(300, 200))).confidence]
    confidences += [tracker.track(gone).confidence for _ in range(4)]
    confidences.append(tracker.track(draw(at(200, 300))).confidence)
    assert [bool((one > 0.5).all()) for one in confidences] == [True, False, False, False, False, True]
    assert engine.pixels[-1] == 640 * 480


def test_a_hidden_point_stays_in_the_crop() -> None:
    """The blue point, 60 px below the others, is hidden for a while; it is found again where the animal took it."""
    tracker = Tracker(model(), SIZE, Colours())
    long = np.array([[0.0, 0.0], [20.0, 0.0], [5.0, 60.0]])
    for frame in range(20):
        truth = long + np.array([200 + 6 * frame, 120])
        hidden = np.where([[False], [False], [5 <= frame < 15]], np.nan, truth)
        found = tracker.track(draw(hidden))
        seen = np.isfinite(hidden[:, 0])
        np.testing.assert_allclose(found.position[0, seen], truth[seen], atol=1.5)
        assert ((found.confidence[0] > 0.5) == seen).all()
    assert tracker.searches == 1


def test_a_distant_mistake_does_not_widen_the_crop() -> None:
    engine = Colours()
    tracker = Tracker(model(), SIZE, engine)
    wrong = at(100, 100)
    wrong[2] = (600, 450)
    tracker.track(draw(wrong))
    tracker.track(draw(at(100, 100)))
    assert engine.pixels == [640 * 480, 192 * 192]


def test_it_is_searched_again_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_CHECK", 4)
    tracker = Tracker(model(), SIZE, Colours())
    picture = draw(at(300, 200))
    for _ in range(9):
        tracker.track(picture)
    assert tracker.searches == 3


def test_large_pictures_are_searched_coarsely_first() -> None:
    size = (1600, 1200)
    engine = Colours()
    tracker = Tracker(model(), size, engine)
    truth = at(1203.0, 902.0)
    found = tracker.track(draw(truth, size))
    np.testing.assert_allclose(found.position[0], truth, atol=1.5)
    assert engine.pixels[1] == 192 * 192
    assert engine.pixels[0] < 1.1 * following._COARSE_PIXELS
    tracker._age = following._CHECK  # the coarse search alone is due, and leads to the same place
    np.testing.assert_allclose(tracker.track(draw(truth, size)).position, found.position, atol=1e-4)
    assert tracker.searches == 2
    assert max(engine.pixels) < 1.1 * following._COARSE_PIXELS
    gone = draw(np.full((3, 2), np.nan), size)
    engine.pixels.clear()
    for _ in range(11):
        tracker.track(gone)
    assert sum(pixels > 1_000_000 for pixels in engine.pixels) == 2  # at once, and in the tenth after that


@pytest.mark.parametrize("size", [SIZE, (1000, 700)])
def test_no_picture_waits_for_a_graph_after_warming_up(size: tuple[int, int]) -> None:
    """Animals of all lengths need only crops of sizes that were looked at before."""
    engine = Colours()
    tracker = Tracker(model(), size, engine)
    tracker.warm_up()
    warm = set(engine.pixels)
    for length in (50, 120, 160, 230, 330, 420):
        animal = np.array([[0.0, 0.0], [length, 4.0], [length / 2, 30.0]])
        for _ in range(2):  # the second time in a crop of its size
            tracker.track(draw(animal + np.array([30, 200]), size))
    assert set(engine.pixels) == warm


@pytest.mark.parametrize("scale", [0.5, 0.37])
def test_crops_of_shrunk_pictures_give_points_of_the_picture(scale: float) -> None:
    tracker = Tracker(model(scale), SIZE, Colours())
    for frame in range(6):
        truth = np.array([[0.0, 0.0], [50.0, 10.0], [20.0, 60.0]]) + np.array([200 + 9 * frame, 150])
        np.testing.assert_allclose(tracker.track(draw(truth, radius=14)).position[0], truth, atol=2.5)
    assert tracker.searches == 1


def test_where_following_pays() -> None:
    assert first_side(model()) == 128
    assert following_pays(model(), (640, 480), threads=1)
    assert not following_pays(model(), (640, 480), threads=32)
    assert not following_pays(model(), (160, 160), threads=1)


def test_pictures_of_another_kind_are_refused() -> None:
    tracker = Tracker(model(), SIZE, Colours())
    with pytest.raises(DataError, match=r"made for pictures of 640x480, got one of 320x240"):
        tracker.track(np.zeros((240, 320, 3), np.uint8))
    with pytest.raises(DataError, match="expected RGB uint8"):
        tracker.track(np.zeros((480, 640), np.uint8))
