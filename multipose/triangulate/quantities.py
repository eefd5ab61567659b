"""Angles, distances, speeds and egocentric coordinates of trajectories, with their standard deviations.

Errors are carried on to first order. That fails where a quantity is near the end of its range: the angle of a nearly
straight limb cannot exceed pi, so sideways noise, of which the first order knows nothing, always makes it smaller, and
alike a distance or a speed near zero is always found too large. There the sideways variance T is added as far as it
counts: as T * min(1, c T / size²), where size is how far the quantity is from its end. The constants c make 95 %
intervals hold the truth in 94 % or more at the very end, and vanish far from it. The values are left as they are.

A 95 % interval is value ± 1.96 sd for Gaussian errors; heavier tails change the factor, which every quantity states.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from multipose.errors import DataError
from multipose.files import SCHEMA_VERSION
from multipose.kinematics_config import WORLD_AXES, EgocentricConfig, KinematicsConfig
from multipose.tracks import check_trajectories3d, save_netcdf, time_unit_of
from multipose.triangulate.propagation import UncertainPoints, uncertain_points, velocities
from multipose.triangulate.rig_covariance import RigCovariance
from multipose.triangulate.tails import region_scale

FloatArray = NDArray[np.float64]

GAUSSIAN_95 = 1.959964
"""Standard deviations on either side that hold 95 % of Gaussian errors."""
_CHUNK = 1000  # times at once; the calibration's moves of one point take about 1 kB
_ACROSS_PLANE = 3.0  # c for an angle, of which one direction is across
_ACROSS_SPACE = 2.0  # c for a length, of which two directions are across
_PARALLEL = 1e-9  # sine of an angle below which two segments span no plane
_NOTHING_KNOWN = np.pi / 2  # sd of an angle whose 95 % interval is all that an angle can be


@dataclass(frozen=True, eq=False)
class Estimate:
    """A quantity (n,), its variance (n,), and the part of the variance that is the calibration's (n,)."""

    value: FloatArray
    variance: FloatArray
    calibration: FloatArray


def kinematics(
    tracks: xr.Dataset, definitions: KinematicsConfig, calibration: RigCovariance | None = None
) -> xr.Dataset:
    """Measure what is defined, at every time and of every individual.

    Standard deviations hold the noise that the trajectories' covariance states and, where `calibration` is given, the
    calibration's error, carried jointly through all points of a quantity. The points of robust trajectories are taken
    as independent of each other; speeds come from `velocity` and `velocity_covariance` where the trajectories have
    them (smoothed ones do). World axes are taken as exact.

    Args:
        tracks: Trajectories3D.
        definitions: what to measure.
        calibration: the covariance of the rig that they were reconstructed with (`Calibration.rig_covariance`).

    Returns:
        For each quantity a variable (time, individual) of its name, `<name>_sd` and, where the calibration is given,
        `<name>_calibration_sd`, the part of it that is common to all times. Attributes say `quantity` (angle,
        inclination, distance, speed), `unit` (rad, the rig's unit, that per second; per frame where the trajectories
        know no rate), `definition` and `interval_95`, by how many standard deviations the interval that holds 95 % of
        the errors reaches to either side (1.96 for Gaussian errors). With `egocentric`: `egocentric` (time,
        individual, keypoint, space) and `egocentric_covariance`, x forwards, y to the left, z up. NaN where unknown; a
        standard deviation of pi / 2 says that the angle is not known at all.

    Raises:
        DataError: a key point that is not there, nothing to measure, or a calibration of other views or units.
    """
    check_trajectories3d(tracks)
    names = [str(name) for name in tracks["keypoint"].values]
    definitions.check_keypoints(names)
    if not definitions.declared:
        raise DataError("There is nothing to measure: define angles, distances, speeds or an egocentric frame.")
    if calibration is not None and calibration.rig.unit != tracks.attrs["unit"]:
        raise DataError(
            f"The trajectories are in {tracks.attrs['unit']}, the calibration in {calibration.rig.unit}. Take the "
            "calibration that they were reconstructed with."
        )
    n_times, reach = tracks.sizes["time"], definitions.speed_reach
    parts = []
    for start in range(0, n_times, _CHUNK):
        low, high = max(0, start - reach), min(n_times, start + _CHUNK + reach)
        part = _measure(tracks.isel(time=slice(low, high)), definitions, names, calibration)
        parts.append(part.isel(time=slice(start - low, min(start + _CHUNK, n_times) - low)))
    if not parts:
        raise DataError("The trajectories hold no time at all.")
    result = xr.concat(parts, "time", data_vars="minimal", coords="minimal", compat="override", join="override")
    said = "carried on" if calibration is not None else "not known, taken as exact"
    kept = {key: tracks.attrs[key] for key in ("fps", "time_unit", "recording") if key in tracks.attrs}
    return result.assign_attrs(
        {"kind": "kinematics", "schema_version": SCHEMA_VERSION, "length_unit": tracks.attrs["unit"], **kept}
        | {"calibration_error": said}
    )


