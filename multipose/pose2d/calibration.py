"""Fit what turns a network's raw outputs into probabilities and covariances, on frames held out from training."""

from __future__ import annotations

import numpy as np
from scipy import optimize, stats

from multipose.pose2d.evaluation import Evaluation
from multipose.pose2d.model import PoseCalibration

_PRIOR_WEIGHT = 1.0  # of slope 1 and offset 0, in units of one point one logit off
_MATCHED_QUANTILE = 0.9
_FEWEST_POINTS = 5


def fit_calibration(evaluation: Evaluation) -> PoseCalibration:
    """Calibration of the network whose uncalibrated outputs are given.

    Presence: logistic regression on the map's maximum (Platt scaling), held near the identity by a weak prior, so that
    held-out frames without absent points leave it sensible. Covariance: the factor under which 90 % of the held-out
    points lie in their 90 % ellipses; 1 where fewer than 5 points are held out.
    """
    known = np.isfinite(evaluation.present)
    logit, present = evaluation.presence_logit[known], evaluation.present[known]

    def cost(values: np.ndarray) -> float:
        z = values[0] * logit + values[1]
        prior = _PRIOR_WEIGHT * ((values[0] - 1.0) ** 2 + values[1] ** 2)
        return float(np.logaddexp(0.0, z).sum() - (present * z).sum() + prior)

    slope, offset = optimize.minimize(cost, (1.0, 0.0), bounds=((0.05, None), (None, None))).x
    return PoseCalibration(float(slope), float(offset), _covariance_factor(evaluation))


def _covariance_factor(evaluation: Evaluation) -> float:
    labelled = np.isfinite(evaluation.error)
    if labelled.sum() < _FEWEST_POINTS:
        return 1.0
    difference = (evaluation.position - evaluation.truth)[labelled]
    distance = np.einsum("ni,nij,nj->n", difference, np.linalg.inv(evaluation.covariance[labelled]), difference)
    return float(np.quantile(distance, _MATCHED_QUANTILE) / stats.chi2(2).ppf(_MATCHED_QUANTILE))
