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
from numpy.typing import NDArray

from multipose.camera import CameraRig
from multipose.errors import DataError
from multipose.skeleton import Skeleton
from multipose.tracks import check_trajectories3d
from multipose.triangulate.points import FloatArray
from multipose.triangulate.prediction import Prediction, predict, squared_distances
from multipose.triangulate.reconstruction import MIN_CONFIDENCE, Observations, error_limit, observations
from multipose.triangulate.rig_covariance import RigCovariance
from multipose.triangulate.swaps import Swap, find_swaps, swap_costs

_CHI2_95 = 5.9915  # quantiles of the squared normalised distance of two coordinates
_CHI2_999 = 13.816
_CHI2_MEDIAN = 1.3863
_MOST_POINTS = 30_000  # whose normalised distances are looked at, of instants evenly spread; medians in px are of all
_QUARTILES_TO_SD = 1.349
_BLOCK = 65_536  # points that are compared at once


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
    gate, noise_px = (tracks.attrs.get(name) for name in ("max_error_px", "noise_px"))
    learned = error_limit(seen, threads) if gate is None or noise_px is None else (0.0, 0.0)
    limit, noise_px = (
        value if said is None else float(said) for said, value in zip((gate, noise_px), learned, strict=True)
    )
    factor = _variance_factors(seen, tracks)
    shared = None if calibration is None else calibration.subset(seen.rig.names)
    lengths = _lengths(tracks, skeleton, names)
    pairs = () if skeleton is None or len(seen.rig) < 3 else skeleton.pairs
    pairs = tuple(pair for pair in pairs if set(pair) <= set(names))
    compared = [
        _compare(seen, view, noise_px, factor, limit, shared, names, pairs, threads) for view in range(len(seen.rig))
    ]
    cells = _by_keypoint(seen.rig.names, names, compared)
    return Diagnostics(
        views=_by_view(seen, tracks, compared),
        keypoints=cells,
        limbs=_limbs(skeleton, lengths),
        lengths=lengths,
        pairs=pairs,
        swaps=tuple(
            swap
            for view, one in zip(seen.rig.names, compared, strict=True)
            for swap in find_swaps(keypoints, view, pairs, one.swap_costs, cells["normalised"].sel(view=view).values)
        ),
        unit=str(tracks.attrs["unit"]),
    )


@dataclass(frozen=True, eq=False)
class _Compared:
    """One view against the others.

    distance: (n,) px from what the others predict, NaN where there is nothing to compare.
    squared, by_typical: (m,) squared normalised distances of the points of `rows` (m,), by this view's noise and by
    that which the key point has in all views on average; NaN where unknown.
    noise_px: median standard deviation per coordinate of the 2D points.
    swap_costs: (pair, 2, time, individual) of `swaps.swap_costs`.
    """

    distance: FloatArray
    rows: NDArray[np.int64]
    squared: FloatArray
    by_typical: FloatArray
    noise_px: float
    swap_costs: FloatArray


