"""How far networks' points in space are from labels, and how much of that all views have in common.

Networks of several views that learned from the same labels misjudge the same poses, and agree on the same wrong point.
What the views disagree by, which is all that residuals can show, then is only a part of the error of a point in space.
Times that were labelled in several views, and that no network learned from, show the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import chi2

from multipose.camera import CameraRig
from multipose.errors import DataError
from multipose.tracks import USUAL_SHARED_ERROR
from multipose.triangulate.reconstruction import reconstruct
from multipose.triangulate.tails import FREEDOMS, Tails, log_density, region_scale

FloatArray = NDArray[np.float64]

_RATIO_SD = 0.07  # of the logarithm of whole over disagreeing variance, between sets of networks (docs/uncertainty.md)
_KEYPOINT_SD = 0.15  # ... and between the key points of one
_LARGEST_RATIO = 10.0
_WATCHED = 0.5  # weight of a point: training was stopped where it did best on them
_INDEPENDENT = 10.0  # frames after which errors are hardly alike
_FIGURES = ("median", "p95", "shared")
_LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Labelled times that no network learned from.

    predicted, labelled: Keypoints2D with the same times, individuals and key points: what the networks found, and the
        labels. Times are frame numbers.
    rig: the cameras of their views.
    """

    predicted: xr.Dataset
    labelled: xr.Dataset
    rig: CameraRig


@dataclass(frozen=True, eq=False)
class ErrorCalibration:
    """What held-out labels say of the errors of points in space.

    Attributes:
        shared: (keypoint,) the variance that all views have in common, in units of the mean variance that views
            disagree by.
        keypoints: their names.
        errors: a row per key point: `keypoint`, `points`, `median` and `p95` distance from the labelled point, in
            `unit`, and `shared`, the share of its variance that all views have in common; NaN without points.
        reliability: rows of `level` and `held`: the share of the points within regions that should hold so many.
        n_times, n_points: that this rests on.
        unit: of lengths.
    """

    shared: FloatArray
    keypoints: tuple[str, ...]
    errors: pd.DataFrame
    reliability: pd.DataFrame
    n_times: int
    n_points: int
    unit: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "times": self.n_times,
            "points": self.n_points,
            "unit": self.unit,
            "shared": dict(zip(self.keypoints, self.shared.tolist(), strict=True)),
            "errors": self.errors.to_dict("records"),
            "reliability": self.reliability.to_dict("records"),
        }


def calibrate_errors(held_out: Sequence[HeldOut], *, min_confidence: float) -> ErrorCalibration | None:
    """Measure what the views' errors have in common, on labelled times that no network learned from.

    The labelled points in space are as noisy as the views' labels disagree; that is taken into account. How much views
    share is known beforehand from other networks, and is drawn away from that as far as the labels plainly say; so is
    the one of each key point from that of all.

    Args:
        held_out: of one set of networks, from several recordings and rigs if need be.
        min_confidence: as of `reconstruct`.

    Returns:
        None where no point is known both ways.
    """
    parts = [part for one in held_out if (part := _compare(one, min_confidence)) is not None]
    if not parts:
        return None
    names, units = parts[0].keypoints, {part.unit for part in parts}
    if any(part.keypoints != names for part in parts) or len(units) > 1:
        raise DataError("Held-out times to calibrate errors on must have the same key points and unit of length.")
    points = _Points.joined(parts)
    shared = _fit(points, len(names))
    covariance = points.covariance * (1 + shared[points.keypoint] / points.disagreement)[:, None, None] + points.labels
    squares = _squares(points.error, covariance)
    scales = [region_scale(points.freedom, level) for level in _LEVELS]
    held = [float((squares <= scale * chi2(3).ppf(level)).mean()) for level, scale in zip(_LEVELS, scales, strict=True)]
    distance = np.linalg.norm(points.error, axis=-1)
    rows = []
    for place, name in enumerate(names):
        own = points.keypoint == place
        row: dict[str, Any] = {"keypoint": name, "points": int(own.sum())} | dict.fromkeys(_FIGURES, float("nan"))
        if own.any():
            median, p95 = np.quantile(distance[own], [0.5, 0.95]).tolist()
            whole = shared[place] + float(points.disagreement[own].mean())
            row |= {"median": median, "p95": p95, "shared": float(shared[place] / whole)}
        rows.append(row)
    return ErrorCalibration(
        shared=shared,
        keypoints=names,
        errors=pd.DataFrame(rows),
        reliability=pd.DataFrame({"level": _LEVELS, "held": held}),
        n_times=sum(part.n_times for part in parts),
        n_points=len(distance),
        unit=units.pop(),
    )


