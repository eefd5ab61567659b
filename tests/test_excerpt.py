from __future__ import annotations

import numpy as np
import pytest

from multipose.excerpt import excerpt_from_dict
from multipose.lens import BrownLens, FisheyeLens, Lens, RationalLens
from multipose.sources import View, excerpt_of

WHOLE: tuple[Lens, ...] = (
    BrownLens(900.0, 905.0, 331.0, 242.0, (-0.2, 0.05, 0.002, -0.001, 0.01)),
    RationalLens(910.0, 905.0, 331.0, 242.0, (-0.2, 0.05, 0.002, -0.001, 0.01, 0.1, 0.02, 0.0)),
    FisheyeLens(700.0, 702.0, 331.0, 242.0, (0.02, -0.01, 0.0, 0.0)),
)


class Pictures:
    path = "film.mp4"
    size = (640, 480)


@pytest.mark.parametrize("whole", WHOLE)
@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("flip", [False, True])
def test_the_parts_lens_sees_what_the_view_shows(whole: Lens, flip: bool, turns: int) -> None:
    view = View(Pictures(), crop=(100, 50, 301, 200), flip=flip, quarter_turns=turns, scale=0.5)  # type: ignore[arg-type]
    part = excerpt_of(view)
    assert part.size == (640, 480)
    assert part.source == "film.mp4"
    px = np.random.default_rng(0).uniform((100, 50), (400, 249), (50, 2))
    lens = part.lens(whole)
    seen, expected = lens.undistort(view.from_source(px)), whole.undistort(px)
    # Up to the flip and the turn of the picture's plane both see the same directions.
    if flip:
        expected = expected * [-1, 1]
    for _ in range(turns):
        expected = np.stack([-expected[:, 1], expected[:, 0]], axis=-1)
    np.testing.assert_allclose(seen, expected, atol=1e-12)
    np.testing.assert_allclose(part.whole_lens(lens).params, whole.params, rtol=1e-12, atol=1e-12)
    step = np.random.default_rng(1).normal(0, 1e-3, len(whole.params))
    moved = part.lens(whole.with_params(whole.params + step)).params
    np.testing.assert_allclose(moved - lens.params, part.derivative(whole) @ step, atol=1e-12)
    assert excerpt_from_dict(part.to_dict()) == part
