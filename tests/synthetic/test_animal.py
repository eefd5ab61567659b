"""The animal keeps its bones, stays where it may walk, and moves without jumps."""

from __future__ import annotations

import numpy as np
import pytest

from multipose.errors import DataError
from multipose.synthetic import KEYPOINTS, SKELETON, Walk, arena, walk
from multipose.synthetic.animal import PART_COATS, PART_KINDS
from multipose.synthetic.kernels import CONE, ELLIPSOID

SEEDS = (1, 2, 11, 12)
SPEED = 120.0


@pytest.fixture(scope="module", params=SEEDS)
def animal(request: pytest.FixtureRequest) -> Walk:
    return walk(300, request.param, speed=SPEED, obstacles=arena().obstacles)


def test_same_seed_gives_the_same_walk() -> None:
    np.testing.assert_array_equal(walk(20, 5).points, walk(20, 5).points)
    assert not np.array_equal(walk(20, 5).points, walk(20, 6).points)


def test_key_points_are_those_of_the_skeleton(animal: Walk) -> None:
    assert len(KEYPOINTS) == 12
    assert set(SKELETON.definitions) == set(KEYPOINTS)
    assert animal.points.shape == (300, 12, 3)
    assert np.isfinite(animal.points).all()
    np.testing.assert_array_equal(animal.keypoints_at(animal.times[100:101]), animal.points[100:101])


def test_bones_keep_their_lengths(animal: Walk) -> None:
    """Also where a leg would not reach its foothold: the paw comes along."""
    dimensions = animal.body_at(animal.times).dimensions
    assert len(PART_COATS) == len(PART_KINDS) == dimensions.shape[1]
    assert np.ptp(dimensions, axis=0).max() < 1e-9
    # Along the back of the bent tail: not longer than its 27 and 36 mm of bones and their difference in thickness.
    ends = np.linalg.norm(np.diff(animal.points[:, [9, 10, 11]], axis=1), axis=-1)
    assert (ends < [28.0, 37.0]).all()
    assert (ends > [20.0, 24.0]).all()


def test_parts_are_placed_without_scale_or_reflection(animal: Walk) -> None:
    rotation = animal.body_at(animal.times[::10]).world_from_part[..., :3, :3]
    unit = np.swapaxes(rotation, -1, -2) @ rotation
    np.testing.assert_allclose(unit, np.broadcast_to(np.eye(3), unit.shape), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(rotation), 1.0, atol=1e-9)


def test_key_points_lie_on_the_skin(animal: Walk) -> None:
    """Off it by less than 0.5 mm; under it, where neighbouring parts swell over it, by less than 2 mm."""
    body = animal.body_at(animal.times[::5])
    points = animal.points[::5]
    inverse = np.linalg.inv(body.world_from_part)
    local = np.einsum("tpij,tkj->tkpi", inverse[..., :3, :3], points) + inverse[..., :3, 3][:, None]
    distance = np.empty(local.shape[:-1])
    for part, kind in enumerate(PART_KINDS):
        x, size = local[:, :, part], body.dimensions[:, None, part]
        if kind == ELLIPSOID:
            scaled = x / size
            share = np.linalg.norm(scaled, axis=-1)
            distance[..., part] = share * (share - 1.0) / np.linalg.norm(scaled / size, axis=-1)  # to first order
        else:
            assert kind == CONE
            length, start, end = size[..., 0], size[..., 1], size[..., 2]
            along, out = x[..., 2], np.hypot(x[..., 0], x[..., 1])
            slope = (start - end) / length
            height = np.clip(along + out * slope / np.sqrt(1.0 - slope**2), 0.0, length)
            distance[..., part] = np.hypot(along - height, out) - (start + (end - start) * height / length)
    nearest = distance.min(axis=-1)
    assert nearest.max() < 0.5
    assert nearest.min() > -2.0


def test_movement_is_continuous(animal: Walk) -> None:
    """In steps of 1 ms nothing moves faster than a paw that swings: measured up to 0.69 m/s."""
    times = np.arange(0.0, 9.9, 0.001)
    points = animal.keypoints_at(times)
    velocity = np.diff(points, axis=0) / 0.001
    speed = np.linalg.norm(velocity, axis=-1)
    assert speed.max() < 900.0
    assert speed[:, KEYPOINTS.index("neck")].max() < 1.5 * SPEED
    assert np.median(speed[:, KEYPOINTS.index("neck")]) > 20.0


def test_paws_stand_still_while_the_body_moves(animal: Walk) -> None:
    moved = np.linalg.norm(np.diff(animal.points, axis=0), axis=-1)
    body = moved[:, KEYPOINTS.index("spine")] > 2.0
    for name in ("paw_hind_left", "paw_hind_right"):
        paw = moved[body][:, KEYPOINTS.index(name)]
        assert (paw < 0.2).mean() > 0.4
    assert animal.points[..., 2].min() > 0.0


def test_the_animal_stays_in_the_arena_and_out_of_obstacles(animal: Walk) -> None:
    neck = animal.points[:, KEYPOINTS.index("neck"), :2]
    assert np.abs(neck).max() < 92.0 + 12.0
    for x, y, radius in arena().obstacles:
        assert np.linalg.norm(neck - [x, y], axis=-1).min() > radius + 8.0
    nose, tail = (animal.points[:, KEYPOINTS.index(name)] for name in ("nose", "tail_base"))
    length = np.linalg.norm(nose - tail, axis=-1)
    assert length.min() > 55.0
    assert length.max() < 105.0


def test_the_animal_does_more_than_walk_straight(animal: Walk) -> None:
    heading = np.unwrap(np.arctan2(*np.diff(animal.points[:, [9, 3], :2], axis=1)[:, 0, ::-1].T))
    assert np.ptp(heading) > 1.0
    speed = np.linalg.norm(np.diff(animal.points[:, 3], axis=0), axis=-1) * animal.fps
    assert speed.min() < 0.3 * speed.max()


@pytest.mark.parametrize("wrong", [{"n_frames": 0}, {"fps": 0.0}, {"speed": -1.0}])
def test_impossible_walks_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(DataError, match="at least 1 frame, fps > 0 and speed > 0"):
        walk(**{"n_frames": 10, **wrong})
