"""How the animal lies in the labelled pictures: what its labels say of the camera and of its freedom to turn."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# Orientation resultant above which the animal counts as always lying the same way. Measured: 0.999 for a mouse on a
# treadmill; 0.77 for one that roams an arena.
_STEADY = 0.9
# Share of the variation of shapes that is mere turning, above which the camera counts as looking straight down.
# Measured: 0.995 for a mouse seen from above (4 points); 0.84 to 0.91 for a walking animal (12 points) seen aslant.
_SEEN_FROM_ABOVE = 0.95


def animal_length(xy: Array) -> float:
    """Diagonal of the box around the labelled points (n, keypoint, 2), median over the pictures, px; at least 1."""
    several = xy[np.isfinite(xy).all(-1).sum(1) > 1]
    if not len(several):
        return 1.0
    box = np.nanmax(several, axis=1) - np.nanmin(several, axis=1)
    return max(1.0, float(np.median(np.hypot(*box.T))))


def lies_steadily(xy: Array) -> bool:
    """Whether the animal always lies the same way in the pictures, by its points (n, keypoint, 2)."""
    return _orientation_resultant(_shapes(xy)) > _STEADY


def is_seen_from_above(xy: Array) -> bool:
    """Whether the animal looks the same whichever way it heads, by its points (n, keypoint, 2)."""
    return _turning_share(_shapes(xy)) > _SEEN_FROM_ABOVE


def _shapes(xy: Array) -> npt.NDArray[np.complex128]:
    """The animal's points (n, keypoint, 2) about their middle, as complex numbers of unit norm in all, (n, keypoint).

    Points that are not labelled are 0; frames with fewer than two points are left out.
    """
    frames = xy[np.isfinite(xy).all(-1).sum(1) >= 2]
    if not len(frames):
        return np.zeros((0, xy.shape[1]), np.complex128)
    centred = np.nan_to_num(frames - np.nanmean(frames, axis=1, keepdims=True))
    shapes = centred[..., 0] + 1j * centred[..., 1]
    norms = np.linalg.norm(shapes, axis=1)
    return np.asarray(shapes[norms > 0] / norms[norms > 0, None])


def _orientation_resultant(shapes: npt.NDArray[np.complex128]) -> float:
    """How alike the animals lie, 0 to 1: length of the mean of unit vectors along their orientations.

    An orientation is the turn that best maps one whole shape on the frame's. A single frame counts as lying anyhow.
    """
    if len(shapes) < 2:
        return 0.0
    reference = shapes[np.argmax((shapes != 0).sum(1))]
    turns = (shapes * reference.conj()).sum(1)
    turns = turns[np.abs(turns) > 0]
    return float(np.abs(np.mean(turns / np.abs(turns))))


def _turning_share(shapes: npt.NDArray[np.complex128]) -> float:
    """Share of the shapes that is one shape turned and scaled, 0 to 1 (its first principal component)."""
    if len(shapes) < 2:
        return 1.0
    return float(np.linalg.norm(shapes, ord=2) ** 2 / len(shapes))
