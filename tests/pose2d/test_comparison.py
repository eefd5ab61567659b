from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from multipose.errors import DataError
from multipose.pose2d.comparison import compare_evaluations
from multipose.pose2d.evaluation import Evaluation
from multipose.pose2d.intervals import estimate_mean, neighbour_blocks


def make(errors: np.ndarray, keypoints: tuple[str, ...] = ("nose", "tail")) -> Evaluation:
    """Labels at 0; points `errors` (n, keypoint) px to the right of them."""
    n, k = errors.shape
    position = np.zeros((n, k, 2))
    position[..., 0] = errors
    names = tuple(f"day1/{i}" for i in range(n))
    covariance = np.tile(np.eye(2), (n, k, 1, 1))
    return Evaluation(
        keypoints, names, np.zeros((n, k, 2)), np.ones((n, k)), position, np.ones((n, k)), covariance, errors
    )


def test_small_paired_differences_are_told_apart() -> None:
    """Pictures are hard for both: the intervals of the two means overlap, that of the difference does not hold 0."""
    random = np.random.default_rng(0)
    hard = np.exp(random.normal(1, 0.8, (60, 1)))
    first = make(hard + random.uniform(0, 0.4, (60, 2)))
    noise = random.normal(0, 0.3, (60, 2))
    second = make(np.abs(first.error - [0.5, 0.0] + noise - noise.mean(0)))
    assert first.mean_estimate().low < second.mean_px < first.mean_px < second.mean_estimate().high
    comparison = compare_evaluations(first, second)
    found = comparison.mean_difference
    assert found.mean == pytest.approx(second.mean_px - first.mean_px)
    assert found.low < -0.25 < found.high < 0
    table = comparison.keypoint_table().set_index("keypoint")
    assert table["better"].tolist() == ["second", ""]
    assert table.loc["nose", "nearer"] > 0.9
    figures = comparison.to_dict()
    assert figures["better"] == "second"
    json.dumps(figures, allow_nan=False)
    assert compare_evaluations(second, first).to_dict()["better"] == "first"


def test_the_key_points_in_common_are_compared() -> None:
    first = make(np.full((6, 2), 2.0))
    second = make(np.arange(18.0).reshape(6, 3), ("ear", "tail", "nose"))
    table = compare_evaluations(first, second).keypoint_table()
    assert table["keypoint"].tolist() == ["nose", "tail"]
    assert table["difference_px"].tolist() == [pytest.approx(7.5), pytest.approx(6.5)]
    with pytest.raises(DataError, match="in common"):
        compare_evaluations(first, make(np.ones((6, 1)), ("ear",)))


def test_other_labels_cannot_be_compared() -> None:
    first = make(np.ones((5, 2)))
    for other in (make(np.ones((4, 2))), replace(first, truth=first.truth + 1)):
        with pytest.raises(DataError, match="other labels"):
            compare_evaluations(first, other)


def test_blocks_hold_neighbouring_instants_of_one_recording() -> None:
    groups = ["a"] * 40 + ["b"] * 24
    moments = [*np.random.default_rng(0).permutation(40).tolist(), *np.repeat(range(12), 2).tolist()]
    blocks = neighbour_blocks(groups, moments)
    for group in "ab":
        inside = [(moment, block) for g, moment, block in zip(groups, moments, blocks, strict=True) if g == group]
        order = [block for _, block in sorted(inside)]
        assert order == sorted(order)
        assert len(set(order)) == {"a": 10, "b": 3}[group]
    assert not set(blocks[:40]) & set(blocks[40:])
    assert (blocks[40::2] == blocks[41::2]).all()  # two views of one instant


def test_intervals_hold_the_true_mean_of_correlated_skewed_errors() -> None:
    """Ten blocks of skewed errors: 95 % intervals hold 87 %, within four standard deviations of 400 trials."""
    random = np.random.default_rng(1)
    inside = []
    for _ in range(400):
        walk = np.zeros(40)
        for i in range(1, 40):
            walk[i] = 0.5 * walk[i - 1] + random.normal(0, 0.5)
        errors = np.exp(walk[:, None] + random.normal(0, 0.5, (40, 3)))
        found = estimate_mean(errors, neighbour_blocks(["a"] * 40, range(40)))
        truth = np.exp((1 / 3 + 0.25) / 2)
        inside.append(found.low <= truth <= found.high)
    assert np.mean(inside) == pytest.approx(0.87, abs=4 * np.sqrt(0.87 * 0.13 / 400))


def test_what_cannot_be_known_is_unknown() -> None:
    blocks = np.zeros(4, dtype=np.int64)
    assert np.isnan(estimate_mean(np.full(4, np.nan), blocks).mean)
    one = estimate_mean(np.array([1.0, 2.0, np.nan, 3.0]), blocks)
    assert (one.mean, one.n) == (2.0, 3)
    assert np.isnan([one.standard_error, one.low, one.high]).all()
