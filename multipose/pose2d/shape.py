"""A prior of the animal's shape: where the key points of a picture lie, given where the others do.

Where an animal always lies the same way in the picture (on a treadmill, say), one Gaussian over the coordinates of all
key points says much about each: which of two paws is the left one, or where a point in the direct view lies whose
mirrored image is plain to see. It chooses where in its heat map a point is, and then draws points that the network is
unsure of towards where the others foretell them; sure ones stay.

The covariance is that of a factor model, a few common factors and a variance of its own for each coordinate [1]: two
coordinates that are bound to each other stay so, where shrinking all correlations would loosen them, and a few dozen
pictures do.

[1] D. B. Rubin, D. T. Thayer: EM algorithms for ML factor analysis. Psychometrika 47, 1982.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from multipose.pose2d.dataset import PoseDataset
from multipose.pose2d.posture import lies_steadily

Array = npt.NDArray[np.float64]

_FEWEST_FRAMES = 20
_RANKS = (2, 4, 6, 8, 10, 12)  # numbers of factors, of which the labels choose ...
_PARTS = 4  # ... by how well models of the others foretell so many parts of them
_ITERATIONS = 12
_OWN_SHARE = 0.1  # of the variances, where the search for the factors starts
_LEAST_VARIANCE = 2.0  # px², of a coordinate's own: labels are no finer
# Measured on folds of a treadmill recording (docs/recipe.md).
_LABEL_SD = 2.0  # px; finer than labels are, no prediction of a point by the others is
_TRUST = 0.5  # exponent of the prior: maps err together, and 1 chose worse than 0.5
_STRAY = 1e-6  # share of the points that lie anywhere
_ROUNDS = 3
PULL = 1 / 6  # of the covariance's inverse: a few dozen pictures make it too sure of itself


@dataclass(frozen=True, eq=False)
class ShapePrior:
    """A Gaussian over all key points of a picture.

    Attributes:
        mean: (keypoint, 2) px of the original pictures.
        covariance: (2 keypoint, 2 keypoint) px², x and y of each key point in turn.
        area: px² of the pictures; a stray point is somewhere in it.
        pull: how strongly points are drawn to where the others foretell them, as a factor of the covariance's inverse;
            0 while the points' own covariances are not calibrated.
    """

    mean: Array
    covariance: Array
    area: float
    pull: float = 0.0

    def weigh(self, logits: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Log probabilities of all cells, given all maps of their pictures, (n, keypoint, h, w); not normalised.

        Every key point is summed up by the mean and the covariance of its map, and foretold by the summaries of all
        others; this weighs its map anew, three times over. An undecided point has a wide summary and says little of
        the others.

        Args:
            logits: (n, keypoint, h, w) maps, whose softmax is where a point is by the map alone.
            x, y: (w,) and (h,) px of the original pictures, where the cells lie.
        """
        weighed = logits
        for _ in range(_ROUNDS):
            center, spread = _summarize(weighed, x, y)
            foretold, uncertainty = (
                torch.from_numpy(values).to(logits)
                for values in self._foretell(center.cpu().double().numpy(), spread.cpu().double().numpy())
            )
            precision = torch.linalg.inv(uncertainty)
            dx, dy = x - foretold[..., :1], y - foretold[..., 1:]
            distance = (precision[..., 0, :1] * dx**2)[..., None, :] + (precision[..., 1, 1:] * dy**2)[..., None]
            distance += (2 * precision[..., 0, 1:] * dy)[..., None] * dx[..., None, :]
            height = (1 - _STRAY) / (2 * torch.pi * torch.linalg.det(uncertainty).sqrt())[..., None, None]
            weighed = logits + _TRUST * (height * torch.exp(-distance / 2) + _STRAY / self.area).log()
        return weighed

    def combine(self, position: Array, covariance: Array) -> tuple[Array, Array]:
        """Means (n, keypoint, 2) px and covariances of points, given those found and this prior.

        Args:
            position: (n, keypoint, 2) px of the original pictures.
            covariance: (n, keypoint, 2, 2) px², of errors of one point that say nothing of the others'.
        """
        if self.pull == 0.0:
            return position, covariance
        n, n_keypoints = position.shape[:2]
        each = np.arange(n_keypoints)
        prior = np.tile(self.covariance / self.pull, (n, 1, 1))
        both = prior.reshape(n, n_keypoints, 2, n_keypoints, 2).copy()
        both[:, each, :, each] += covariance.transpose(1, 0, 2, 3)
        gain = prior @ np.linalg.inv(both.reshape(prior.shape))
        moved = np.einsum("nij,nj->ni", gain, (position - self.mean).reshape(n, -1)).reshape(position.shape)
        left = (prior - gain @ prior).reshape(both.shape)[:, each, :, each].transpose(1, 0, 2, 3)
        return self.mean + moved, (left + left.swapaxes(-1, -2)) / 2

    def _foretell(self, center: Array, spread: Array) -> tuple[Array, Array]:
        """Mean (n, keypoint, 2) and covariance of each key point given the summaries of all others."""
        n, n_keypoints = center.shape[:2]
        spread = spread + _LABEL_SD**2 * np.eye(2)
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


