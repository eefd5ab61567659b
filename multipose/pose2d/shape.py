"""A prior of the animal's shape: where the key points of a picture lie, given where the others do.

Where an animal always lies the same way in the picture (on a treadmill, say), one Gaussian over the coordinates of all
key points says much about each: which of two paws is the left one, or where a point in the direct view lies whose
mirrored image is plain to see. It chooses among the peaks of the heat maps; it never moves a point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from multipose.pose2d.dataset import PoseDataset
from multipose.pose2d.posture import lies_steadily

Array = npt.NDArray[np.float64]

_FEWEST_FRAMES = 20
# Measured on one fold of a treadmill recording that no published figure is of (docs/recipe.md).
_SHRINKAGE = 0.05  # of the correlations; 0.05 and 0.1 foretold points of frames left out best
_ITERATIONS = 15
_LABEL_SD = 2.0  # px; finer than labels are, no prediction of a point by the others is
_TRUST = 0.5  # exponent of the prior: maps err together, and 1 chose worse than 0.5
_STRAY = 0.02  # share of the points that lie anywhere
_ROUNDS = 3


@dataclass(frozen=True, eq=False)
class ShapePrior:
    """A Gaussian over all key points of a picture.

    Attributes:
        mean: (keypoint, 2) px of the original pictures.
        covariance: (2 keypoint, 2 keypoint) px², x and y of each key point in turn.
        area: px² of the pictures; a stray point is somewhere in it.
    """

    mean: Array
    covariance: Array
    area: float

    def weigh(self, position: Array, log_mass: Array) -> Array:
        """Log probabilities (n, keypoint, peak) of peaks, given all maps of their pictures.

        Every key point is summed up as a Gaussian of its peaks, and foretold by the summaries of all others; this
        weighs its peaks anew, three times over. An undecided point has a wide summary and says little of the others.

        Args:
            position: (n, keypoint, peak, 2) px of the original pictures.
            log_mass: (n, keypoint, peak) log probabilities by the maps alone.
        """
        weights = log_mass
        for _ in range(_ROUNDS):
            center, spread = _summarize(position, weights)
            foretold, uncertainty = self._foretell(center, spread)
            away = position - foretold[:, :, None]
            distance = np.einsum("nkpi,nkij,nkpj->nkp", away, np.linalg.inv(uncertainty), away)
            scale = 2 * np.pi * np.sqrt(np.linalg.det(uncertainty))[:, :, None]
            density = (1 - _STRAY) * np.exp(-distance / 2) / scale + _STRAY / self.area
            weights = log_mass + _TRUST * np.log(density)
        return weights

    def _foretell(self, center: Array, spread: Array) -> tuple[Array, Array]:
        """Mean (n, keypoint, 2) and covariance of each key point given the summaries of all others."""
        n, n_keypoints = center.shape[:2]
        joint = np.tile(self.covariance, (n, 1, 1)).reshape(n, n_keypoints, 2, n_keypoints, 2)
        each = np.arange(n_keypoints)
        joint[:, each, :, each] += spread.transpose(1, 0, 2, 3)
        precision = np.linalg.inv(joint.reshape(n, 2 * n_keypoints, -1))
        pull = np.einsum("nij,nj->ni", precision, (center - self.mean).reshape(n, -1)).reshape(n, n_keypoints, 2)
        blocks = precision.reshape(joint.shape)[:, each, :, each].transpose(1, 0, 2, 3)
        conditional = np.linalg.inv(blocks)
        foretold = center - np.einsum("nkij,nkj->nki", conditional, pull)
        own, axes = np.linalg.eigh(conditional - spread)
        own = np.maximum(own, 0.0) + _LABEL_SD**2
        return foretold, np.einsum("nkij,nkj,nklj->nkil", axes, own, axes)


def _summarize(position: Array, weights: Array) -> tuple[Array, Array]:
    """Mean and covariance of each key point's peaks, (n, keypoint, 2) and (n, keypoint, 2, 2)."""
    share = np.exp(weights - weights.max(-1, keepdims=True))
    share /= share.sum(-1, keepdims=True)
    center = np.einsum("nkp,nkpi->nki", share, position)
    away = position - center[:, :, None]
    return center, np.einsum("nkp,nkpi,nkpj->nkij", share, away, away) + _LABEL_SD**2 * np.eye(2)


def fit_shape(dataset: PoseDataset) -> ShapePrior | None:
    """The prior that the labels speak for, by expectation maximisation over points without a position.

    None where the animal does not always lie the same way, where fewer than 20 pictures have two points or more, or
    where a key point has fewer than three positions.
    """
    frames = dataset.xy[np.isfinite(dataset.xy).all(-1).sum(1) >= 2]
    placed = np.isfinite(frames).all(-1).sum(0)
    if len(frames) < _FEWEST_FRAMES or placed.min() < 3 or not lies_steadily(dataset.xy):
        return None
    values = frames.reshape(len(frames), -1)
    known = np.isfinite(values)
    mean, covariance = np.nanmean(values, 0), np.diag(np.nanvar(values, 0) + _LABEL_SD**2)
    for _ in range(_ITERATIONS):
        filled = np.where(known, values, 0.0)
        unsure = np.zeros_like(covariance)
        for row, seen in zip(filled, known, strict=True):
            lost = ~seen
            gain = np.linalg.solve(covariance[np.ix_(seen, seen)], covariance[np.ix_(seen, lost)]).T
            row[lost] = mean[lost] + gain @ (row[seen] - mean[seen])
            unsure[np.ix_(lost, lost)] += covariance[np.ix_(lost, lost)] - gain @ covariance[np.ix_(seen, lost)]
        mean = filled.mean(0)
        found = np.cov(filled.T, bias=True) + unsure / len(filled)
        covariance = (1 - _SHRINKAGE) * found
        np.fill_diagonal(covariance, np.diag(found) + 1.0)
    height, width = dataset.picture(0).shape[:2]
    return ShapePrior(mean.reshape(-1, 2), covariance, float(height * width))
