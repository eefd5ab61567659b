"""Poses of pairs averaged over the rig."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np

from multipose.calibration.extrinsics import Pair, average_pairs
from multipose.geometry import invert_pose, pose, rotation_from_vector, transform
from multipose.synthetic import sample_rig

MIDDLE = np.array([20.0, -10.0, 600.0])  # before the first camera


def pairs_of(poses: np.ndarray, turn: float, shift: float, seed: int = 0) -> dict[tuple[int, int], Pair]:
    """Pairs of cameras (poses `camera_from_world`) as boards around MIDDLE tell them, with noise about that point."""
    rng = np.random.default_rng(seed)
    pairs = {}
    for a, b in combinations(range(len(poses)), 2):
        seen_by_b = transform(poses[b], MIDDLE)
        noise = rotation_from_vector(rng.normal(0, turn, 3))
        about = pose(noise, seen_by_b - noise @ seen_by_b + rng.normal(0, shift, 3))
        pairs[a, b] = Pair(20, 20, about @ poses[b] @ invert_pose(poses[a]), transform(poses[a], MIDDLE))
    return pairs


def relative(poses: np.ndarray) -> np.ndarray:
    """The poses with the first camera as the world."""
    return poses @ invert_pose(poses[0])


def errors(found: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """RMS of the angles (radians) and of the shifts."""
    difference = found @ invert_pose(truth)
    angle = np.arccos(np.clip((np.trace(difference[:, :3, :3], axis1=1, axis2=2) - 1) / 2, -1, 1))
    return float(np.sqrt((angle**2).mean())), float(np.sqrt((difference[:, :3, 3] ** 2).sum(-1).mean()))


def tree(pairs: dict[tuple[int, int], Pair], n: int) -> np.ndarray:
    """Every camera by its pair with the first."""
    return np.stack([np.eye(4), *(pairs[0, b].second_from_first for b in range(1, n))])


def test_the_average_of_all_pairs_beats_a_tree() -> None:
    truth = relative(np.stack([camera.camera_from_world for camera in sample_rig(6, seed=2)]))
    wins = 0
    for seed in range(10):
        pairs = pairs_of(truth, 0.01, 2.0, seed)
        start = tree(pairs, 6)
        before, after = errors(start, truth), errors(average_pairs(start, pairs, 3), truth)
        wins += after[0] < before[0] and after[1] < before[1]
    assert wins == 10


def test_a_wrong_pair_does_not_pull_even_if_the_tree_goes_along_it() -> None:
    truth = relative(np.stack([camera.camera_from_world for camera in sample_rig(5, seed=2)]))
    pairs = pairs_of(truth, 1e-3, 0.1)
    wrong = pose(rotation_from_vector(np.array([0.0, 0.8, 0.2])), np.array([150.0, 0, 40]))
    pairs[0, 3] = replace(pairs[0, 3], agreeing=30, second_from_first=wrong @ pairs[0, 3].second_from_first)
    start = tree(pairs, 5)
    assert errors(start, truth)[0] > 0.3
    turn, shift = errors(average_pairs(start, pairs, 3), truth)
    # four times the noise of one pair, whose turn is about the boards; wrong were 0.37 rad
    distance = np.linalg.norm(transform(truth, MIDDLE), axis=-1).max()
    assert turn < 4 * 1e-3
    assert shift < 4 * np.hypot(0.1, 1e-3 * distance)


def test_exact_pairs_give_the_poses_and_the_first_stays() -> None:
    truth = relative(np.stack([camera.camera_from_world for camera in sample_rig(4, seed=1)]))
    pairs = pairs_of(truth, 0.0, 0.0)
    del pairs[0, 2]
    pairs[1, 2] = replace(pairs[1, 2], agreeing=2)  # too few boards: not used
    start = truth.copy()
    start[1:] = truth[1:] @ pose(rotation_from_vector(np.array([0.02, 0.01, 0.0])), np.array([3.0, 1.0, 2.0]))
    found = average_pairs(start, pairs, 3)
    np.testing.assert_allclose(found, truth, atol=1e-3)
    np.testing.assert_array_equal(found[0], start[0])
