from __future__ import annotations

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multipose.errors import DataError
from multipose.opencv import cv2
from multipose.skeleton import Skeleton
from multipose.view import keypoints_on_frame
from multipose.view.overlay import covariance_ellipse, jpeg_uri

SKELETON = Skeleton(
    ("nose", "ear_left", "ear_right"), edges=(("nose", "ear_left"),), pairs=(("ear_left", "ear_right"),)
)
PICTURE = np.full((60, 80, 3), (200, 30, 90), dtype=np.uint8)


def test_points_lie_where_they_were_found() -> None:
    xy = np.array([[10.0, 20.0], [30.5, 40.25], [np.nan, np.nan]])
    figure = keypoints_on_frame(PICTURE, xy, SKELETON, confidence=[0.9, 0.5, 0.0])
    for name, point, trust in zip(SKELETON.keypoints, xy, (0.9, 0.5, 0.0), strict=True):
        mark = next(trace for trace in figure.data if trace.name == name and trace.showlegend is False)
        assert np.array_equal([mark.x[0], mark.y[0]], point, equal_nan=True)
        assert mark.customdata[0] == trust
        assert mark.marker.opacity[0] == max(trust, 0.15)
    assert tuple(figure.layout.xaxis.range) == (-0.5, 79.5)
    assert tuple(figure.layout.yaxis.range) == (59.5, -0.5)
    assert figure.layout.yaxis.scaleanchor == "x"
    assert figure.layout.xaxis.title.text == "x (px)"
    assert "opacity: confidence" in figure.layout.title.text


def test_the_picture_fills_its_pixels() -> None:
    image = keypoints_on_frame(PICTURE, np.zeros((3, 2)), SKELETON).layout.images[0]
    assert (image.x, image.y, image.sizex, image.sizey) == (-0.5, -0.5, 80, 60)
    data = np.frombuffer(base64.b64decode(image.source.split(",")[1]), dtype=np.uint8)
    shown = cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1]
    assert shown.shape == PICTURE.shape
    assert np.abs(shown.astype(int) - PICTURE).max() < 6


def test_an_edge_to_an_unknown_point_is_not_drawn() -> None:
    known = keypoints_on_frame(PICTURE, np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), SKELETON)
    lines = next(trace for trace in known.data if trace.name == "skeleton")
    assert list(lines.x[:2]) == [1.0, 3.0]
    unknown = keypoints_on_frame(PICTURE, np.array([[1.0, 2.0], [np.nan, np.nan], [5.0, 6.0]]), SKELETON)
    lines = next(trace for trace in unknown.data if trace.name == "skeleton")
    assert np.isnan(lines.x).all()


@given(st.floats(0.1, 50), st.floats(0.1, 50), st.floats(0, 3.1))
def test_the_ellipse_is_where_the_mahalanobis_distance_is_that_of_95_percent(a: float, b: float, turn: float) -> None:
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    covariance = rotation @ np.diag([a**2, b**2]) @ rotation.T
    ring = covariance_ellipse([7.0, -3.0], covariance) - (7.0, -3.0)
    squared = np.einsum("ni,ij,nj->n", ring, np.linalg.inv(covariance), ring)
    assert np.allclose(squared, -2 * np.log(0.05))
    assert np.allclose(ring[0], ring[-1])


def test_the_ellipse_holds_95_percent() -> None:
    covariance = np.array([[4.0, 1.5], [1.5, 2.0]])
    points = np.random.default_rng(0).multivariate_normal([5, 5], covariance, 20000)
    ring = covariance_ellipse([5, 5], covariance, steps=360).astype(np.float32)
    inside = np.mean([cv2.pointPolygonTest(ring, (float(x), float(y)), False) > 0 for x, y in points])
    assert inside == pytest.approx(0.95, abs=0.006)


def test_an_unknown_covariance_draws_nothing() -> None:
    assert np.isnan(covariance_ellipse([1, 2], np.full((2, 2), np.nan))).all()
    assert np.isnan(covariance_ellipse([1, 2], -np.eye(2))).all()


def test_several_individuals_share_the_legend() -> None:
    xy = np.arange(12.0).reshape(2, 3, 2)
    figure = keypoints_on_frame(PICTURE, xy, SKELETON, covariance=np.tile(np.eye(2), (2, 3, 1, 1)))
    shown = [trace.name for trace in figure.data if trace.showlegend is not False]
    assert sorted(shown) == ["ear_left", "ear_right", "nose", "skeleton"]
    nose = next(trace for trace in figure.data if trace.name == "nose" and trace.showlegend is False)
    assert list(nose.x) == [0.0, 6.0]
    assert "95 %" in figure.layout.title.text


def test_wrong_shapes_are_told() -> None:
    with pytest.raises(DataError, match=r"\(3, 2\).*got \(2, 2\)"):
        keypoints_on_frame(PICTURE, np.zeros((2, 2)), SKELETON)
    with pytest.raises(DataError, match="uint8"):
        jpeg_uri(PICTURE.astype(np.float32))
