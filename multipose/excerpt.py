"""Which part of a camera's picture a view shows, and what that makes of the camera's lens.

One camera and a mirror give two views: the picture's part that shows the animal directly, and the part with the mirror,
flipped. Both have the lens of the one camera; each lens parameter of a view is a linear function of the camera's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from multipose.geometry import FloatArray
from multipose.lens import Lens

AnyLens = TypeVar("AnyLens", bound=Lens)


@dataclass(frozen=True)
class Excerpt:
    """A part of a camera's picture, cut out, then flipped, then turned, then scaled (as multipose.video.View does it).

    source: the video or folder that holds the pictures; views with the same source are parts of the same pictures.
    size: (width, height) px of the whole picture.
    crop: (x, y, width, height) px of the part.
    flip: left to right.
    quarter_turns: clockwise, 0 to 3.
    scale: (across, down) of the turned part.
    """

    source: str
    size: tuple[int, int]
    crop: tuple[int, int, int, int]
    flip: bool = False
    quarter_turns: int = 0
    scale: tuple[float, float] = (1.0, 1.0)

    def lens(self, whole: AnyLens) -> AnyLens:
        """The lens of the part of a camera whose whole picture has the lens `whole`."""
        x, y, width, height = self.crop
        part = whole.crop(x, y)
        if self.flip:
            part = part.flip(width)
        return part.rotate90(self.quarter_turns, (width, height)).scale(*self.scale)

    def whole_lens(self, part: AnyLens) -> AnyLens:
        """The lens of the whole picture, of which a part has the lens `part`."""
        matrix, origin = self._linear(part)
        return part.with_params(np.linalg.solve(matrix, part.params - origin))

    def derivative(self, kind: Lens) -> FloatArray:
        """(P, P) of the part's lens parameters by the whole picture's, for lenses of this kind."""
        return self._linear(kind)[0]

    def _linear(self, kind: Lens) -> tuple[FloatArray, FloatArray]:
        """Matrix (P, P) and shift (P,) that give the part's parameters from those of the whole picture."""
        n = len(kind.param_names)
        start = np.zeros(n)
        start[:2] = 1.0  # scales must be above 0
        base = self.lens(kind.with_params(start)).params
        columns = [self.lens(kind.with_params(start + unit)).params - base for unit in np.eye(n)]
        matrix = np.stack(columns, axis=1)
        return matrix, base - matrix @ start

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `excerpt_from_dict` reads."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}


def excerpt_from_dict(values: dict[str, Any]) -> Excerpt:
    """The excerpt whose `to_dict` gave `values`."""
    fields: dict[str, Any] = {key: tuple(item) if isinstance(item, list) else item for key, item in values.items()}
    return Excerpt(**fields)