def _compare(
    seen: Observations,
    view: int,
    noise_px: float,
    factor: FloatArray,
    limit: float,
    calibration: RigCovariance | None,
    names: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    threads: int | None,
) -> _Compared:
    """One view against the others, a stretch of time after the other."""
    n_times, row = seen.shape[0], seen.shape[1] * seen.shape[2]
    places = [(names.index(left), names.index(right)) for left, right in pairs]
    chosen = np.unique(np.linspace(0, n_times - 1, min(n_times, max(1, _MOST_POINTS // row))).astype(int))
    typical = np.exp(np.log(factor).mean(0))
    distance, noise_sd = np.empty(n_times * row), np.empty(n_times * row)
    costs = np.empty((len(pairs), 2, *seen.shape[:2]))
    squared, by_typical = np.full((2, len(chosen), row), np.nan)
    length = max(1, _BLOCK // row)
    for first in range(0, n_times, length):
        times = slice(first, min(n_times, first + length))
        points = slice(times.start * row, times.stop * row)
        part = seen.part(times)
        own = np.arange(part.px.shape[1]) % len(names)
        stated = _stated_covariance(part, noise_px)
        noise = stated * factor[:, own, None, None]
        one = predict(part, noise, view, limit, threads)
        distance[points] = np.where(part.weight[view] > 0, np.linalg.norm(part.px[view] - one.px, axis=-1), np.nan)
        noise_sd[points] = np.sqrt(np.trace(noise[view], axis1=-2, axis2=-1) / 2)
        costs[:, :, times] = swap_costs(part, noise[view], view, one, places)
        inside = slice(*np.searchsorted(chosen, [times.start, times.stop]))
        rows = ((chosen[inside] - first)[:, None] * row + np.arange(row)).ravel()
        covariances = (noise[view], stated[view] * typical[own, None, None])
        for out, covariance in zip((squared, by_typical), covariances, strict=True):
            out[inside] = _squared(part, covariance, view, one, rows, calibration).reshape(-1, row)
    return _Compared(
        distance,
        (chosen[:, None] * row + np.arange(row)).ravel(),
        squared.ravel(),
        by_typical.ravel(),
        _quantile(noise_sd[seen.weight[view] > 0], 0.5),
        costs,
    )


def _stated_covariance(seen: Observations, noise_px: float) -> FloatArray:
    """(view, n, 2, 2) px², what is said of the 2D points' noise, or noise_px² I."""
    unstated = np.broadcast_to(np.eye(2) * noise_px**2, (*seen.px.shape, 2))
    if seen.covariance is None:
        return unstated
    stated = np.isfinite(seen.covariance).all(axis=(-2, -1), keepdims=True)
    return np.where(stated, seen.covariance, unstated)


def _variance_factors(seen: Observations, tracks: xr.Dataset) -> FloatArray:
    """(view, keypoint) by what the trajectories multiplied the variances; 1 where they say nothing."""
    if "variance_factor" not in tracks:
        return np.ones((len(seen.rig), seen.shape[2]))
    known = tracks["variance_factor"].sel(view=list(seen.rig.names)).transpose("view", "keypoint")
    return np.asarray(known.fillna(1.0).values)


def _squared(
    seen: Observations,
    noise: FloatArray,
    view: int,
    one: Prediction,
    rows: NDArray[np.int64],
    calibration: RigCovariance | None,
) -> FloatArray:
    """(m,) squared normalised distance of a view's points of some rows from their predictions; NaN where unknown."""
    known = (seen.weight[view, rows] > 0) & np.isfinite(one.px[rows]).all(-1)
    known &= np.isfinite(one.covariance[rows]).all((1, 2))
    result = np.full(len(rows), np.nan)
    rows = rows[known]
    camera = seen.rig.cameras[view]
    result[known] = squared_distances(seen.px[view, rows], noise[rows], camera, one.select(rows), calibration)
    return result


def _by_view(seen: Observations, tracks: xr.Dataset, compared: Sequence[_Compared]) -> pd.DataFrame:
    found = np.isfinite(tracks["position"].transpose("time", "individual", "keypoint", "space").values).all(-1).ravel()
    believed = np.zeros(seen.weight.shape, dtype=bool)
    if "inlier" in tracks:
        inlier = tracks["inlier"].sel(view=list(seen.rig.names)).transpose("view", "time", "individual", "keypoint")
        believed = inlier.values.reshape(believed.shape).astype(bool)
    by_typical = np.stack([one.by_typical for one in compared])
    known = np.isfinite(by_typical)
    worst = np.where(known, by_typical, -1.0).argmax(0)
    rows = {}
    for view, (name, one) in enumerate(zip(seen.rig.names, compared, strict=True)):
        own = one.distance[np.isfinite(one.distance)]
        there = (seen.weight[view] > 0) & found
        rows[name] = {
            "points": len(own),
            "median_px": _quantile(own, 0.5),
            "p95_px": _quantile(own, 0.95),
            "noise_px": one.noise_px,
            **_normalised(one.squared),
            "left_out": float((there & ~believed[view]).sum() / there.sum())
            if there.any() and "inlier" in tracks
            else float("nan"),
            "most_off": float((by_typical[view, known[view] & (worst == view)] > _CHI2_999).sum() / known[view].sum())
            if known[view].any()
            else float("nan"),
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.sort_values(["most_off", "normalised"], ascending=False, kind="stable")


def _by_keypoint(views: Sequence[str], names: Sequence[str], compared: Sequence[_Compared]) -> xr.Dataset:
    cells: dict[str, list[list[float]]] = {key: [] for key in ("points", "median_px", "normalised", "within_95")}
    for one in compared:
        rows = []
        for keypoint in range(len(names)):
            own = one.distance[keypoint :: len(names)]
            own = own[np.isfinite(own)]
            scale = _normalised(one.squared[one.rows % len(names) == keypoint])
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