def _summarize(logits: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (n, keypoint, 2) and covariance (n, keypoint, 2, 2) of places with these log probabilities."""
    share = logits.flatten(2).softmax(2).view_as(logits)
    columns, rows = share.sum(2), share.sum(3)
    center = torch.stack([columns @ x, rows @ y], -1)
    dx, dy = x - center[..., :1], y - center[..., 1:]
    xx, yy = (columns * dx**2).sum(-1), (rows * dy**2).sum(-1)
    xy = ((share * dx[..., None, :]).sum(-1) * dy).sum(-1)
    return center, torch.stack([torch.stack([xx, xy], -1), torch.stack([xy, yy], -1)], -2)


def fit_shape(dataset: PoseDataset) -> ShapePrior | None:
    """The prior that the labels speak for.

    The number of factors is that which foretells the points of left-out pictures best.

    None where the animal does not always lie the same way, where fewer than 20 pictures have two points or more, or
    where a key point has fewer than three positions.
    """
    frames = dataset.xy[np.isfinite(dataset.xy).all(-1).sum(1) >= 2]
    placed = np.isfinite(frames).all(-1).sum(0)
    if len(frames) < _FEWEST_FRAMES or placed.min() < 3 or not lies_steadily(dataset.xy):
        return None
    values = frames.reshape(len(frames), -1)
    ranks = [rank for rank in _RANKS if rank < values.shape[1]] or [1]
    mean, covariance = _fit(values, max(ranks, key=lambda rank: _foreseen(values, rank)))
    height, width = dataset.picture(0).shape[:2]
    return ShapePrior(mean.reshape(-1, 2), covariance, float(height * width))


def _foreseen(values: Array, rank: int) -> float:
    """How well a model with so many factors, fitted to the other parts, foretells each point by those beside it.

    The log likelihood, summed over all points of the frames (n, coordinate).
    """
    total = 0.0
    for part in range(_PARTS):
        left_out = np.arange(len(values)) % _PARTS == part
        mean, covariance = _fit(values[~left_out], rank)
        for row in values[left_out]:
            seen = np.isfinite(row)
            precision = np.linalg.inv(covariance[np.ix_(seen, seen)])
            pull = (precision @ (row[seen] - mean[seen])).reshape(-1, 2)
            each = np.arange(len(pull))
            blocks = precision.reshape(len(pull), 2, len(pull), 2)[each, :, each]
            total += np.linalg.slogdet(blocks)[1].sum() - np.einsum("ki,kij,kj->", pull, np.linalg.inv(blocks), pull)
    return float(total)


def _fit(values: Array, rank: int) -> tuple[Array, Array]:
    """Mean and covariance of values (n, coordinate), some of them NaN, by expectation maximisation."""
    known = np.isfinite(values)
    anywhere = known.any(0)
    mean = np.zeros(values.shape[1])
    mean[anywhere] = np.nanmean(values[:, anywhere], 0)
    variances = np.full(values.shape[1], _LABEL_SD**2)
    variances[anywhere] += np.nanvar(values[:, anywhere], 0)
    covariance = np.diag(variances)
    for _ in range(_ITERATIONS):
        filled = np.where(known, values, 0.0)
        unsure = np.zeros_like(covariance)
        for row, seen in zip(filled, known, strict=True):
            lost = ~seen
            if lost.any():
                gain = np.linalg.solve(covariance[np.ix_(seen, seen)], covariance[np.ix_(seen, lost)]).T
                row[lost] = mean[lost] + gain @ (row[seen] - mean[seen])
                unsure[np.ix_(lost, lost)] += covariance[np.ix_(lost, lost)] - gain @ covariance[np.ix_(seen, lost)]
        mean = filled.mean(0)
        covariance = _factors(np.cov(filled.T, bias=True) + unsure / len(filled), rank)
    return mean, covariance


def _factors(covariance: Array, rank: int) -> Array:
    """The factor model of a covariance, by principal factors of what the own variances leave."""
    variances = np.diag(covariance)
    own = np.maximum(_OWN_SHARE * variances, _LEAST_VARIANCE)
    for _ in range(_ITERATIONS):
        unit = np.sqrt(own)
        found, axes = np.linalg.eigh(covariance / unit[:, None] / unit)
        loadings = unit[:, None] * axes[:, -rank:] * np.sqrt(np.maximum(found[-rank:] - 1, 0.0))
        own = np.maximum(variances - (loadings**2).sum(1), _LEAST_VARIANCE)
    return np.asarray(loadings @ loadings.T + np.diag(own))
