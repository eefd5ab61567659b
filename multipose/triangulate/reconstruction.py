"""From 2D key points of several views to 3D trajectories."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from multipose.camera import CameraRig
from multipose.errors import DataError
from multipose.progress import SILENT, Progress
from multipose.tracks import (
    CALIBRATED_ON_LABELS,
    check_keypoints2d,
    time_unit_of,
    trajectories3d,
)
from multipose.triangulate.constant_errors import constant_shares
from multipose.triangulate.points import STATES, FloatArray, Points, triangulate
from multipose.triangulate.shared_errors import check_share, shared_shares
from multipose.triangulate.tails import LEVELS, LIGHTEST_TAILS, region_scale
from multipose.triangulate.uncertainty import (
    degrees_of_freedom,
    pair_noise,
    parallax,
    residual_noise,
    variance_factors,
)
from multipose.triangulate.uncertainty_kernels import weigh

if TYPE_CHECKING:
    from multipose.triangulate.error_calibration import ErrorCalibration

MIN_CONFIDENCE = 0.3
"""2D points of lower confidence are left out unless the caller says otherwise."""

_GATE = 6.0  # a view this many standard deviations of the noise off does not agree
_SMALLEST_GATE_PX = 3.0
_SAMPLES = (3000, 12_000)  # points that the noise is learned from, roughly and in the end
_SWAP_GAIN = 4.0  # views whose exchange lessens the disagreement by this factor have swapped names
_CHUNK = 65_536  # points that are looked at at once
_SWAP_NOISE_PX = 8.0  # below this disagreement nobody asks whether names are swapped


@dataclass(frozen=True, eq=False)
class Observations:
    """The key points as the kernels want them: flat over time, individual and keypoint.

    px: (view, n, 2); weight: (view, n) confidence, 0 where the point does not count; covariance: (view, n, 2, 2) or
    None where no point has one; rig: the cameras of these views, in this order; shape: (time, individual, keypoint);
    n_low: number of known 2D points left out for their confidence; calibrated: the covariances were calibrated on
    labels (attribute `covariance_source` of the key points is "labels").
    """

    px: FloatArray
    weight: FloatArray
    covariance: FloatArray | None
    rig: CameraRig
    shape: tuple[int, int, int]
    n_low: int
    calibrated: bool = False

    @property
    def usable(self) -> NDArray[np.bool_]:
        """(view, n) which points count."""
        return self.weight > 0

    def part(self, times: slice) -> Observations:
        """Those of some times."""
        row = self.shape[1] * self.shape[2]
        points = slice(times.start * row, times.stop * row)
        return replace(
            self,
            px=self.px[:, points],
            weight=self.weight[:, points],
            covariance=None if self.covariance is None else self.covariance[:, points],
            shape=(times.stop - times.start, *self.shape[1:]),
        )


def reconstruct(
    keypoints: xr.Dataset,
    rig: CameraRig,
    *,
    method: Literal["robust", "linear"] = "robust",
    min_confidence: float = MIN_CONFIDENCE,
    max_error_px: float | None = None,
    min_views: int = 2,
    noise_px: float | None = None,
    variance_factor: xr.DataArray | None = None,
    errors: ErrorCalibration | None = None,
    shared_error: float | None = None,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> xr.Dataset:
    """3D trajectories of 2D key points.

    "linear" believes every view: the weighted linear answer in pixels, in closed form. "robust" minimises the weighted
    squared reprojection error and leaves out views that disagree: where a view is too far from the point that all views
    suggest, the point is sought that most views agree with, and fitted to these. Both weigh a view by its confidence
    and by the inverse of its 2D covariance.

    The 2D covariances are taken for right in their shape and from point to point, but not in their size: they are
    multiplied by variance factors, one for each view and key point, that are learned from the residuals
    (multipose.triangulate.uncertainty.variance_factors). Points without a covariance have the same noise in all
    directions, and the factors too.

    Residuals show what the views disagree by. What their errors have in common is not in them: networks that learned
    from the same labels misjudge the same poses from all sides. That share of a point's variance comes from labels
    (`errors`), or is stated (`shared_error`); of networks' and imported key points (attribute `shared_error`, which
    `predict` and the readers of files set) it is what other networks have in common; of others 0.

    What cannot be known is not decided. With two views an error along their epipolar lines goes unseen (state
    `two_views`), and when they disagree nobody can say which is wrong (`inconsistent`). With three views of which one
    is wrong along an epipolar line of another, two pairs may agree equally well on different points (`ambiguous`).
    Points in the states `missing`, `ambiguous` and `inconsistent` have no position.

    Args:
        keypoints: Keypoints2D.
        rig: cameras with the names of the key points' views; it may hold more.
        method: "robust" or "linear".
        min_confidence: 2D points below it are left out and counted (attribute `n_low_confidence`, and a note to
            `progress`). A known point whose confidence is NaN (set by hand) counts as certain.
        max_error_px: for "robust", how far a view may be off to agree; by default 6 standard deviations of its own 2D
            point (by its covariance times the variance factor), and at least 3 px.
        min_views: least number of views that agree on a point.
        noise_px: standard deviation per coordinate of 2D points that carry no covariance; by default learned from the
            residuals. If it is given and no point has a covariance, it is believed: all variance factors are 1.
        variance_factor: those of an earlier result, instead of learning them; noise_px is needed with it. The names of
            the views are not checked then.
        errors: what held-out labels say (`calibrate_errors`).
        shared_error: share of the variance of a point in space that all views have in common, 0 to below 1.
        threads: how many to use; by default one per core. The result does not depend on it.
        progress: where to report.

    Returns:
        Trajectories3D with `position`; `confidence` = the summed confidence of the views used over the number of views
        that had the point, so that a view left out lowers it (0 where there is no position); `reprojection_error` =
        mean distance in px over the views used; `n_views` used; `covariance` = that of the position under the 2D
        covariances times their factors, and what the views share, without the calibration's share; `inlier` (view,
        time, individual, keypoint) = the views used; `parallax` (time, individual, keypoint) = the largest angle in
        radians between two of their rays; `variance_factor` (view, keypoint); `shared_error` (keypoint) = share of the
        covariance that the views share; `region_scale` (keypoint, level) = by what the covariance is multiplied so
        that its region of 50 and 95 % holds as many points, for errors have heavier tails than a Gaussian's, of
        `degrees_of_freedom` (keypoint); `constant_share` (keypoint) = share of the covariance that is constant over
        time, as of a place of the body that views do not agree on: it cancels in speeds; beyond the schema
        `state` (time, individual, keypoint), whose attributes name its values.
        Attributes: typical_shared_error (of a key point whose views disagree as much as all do on average; of others
        more or less), shared_error_source ("labels", "stated", "usual", or "none"), method, min_confidence,
        max_error_px (by default for a point with the typical noise), max_error_sd (0 where max_error_px was given),
        noise_px, n_low_confidence, and variance_factor = how many times larger the variances are than the covariances
        (or noise_px) say, the geometric mean over views and key points.

    Raises:
        DataError: names of views that the rig does not have or that are swapped, fewer than two views, or nothing to
            reconstruct from.
    """
    if method not in ("robust", "linear"):
        raise DataError(f"method must be 'robust' or 'linear', got {method!r}.")
    seen = observations(keypoints, rig, min_confidence)
    shared, source = _find_shared(keypoints, errors, shared_error)
    if seen.n_low:
        total = int((seen.weight > 0).sum()) + seen.n_low
        progress.note(
            f"{seen.n_low} of {total} 2D points ({100 * seen.n_low / total:.1f} %) have a confidence below "
            f"{min_confidence:g} and are left out."
        )
    if variance_factor is not None:
        if noise_px is None:
            raise DataError("variance_factor multiplies a noise: give noise_px, of the same earlier result, with it.")
        known = variance_factor.sel(view=list(seen.rig.names), keypoint=keypoints["keypoint"].values)
        factors = known.transpose("view", "keypoint").values.astype(np.float64)
        noise, believed = noise_px, False
        gate = max(_SMALLEST_GATE_PX, _GATE * noise * float(np.exp(0.5 * np.log(factors).mean())))
    else:
        gate, learned = error_limit(seen, threads)
        noise = learned if noise_px is None else noise_px
        factors = _learn_factors(seen, gate, noise, threads)
        believed = noise_px is not None and seen.covariance is None
    everything = method == "linear"
    own_gate = max_error_px is None and not everything
    points = triangulate(
        seen.px,
        seen.rig,
        confidence=seen.weight,
        covariance=seen.covariance,
        noise_px=noise,
        min_views=min_views,
        max_error_px=np.inf if everything else _SMALLEST_GATE_PX if max_error_px is None else max_error_px,
        max_error_sd=_GATE if own_gate else 0.0,
        variance_factor=None if believed else factors,
        refine=not everything,
        threads=threads,
        progress=progress,
    )
    attributes: dict[str, str | float | int] = {
        "shared_error_source": source,
        "typical_shared_error": float(np.mean(shared) / (1 + np.mean(shared))),
        "method": method,
        "min_confidence": float(min_confidence),
        "max_error_px": float("inf") if everything else gate if max_error_px is None else float(max_error_px),
        "max_error_sd": _GATE if own_gate else 0.0,
        "noise_px": float(noise),
        "n_low_confidence": seen.n_low,
        "variance_factor": float(np.exp(np.log(factors).mean())),
    }
    least = 1.0 if seen.calibrated and source == "usual" else 0.0
    factors = np.ones_like(factors) if believed else factors
    share = shared_shares(np.exp(np.log(factors).mean(0)), shared, least)
    dataset = _dataset(keypoints, seen, points, share, attributes)
    dataset["variance_factor"] = (("view", "keypoint"), factors)
    dataset["shared_error"] = ("keypoint", share)
    freedom = degrees_of_freedom(
        seen.px, seen.rig, points, factors, covariance=seen.covariance, noise_px=float(attributes["noise_px"])
    )
    if "shared_error" in keypoints.attrs:  # of networks or people
        freedom = np.minimum(freedom, LIGHTEST_TAILS)
    dataset["degrees_of_freedom"] = ("keypoint", freedom)
    constant = constant_shares(
        seen.px, seen.rig, points, factors, covariance=seen.covariance, noise_px=float(attributes["noise_px"])
    )
    dataset["constant_share"] = ("keypoint", constant)
    reach = [[region_scale(one, level) for level in LEVELS] for one in freedom]
    return dataset.assign_coords(level=list(LEVELS)).assign(region_scale=(("keypoint", "level"), reach))


def _find_shared(
    keypoints: xr.Dataset, errors: ErrorCalibration | None, shared_error: float | None
) -> tuple[FloatArray | float, str]:
    """What the views share, as of `shared_shares`, and who says so."""
    if errors is not None and shared_error is not None:
        raise DataError(
            "What the views share is either measured on labels (errors) or stated (shared_error), not both."
        )
    if errors is not None:
        names = tuple(str(name) for name in keypoints["keypoint"].values)
        if names != errors.keypoints:
            raise DataError(
                f"The errors were calibrated for the key points {', '.join(errors.keypoints)}; these are "
                f"{', '.join(names)}."
            )
        return errors.shared, "labels"
    usual = float(keypoints.attrs.get("shared_error", 0.0))
    share = check_share(usual if shared_error is None else shared_error)
    return share / (1 - share), "stated" if shared_error is not None else "usual" if usual else "none"


def leave_one_out(
    keypoints: xr.Dataset,
    rig: CameraRig,
    *,
    min_confidence: float = MIN_CONFIDENCE,
    max_error_px: float | None = None,
    threads: int | None = None,
) -> dict[str, float]:
    """For each view the median distance in px of its 2D points from what the other views say.

    The other views reconstruct a point without this one, robustly; it is projected into this view and compared with the
    2D point there, low-confidence points left out as in `reconstruct`. NaN for a view that shares no point with two
    others.

    Raises:
        DataError: as `reconstruct`.
    """
    seen = observations(keypoints, rig, min_confidence)
    gate = error_limit(seen, threads)[0] if max_error_px is None else max_error_px
    result = {}
    for view, name in enumerate(seen.rig.names):
        result[name] = float("nan")
        if len(seen.rig) < 3:
            continue
        distance = np.linalg.norm(seen.px[view] - expected_by_others(seen, view, gate, threads), axis=-1)
        distance = distance[seen.usable[view] & np.isfinite(distance)]
        if len(distance):
            result[name] = float(np.median(distance))
    return result


def expected_by_others(seen: Observations, view: int, gate: float, threads: int | None = None) -> FloatArray:
    """(n, 2) px where the other views, robustly, put the points in the view of this number; NaN where they do not agree
    within `gate` px."""
    others = [other for other in range(len(seen.rig)) if other != view]
    points = triangulate(
        seen.px[others],
        seen.rig.subset([seen.rig.names[other] for other in others]),
        confidence=seen.weight[others],
        covariance=None if seen.covariance is None else seen.covariance[others],
        max_error_px=gate,
        threads=threads,
    )
    return seen.rig.cameras[view].project(points.position)


def observations(keypoints: xr.Dataset, rig: CameraRig, min_confidence: float = MIN_CONFIDENCE) -> Observations:
    """The key points as flat arrays with the cameras that belong to them, checked.

    Raises:
        DataError: as `reconstruct`, save for swapped names.
    """
    check_keypoints2d(keypoints)
    views = [str(name) for name in keypoints["view"].values]
    unknown = [name for name in views if name not in rig]
    if unknown:
        raise DataError(
            f"The rig has no camera for the views {', '.join(unknown)}. The key points have the views "
            f"{', '.join(views)}; the rig has the cameras {', '.join(rig.names)}. "
            "Rename the one or the other so that they match."
        )
    if len(views) < 2:
        raise DataError(f"A 3D point needs at least 2 views, but the key points have only {views[0]!r}.")
    if not 0 <= min_confidence <= 1:
        raise DataError(f"min_confidence must lie between 0 and 1, got {min_confidence}.")
    position = keypoints["position"].values
    px = position.reshape(len(views), -1, 2)
    confidence = keypoints["confidence"].values.reshape(len(views), -1)
    weight, n_known, n_low = _weights(px, confidence, min_confidence)
    usable = weight > 0
    if not usable.any():
        raise DataError(
            f"There is nothing to reconstruct: none of the {weight.size} 2D points is known with a confidence of at "
            f"least {min_confidence:g} ({n_known} are known). Look at the predictions, or lower "
            "min_confidence."
        )
    if (usable.sum(axis=0, dtype=np.int16) < 2).all():
        counts = ", ".join(f"{name} {int(count)}" for name, count in zip(views, usable.sum(axis=1), strict=True))
        raise DataError(
            f"No point is seen by two views at the same time (2D points with a confidence of at least "
            f"{min_confidence:g}: {counts}). Are the recordings of the same time, and the key points named alike?"
        )
    covariance = keypoints["covariance"].values.reshape(len(views), -1, 2, 2)
    return Observations(
        px=px,
        weight=weight,
        covariance=covariance if any(np.isfinite(part).any() for part in _chunks(covariance[..., 0, 0])) else None,
        rig=rig.subset(views),
        shape=position.shape[1:4],
        n_low=n_low,
        calibrated=keypoints.attrs.get("covariance_source") == CALIBRATED_ON_LABELS,
    )


def _weights(px: FloatArray, confidence: FloatArray, min_confidence: float) -> tuple[FloatArray, int, int]:
    """Weights (view, n) of 2D points (view, n, 2) with these confidences (view, n), 0 where they do not count; how many
    points are known, and how many of these are left out for their confidence."""
    weight = np.empty(confidence.shape)
    n_known = n_low = 0
    for out, points, stated in zip(_chunks(weight), _chunks(px), _chunks(confidence), strict=True):
        plain = (np.ascontiguousarray(part[0], dtype=np.float64) for part in (points, stated))
        known, low = weigh(*plain, float(min_confidence), out[0])
        n_known, n_low = n_known + known, n_low + low
    return weight, n_known, n_low


def _chunks(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Parts (1, _CHUNK, ...) of values (view, n, ...), as views of them."""
    for row in range(len(array)):
        for start in range(0, array.shape[1], _CHUNK):
            yield array[row : row + 1, start : start + _CHUNK]


