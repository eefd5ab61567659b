"""How far a network's points lie from the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from multipose.documents import read_arrays, write_arrays
from multipose.errors import DataError, FormatError, ModelError
from multipose.files import SCHEMA_VERSION, check_schema
from multipose.pose2d import runtime
from multipose.pose2d.dataset import PoseDataset
from multipose.pose2d.intervals import MeanEstimate, estimate_mean, neighbour_blocks
from multipose.pose2d.model import PoseModel
from multipose.pose2d.posture import animal_length
from multipose.progress import SILENT, Progress

Array = npt.NDArray[np.float64]

PCK_PX = (2.0, 5.0, 10.0, 20.0)
PCK_LENGTHS = (0.05, 0.1, 0.2)  # of the animal's length
_BINS = 10  # of confidence
_ARRAYS = ("truth", "present", "position", "confidence", "covariance", "presence_logit")
_TUPLES = ("names", "groups", "moments", "views")


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
        groups, moments, views: (n,) as of `PoseDataset`: which pictures are neighbours, and of which view each is.
    """

    keypoints: tuple[str, ...]
    names: tuple[str, ...]
    truth: Array
    present: Array
    position: Array
    confidence: Array
    covariance: Array
    presence_logit: Array
    groups: tuple[str, ...] = ()
    moments: tuple[int, ...] = ()
    views: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.names)
        object.__setattr__(self, "groups", tuple(self.groups) or ("",) * n)
        object.__setattr__(self, "moments", tuple(self.moments) or tuple(range(n)))
        object.__setattr__(self, "views", tuple(self.views) or ("",) * n)

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
    def animal_px(self) -> float:
        """The animal's length: diagonal of the box around its labelled points, median; NaN where one point is all."""
        several = np.isfinite(self.truth).all(-1).sum(1) > 1
        return animal_length(self.truth) if several.any() else float("nan")

    def pck(self, distance: float) -> float:
        """Share of the labelled positions that are at most so many px off; NaN for a distance that is NaN."""
        known = np.isfinite(self.error)
        return float(np.mean(self.error[known] <= distance)) if known.any() and distance >= 0 else float("nan")

    def mean_estimate(self) -> MeanEstimate:
        """The mean distance with its standard error and confidence interval."""
        found = estimate_mean(self.error, neighbour_blocks(self.groups, self.moments))
        return replace(found, low=max(found.low, 0.0) if np.isfinite(found.low) else found.low)

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

    def keypoint_table(self) -> pd.DataFrame:
        """One row a key point.

        Columns: keypoint, n, mean_px, se_px (of the mean), low_px, high_px (its 95 % interval), median_px, rmse_px,
        p95_px, one `pck_<px>` for each of PCK_PX, and one `pck_length_<share>` for each of PCK_LENGTHS.
        """
        rows, length = [], self.animal_px
        for place, name in enumerate(self.keypoints):
            alone = self.select_keypoints([place])
            mean = alone.mean_estimate()
            rows.append(
                {
                    "keypoint": name,
                    "n": alone.n,
                    "mean_px": alone.mean_px,
                    "se_px": mean.standard_error,
                    "low_px": mean.low,
                    "high_px": mean.high,
                    "median_px": alone.median_px,
                    "rmse_px": alone.rmse_px,
                    "p95_px": _quantile(alone.error, 0.95),
                    **{f"pck_{px:g}": alone.pck(px) for px in PCK_PX},
                    **{f"pck_length_{share:g}": alone.pck(share * length) for share in PCK_LENGTHS},
                }
            )
        return pd.DataFrame(rows)

    def subset(self, items: Sequence[int] | npt.NDArray[np.int64]) -> Evaluation:
        """The evaluation of some of the pictures, in the order given."""
        chosen = np.asarray(items, dtype=np.int64)
        rows: dict[str, Any] = {name: tuple(getattr(self, name)[i] for i in chosen) for name in _TUPLES}
        rows |= {name: getattr(self, name)[chosen] for name in _ARRAYS}
        return replace(self, **rows)

    def select_keypoints(self, places: Sequence[int]) -> Evaluation:
        """The evaluation of some of the key points, in the order given."""
        columns: dict[str, Any] = {name: getattr(self, name)[:, list(places)] for name in _ARRAYS}
        return replace(self, keypoints=tuple(self.keypoints[place] for place in places), **columns)

    def by_view(self) -> dict[str, Evaluation]:
        """The evaluation of each view's pictures, in order of appearance."""
        views = np.array(self.views)
        return {view: self.subset(np.flatnonzero(views == view)) for view in dict.fromkeys(self.views)}

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

        Keys: mean_px, mean_px_se (its standard error), mean_px_interval (95 %), rmse_px, median_px, p95_px (95th
        percentile), pck5, pck and pck_of_length (shares by distance in px and in animal's lengths), animal_px, n,
        pictures (with labels), keypoints, keypoints_p95 and keypoint_table (by name), within_50 and within_95 (shares
        of the points in their 50 and 95 % ellipses), brier, base_brier and calibration_error (of the confidence), and
        views: the same for each view, where there are several.
        """
        mean, table, views = self.mean_estimate(), self.keypoint_table(), self.by_view()
        return {
            "mean_px": plain(self.mean_px),
            "mean_px_se": plain(mean.standard_error),
            "mean_px_interval": [plain(mean.low), plain(mean.high)],
            "rmse_px": plain(self.rmse_px),
            "median_px": plain(self.median_px),
            "p95_px": plain(_quantile(self.error, 0.95)),
            "pck5": plain(self.pck(5.0)),
            "pck": {f"{px:g}": plain(self.pck(px)) for px in PCK_PX},
            "pck_of_length": {f"{share:g}": plain(self.pck(share * self.animal_px)) for share in PCK_LENGTHS},
            "animal_px": plain(self.animal_px),
            "n": self.n,
            "pictures": len(self.ranked()),
            "keypoints": {name: plain(value) for name, value in self.keypoint_mean_px().items()},
            "keypoints_p95": {
                name: plain(value) for name, value in zip(table["keypoint"], table["p95_px"], strict=True)
            },
            "keypoint_table": {
                row.pop("keypoint"): {key: plain(value) for key, value in row.items()}
                for row in table.to_dict("records")
            },
            "within_50": plain(self.coverage(0.5)),
            "within_95": plain(self.coverage(0.95)),
            "brier": plain(self.brier),
            "base_brier": plain(self.base_brier),
            "calibration_error": plain(self.calibration_error),
            "views": {view: part.to_dict() for view, part in views.items()} if len(views) > 1 else {},
        }


def save_evaluation(evaluation: Evaluation, path: Path) -> None:
    """Write an evaluation as NPZ, whole or not at all."""
    values: dict[str, Any] = {name: np.array(getattr(evaluation, name)) for name in ("keypoints", *_TUPLES, *_ARRAYS)}
    write_arrays(path, schema_version=SCHEMA_VERSION, **values)


def load_evaluation(path: Path) -> Evaluation:
    """Read what `save_evaluation` wrote.

    Raises:
        FormatError: the file is missing, damaged or of a newer schema.
    """
    arrays = read_arrays(path, "evaluation", "Delete it.")
    try:
        check_schema(arrays["schema_version"].item(), path)
        values: dict[str, Any] = {name: arrays[name] for name in _ARRAYS}
        values |= {name: tuple(arrays[name].tolist()) for name in ("keypoints", *_TUPLES)}
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path} is no evaluation of multipose ({error}). Delete it.") from error
    return Evaluation(**values)


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
        groups=dataset.groups,
        moments=dataset.moments,
        views=dataset.views,
    )


def join_evaluations(parts: Sequence[Evaluation]) -> Evaluation:
    """One evaluation of several (the folds of a cross-validation, say) with the same key points.

    Raises:
        DataError: there is none, or the key points differ.
    """
    if not parts or any(part.keypoints != parts[0].keypoints for part in parts):
        raise DataError("Evaluations to join must be at least one, all of the same key points.")
    rows: dict[str, Any] = {name: tuple(value for part in parts for value in getattr(part, name)) for name in _TUPLES}
    rows |= {name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS}
    return replace(parts[0], **rows)


def _quantile(error: Array, share: float) -> float:
    """A quantile of the errors that are there; NaN where none is."""
    there = error[np.isfinite(error)]
    return float(np.quantile(there, share)) if len(there) else float("nan")


def plain(value: Any) -> Any:
    """A value for JSON: None in the place of a number that is not finite."""
    return None if isinstance(value, float) and not np.isfinite(value) else value
