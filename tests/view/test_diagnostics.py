"""Figures and pages of what is wrong with the 3D and of what is measured on it."""

from __future__ import annotations

import numpy as np
import pytest

from multipose.errors import DataError
from multipose.kinematics_config import KinematicsConfig
from multipose.synthetic import KEYPOINTS, SKELETON, observe, sample_rig, walk
from multipose.triangulate import diagnose, kinematics, reconstruct
from multipose.view import diagnostics_page, disagreement, kinematics_page, limb_lengths
from multipose.view import kinematics as draw_kinematics

CONFIG = KinematicsConfig(
    angles={"neck": ("nose", "neck", "spine")}, distances={"body": ("nose", "tail_base")}, speeds={"pace": ("neck",)}
)


def recording(n_views=4):
    rig = sample_rig(n_views)
    keypoints = observe(rig, walk(40, seed=1).points, noise=0.5, seed=1, keypoints=KEYPOINTS)
    return keypoints, reconstruct(keypoints, rig), rig


def test_the_map_of_disagreement_shows_every_cell() -> None:
    found = diagnose(*recording(), SKELETON)
    heat = disagreement(found).data[0]
    assert list(heat.x) == list(found.keypoints["view"].values)
    assert list(heat.y) == list(KEYPOINTS)
    np.testing.assert_allclose(heat.z, found.keypoints["normalised"].transpose("keypoint", "view").values)


def test_limbs_are_boxes_of_their_quantiles() -> None:
    found = diagnose(*recording(), SKELETON)
    boxes = limb_lengths(found).data
    assert len(boxes) == len(SKELETON.edges)
    assert boxes[0].median[0] == pytest.approx(np.nanmedian(found.lengths[0]))
    with pytest.raises(DataError, match="No limb"):
        limb_lengths(diagnose(*recording()))


def test_pages_hold_their_figures_and_warnings() -> None:
    keypoints, tracks, rig = recording()
    order = [KEYPOINTS.index(name) for name in SKELETON.pairs[0]]
    values = keypoints["position"].values[1, 10:20]
    values[..., order, :] = values[..., order[::-1], :]
    html = diagnostics_page(diagnose(keypoints, reconstruct(keypoints, rig), rig, SKELETON)).to_html()
    assert "10–19" in html
    assert "Each view against the others" in html
    few = diagnostics_page(diagnose(*recording(2), SKELETON)).to_html()
    assert "cannot be judged by each other" in few
    page = kinematics_page(kinematics(tracks, CONFIG)).to_html()
    assert "taken as exact" in page
    assert "body" in page
    assert "deg" in page
    assert ">rad<" not in page


def test_bands_break_where_values_are_unknown() -> None:
    _, tracks, _ = recording()
    tracks["position"].values[15:18] = np.nan
    figure = draw_kinematics(kinematics(tracks, CONFIG), "distance")
    band, line = figure.data
    assert np.isnan(line.y[15:18]).all()
    assert np.isnan(band.x).sum() == np.isnan(band.y).sum() >= 2
    with pytest.raises(DataError, match="There is no inclination"):
        draw_kinematics(kinematics(tracks, CONFIG), "inclination")
    with pytest.raises(DataError, match="There is no individual 'x'"):
        draw_kinematics(kinematics(tracks, CONFIG), "speed", individual="x")
