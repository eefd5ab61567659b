"""Which of two networks lies nearer to the labels, on the same points of the same pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from multipose.errors import DataError
from multipose.pose2d.evaluation import Evaluation, plain
from multipose.pose2d.intervals import MeanEstimate, estimate_mean, neighbour_blocks

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two evaluations side by side, of the same labels.

    Attributes:
        first, second: the evaluations, with the same pictures and key points in the same order.
    """

    first: Evaluation
    second: Evaluation

    @property
    def difference(self) -> Array:
        """(n, keypoint) error of the second less that of the first, px; NaN where there is no label."""
        return np.asarray(self.second.error - self.first.error)

    @property
    def mean_difference(self) -> MeanEstimate:
        """The mean difference and its confidence interval, px; below 0 the second is better."""
        return estimate_mean(self.difference, self._blocks())

    @property
    def nearer(self) -> float:
        """Share of the points that the second finds nearer to the label; NaN where there is no label."""
        known = self.difference[np.isfinite(self.difference)]
        return float(np.mean(known < 0)) if len(known) else float("nan")

    def keypoint_table(self) -> pd.DataFrame:
        """One row a key point.

        Columns: keypoint, n, first_px, second_px (mean errors), difference_px, low_px, high_px (its 95 % interval),
        nearer (share of the points that the second finds nearer) and better ("first", "second" or "" where the interval
        holds 0).
        """
        blocks, rows = self._blocks(), []
        for k, name in enumerate(self.first.keypoints):
            column = self.difference[:, k]
            known = np.isfinite(column)
            found = estimate_mean(column, blocks)
            means = (part.error[known, k].mean() if known.any() else np.nan for part in (self.first, self.second))
            rows.append(
                {
                    "keypoint": name,
                    "n": found.n,
                    **dict(zip(("first_px", "second_px"), means, strict=True)),
                    "difference_px": found.mean,
                    "low_px": found.low,
                    "high_px": found.high,
                    "nearer": float(np.mean(column[known] < 0)) if known.any() else np.nan,
                    "better": find_better(found),
                }
            )
        return pd.DataFrame(rows)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON.

        Keys: n, pictures, first_px, second_px, difference_px, interval_px, nearer, better and keypoints (by name).
        """
        found = self.mean_difference
        table = self.keypoint_table()
        return {
            "n": found.n,
            "pictures": len(self.first.ranked()),
            "first_px": plain(self.first.mean_px),
            "second_px": plain(self.second.mean_px),
            "difference_px": plain(found.mean),
            "interval_px": [plain(found.low), plain(found.high)],
            "nearer": plain(self.nearer),
            "better": find_better(found),
            "keypoints": {
                row.pop("keypoint"): {key: plain(value) for key, value in row.items()}
                for row in table.to_dict("records")
            },
        }

    def _blocks(self) -> npt.NDArray[np.int64]:
        return neighbour_blocks(self.first.groups, self.first.moments)


def compare_evaluations(first: Evaluation, second: Evaluation) -> Comparison:
    """Put the evaluations of two networks side by side.

    Differences are taken point by point, which tells far smaller ones than two separate intervals would: pictures that
    are hard are so for both.

    Args:
        first, second: of the same labels; the key points that both have are compared.

    Raises:
        DataError: no key point is in both, or the pictures or labels differ.
    """
    shared = [name for name in first.keypoints if name in second.keypoints]
    if not shared:
        raise DataError(
            f"The first network finds {', '.join(first.keypoints)}, the second {', '.join(second.keypoints)}. Networks "
            "to compare must have a key point in common."
        )
    first, second = (part.select_keypoints([part.keypoints.index(name) for name in shared]) for part in (first, second))
    if first.names != second.names or not np.array_equal(first.truth, second.truth, equal_nan=True):
        raise DataError(
            f"The networks were judged on other labels ({len(first.names)} and {len(second.names)} pictures). Evaluate "
            "both on the same ones."
        )
    return Comparison(first, second)


def find_better(difference: MeanEstimate) -> str:
    """ "first", "second", or "" where the interval of second less first holds 0 or is not known."""
    if difference.high < 0:
        return "second"
    return "first" if difference.low > 0 else ""
