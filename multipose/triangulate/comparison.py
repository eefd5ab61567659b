"""Compare an estimated rig, and trajectories in its world, with the truth.

A calibration fixes the world only up to a rigid motion. The two worlds are brought together by the cameras' poses
alone, without a scale and without looking at the trajectories, so that nothing is fitted to what is judged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import chi2

from multipose.camera import CameraRig
from multipose.errors import DataError
from multipose.geometry import rigid_fit, transform, vector_from_rotation
from multipose.lens import TelecentricLens
from multipose.tracks import check_trajectories3d
from multipose.triangulate.tails import LEVELS

FloatArray = NDArray[np.float64]

_POINT = ("time", "individual", "keypoint")


@dataclass(frozen=True, eq=False)
class RigComparison:
    """How far an estimated rig is from the true one.

    true_from_estimated: (4, 4) rigid pose that brings the estimated world to the true one (`align_rigs`).
    center_error: distance of each camera's centre from the true one, in the rigs' unit; for a telecentric camera,
        which has no centre, the distance between the two axes at the scene.
    scene_distance: distance of each true centre to the scene, in the rigs' unit (NaN for a telecentric camera).
    rotation_error: angle between each camera's orientation and the true one, rad.
    """

    true_from_estimated: FloatArray
    center_error: dict[str, float]
    scene_distance: dict[str, float]
    rotation_error: dict[str, float]

    @property
    def center_error_fraction(self) -> float:
        """The largest centre error over that camera's distance to the scene; NaN without perspective cameras."""
        fractions = [error / self.scene_distance[name] for name, error in self.center_error.items()]
        known = [fraction for fraction in fractions if np.isfinite(fraction)]
        return max(known) if known else float("nan")


def align_rigs(estimated: CameraRig, true: CameraRig) -> FloatArray:
    """`true_from_estimated` (4, 4), the rigid motion without scale that brings the cameras of one rig onto the other's.

    Every camera of both rigs gives four points: its centre, and the ends of its three axes, as long as the camera is
    from the scene. Their least-squares fit weighs an error of orientation by how far it moves the scene in the
    picture and an error of place by itself, and it works from two cameras (even from one) on.

    Raises:
        DataError: no camera of the same name, or other units.
    """
    names = _common(estimated, true)
    scene = _scene(true)
    source: list[FloatArray] = []
    target: list[FloatArray] = []
    for name in names:
        length = float(np.linalg.norm(true[name].center - scene)) or 1.0
        for rig, points in ((estimated, source), (true, target)):
            camera = rig[name]
            center = camera.center
            if isinstance(camera.lens, TelecentricLens):
                center = _foot(rig, name)
            points.append(center)
            points.extend(center + length * axis for axis in camera.rotation)
    return rigid_fit(np.array(source), np.array(target))


def compare_rigs(estimated: CameraRig, true: CameraRig) -> RigComparison:
    """The errors of an estimated rig's cameras after `align_rigs`, for the cameras that both rigs have.

    The scene is the point nearest to the optical axes of the true cameras.

    Raises:
        DataError: no camera of the same name, or other units.
    """
    true_from_estimated = align_rigs(estimated, true)
    aligned = estimated.transformed(true_from_estimated)
    scene = _scene(true)
    center_error, scene_distance, rotation_error = {}, {}, {}
    for name in _common(estimated, true):
        own, other = aligned[name], true[name]
        off = own.center - other.center
        away = float(np.linalg.norm(other.center - scene))
        if isinstance(other.lens, TelecentricLens):
            off = _foot_at(own.center, own.rotation[2], scene) - _foot_at(other.center, other.rotation[2], scene)
            away = float("nan")
        center_error[name] = float(np.linalg.norm(off))
        scene_distance[name] = away
        rotation_error[name] = float(np.linalg.norm(vector_from_rotation(own.rotation @ other.rotation.T)))
    return RigComparison(true_from_estimated, center_error, scene_distance, rotation_error)


def position_errors(estimated: xr.Dataset, true: xr.Dataset, true_from_estimated: FloatArray) -> xr.DataArray:
    """Distances (time, individual, keypoint) of estimated positions, brought to the true world, from the true ones.

    As of `position_differences`, which says what must be the same.
    """
    difference = position_differences(estimated, true, true_from_estimated)
    distance = np.linalg.norm(difference.values, axis=-1)
    coords = {name: difference[name] for name in _POINT}
    return xr.DataArray(distance, dims=_POINT, coords=coords, attrs=difference.attrs, name="error")


