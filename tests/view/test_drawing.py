from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multipose.errors import DataError
from multipose.skeleton import Skeleton
from multipose.view import contact_sheet, draw_comparison, draw_keypoints, draw_labels
from multipose.view.drawing import apply_affine, crop_around
from multipose.view.theme import keypoint_styles

SKELETON = Skeleton(("nose", "paw_left", "paw_right"), (("nose", "paw_left"),), (("paw_left", "paw_right"),))
STYLES = keypoint_styles(SKELETON.keypoints, SKELETON)
BLACK = np.zeros((100, 140, 3), dtype=np.uint8)
NOWHERE = [np.nan, np.nan]


def painted(picture: np.ndarray) -> np.ndarray:
    """(n, 2) x, y of the pixels that are not black."""
    return np.argwhere(picture.any(-1))[:, ::-1]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_point_is_painted_where_it_is_in_its_colour(place: int) -> None:
    xy = np.full((3, 2), np.nan)
    xy[place] = (40.25, 60.75)
    drawn = draw_keypoints(BLACK, xy, SKELETON, radius=5)
    assert tuple(drawn[61, 40]) == STYLES[place].rgb
    hit = painted(drawn)
    weight = drawn[hit[:, 1], hit[:, 0]].sum(-1).astype(float)
    assert np.average(hit, axis=0, weights=weight) == pytest.approx(xy[place], abs=0.25)  # OpenCV's polygons: 0.21
    assert np.linalg.norm(hit - xy[place], axis=1).max() < 9
    assert not BLACK.any()  # the picture given stays as it was


def test_left_is_a_disc_and_right_a_diamond() -> None:
    left = draw_keypoints(BLACK, [NOWHERE, [50, 50], NOWHERE], SKELETON, radius=10)
    right = draw_keypoints(BLACK, [NOWHERE, NOWHERE, [50, 50]], SKELETON, radius=10)
    assert left[56, 56].any()
    assert not right[58, 58].any()
    assert right[50, 60].any()


def test_an_edge_is_a_line_between_known_points() -> None:
    drawn = draw_keypoints(BLACK, [[20, 50], [100, 50], NOWHERE], SKELETON, radius=3)
    assert drawn[50, 60].min() > 200
    assert not draw_keypoints(BLACK, [[20, 50], NOWHERE, NOWHERE], SKELETON, radius=3)[50, 60].any()


def test_uncertain_points_are_not_drawn() -> None:
    xy = [[20, 20], [60, 60], [100, 80]]
    drawn = draw_keypoints(BLACK, xy, SKELETON, confidence=[0.9, 0.2, 0.5], min_confidence=0.5)
    assert drawn[20, 20].any()
    assert drawn[80, 100].any()
    assert not drawn[60, 60].any()


def test_several_individuals_and_names_are_drawn() -> None:
    xy = np.array([[[20, 50], NOWHERE, NOWHERE], [[100, 50], NOWHERE, NOWHERE]])
    plain = draw_keypoints(BLACK, xy, SKELETON)
    named = draw_keypoints(BLACK, xy, SKELETON, names=True)
    assert plain[50, 20].any()
    assert plain[50, 100].any()
    assert len(painted(named)) > len(painted(plain)) + 20


@given(st.tuples(*[st.floats(-1e9, 1e9)] * 6))
def test_points_anywhere_draw_without_error(values: tuple[float, ...]) -> None:
    drawn = draw_keypoints(BLACK, np.array(values).reshape(3, 2), SKELETON, names=True)
    assert drawn.shape == BLACK.shape
    assert drawn.dtype == np.uint8


def test_a_comparison_shows_label_prediction_and_the_way_between() -> None:
    drawn = draw_comparison(BLACK, [[30, 50], NOWHERE, NOWHERE], [[90, 50], NOWHERE, NOWHERE], SKELETON, radius=4)
    for x in (30, 60, 90):
        assert np.abs(drawn[50, x].astype(int) - STYLES[0].rgb).max() < 25
    assert drawn[47, 33].any()  # an arm of the cross
    alone = draw_comparison(BLACK, [NOWHERE] * 3, [[90, 50], NOWHERE, NOWHERE], SKELETON, radius=4)
    assert alone[50, 90].any()
    assert not alone[50, 60].any()


def test_a_crop_holds_the_points_and_maps_them() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (200, 300, 3), dtype=np.uint8)
    xy = np.array([[150.0, 100.0], [190.0, 120.0], [np.nan, np.nan]])
    part, affine = crop_around(picture, xy, width=400, height=400)
    moved = apply_affine(affine, xy[:2])
    assert (moved > 0).all()
    assert (moved < np.array(part.shape[1::-1]) - 1).all()
    assert part.shape == (400, 400, 3)
    # The marked pixel lands where the map says.
    picture[:] = 0
    picture[100, 150] = 255
    part, affine = crop_around(picture, xy, width=400, height=400)
    light = part[..., 0].astype(float)
    rows, columns = np.mgrid[: part.shape[0], : part.shape[1]]
    center = np.array([(light * columns).sum(), (light * rows).sum()]) / light.sum()
    assert center == pytest.approx(apply_affine(affine, xy[0]), abs=0.6)