def save_kinematics(dataset: xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Write what `kinematics` measured as netCDF-4, whole or not at all; xarray reads it."""
    save_netcdf(dataset, path)


def _measure(
    tracks: xr.Dataset, definitions: KinematicsConfig, names: list[str], calibration: RigCovariance | None
) -> xr.Dataset:
    """All quantities of a stretch of time."""
    points = uncertain_points(tracks, calibration)
    shape = (tracks.sizes["time"], tracks.sizes["individual"])
    coordinates: dict[str, Any] = {dim: tracks[dim].values for dim in ("time", "individual")}
    variables: dict[str, Any] = {}
    reach = _interval(tracks)
    for name, said, one in _scalars(tracks, definitions, names, points):
        attributes = {**said, "interval_95": reach}
        sds = {"sd": one.variance} | ({"calibration_sd": one.calibration} if calibration is not None else {})
        variables[name] = (("time", "individual"), one.value.reshape(shape), attributes)
        for ending, variance in sds.items():
            values = np.sqrt(variance).reshape(shape)
            variables[f"{name}_{ending}"] = (("time", "individual"), values, {"unit": attributes["unit"]})
    if definitions.egocentric is not None:
        position, covariance = egocentric(points, names, definitions.egocentric)
        dims = ("time", "individual", "keypoint", "space")
        unit = tracks.attrs["unit"]
        variables["egocentric"] = (dims, position.reshape(*shape, -1, 3), {"unit": unit})
        variables["egocentric_covariance"] = (
            (*dims, "space_"), covariance.reshape(*shape, -1, 3, 3), {"unit": f"{unit}²"},
        )  # fmt: skip
        coordinates |= {"keypoint": names, "space": list("xyz"), "space_": list("xyz")}
    return xr.Dataset(variables, coords=coordinates)


def _interval(tracks: xr.Dataset) -> float:
    """Standard deviations that a 95 % interval reaches to either side, under the tails of the typical key point."""
    if "degrees_of_freedom" not in tracks:
        return GAUSSIAN_95
    freedom = float(np.median(tracks["degrees_of_freedom"].values))
    return GAUSSIAN_95 * float(np.sqrt(region_scale(freedom, 0.95, numbers=1)))


def _scalars(
    tracks: xr.Dataset, definitions: KinematicsConfig, names: list[str], points: UncertainPoints
) -> Iterator[tuple[str, dict[str, str], Estimate]]:
    """Name, attributes and values of each quantity."""
    unit = tracks.attrs["unit"]

    def place(keypoints: tuple[str, ...]) -> list[int]:
        return [names.index(name) for name in keypoints]

    def said(quantity: str, unit: str, text: str) -> dict[str, str]:
        return {"quantity": quantity, "unit": unit, "definition": text}

    corners = dict(definitions.angles)
    for chain, along in definitions.chains.items():
        corners |= {f"{chain}.{b}": (a, b, c) for a, b, c in zip(along, along[1:], along[2:], strict=False)}
    for name, keypoints in corners.items():
        text = "at the middle of " if len(keypoints) == 3 else "between the first and last two of "
        yield name, said("angle", "rad", text + ", ".join(keypoints)), _corner(points.pick(place(keypoints)))
    for name, (start, end, axis) in definitions.inclinations.items():
        segment = points.pick(place((start, end)))
        one = angle(segment, (-1, 1), (0, 0), world_axis(axis))
        yield name, said("inclination", "rad", f"of {start} to {end} with the world's {axis}"), one
    for name, ends in definitions.distances.items():
        one = length(points.pick(place(ends)).combine((-1, 1)))
        yield name, said("distance", unit, f"from {ends[0]} to {ends[1]}"), one
    if definitions.speeds:
        moving = _velocities(tracks, points, definitions.speed_reach)
        per = time_unit_of(tracks)
        for name, keypoints in definitions.speeds.items():
            one = length(moving.pick(place(keypoints)).combine([1 / len(keypoints)] * len(keypoints)))
            text = f"of the mean of {', '.join(keypoints)}" if len(keypoints) > 1 else f"of {keypoints[0]}"
            yield name, said("speed", f"{unit}/{per}", text), one


def _corner(points: UncertainPoints) -> Estimate:
    """The angle of three points at the middle one, or of four between two segments."""
    if points.position.shape[1] == 3:
        return angle(points, (1, -1, 0), (0, -1, 1))
    return angle(points, (-1, 1, 0, 0), (0, 0, -1, 1))


def _velocities(tracks: xr.Dataset, points: UncertainPoints, reach: int) -> UncertainPoints:
    """Velocities of all points; the smoothed ones where the trajectories have them. What is constant in a key point's
    errors (`constant_share`) cancels.
    """
    varying = np.ones(len(tracks["keypoint"])) - (
        tracks["constant_share"].values if "constant_share" in tracks else 0.0
    )
    points = replace(
        points,
        covariance=points.covariance * varying[:, None, None],
        together=points.together * np.sqrt(varying)[:, None, None],
    )
    slopes = velocities(points, tracks["time"].values.astype(np.float64), reach)
    if "velocity" not in tracks:
        return slopes
    point = ("time", "individual", "keypoint", "space")
    velocity = tracks["velocity"].transpose(*point).values.reshape(points.position.shape)
    covariance = tracks["velocity_covariance"].transpose(*point, "space_").values.reshape(points.covariance.shape)
    return UncertainPoints(velocity, covariance, np.zeros_like(slopes.together), slopes.moves)


def world_axis(name: str) -> FloatArray:
    """The unit vector (3,) of an axis such as "z" or "-x"."""
    if name not in WORLD_AXES:
        raise DataError(f"An axis of the world is one of {', '.join(WORLD_AXES)}, got {name!r}.")
    return np.asarray(np.eye(3)["xyz".index(name[-1])] * (-1.0 if name[0] == "-" else 1.0))


def length(vector: UncertainPoints) -> Estimate:
    """Lengths of vectors (n, 1, 3)."""
    size = np.linalg.norm(vector.position[:, 0], axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        along = np.where(size[:, None] > 0, vector.position[:, 0] / size[:, None], np.array([0.0, 0.0, 1.0]))
    noise, calibration = vector.variances(along[:, None])
    across = np.trace(vector.spread()[:, 0], axis1=-2, axis2=-1) - noise - calibration
    return Estimate(size, noise + calibration + _bent(across, size, _ACROSS_SPACE), calibration)


def angle(
    points: UncertainPoints,
    first: tuple[float, ...],
    second: tuple[float, ...],
    fixed: FloatArray | None = None,
) -> Estimate:
    """Angles (0 to pi) between two vectors that are weighted sums of points (n, point, 3).

    first, second: weights of the points in either vector.
    fixed: (3,) what is added to the second.
    """
    w1, w2 = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    u = np.einsum("k,nki->ni", w1, points.position)
    v = np.einsum("k,nki->ni", w2, points.position) + (np.zeros(3) if fixed is None else fixed)
    with np.errstate(invalid="ignore", divide="ignore"):
        size_u, size_v = (np.linalg.norm(one, axis=-1, keepdims=True) for one in (u, v))
        u, v = u / size_u, v / size_v
        cosine = (u * v).sum(-1, keepdims=True)
        towards = v - cosine * u
        sine = np.linalg.norm(towards, axis=-1, keepdims=True)
        aside = np.where(sine > _PARALLEL, towards / np.maximum(sine, _PARALLEL), _perpendicular(u))
        normal = np.cross(u, aside)
        by_u, by_v = -aside / size_u, -(sine * u - cosine * aside) / size_v
        across_u, across_v = normal / size_u, -np.sign(cosine) * normal / size_v
        value = np.arctan2(sine, cosine)[:, 0]
        noise, calibration = points.variances(w1[:, None] * by_u[:, None] + w2[:, None] * by_v[:, None])
        by_noise, by_calibration = points.variances(w1[:, None] * across_u[:, None] + w2[:, None] * across_v[:, None])
        bent = _bent(by_noise + by_calibration, (sine / np.abs(cosine))[:, 0], _ACROSS_PLANE)
    limit = _NOTHING_KNOWN**2
    return Estimate(value, np.minimum(noise + calibration + bent, limit), np.minimum(calibration, limit))


def egocentric(points: UncertainPoints, names: list[str], frame: EgocentricConfig) -> tuple[FloatArray, FloatArray]:
    """All key points in the animal's frame: (n, keypoint, 3) and their covariances (n, keypoint, 3, 3).

    The frame moves with the key points that define it, whose errors turn and shift it; a turn by w changes the
    coordinates q by -w x q.
    """
    origin = names.index(frame.origin)
    ahead = [names.index(name) for name in frame.forward]
    above = None if frame.up in WORLD_AXES else names.index(frame.up)
    start = points.position[:, origin]
    forward = points.position[:, ahead].mean(1) - start
    up = np.broadcast_to(world_axis(frame.up), start.shape) if above is None else points.position[:, above] - start
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.linalg.norm(forward, axis=-1, keepdims=True)
        x = forward / size
        y = np.cross(up, x)
        lean = np.linalg.norm(y, axis=-1, keepdims=True)  # of up, in the plane of y and z
        y = y / lean
        axes = np.stack([x, y, np.cross(x, y)], axis=1)  # (n, 3, 3), rows
        # How the frame turns (about its own axes) when `forward` and `up` move.
        slant = (up * x).sum(-1, keepdims=True) / lean
        about_z, about_y = axes[:, 1] / size, -axes[:, 2] / size
        about_x = slant * about_z
        by_forward = np.stack([about_x, about_y, about_z], axis=1)
        by_up = np.stack([-axes[:, 1] / lean, np.zeros_like(x), np.zeros_like(x)], axis=1)
    position = np.einsum("nai,nki->nka", axes, points.position - start[:, None])
    covariance = np.empty((*position.shape, 3))
    for target in range(len(names)):
        turned = _skew(position[:, target])
        gradients = _Gradients()
        gradients.add(target, axes)
        gradients.add(origin, -axes - turned @ by_forward - (0 if above is None else turned @ by_up))
        for place in ahead:
            gradients.add(place, turned @ by_forward / len(ahead))
        if above is not None:
            gradients.add(above, turned @ by_up)
        covariance[:, target] = gradients.covariance(points)
    return position, covariance


class _Gradients:
    """Derivatives (n, 3, 3) of one point's coordinates by several points, those by the same point added up."""

    def __init__(self) -> None:
        self._of: dict[int, FloatArray] = {}

    def add(self, place: int, gradient: FloatArray) -> None:
        self._of[place] = self._of[place] + gradient if place in self._of else gradient

    def covariance(self, points: UncertainPoints) -> FloatArray:
        chosen = points.pick(list(self._of))
        gradient = np.stack(list(self._of.values()), axis=1)
        noise = np.einsum("nkai,nkij,nkbj->nab", gradient, chosen.covariance, gradient)
        for part in (chosen.together, chosen.moves):
            moves = np.einsum("nkai,nkir->nar", gradient, part)
            noise = noise + moves @ np.swapaxes(moves, -1, -2)
        return np.asarray(noise)


def _bent(across: FloatArray, size: FloatArray, c: float) -> FloatArray:
    """The variance that errors across the quantity's direction add; `across` is theirs."""
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.minimum(1.0, c * across / size**2)
    return np.where(across > 0, across * share, np.where(np.isnan(across), np.nan, 0.0))


def _perpendicular(unit: FloatArray) -> FloatArray:
    """A unit vector across each of (n, 3) unit vectors."""
    other = np.eye(3)[np.abs(np.nan_to_num(unit)).argmin(-1)]
    across = np.cross(unit, other)
    return np.asarray(across / np.linalg.norm(across, axis=-1, keepdims=True))


def _skew(vectors: FloatArray) -> FloatArray:
    """(n, 3, 3) matrices whose product with w is the cross product of vectors (n, 3) with w."""
    x, y, z = vectors.T
    zero = np.zeros_like(x)
    return np.stack([np.stack([zero, -z, y], -1), np.stack([z, zero, -x], -1), np.stack([-y, x, zero], -1)], axis=1)