def error_limit(seen: Observations, threads: int | None = None) -> tuple[float, float]:
    """How far a view may be off to agree, and the standard deviation per coordinate of the noise, both in px.

    The noise is estimated from pairs of views, then again from the residuals of a robust reconstruction of a sample.

    Raises:
        DataError: the names of two views are swapped.
    """
    rough = check_names(seen, threads)
    several = np.flatnonzero(seen.usable.sum(axis=0, dtype=np.int16) >= 2)
    sample = several[np.unique(np.linspace(0, len(several) - 1, min(len(several), 5000)).astype(int))]
    points = triangulate(
        seen.px[:, sample],
        seen.rig,
        confidence=seen.weight[:, sample],
        max_error_px=max(_SMALLEST_GATE_PX, _GATE * rough),
        threads=threads,
    )
    noise = residual_noise(seen.px[:, sample], seen.rig, points)
    if np.isnan(noise):
        sizes = ", ".join(f"{name} {width}x{height}" for name, (width, height) in seen.rig.sizes.items())
        raise DataError(
            "No two views agree on any point: their rays meet behind the cameras or nowhere. Do the rig and the key "
            f"points belong together, after the same crop, flip, turn and scale? The rig's pictures: {sizes}."
        )
    return max(_SMALLEST_GATE_PX, _GATE * noise), max(noise, 1e-3)