@given(
    st.floats(-0.5, 299.4), st.floats(-0.5, 199.4), st.floats(-0.5, 299.4), st.floats(-0.5, 199.4), st.integers(20, 400)
)
def test_a_crop_holds_every_point_of_the_picture(x0: float, y0: float, x1: float, y1: float, width: int) -> None:
    xy = np.array([[x0, y0], [x1, y1]])
    part, affine = crop_around(np.zeros((200, 300, 3), dtype=np.uint8), xy, width=width, height=150)
    moved = apply_affine(affine, xy)
    assert (moved >= -0.5 - 1e-6).all()
    assert (moved <= np.array(part.shape[1::-1]) - 0.5 + 1e-6).all()
    assert part.shape[1] <= width
    assert part.shape[0] <= 150


def test_a_crop_without_points_is_the_picture() -> None:
    picture = np.arange(60 * 80 * 3, dtype=np.uint64).reshape(60, 80, 3).astype(np.uint8)
    part, affine = crop_around(picture, np.full((3, 2), np.nan), width=80, height=80)
    assert np.array_equal(part, picture)
    assert np.allclose(affine, [[1, 0, 0], [0, 1, 0]])


def test_a_sheet_shows_every_picture_with_its_points_and_a_legend() -> None:
    pictures = [np.full((60, 80, 3), shade, dtype=np.uint8) for shade in (40, 80, 120)]
    xy = np.full((3, 3, 2), np.nan)
    xy[:, 0] = (19.5, 29.5)  # lands at (39.5, 59.5) of a tile twice as large
    sheet = contact_sheet(pictures, xy, SKELETON, columns=2, tile_width=160, captions=["a", "b", "c"])
    line, gap = 24, 8
    assert sheet.shape[1] == 2 * 160 + 3 * gap
    for place in range(3):
        x = gap + (place % 2) * (160 + gap)
        y = (place // 2) * (120 + line + gap) + gap + line
        assert tuple(sheet[y + 2, x + 2]) == (40 * (place + 1),) * 3
        assert tuple(sheet[y + 60, x + 40]) == STYLES[0].rgb
        assert (sheet[y - line : y, x : x + 40] < 100).any()  # the caption
    legend = sheet[2 * (120 + line + gap) :]
    for style in STYLES:
        assert (legend == style.rgb).all(-1).any()


def test_the_3d_is_a_ring_around_a_point() -> None:
    xy = [[50, 50], NOWHERE, NOWHERE]
    ringed = draw_keypoints(BLACK, [NOWHERE] * 3, SKELETON, reprojected=xy, radius=5)
    assert not ringed[50, 50].any()
    assert np.abs(ringed[50, 59].astype(int) - STYLES[0].rgb).max() < 60
    both = draw_keypoints(BLACK, xy, SKELETON, reprojected=xy, radius=5)
    assert tuple(both[50, 50]) == STYLES[0].rgb
    assert np.array_equal(both[50, 58:62], ringed[50, 58:62])


def test_labels_show_their_states_and_slips() -> None:
    xy = np.array([[[30.0, 30.0], [60.0, 60.0], NOWHERE]])
    state = np.array([["visible", "occluded", "absent"]])
    drawn = draw_labels(BLACK, xy, state, SKELETON, radius=5)
    assert tuple(drawn[30, 30]) == STYLES[0].rgb
    assert tuple(drawn[60, 60]) != STYLES[1].rgb  # the ring is open
    assert np.abs(drawn[60, 54].astype(int) - STYLES[1].rgb).max() < 60
    red = (drawn == (255, 40, 40)).all(-1)
    assert not red.any()
    drawn = draw_labels(BLACK, xy, state, SKELETON, slips=[[False, True, True]], radius=5)
    marked = np.argwhere((drawn == (255, 40, 40)).all(-1))
    assert np.abs(marked.mean(0) - 60).max() < 3
    assert np.abs(marked - 60).max() <= 15


def test_names_stay_inside_the_picture() -> None:
    named = draw_keypoints(BLACK, [NOWHERE, [136, 50], NOWHERE], SKELETON, radius=3, names=True)
    beside = painted(named)[:, 0]
    assert beside.min() < 110


def test_a_sheet_can_show_the_animal_alone() -> None:
    picture = np.zeros((300, 400, 3), dtype=np.uint8)
    xy = np.array([[[200.0, 150.0], [240.0, 150.0], NOWHERE], [[200.0, 150.0], [240.0, 150.0], [2.0, 2.0]]])
    sheet = contact_sheet(
        [picture] * 2, xy, SKELETON, confidence=[[1, 1, 1], [1, 1, 0.1]], min_confidence=0.5, crop=True, tile_width=200
    )
    for left in (8, 216):
        tile = sheet[8:158, left : left + 200]
        columns = np.flatnonzero(tile.any((0, 2)))
        assert columns[-1] - columns[0] > 90  # 40 of 400 px wide; a point that is not believed does not count


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(DataError, match=r"\(3, 2\)"):
        draw_keypoints(BLACK, np.zeros((2, 2)), SKELETON)
    with pytest.raises(DataError, match="RGB uint8"):
        draw_keypoints(BLACK[..., 0], np.zeros((3, 2)), SKELETON)
    with pytest.raises(DataError, match="got 1 and 2"):
        contact_sheet([BLACK], np.zeros((2, 3, 2)), SKELETON)
    with pytest.raises(DataError, match="one caption"):
        contact_sheet([BLACK], np.zeros((1, 3, 2)), SKELETON, captions=[])