@dataclass(frozen=True, eq=False)
class _Points:
    """Errors of n points in space.

    error: (n, 3) from the labelled point; covariance: (n, 3, 3) that the views' disagreement speaks for; labels: that
    of the labelled points; keypoint: (n,) number; disagreement: (n,) of their key points, as of
    `ErrorCalibration.shared`; weight: (n,) independent ones that a point counts as; freedom: of all.
    """

    error: FloatArray
    covariance: FloatArray
    labels: FloatArray
    keypoint: NDArray[np.int64]
    disagreement: FloatArray
    weight: FloatArray
    freedom: float
    keypoints: tuple[str, ...]
    n_times: int
    unit: str

    @classmethod
    def joined(cls, parts: Sequence[_Points]) -> _Points:
        """Those of several recordings."""
        typical = float(np.median([part.freedom for part in parts]))
        return cls(
            error=np.concatenate([part.error for part in parts]),
            covariance=np.concatenate([part.covariance for part in parts]),
            labels=np.concatenate([part.labels for part in parts]),
            keypoint=np.concatenate([part.keypoint for part in parts]),
            disagreement=np.concatenate([part.disagreement for part in parts]),
            weight=np.concatenate([part.weight for part in parts]),
            freedom=min(FREEDOMS, key=lambda one: abs(one - typical)),
            keypoints=parts[0].keypoints,
            n_times=sum(part.n_times for part in parts),
            unit=parts[0].unit,
        )


def _compare(one: HeldOut, min_confidence: float) -> _Points | None:
    """Predicted and labelled points in space, side by side."""
    found = reconstruct(one.predicted, one.rig, min_confidence=min_confidence, shared_error=0.0)
    truth = reconstruct(one.labelled, one.rig, min_confidence=0.0, shared_error=0.0)
    error = (found["position"] - truth["position"]).values
    known = np.isfinite(error).all(-1)
    if not known.any():
        return None
    time, _, keypoint = np.nonzero(known)
    noise = np.exp(np.log(found["variance_factor"].values).mean(0))
    gaps = np.diff(one.predicted["time"].values, prepend=-np.inf)
    return _Points(
        error=error[known],
        covariance=found["covariance"].values[known],
        labels=truth["covariance"].values[known],
        keypoint=keypoint,
        disagreement=(noise / np.exp(np.log(noise).mean()))[keypoint],
        weight=_WATCHED * np.minimum(gaps / _INDEPENDENT, 1.0)[time],
        freedom=float(np.median(found["degrees_of_freedom"].values)),
        keypoints=tuple(str(name) for name in found["keypoint"].values),
        n_times=int(known.any((1, 2)).sum()),
        unit=str(found.attrs["unit"]),
    )


def _fit(points: _Points, n_keypoints: int) -> FloatArray:
    """(keypoint,) shared variance, as of `ErrorCalibration.shared`."""
    usual = np.log(1 / (1 - USUAL_SHARED_ERROR))

    def log_likelihood(ratio: FloatArray | float, which: NDArray[np.bool_]) -> float:
        grown = points.covariance[which] * np.asarray(ratio).reshape(-1, 1, 1) + points.labels[which]
        squares = _squares(points.error[which], grown)
        density = log_density(squares, np.full(len(squares), 3.0), Tails(_middle(points.freedom), points.freedom))
        return float((points.weight[which] * (density - np.linalg.slogdet(grown)[1] / 2)).sum())

    def ratios(log_ratio: float) -> FloatArray:
        return np.asarray(1 + np.expm1(log_ratio) / points.disagreement)

    everything = np.ones(len(points.error), dtype=bool)
    pooled = minimize_scalar(
        lambda log: 0.5 * ((log - usual) / _RATIO_SD) ** 2 - log_likelihood(ratios(log), everything),
        bounds=(0.0, np.log(_LARGEST_RATIO)),
        method="bounded",
    ).x
    shared = np.empty(n_keypoints)
    for place in range(n_keypoints):
        own = points.keypoint == place
        shared[place] = np.expm1(pooled)
        if own.any():
            common = ratios(pooled)[own]
            more = minimize_scalar(
                lambda log, own=own, common=common: (
                    0.5 * (log / _KEYPOINT_SD) ** 2 - log_likelihood(common * np.exp(log), own)
                ),
                bounds=(-3 * _KEYPOINT_SD, 3 * _KEYPOINT_SD),
                method="bounded",
            ).x
            shared[place] = max(0.0, float((common[0] * np.exp(more) - 1) * points.disagreement[own][0]))
    return shared


def _middle(freedom: float) -> float:
    """Scale of Student's t whose variance is 1."""
    return (freedom - 2.0) / freedom


def _squares(error: FloatArray, covariance: FloatArray) -> FloatArray:
    """(n,) squared errors in units of their covariances."""
    return np.asarray((error * np.linalg.solve(covariance, error[..., None])[..., 0]).sum(-1))
