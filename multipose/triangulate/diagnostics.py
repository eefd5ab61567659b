"""How wrong the 3D is, by what the recording itself says: each view against the others, and limbs against themselves.

A view that takes no part in a point tells how wrong the point is: the others predict where it falls in the left-out
picture, with a covariance of the 2D noise there, of the 3D point, and of the calibration. A distance to the 2D point
found there is normalised by that covariance; if errors are what they are said to be, 95 % of the points lie inside
their 95 % ellipses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from multipose.camera import CameraRig
from multipose.errors import DataError
from multipose.skeleton import Skeleton
from multipose.tracks import check_trajectories3d
from multipose.triangulate.points import FloatArray
from multipose.triangulate.prediction import Prediction, predict, squared_distances
from multipose.triangulate.reconstruction import MIN_CONFIDENCE, Observations, error_limit, observations
from multipose.triangulate.rig_covariance import RigCovariance
from multipose.triangulate.swaps import Swap, find_swaps

_CHI2_95 = 5.9915  # quantiles of the squared normalised distance of two coordinates
_CHI2_999 = 13.816
_CHI2_MEDIAN = 1.3863
_MOST_POINTS = 30_000  # whose normalised distances are looked at, of instants evenly spread; medians in px are of all
_QUARTILES_TO_SD = 1.349


@dataclass(frozen=True, eq=False)
class Diagnostics:
    """What a recording says of its own errors.

    views: one row per view, the most suspect first: `points` compared; `median_px`, `p95_px` distance to what the other
        views predict; `noise_px` standard deviation of its 2D points, as the trajectories took it (median);
        `normalised` distance, in predicted standard deviations (robust, 1 = as predicted); `within_95` share inside
        the predicted 95 % ellipse; `left_out` share of its points that the trajectories do not rest on although the
        point was found; `most_off` share of the points in which it is farther off than every other view, and clearly,
        by the noise that the key point has in all views on average. Of two views, what compares them is NaN: they
        cannot be judged by each other.
    keypoints: (view, keypoint) `median_px`, `normalised`, `within_95` and `points`, as above.
    limbs: one row per edge of the skeleton: `from`, `to`, `points`, `median` length, `cv` = robust standard deviation
        (quartile range / 1.349) over the median, `p05`, `p95`.
    lengths: (edge, time * individual) lengths; NaN where unknown.
    pairs: the left/right pairs that were looked at; none where the skeleton has none, or there are two views.
    swaps: those of them that are exchanged in single views.
    unit: of lengths.
    """

    views: pd.DataFrame
    keypoints: xr.Dataset
    limbs: pd.DataFrame
    lengths: FloatArray
    pairs: tuple[tuple[str, str], ...]
    swaps: tuple[Swap, ...]
    unit: str

    @property
    def leave_one_out_px(self) -> dict[str, float]:
        """Median distance of each view from what the others say, in the key points' order of views."""
        return {str(view): float(self.views["median_px"][view]) for view in self.keypoints["view"].values}

    def to_dict(self) -> dict[str, Any]:
        """Plain values: views (most suspect first), keypoints by view, limbs, pairs that were looked at, swaps."""
        keypoints = self.keypoints
        return {
            "views": [{"view": str(name), **_plain(row)} for name, row in self.views.iterrows()],
            "keypoints": {
                str(view): {
                    str(name): _plain(keypoints.sel(view=view, keypoint=name)) for name in keypoints["keypoint"].values
                }
                for view in keypoints["view"].values
            },
            "limbs": [
                {"from": row["from"], "to": row["to"], **_plain(row.drop(["from", "to"]))}
                for _, row in self.limbs.iterrows()
            ],
            "pairs": [list(pair) for pair in self.pairs],
            "swaps": [swap.to_dict() for swap in self.swaps],
        }


