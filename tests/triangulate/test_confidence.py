"""The threshold of the confidence that leaving one view out chooses."""

from __future__ import annotations

import numpy as np
import pytest

from multipose.synthetic.observation import observe
from multipose.synthetic.rig import sample_rig
from multipose.triangulate import better_confidence


def seen(good, n_views=4, seed=0):
    """Key points whose confidence is spread over 0 to 1, and right where `good(confidence)`, else 40 px off."""
    rng = np.random.default_rng(seed)
    rig = sample_rig(n_views)
    xyz = rng.normal(0, 30, (300, 4, 3))
    keypoints = observe(rig, xyz, noise=0.7, keypoints=list("abcd"), seed=seed)
    confidence = rng.uniform(0, 1, keypoints["confidence"].shape)
    keypoints["confidence"] = (keypoints["confidence"].dims, confidence)
    angle = rng.uniform(0, 2 * np.pi, confidence.shape)
    off = 40 * np.stack([np.cos(angle), np.sin(angle)], -1)
    keypoints["position"] += np.where(good(confidence)[..., None], 0.0, off)
    return keypoints, rig


@pytest.mark.parametrize("level", [0.1, 0.6])
def test_the_level_from_which_points_are_right_is_found(level) -> None:
    keypoints, rig = seen(lambda confidence: confidence > level)
    found = better_confidence(keypoints, rig, 0.3)
    assert found is not None
    assert found.min_confidence == pytest.approx(level, abs=0.051)
    between = np.abs(keypoints["confidence"].values - (level + 0.3) / 2) < abs(level - 0.3) / 2
    assert 0.3 * between.sum() < found.n_between <= between.sum() * 1.1  # some have no others that agree
    assert found.confirmed > 0.9 if level < 0.3 else found.confirmed < 0.1


def test_a_threshold_that_is_right_is_left() -> None:
    assert better_confidence(*seen(lambda confidence: confidence > 0.3), 0.3) is None
    assert better_confidence(*seen(lambda confidence: confidence > 0.5, n_views=2), 0.3) is None


def test_points_without_a_confidence_say_nothing() -> None:
    keypoints, rig = seen(lambda confidence: confidence > 0.1)
    keypoints["confidence"] = keypoints["confidence"] * np.nan
    assert better_confidence(keypoints, rig, 0.3) is None
