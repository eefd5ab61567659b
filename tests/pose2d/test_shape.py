"""The prior of the shape, on points of a rigid body seen twice in one picture, directly and in a mirror below."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from multipose.pose2d.dataset import PoseDataset
from multipose.pose2d.decoding import decode
from multipose.pose2d.model import PoseCalibration, PoseModel
from multipose.pose2d.network import STRIDE, PoseNetwork
from multipose.pose2d.prediction import predict
from multipose.pose2d.shape import ShapePrior, fit_shape
from multipose.skeleton import Skeleton
from multipose.sources import write_picture

SKELETON = Skeleton(("left", "right", "left_mirrored", "right_mirrored"))


def make_feet(n: int, seed: int) -> npt.NDArray[np.float64]:
    """Two feet that stride independently at equal heights, (n, 4, 2): only the mirror tells which is which."""
    random = np.random.default_rng(seed)
    x = random.uniform(60, 140, (n, 2))
    direct = np.stack([x, np.full((n, 2), 10.0)], -1)
    mirrored = np.stack([x, np.broadcast_to([95.0, 118.0], (n, 2))], -1)
    return np.concatenate([direct, mirrored], 1) + random.normal(scale=1.0, size=(n, 4, 2))


def make_dataset(xy: npt.NDArray[np.float64]) -> PoseDataset:
    state = np.where(np.isfinite(xy).all(-1), "visible", "absent")
    names = tuple(map(str, range(len(xy))))
    return PoseDataset((np.zeros((128, 200, 3), np.uint8),) * len(xy), xy, state, SKELETON, names, names)


@pytest.fixture(scope="module")
def prior() -> ShapePrior:
    xy = make_feet(60, seed=0)
    xy[:6, 0] = np.nan
    found = fit_shape(make_dataset(xy))
    assert found is not None
    return found


def draw_maps(xy: npt.NDArray[np.float64], heights: npt.NDArray[np.float64]) -> torch.Tensor:
    """Logits (n, keypoint, 32, 50) whose softmax has Gaussian peaks (n, keypoint, peak, 2) of these heights."""
    x = (np.arange(50) + 0.5) * STRIDE - 0.5
    y = (np.arange(32) + 0.5) * STRIDE - 0.5
    square = (x - xy[..., :1])[..., None, :] ** 2 + (y - xy[..., 1:])[..., :, None] ** 2
    density = (heights[..., None, None] * np.exp(-square / 72)).sum(2) + 1e-7
    return torch.from_numpy(np.log(density).astype(np.float32))


def test_the_mirror_tells_left_from_right(prior: ShapePrior) -> None:
    """The direct maps prefer the other foot a little; the mirrored ones are sure, and the prior follows them."""
    xy = make_feet(40, seed=1)
    xy = xy[np.abs(xy[:, 0, 0] - xy[:, 1, 0]) > 40]
    other = xy[:, [1, 0, 2, 3]]
    heights = np.array([[0.45, 0.55], [0.45, 0.55], [0.9, 0.0], [0.9, 0.0]])
    maps = draw_maps(np.stack([xy, other], 2), np.broadcast_to(heights, (len(xy), 4, 2)))
    alone = decode(maps)
    together = decode(maps, prior.weigh)
    assert (np.hypot(*np.moveaxis(alone.position.numpy() - xy, -1, 0))[:, :2] > 30).all()
    assert np.hypot(*np.moveaxis(together.position.numpy() - xy, -1, 0)).max() < 2
    torch.testing.assert_close(together.presence_logit, alone.presence_logit)
    # Once the mirror has decided, the other peak widens the covariance no longer.
    assert (together.covariance[:, :2, 0, 0] < 0.2 * alone.covariance[:, :2, 0, 0]).all()
    assert (torch.linalg.eigvalsh(together.covariance) > 0).all()


def test_sure_maps_are_not_overruled(prior: ShapePrior) -> None:
    xy = make_feet(10, seed=2)
    odd = xy[:, [1, 0, 2, 3]]  # feet where the prior does not expect them
    maps = draw_maps(odd[:, :, None], np.ones((10, 4, 1)))
    found = decode(maps, prior.weigh).position.numpy()
    assert np.hypot(*np.moveaxis(found - odd, -1, 0)).max() < 1


def test_unsure_points_are_drawn_and_sure_ones_stay(prior: ShapePrior) -> None:
    """A foot that is 30 px off along x, where the mirror tells it; errors and covariances agree."""
    random = np.random.default_rng(5)
    xy = make_feet(200, seed=6)
    covariance = np.tile(np.eye(2), (200, 4, 1, 1)) * np.array([400.0, 1.0, 1.0, 1.0])[:, None, None]
    noise = random.normal(size=xy.shape) * np.sqrt(covariance[..., 0, 0])[..., None]
    assert prior.combine(xy, covariance)[0] is xy  # a prior that does not pull
    found, left = replace(prior, pull=1.0).combine(xy + noise, covariance)
    before, after = (np.hypot(*np.moveaxis(points - xy, -1, 0)).mean(0) for points in (xy + noise, found))
    assert after[0] < 0.25 * before[0]
    assert (after[1:] < 1.05 * before[1:]).all()
    error = found - xy
    squares = np.einsum("nki,nkij,nkj->nk", error, np.linalg.inv(left), error)
    assert 0.5 < squares[:, 0].mean() / 2 < 1.2
    assert (np.linalg.eigvalsh(left) > 0).all()


def test_animals_that_turn_and_few_pictures_have_no_prior() -> None:
    angles = np.linspace(0, 6, 40)
    turns = np.exp(1j * angles)[:, None] * (make_feet(40, seed=3) @ np.array([1, 1j]))
    turning = np.stack([turns.real, turns.imag], -1)
    assert fit_shape(make_dataset(turning)) is None
    assert fit_shape(make_dataset(make_feet(10, seed=4))) is None


def test_the_prior_is_saved_with_its_model_and_knows_of_crops(prior: ShapePrior, tmp_path: Path) -> None:
    network = PoseNetwork("efficientnet_lite0", 4, pretrained=False).eval()
    bare = PoseModel(network, "efficientnet_lite0", SKELETON, 1.0)
    model = replace(bare, shape=replace(prior, pull=0.5))
    model.save(tmp_path)
    loaded = PoseModel.load(tmp_path)
    assert loaded.shape is not None
    np.testing.assert_array_equal(loaded.shape.covariance, prior.covariance)
    np.testing.assert_array_equal(loaded.shape.mean, prior.mean)
    assert loaded.shape.area == prior.area == 128 * 200
    assert loaded.shape.pull == 0.5
    assert loaded.fingerprint() == model.fingerprint() != bare.fingerprint()


def test_points_stay_in_the_picture_and_other_sizes_have_no_prior(
    prior: ShapePrior, tmp_path: Path, heard: Any
) -> None:
    """A prior far from a small picture draws all points beyond its border."""
    network = PoseNetwork("efficientnet_lite0", 4, pretrained=False).eval()
    far = replace(prior, mean=prior.mean + 500, pull=1.0)
    model = PoseModel(
        network, "efficientnet_lite0", SKELETON, 1.0, PoseCalibration(covariance_floor=(400.0,)), shape=far
    )
    picture = np.zeros((128, 200, 3), np.uint8)
    position = model.estimate_pictures([picture], threads=1).position
    assert (position <= [199.5, 127.5]).all()
    assert (position == [199.5, 127.5]).any()
    small = [tmp_path / "000000.png"]
    write_picture(small[0], np.zeros((96, 96, 3), np.uint8))
    alone = predict({"side": replace(model, shape=None)}, {"side": small}, threads=1)
    found = predict({"side": model}, {"side": small}, threads=1, progress=heard)
    np.testing.assert_array_equal(found["position"], alone["position"])
    assert "pictures of 96 x 96 px are not as large" in heard.notes[0]