def diagnose(
    keypoints: xr.Dataset,
    tracks: xr.Dataset,
    rig: CameraRig,
    skeleton: Skeleton | None = None,
    *,
    calibration: RigCovariance | None = None,
    threads: int | None = None,
) -> Diagnostics:
    """Compare every view with the others, look for exchanged sides, and measure the limbs.

    Args:
        keypoints: Keypoints2D that the trajectories were made from (their offsets taken off, where that was done).
        tracks: what `reconstruct` made of them; its attributes say the noise and the limits, and `variance_factor`
            (view, keypoint), where it has it, by what the noise's variance is multiplied.
        rig: the cameras.
        skeleton: whose edges are limbs and whose pairs may be exchanged; none without one.
        calibration: the covariance of the rig; without it the calibration counts as exact.

    Raises:
        DataError: as `reconstruct`, or trajectories of other times or key points.
    """
    check_trajectories3d(tracks)
    seen = observations(keypoints, rig, float(tracks.attrs.get("min_confidence", MIN_CONFIDENCE)))
    if tracks["position"].transpose("time", "individual", "keypoint", "space").shape[:3] != seen.shape:
        raise DataError(
            f"The trajectories have {dict(tracks.sizes)}, the key points {dict(keypoints.sizes)}. Take the key points "
            "that the trajectories were made from."
        )
    names = [str(name) for name in keypoints["keypoint"].values]
    stated, factor = _stated_covariance(seen, tracks, threads), _variance_factors(seen, tracks)
    noise = stated * factor[..., None, None]
    typical = stated * np.exp(np.log(factor).mean(0))[..., None, None]
    gate = tracks.attrs.get("max_error_px")
    limit = error_limit(seen, threads)[0] if gate is None else float(gate)
    predictions = [predict(seen, noise, view, limit, threads) for view in range(len(seen.rig))]
    shared = None if calibration is None else calibration.subset(seen.rig.names)
    squared, by_typical = (
        np.stack([_squared(seen, own, view, one, shared) for view, one in enumerate(predictions)])
        for own in (noise, typical)
    )
    distance = np.stack([np.linalg.norm(seen.px[v] - one.px, axis=-1) for v, one in enumerate(predictions)])
    distance[~seen.usable] = np.nan
    cells = _by_keypoint(seen.rig.names, names, distance, squared)
    lengths = _lengths(tracks, skeleton, names)
    pairs = () if skeleton is None or len(seen.rig) < 3 else skeleton.pairs
    pairs = tuple(pair for pair in pairs if set(pair) <= set(names))
    return Diagnostics(
        views=_by_view(seen, tracks, noise, distance, squared, by_typical),
        keypoints=cells,
        limbs=_limbs(skeleton, lengths),
        lengths=lengths,
        pairs=pairs,
        swaps=find_swaps(keypoints, seen, noise, predictions, pairs, cells["normalised"].values),
        unit=str(tracks.attrs["unit"]),
    )


def _stated_covariance(seen: Observations, tracks: xr.Dataset, threads: int | None) -> FloatArray:
    """(view, n, 2, 2) px², what is said of the 2D points' noise, or learned from the views' disagreement."""
    noise_px = tracks.attrs.get("noise_px")
    noise = error_limit(seen, threads)[1] if noise_px is None else float(noise_px)
    unstated = np.broadcast_to(np.eye(2) * noise**2, (*seen.px.shape, 2))
    if seen.covariance is None:
        return unstated
    stated = np.isfinite(seen.covariance).all(axis=(-2, -1), keepdims=True)
    return np.where(stated, seen.covariance, unstated)