def check_names(seen: Observations, threads: int | None = None) -> float:
    """The noise by `pair_noise`, in px. Two views cannot be told from each other: their names are not checked.

    Raises:
        DataError: views disagree by much, and by much less when two of them are exchanged.
    """
    noise = pair_noise(seen.px, seen.rig, seen.usable, threads)
    if noise <= _SWAP_NOISE_PX or len(seen.rig) == 2:
        return noise
    exchanged = {}
    for first, second in combinations(range(len(seen.rig)), 2):
        order = list(range(len(seen.rig)))
        order[first], order[second] = second, first
        exchanged[first, second] = pair_noise(seen.px[order], seen.rig, seen.usable[order], threads)
    first, second = min(exchanged, key=exchanged.__getitem__)
    least = exchanged[first, second]
    if least < _SWAP_NOISE_PX and least * _SWAP_GAIN < noise:
        names = seen.rig.names
        raise DataError(
            f"The views {names[first]!r} and {names[second]!r} have swapped names: as named, views disagree by about "
            f"{noise:.3g} px, with these two exchanged by {least:.2g} px. Exchange the names in the key points or in "
            "the rig."
        )
    return noise


def _learn_factors(seen: Observations, gate: float, noise_px: float, threads: int | None) -> FloatArray:
    """Variance factors (view, keypoint) from samples of instants: first with `gate` in px for all, then with the gate
    that the factors give every point, as a common one cuts off the residuals of the noisiest views."""
    n_keypoints = seen.shape[2]
    instants = np.flatnonzero((seen.usable.sum(axis=0, dtype=np.int16) >= 2).reshape(-1, n_keypoints).any(axis=1))
    factors = None
    for size in (_SAMPLES[0], _SAMPLES[0], _SAMPLES[1]):
        count = min(len(instants), max(1, size // n_keypoints))
        chosen = instants[np.unique(np.linspace(0, len(instants) - 1, count).astype(int))]
        sample = (chosen[:, None] * n_keypoints + np.arange(n_keypoints)).ravel()
        covariance = None if seen.covariance is None else seen.covariance[:, sample]
        points = triangulate(
            seen.px[:, sample],
            seen.rig,
            confidence=seen.weight[:, sample],
            covariance=covariance,
            noise_px=noise_px,
            max_error_px=gate if factors is None else _SMALLEST_GATE_PX,
            max_error_sd=0.0 if factors is None else _GATE,
            variance_factor=factors,
            threads=threads,
        )
        factors = variance_factors(
            seen.px[:, sample],
            seen.rig,
            points,
            n_keypoints,
            covariance=covariance,
            noise_px=noise_px,
            start=factors,
            calibrated=seen.calibrated and covariance is not None,
        )
    assert factors is not None
    return factors


def _dataset(
    keypoints: xr.Dataset,
    seen: Observations,
    points: Points,
    share: FloatArray,
    attributes: dict[str, str | float | int],
) -> xr.Dataset:
    """The points as checked Trajectories3D with the coordinates of the key points.

    share: (keypoint,) of each covariance, which the points' do not have yet.
    """
    shape = seen.shape
    covariance = points.covariance.reshape(*shape, 3, 3)
    if share.any():
        covariance /= (1 - share)[:, None, None]
    confidence, n_views = _agreement(seen, points)
    dataset = trajectories3d(
        points.position.reshape(*shape, 3),
        confidence.reshape(shape),
        points.error.reshape(shape),
        n_views.reshape(shape),
        covariance,
        keypoints=[str(name) for name in keypoints["keypoint"].values],
        individuals=[str(name) for name in keypoints["individual"].values],
        fps=keypoints.attrs.get("fps"),
        time=keypoints["time"].values,
        time_unit=time_unit_of(keypoints),
        unit=seen.rig.unit,
    )
    point = ("time", "individual", "keypoint")
    dataset = dataset.assign_coords(view=list(seen.rig.names))
    dataset["inlier"] = (("view", *point), points.inlier.reshape(len(seen.rig), *shape))
    dataset["parallax"] = (point, parallax(points.position, seen.rig, points.inlier).reshape(shape), {"unit": "rad"})
    meanings = {"flag_values": list(range(len(STATES))), "flag_meanings": " ".join(STATES)}
    dataset["state"] = (point, points.state.reshape(shape), meanings)
    dataset.attrs.update(attributes)
    return dataset


def _agreement(seen: Observations, points: Points) -> tuple[FloatArray, NDArray[np.int64]]:
    """Confidence (n,) of points, and the number of views (n,) that they rest on."""
    confidence, n_views = np.empty(len(points.error)), np.empty(len(points.error), np.int64)
    for first in range(0, len(confidence), _CHUNK):
        part = slice(first, first + _CHUNK)
        inlier = points.inlier[:, part]
        agreed = (inlier * seen.weight[:, part]).sum(axis=0)
        confidence[part] = np.clip(agreed / np.maximum(points.n_usable[part], 1), 0.0, 1.0)
        inlier.sum(axis=0, out=n_views[part])
    return confidence, n_views
