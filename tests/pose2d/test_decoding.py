from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from multipose.pose2d.decoding import decode
from multipose.pose2d.network import STRIDE

HEIGHT, WIDTH = 24, 32


def gaussian_logits(x: float, y: float, sd: tuple[float, float] = (6.0, 6.0), peak: float = 3.0) -> torch.Tensor:
    """Log of a Gaussian about (x, y) px of the input, (1, 1, HEIGHT, WIDTH)."""
    cells_x = (np.arange(WIDTH) + 0.5) * STRIDE - 0.5
    cells_y = (np.arange(HEIGHT) + 0.5) * STRIDE - 0.5
    log = -((cells_x[None, :] - x) ** 2) / (2 * sd[0] ** 2) - (cells_y[:, None] - y) ** 2 / (2 * sd[1] ** 2)
    return torch.from_numpy((log + peak).astype(np.float32))[None, None]


inner = st.tuples(st.floats(20, STRIDE * WIDTH - 21), st.floats(20, STRIDE * HEIGHT - 21))


@given(inner)
def test_peak_of_a_gaussian_is_found_to_a_fraction_of_a_pixel(xy: tuple[float, float]) -> None:
    found = decode(gaussian_logits(*xy)).position[0, 0]
    np.testing.assert_allclose(found, xy, atol=0.15)


@given(inner, st.floats(-20, 20))
def test_position_does_not_depend_on_the_level_of_the_logits(xy: tuple[float, float], level: float) -> None:
    a, b = decode(gaussian_logits(*xy)), decode(gaussian_logits(*xy) + level)
    np.testing.assert_allclose(a.position, b.position, atol=2e-3)
    np.testing.assert_allclose(a.covariance, b.covariance, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(b.presence_logit - a.presence_logit, level, atol=1e-4)


@given(st.lists(inner, min_size=2, max_size=5))
def test_points_of_a_batch_do_not_touch_each_other(places: list[tuple[float, float]]) -> None:
    maps = torch.cat([gaussian_logits(*xy) for xy in places])
    together = decode(maps).position[:, 0]
    alone = torch.cat([decode(part[None]).position[0] for part in maps])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_covariance_follows_the_shape_of_the_map() -> None:
    covariance = decode(gaussian_logits(60.0, 50.0, sd=(4.0, 6.0))).covariance[0, 0].numpy()
    assert 0.7 * 16 < covariance[0, 0] < 1.1 * 16
    assert 0.7 * 36 < covariance[1, 1] < 1.1 * 36
    assert abs(covariance[0, 1]) < 0.1


def test_maps_too_small_for_a_window_and_flat_maps_stay_finite() -> None:
    for shape in ((1, 2, 1, 1), (1, 2, 3, 2), (2, 1, 8, 8)):
        points = decode(torch.zeros(shape))
        assert torch.isfinite(points.position).all()
        assert torch.isfinite(points.covariance).all()
        assert (torch.linalg.eigvalsh(points.covariance) > -1e-4).all()


def test_peaks_at_the_border_stay_in_or_near_the_picture() -> None:
    for xy in ((0.0, 0.0), (STRIDE * WIDTH - 1.0, 3.0), (50.0, STRIDE * HEIGHT - 1.0)):
        found = decode(gaussian_logits(*xy)).position[0, 0].numpy()
        np.testing.assert_allclose(found, xy, atol=2.5)
