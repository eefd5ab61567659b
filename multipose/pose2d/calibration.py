"""Fit what turns a network's raw outputs into probabilities and covariances, on frames held out from training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats

from multipose.pose2d.evaluation import Evaluation
from multipose.pose2d.model import PoseCalibration, doubted, excess

Array = npt.NDArray[np.float64]

_PRESENCE = ("presence_logit", "present")
_PRIOR_WEIGHT = 0.2  # of slope 1 and offset 0, in units of one point one logit off
_OWN_WEIGHT = 0.5  # the same of each key point's own offset from the common one: a standard deviation of one logit
_PICTURES_TO_CROPS = 2.0  # weight of all held-out pictures to that of all crops (docs/recipe.md)
_FEWEST_POINTS = 5
_SURE_QUANTILE = 0.1  # of the variances of the maps: what a sure network's have
_FREEDOM = 4.0  # degrees of freedom of Student's t
_USUAL_SPREAD = 0.5  # the middle of the spread's prior; that of the floor's is what half of the errors speak for
_PRIOR_SD = 0.7  # of the logarithms of both
_USUAL_DOUBT, _DOUBT_SD = 0.25, 0.1  # the prior of the doubt (docs/recipe.md)
_SMALLEST_FLOOR = 0.01  # px²
_MEDIAN = float(stats.chi2(2).median())
_LARGEST_SQUARE = 9.0  # larger squared errors count as this when the floor of a key point is found
_SHRINKAGE = 4.0  # errors of the common size that each key point is given
_WIDENING = 3.0  # over the number of held-out pictures (docs/recipe.md)
_MATCHED = (0.5, 0.8, 0.9, 0.95)


def fit_calibration(
    evaluation: Evaluation, crops: Evaluation | None = None, label_sd: Array | None = None
) -> PoseCalibration:
    """Calibration of the network whose uncalibrated outputs are given.

    Presence: logistic regression on the map's maximum (Platt scaling), held near the identity by a weak prior, so that
    held-out frames without absent points leave it sensible; key points have offsets of their own, held near the common
    one. Covariance: the floor, the spread and the doubt under which the held-out errors are likeliest.

    Args:
        evaluation: on held-out pictures.
        crops: on crops of the same pictures, which parts of the animal have left; presence is learned from both, but
            pictures, which are what is predicted, weigh twice as much as crops in all.
        label_sd: as of `repeats.label_noise`. Its square is taken off the covariance, which then tells how far points
            are from the truth, not from labels; at most nine tenths of a key point's floor are taken.
    """
    parts = [evaluation] if crops is None else [evaluation, crops]
    logit, present = (np.concatenate([getattr(part, name) for part in parts]) for name in _PRESENCE)
    weight = np.ones(len(present))
    if crops is not None:
        weight[: len(evaluation.names)] = max(1.0, _PICTURES_TO_CROPS * len(crops.names) / len(evaluation.names))
    presence = PoseCalibration(*_fit_presence(logit, present, weight))
    calibration = _fit_covariance(evaluation, presence)
    if label_sd is not None:
        floor = np.array(calibration.covariance_floor)
        calibration = replace(calibration, covariance_floor=tuple(np.maximum(floor - label_sd**2, floor / 10).tolist()))
    return calibration


def _fit_presence(logit: Array, present: Array, weight: Array) -> tuple[float, tuple[float, ...]]:
    """Slope, and offset of each key point, of the logistic regression of presence.

    Args:
        logit, present: (n, keypoint); presence is NaN where unknown.
        weight: (n,) of the pictures.
    """
    known = np.where(np.isfinite(present), weight[:, None], 0.0)
    z, there = np.where(known > 0, logit, 0.0), np.where(known > 0, present, 0.0)

    def cost(values: Array) -> tuple[float, Array]:
        slope, offset, own = values[0], values[1], values[2:]
        scores = slope * z + offset + own
        prior = _PRIOR_WEIGHT * ((slope - 1.0) ** 2 + offset**2) + _OWN_WEIGHT * (own**2).sum()
        likelihood = (known * (np.logaddexp(0.0, scores) - there * scores)).sum()
        off = known * (special.expit(scores) - there)
        gradient = np.r_[(off * z).sum(), off.sum(), off.sum(0)]
        gradient += 2 * np.r_[_PRIOR_WEIGHT * (slope - 1.0), _PRIOR_WEIGHT * offset, _OWN_WEIGHT * own]
        return float(likelihood + prior), gradient

    n_keypoints = present.shape[1]
    bounds = [(0.05, None)] + [(None, None)] * (n_keypoints + 1)
    found = optimize.minimize(cost, np.r_[1.0, np.zeros(n_keypoints + 1)], jac=True, bounds=bounds).x
    return float(found[0]), tuple((found[1] + found[2:]).tolist())


def _fit_covariance(evaluation: Evaluation, presence: PoseCalibration) -> PoseCalibration:
    """The calibration of presence with that of covariances: floor of each key point, spread, blur and doubt.

    Floor, spread and doubt maximise the likelihood of the errors under Student's t, so that a few gross ones do not
    widen all ellipses. Each key point's floor is then multiplied by the mean of its squared errors, shrunk to that of
    all as if every key point had four more errors of the common size. At last all are scaled to hold 50, 80, 90 and
    95 % of the points, and widened by three parts in the number of pictures: errors of one picture are alike, and few
    say little. Of too few points nothing is learned.
    """
    labelled = np.isfinite(evaluation.error)
    if labelled.sum() < _FEWEST_POINTS:
        return presence
    error = (evaluation.position - evaluation.truth)[labelled]
    moment = evaluation.covariance[labelled]
    keypoint = np.nonzero(labelled)[1]
    sureness = presence.confidence_logit(evaluation.presence_logit)[labelled]
    blur = float(np.quantile(np.linalg.eigvalsh(moment), _SURE_QUANTILE))
    beyond = excess(moment, blur)

    def covariance(floor: Array, spread: float, doubt: float) -> Array:
        own = floor[:, None, None] * np.eye(2) + spread * beyond
        return np.asarray(own * doubted(sureness, doubt)[:, None, None])

    def cost(values: Array) -> float:
        (floor, spread), doubt = np.exp(values[:2]), values[2]
        tried = covariance(np.full(len(error), floor), spread, doubt)
        likelihood = np.log(np.linalg.det(tried)) + (_FREEDOM + 2) * np.log1p(_squares(error, tried) / _FREEDOM)
        return float(likelihood.sum() + (((values - usual) / spreads) ** 2).sum()) / 2

    typical = max(float(np.median((error**2).sum(1))) / _MEDIAN, _SMALLEST_FLOOR)
    usual = np.array([np.log(typical), np.log(_USUAL_SPREAD), _USUAL_DOUBT])
    spreads = np.array([_PRIOR_SD, _PRIOR_SD, _DOUBT_SD])
    limits = [(np.log(_SMALLEST_FLOOR), None), (None, None), (0.0, None)]
    found = optimize.minimize(cost, usual, method="Nelder-Mead", bounds=limits).x
    (floor, spread), doubt = np.exp(found[:2]), float(found[2])
    squares = _squares(error, covariance(np.full(len(error), floor), spread, doubt))
    squares = np.minimum(squares * _MEDIAN / max(float(np.median(squares)), 1e-12), _LARGEST_SQUARE)
    floors = np.array(
        [
            floor * (squares[keypoint == k].sum() / 2 + _SHRINKAGE) / ((keypoint == k).sum() + _SHRINKAGE)
            for k in range(labelled.shape[1])
        ]
    )
    factor = _matching_factor(_squares(error, covariance(floors[keypoint], spread, doubt)))
    factor *= 1 + _WIDENING / labelled.any(1).sum()
    return replace(
        presence,
        covariance_floor=tuple((factor * floors).tolist()),
        covariance_spread=float(factor * spread),
        covariance_blur=blur,
        covariance_doubt=doubt,
    )


def _squares(error: Array, covariance: Array) -> Array:
    """Squared errors (n,) in units of their covariances."""
    return np.asarray(np.einsum("ni,nij,nj->n", error, np.linalg.inv(covariance), error))


def _matching_factor(squares: Array) -> float:
    """Factor of the covariances under which ellipses hold as many points as they say; geometric mean over some sizes.

    A finite sample's quantiles are taken a little higher, so that points yet unseen are held too.
    """
    levels = np.array(_MATCHED)
    found = np.quantile(squares, np.minimum(1.0, levels * (len(squares) + 1) / len(squares)))
    return float(np.exp(np.mean(np.log(np.maximum(found, 1e-12) / stats.chi2(2).ppf(levels)))))