def region_hits(estimated: xr.Dataset, true: xr.Dataset, true_from_estimated: FloatArray) -> xr.DataArray:
    """Whether the regions that trajectories state hold the true positions: (level, time, individual, keypoint).

    The region of a level is the ellipsoid of the covariance times the key point's `region_scale`, or of the covariance
    alone where trajectories state no scale. 1 and 0; NaN where position or covariance is unknown. As of
    `position_differences`, which says what must be the same.
    """
    difference = position_differences(estimated, true, true_from_estimated)
    same = {name: true[name].values for name in ("individual", "keypoint")}
    turn = np.asarray(true_from_estimated)[:3, :3]
    covariance = turn @ estimated["covariance"].sel(same).transpose(*_POINT, "space", "space_").values @ turn.T
    known = np.isfinite(difference.values).all(-1) & np.isfinite(covariance).all((-1, -2))
    squares = np.full(known.shape, np.nan)
    error = difference.values[known]
    squares[known] = (error * np.linalg.solve(covariance[known], error[..., None])[..., 0]).sum(-1)
    plain = xr.DataArray(np.ones((len(same["keypoint"]), len(LEVELS))), dims=("keypoint", "level"))
    scale = estimated["region_scale"].sel(keypoint=same["keypoint"]) if "region_scale" in estimated else plain
    reach = scale.transpose("level", "keypoint").values * chi2(3).ppf(LEVELS)[:, None]
    inside = np.where(known, squares <= reach[:, None, None, :], np.nan)
    return xr.DataArray(inside, dims=("level", *_POINT), coords={"level": list(LEVELS), "time": true["time"], **same})


def position_differences(estimated: xr.Dataset, true: xr.Dataset, true_from_estimated: FloatArray) -> xr.DataArray:
    """Estimated positions, brought to the true world, less the true ones: (time, individual, keypoint, space).

    In the trajectories' unit; NaN where either is unknown. Times, individuals and key points must be the same, in any
    order of names; times may differ by up to a millionth of a second.

    Raises:
        DataError: other units, times or names.
    """
    check_trajectories3d(estimated)
    check_trajectories3d(true)
    if estimated.attrs["unit"] != true.attrs["unit"]:
        raise DataError(
            f"The units differ: {estimated.attrs['unit']!r} and {true.attrs['unit']!r}. Convert one of them."
        )
    for dim in ("individual", "keypoint"):
        ours, theirs = (sorted(map(str, dataset[dim].values)) for dataset in (estimated, true))
        if ours != theirs:
            raise DataError(f"The names on the {dim} axis differ: {', '.join(ours)} and {', '.join(theirs)}.")
    times, wanted = estimated["time"].values, true["time"].values
    if times.shape != wanted.shape or np.abs(times - wanted).max(initial=0.0) > 1e-6:
        raise DataError(f"The times differ: {_span(times)} and {_span(wanted)}. Select the same frames of both.")
    same = {"individual": true["individual"].values, "keypoint": true["keypoint"].values}
    found, known = (one["position"].transpose(*_POINT, "space").values for one in (estimated.sel(same), true))
    return xr.DataArray(
        transform(true_from_estimated, found) - known,
        dims=(*_POINT, "space"),
        coords={"time": wanted, **same, "space": list("xyz")},
        attrs={"unit": true.attrs["unit"]},
        name="difference",
    )


def _common(estimated: CameraRig, true: CameraRig) -> list[str]:
    if estimated.unit != true.unit:
        raise DataError(
            f"The rigs' units differ: {estimated.unit!r} and {true.unit!r}. Convert one with `transformed`."
        )
    names = [name for name in true.names if name in estimated]
    if not names:
        raise DataError(f"The rigs have no camera in common: {', '.join(estimated.names)} and {', '.join(true.names)}.")
    return names


def _scene(rig: CameraRig) -> FloatArray:
    """The point (3,) nearest to all optical axes; if they are parallel, the one of many nearest to the centres."""
    across = [np.eye(3) - np.outer(camera.rotation[2], camera.rotation[2]) for camera in rig]
    middle = np.mean([camera.center for camera in rig], axis=0)
    pull = sum((part @ (camera.center - middle) for part, camera in zip(across, rig, strict=True)), np.zeros(3))
    nearest: FloatArray = middle + np.linalg.lstsq(np.sum(across, axis=0), pull, rcond=1e-9)[0]
    return nearest


def _foot(rig: CameraRig, name: str) -> FloatArray:
    """The point of a camera's axis nearest to the scene: a telecentric camera's place, as depth means nothing to it."""
    return _foot_at(rig[name].center, rig[name].rotation[2], _scene(rig))


def _foot_at(center: FloatArray, axis: FloatArray, scene: FloatArray) -> FloatArray:
    foot: FloatArray = center + ((scene - center) @ axis) * axis
    return foot


def _span(times: FloatArray) -> str:
    return f"{len(times)} from {times[0]:g} to {times[-1]:g}" if len(times) else "none"
