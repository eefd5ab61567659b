"""How far a network's points lie from the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from multipose.errors import DataError, ModelError
from multipose.pose2d import runtime
from multipose.pose2d.dataset import PoseDataset
from multipose.pose2d.model import PoseModel
from multipose.progress import SILENT, Progress

Array = npt.NDArray[np.float64]

PCK_PX = 5.0
_BINS = 10  # of confidence


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Labels and a network's points side by side; errors are distances in px of the original pictures.

    Every labelled position counts, whatever the network's confidence there.

    Attributes:
        keypoints: names.
        names: (n,) of the pictures.
        truth: (n, keypoint, 2) labelled positions px; NaN where there is none.
        present: (n, keypoint) 1 in the picture, 0 not, NaN unknown.
        position, confidence, covariance, presence_logit: as of `PoseEstimate`.
    """

    keypoints: tuple[str, ...]
    names: tuple[str, ...]
    truth: Array
    present: Array
    position: Array
    confidence: Array
    covariance: Array
    presence_logit: Array

    @property
    def error(self) -> Array:
        """(n, keypoint) distance px from label to estimate; NaN where there is no label."""
        return np.asarray(np.hypot(*np.moveaxis(self.position - self.truth, -1, 0)))

    @property
    def n(self) -> int:
        """Number of labelled positions."""
        return int(np.isfinite(self.error).sum())

    @property
    def mean_px(self) -> float:
        """Mean distance."""
        return float(np.nanmean(self.error)) if self.n else float("nan")

    @property
    def rmse_px(self) -> float:
        """Root of the mean squared distance."""
        return float(np.sqrt(np.nanmean(self.error**2))) if self.n else float("nan")

    @property
    def median_px(self) -> float:
        """Median distance."""
        return float(np.nanmedian(self.error)) if self.n else float("nan")

    @property
    def typical_px(self) -> float:
        """Geometric mean of 1 px + distance, less 1 px: a point far off counts, but does not outweigh all others."""
        return float(np.expm1(np.nanmean(np.log1p(self.error)))) if self.n else float("nan")

    @property
    def pck5(self) -> float:
        """Share of the labelled positions that are at most 5 px off."""
        return float(np.mean(self.error[np.isfinite(self.error)] <= PCK_PX)) if self.n else float("nan")

    def coverage(self, level: float) -> float:
        """Share of the labelled positions within the ellipses that should hold this share of them."""
        labelled = np.isfinite(self.error)
        difference = (self.position - self.truth)[labelled]
        distance = np.einsum("ni,nij,nj->n", difference, np.linalg.inv(self.covariance[labelled]), difference)
        return float(np.mean(distance <= stats.chi2(2).ppf(level))) if len(distance) else float("nan")

    @property
    def brier(self) -> float:
        """Mean squared difference of confidence and presence; 0 is perfect."""
        confidence, present = self._presence()
        return float(np.mean((confidence - present) ** 2)) if len(present) else float("nan")

    @property
    def base_brier(self) -> float:
        """The Brier score of whoever only knows which share of all points is in the picture."""
        _, present = self._presence()
        return float(np.var(present)) if len(present) else float("nan")

    def reliability(self) -> pd.DataFrame:
        """Points in ten bins of their confidence: mean confidence, share present, and number n of each bin with any."""
        confidence, present = self._presence()
        table = pd.DataFrame({"confidence": confidence, "present": present, "n": 1})
        place = np.minimum((_BINS * confidence).astype(int), _BINS - 1)
        return table.groupby(place).agg({"confidence": "mean", "present": "mean", "n": "sum"}).reset_index(drop=True)

    @property
    def calibration_error(self) -> float:
        """Expected calibration error: mean over the points of |confidence - share present| of their bins."""
        table = self.reliability()
        if not len(table):
            return float("nan")
        return float(np.average((table["confidence"] - table["present"]).abs(), weights=table["n"]))

    def _presence(self) -> tuple[Array, Array]:
        """Confidence and presence of the points of which it is known."""
        known = np.isfinite(self.present)
        return self.confidence[known], self.present[known]

    def keypoint_mean_px(self) -> dict[str, float]:
        """Mean distance of each key point; NaN for one without labels."""
        return {
            name: float(np.nanmean(column)) if np.isfinite(column).any() else float("nan")
            for name, column in zip(self.keypoints, self.error.T, strict=True)
        }

    def picture_mean_px(self) -> Array:
        """(n,) mean distance in each picture; NaN for one without labelled positions."""
        error = self.error
        counts = np.isfinite(error).sum(1)
        return np.where(counts > 0, np.nansum(error, 1) / np.maximum(counts, 1), np.nan)

    def ranked(self) -> npt.NDArray[np.int64]:
        """Indices of the pictures that have labelled positions, best first."""
        means = self.picture_mean_px()
        return np.argsort(means, kind="stable")[: int(np.isfinite(means).sum())]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; null where there are no labels.

        Keys: mean_px, rmse_px, median_px, p95_px (95th percentile), pck5, n, keypoints and keypoints_p95 (by name),
        within_50 and within_95 (shares of the points in their 50 and 95 % ellipses), brier, base_brier and
        calibration_error (of the confidence).
        """
        return {
            "mean_px": _plain(self.mean_px),
            "rmse_px": _plain(self.rmse_px),
            "median_px": _plain(self.median_px),
            "p95_px": _plain(_quantile(self.error, 0.95)),
            "pck5": _plain(self.pck5),
            "n": self.n,
            "keypoints": {name: _plain(value) for name, value in self.keypoint_mean_px().items()},
            "keypoints_p95": {
                name: _plain(_quantile(column, 0.95)) for name, column in zip(self.keypoints, self.error.T, strict=True)
            },
            "within_50": _plain(self.coverage(0.5)),
            "within_95": _plain(self.coverage(0.95)),
            "brier": _plain(self.brier),
            "base_brier": _plain(self.base_brier),
            "calibration_error": _plain(self.calibration_error),
        }


def evaluate(
    model: PoseModel,
    dataset: PoseDataset,
    *,
    threads: int | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Evaluation:
    """Let a network find the points of labelled pictures.

    Args:
        model: the network.
        dataset: pictures that training never saw, if the figures are to mean anything.
        threads: of the CPU; None for all.
        device: as for `runtime.choose_device`.
        progress: is told of every picture.

    Raises:
        ModelError: the dataset has other key points than the network.
    """
    if model.skeleton.keypoints != dataset.skeleton.keypoints:
        raise ModelError(
            f"The network finds {', '.join(model.skeleton.keypoints)}, but labelled are "
            f"{', '.join(dataset.skeleton.keypoints)}. Evaluate it on labels of the same key points in the same order."
        )
    place = runtime.choose_device(device)
    network = model.on(place)
    parts = []
    with runtime.share_threads(threads, place) as workers, progress.task("Evaluating", len(dataset)) as task:
        items = range(len(dataset))
        for part in workers.map(lambda i: model.estimate_picture(dataset.picture(i), network, place), items):
            parts.append(part)
            task.advance()
    return Evaluation(
        keypoints=dataset.skeleton.keypoints,
        names=dataset.names,
        truth=dataset.xy,
        present=np.where(dataset.known, dataset.present.astype(np.float64), np.nan),
        position=np.concatenate([part.position for part in parts]),
        confidence=np.concatenate([part.confidence for part in parts]),
        covariance=np.concatenate([part.covariance for part in parts]),
        presence_logit=np.concatenate([part.presence_logit for part in parts]),
    )


def join_evaluations(parts: Sequence[Evaluation]) -> Evaluation:
    """One evaluation of several (the folds of a cross-validation, say) with the same key points.

    Raises:
        DataError: there is none, or the key points differ.
    """
    if not parts or any(part.keypoints != parts[0].keypoints for part in parts):
        raise DataError("Evaluations to join must be at least one, all of the same key points.")
    return Evaluation(
        parts[0].keypoints,
        tuple(name for part in parts for name in part.names),
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("truth", "present", "position", "confidence", "covariance", "presence_logit")
        ),
    )


def _quantile(error: Array, share: float) -> float:
    """A quantile of the errors that are there; NaN where none is."""
    there = error[np.isfinite(error)]
    return float(np.quantile(there, share)) if len(there) else float("nan")


def _plain(value: float) -> float | None:
    return value if np.isfinite(value) else None
