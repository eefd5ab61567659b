from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multipose.skeleton import Skeleton
from multipose.view.theme import HUES, hex_to_rgb, keypoint_styles, mix, template, view_colors

# Machado, Oliveira, Fernandes (2009), severity 1: what people without red or green cones see, in linear RGB.
PROTANOPIA = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
DEUTERANOPIA = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]


@pytest.mark.parametrize(
    "vision", [np.eye(3), PROTANOPIA, DEUTERANOPIA], ids=["full", "no red cones", "no green cones"]
)
def test_hues_differ_for_every_eye(vision: object) -> None:
    from skimage.color import rgb2lab

    rgb = np.array([hex_to_rgb(hue) for hue in HUES]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(vision).T, 0, 1)
    coded = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    lab = rgb2lab(coded[None])[0]
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=-1)[np.triu_indices(len(HUES), 1)]
    assert distance.min() > 10  # a difference of about 2 is just noticeable


def test_hues_read_on_both_backgrounds() -> None:
    def luminance(color: str) -> float:
        rgb = np.array(hex_to_rgb(color)) / 255
        return float(np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722))

    for hue in HUES:
        bright, dark = (1 + 0.05) / (luminance(hue) + 0.05), (luminance(hue) + 0.05) / (luminance("#171b21") + 0.05)
        assert min(bright, dark) > 1.7, hue


def test_pairs_share_a_hue_and_right_is_a_paler_diamond() -> None:
    skeleton = Skeleton(("nose", "pawL", "pawR", "tail"), pairs=(("pawL", "pawR"),))
    nose, left, right, tail = keypoint_styles(skeleton.keypoints, skeleton)
    assert (left.symbol, right.symbol, nose.symbol) == ("circle", "diamond", "circle")
    assert right.color == mix(left.color, "#ffffff", 0.45)
    assert len({nose.color, left.color, right.color, tail.color}) == 4


def test_pairs_are_guessed_without_a_skeleton_but_never_against_one() -> None:
    assert keypoint_styles(["ear_left", "ear_right"])[1].right
    assert not keypoint_styles(["ear_left", "ear_right"], Skeleton(("ear_left", "ear_right")))[1].right


@given(st.integers(1, 2 * len(HUES)))
def test_as_many_colors_as_key_points(n: int) -> None:
    assert len({style.color for style in keypoint_styles([f"point{i}x" for i in range(n)])}) == n


def test_view_colors_are_by_name() -> None:
    assert view_colors(["back", "top"]) == {"back": HUES[0], "top": HUES[1]}


def test_dark_differs_from_light() -> None:
    light, dark = (template(dark).layout for dark in (False, True))
    assert light.paper_bgcolor == "#ffffff"
    assert dark.paper_bgcolor != light.paper_bgcolor
    assert dark.font.color != light.font.color