def _variance_factors(seen: Observations, tracks: xr.Dataset) -> FloatArray:
    """(view, n) by what the trajectories multiplied the variances; 1 where they say nothing."""
    if "variance_factor" not in tracks:
        return np.ones(seen.px.shape[:2])
    factor = tracks["variance_factor"].sel(view=list(seen.rig.names)).transpose("view", "keypoint").fillna(1.0).values
    return np.tile(factor, (1, seen.px.shape[1] // factor.shape[1]))


def _squared(
    seen: Observations, noise: FloatArray, view: int, one: Prediction, calibration: RigCovariance | None
) -> FloatArray:
    """(n,) squared normalised distance of a view's points from their predictions; NaN where not looked at."""
    n_times = seen.shape[0]
    most = max(1, _MOST_POINTS * n_times // len(one.px))
    looked_at = np.zeros(n_times, dtype=bool)
    looked_at[np.linspace(0, n_times - 1, min(n_times, most)).astype(int)] = True
    known = seen.usable[view] & np.isfinite(one.px).all(-1) & np.isfinite(one.covariance).all((1, 2))
    rows = np.flatnonzero(known & np.repeat(looked_at, len(one.px) // n_times))
    result = np.full(len(one.px), np.nan)
    camera = seen.rig.cameras[view]
    result[rows] = squared_distances(seen.px[view, rows], noise[view, rows], camera, one.select(rows), calibration)
    return result


def _by_view(
    seen: Observations,
    tracks: xr.Dataset,
    noise: FloatArray,
    distance: FloatArray,
    squared: FloatArray,
    by_typical: FloatArray,
) -> pd.DataFrame:
    known = np.isfinite(distance)
    found = np.isfinite(tracks["position"].transpose("time", "individual", "keypoint", "space").values).all(-1).ravel()
    believed = np.zeros_like(known)
    if "inlier" in tracks:
        inlier = tracks["inlier"].sel(view=list(seen.rig.names)).transpose("view", "time", "individual", "keypoint")
        believed = inlier.values.reshape(known.shape).astype(bool)
    compared = np.isfinite(squared)
    worst = np.where(compared, by_typical, -1.0).argmax(0)
    noise_px = np.sqrt(np.trace(noise, axis1=-2, axis2=-1) / 2)
    rows = {}
    for view, name in enumerate(seen.rig.names):
        own = distance[view, known[view]]
        there = seen.usable[view] & found
        rows[name] = {
            "points": len(own),
            "median_px": _quantile(own, 0.5),
            "p95_px": _quantile(own, 0.95),
            "noise_px": _quantile(noise_px[view, seen.usable[view]], 0.5),
            **_normalised(squared[view]),
            "left_out": float((there & ~believed[view]).sum() / there.sum())
            if there.any() and "inlier" in tracks
            else float("nan"),
            "most_off": float(
                (by_typical[view, compared[view] & (worst == view)] > _CHI2_999).sum() / compared[view].sum()
            )
            if compared[view].any()
            else float("nan"),
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.sort_values(["most_off", "normalised"], ascending=False, kind="stable")


def _by_keypoint(views: Sequence[str], names: Sequence[str], distance: FloatArray, squared: FloatArray) -> xr.Dataset:
    cells: dict[str, list[list[float]]] = {key: [] for key in ("points", "median_px", "normalised", "within_95")}
    for view in range(len(views)):
        rows = []
        for keypoint in range(len(names)):
            own = distance[view, keypoint :: len(names)]
            own = own[np.isfinite(own)]
            scale = _normalised(squared[view, keypoint :: len(names)])
            rows.append({"points": float(len(own)), "median_px": _quantile(own, 0.5), **scale})
        for key, column in cells.items():
            column.append([row[key] for row in rows])
    return xr.Dataset(
        {key: (("view", "keypoint"), np.array(values)) for key, values in cells.items()},
        coords={"view": list(views), "keypoint": list(names)},
    )


def _normalised(squared: FloatArray) -> dict[str, float]:
    known = squared[np.isfinite(squared)]
    if not len(known):
        return {"normalised": float("nan"), "within_95": float("nan")}
    return {
        "normalised": float(np.sqrt(np.median(known) / _CHI2_MEDIAN)),
        "within_95": float((known < _CHI2_95).mean()),
    }


def _lengths(tracks: xr.Dataset, skeleton: Skeleton | None, names: Sequence[str]) -> FloatArray:
    position = tracks["position"].transpose("keypoint", "time", "individual", "space").values
    edges = () if skeleton is None else skeleton.edges
    rows = [
        np.linalg.norm(position[names.index(a)] - position[names.index(b)], axis=-1).ravel()
        if a in names and b in names
        else np.full(position[0, ..., 0].size, np.nan)
        for a, b in edges
    ]
    return np.array(rows).reshape(len(edges), position[0, ..., 0].size)


def _limbs(skeleton: Skeleton | None, lengths: FloatArray) -> pd.DataFrame:
    rows = []
    for edge, row in zip(() if skeleton is None else skeleton.edges, lengths, strict=True):
        known = row[np.isfinite(row)]
        low, q1, median, q3, high = (_quantile(known, share) for share in (0.05, 0.25, 0.5, 0.75, 0.95))
        cv = (q3 - q1) / _QUARTILES_TO_SD / median if median > 0 else float("nan")
        rows.append((*edge, len(known), median, cv, low, high))
    return pd.DataFrame(rows, columns=["from", "to", "points", "median", "cv", "p05", "p95"])


def _quantile(values: FloatArray, share: float) -> float:
    return float(np.quantile(values, share)) if len(values) else float("nan")


def _plain(row: Any) -> dict[str, float | int]:
    """A row of figures as plain numbers; counts as whole ones."""
    named = row.items() if isinstance(row, pd.Series) else ((str(key), row[key].item()) for key in row.data_vars)
    return {str(key): int(value) if key == "points" else float(value) for key, value in named}
