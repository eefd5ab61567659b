"""Geometry on plain arrays: rotations, poses, rigid and similarity fits, plane homographies, mirrors.

Conventions: a pose `a_from_b` is a 4x4 array that takes homogeneous coordinates of frame b to frame a, so that
neighbouring names cancel (`a_from_b @ b_from_c`). Rotations are proper 3x3 arrays; rotation vectors are axis times
angle in radians. All functions take any number of leading axes where the shape says `...`. NaN goes in, NaN comes
out.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multipose.errors import DataError

FloatArray: TypeAlias = NDArray[np.float64]

_DEGENERATE = 1e-9
"""Points whose second extent is below this fraction of their first lie on a line: no rotation can be told from them."""


def unit_for_people(unit: str) -> tuple[str, float]:
    """The unit in which people read what arrays hold in `unit`, and the factor to it: deg for rad, else the same."""
    return ("deg", 180 / np.pi) if unit == "rad" else (unit, 1.0)


def as_array(values: ArrayLike, shape: tuple[int | None, ...], what: str) -> FloatArray:
    """`values` as a float64 array whose last axes are `shape` (None = any size), else DataError with `what`."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} must be numbers in a regular array ({error}).") from error
    tail = array.shape[array.ndim - len(shape) :] if array.ndim >= len(shape) else None
    if tail is None or any(wanted is not None and got != wanted for got, wanted in zip(tail, shape, strict=True)):
        expected = ", ".join("n" if size is None else str(size) for size in shape)
        raise DataError(f"{what} must have the shape (..., {expected}), but has {array.shape}.")
    return array


def skew(vector: ArrayLike) -> FloatArray:
    """Matrices (..., 3, 3) with `skew(v) @ w == cross(v, w)` for vectors (..., 3)."""
    x, y, z = np.moveaxis(as_array(vector, (3,), "Vectors"), -1, 0)
    zero = np.zeros_like(x)
    return np.stack([np.stack([zero, -z, y], -1), np.stack([z, zero, -x], -1), np.stack([-y, x, zero], -1)], -2)


def rotation_from_vector(vector: ArrayLike) -> FloatArray:
    """Rotations (..., 3, 3) from rotation vectors (..., 3), by Rodrigues' formula; exact near zero too."""
    array = as_array(vector, (3,), "Rotation vectors")
    angle = np.linalg.norm(array, axis=-1)[..., None, None]
    cross = skew(array)
    first = np.sinc(angle / np.pi)
    second = 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    result: FloatArray = np.eye(3) + first * cross + second * (cross @ cross)
    return result


def vector_from_rotation(rotation: ArrayLike) -> FloatArray:
    """Rotation vectors (..., 3), of length 0 to pi, from rotations (..., 3, 3).

    Goes through the quaternion whose largest element is computed first (Shepperd 1978), so that angles near 0 and
    near pi keep full precision.
    """
    r = as_array(rotation, (3, 3), "Rotations")
    diagonal = np.diagonal(r, axis1=-2, axis2=-1)
    trace = diagonal.sum(-1)
    # Four times q q^T of the quaternion q = (w, x, y, z); the row with the largest diagonal element is parallel to q.
    outer = np.empty((*r.shape[:-2], 4, 4))
    outer[..., 0, 0] = 1 + trace
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        outer[..., i + 1, i + 1] = 1 + 2 * diagonal[..., i] - trace
        outer[..., 0, i + 1] = outer[..., i + 1, 0] = r[..., k, j] - r[..., j, k]
        outer[..., j + 1, k + 1] = outer[..., k + 1, j + 1] = r[..., j, k] + r[..., k, j]
    best = np.argmax(np.diagonal(outer, axis1=-2, axis2=-1), axis=-1)
    quaternion = np.take_along_axis(outer, best[..., None, None], axis=-2)[..., 0, :]
    quaternion = quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)
    quaternion = np.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    length = np.linalg.norm(quaternion[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(length, quaternion[..., :1])
    safe = np.where(length > 0, length, 1.0)
    result: FloatArray = np.where(length > 0, angle / safe, 2.0) * quaternion[..., 1:]
    return result


def pose(rotation: ArrayLike, translation: ArrayLike) -> FloatArray:
    """Poses (..., 4, 4) from rotations (..., 3, 3) and translations (..., 3)."""
    r = as_array(rotation, (3, 3), "Rotations")
    t = as_array(translation, (3,), "Translations")
    lead = np.broadcast_shapes(r.shape[:-2], t.shape[:-1])
    result = np.zeros((*lead, 4, 4))
    result[..., :3, :3] = r
    result[..., :3, 3] = t
    result[..., 3, 3] = 1
    return result


def invert_pose(a_from_b: ArrayLike) -> FloatArray:
    """`b_from_a` (..., 4, 4) of rigid poses `a_from_b` (..., 4, 4); the rotation may be a reflection, not a scaling."""
    p = as_array(a_from_b, (4, 4), "Poses")
    transposed = np.swapaxes(p[..., :3, :3], -1, -2)
    return pose(transposed, -(transposed @ p[..., :3, 3:])[..., 0])


def transform(a_from_b: ArrayLike, xyz: ArrayLike) -> FloatArray:
    """Points (..., 3) of frame b in frame a; the pose (..., 4, 4) is broadcast against the points' leading axes."""
    p = as_array(a_from_b, (4, 4), "Poses")
    points = as_array(xyz, (3,), "Points")
    if p.ndim == 2:
        return points @ p[:3, :3].T + p[:3, 3]
    result: FloatArray = (p[..., :3, :3] @ points[..., None])[..., 0] + p[..., :3, 3]
    return result


def _matched(
    source: ArrayLike, target: ArrayLike, weights: ArrayLike | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Rows of two (n, 3) arrays that are known in both, with weights (n,) that sum to 1."""
    a, b = as_array(source, (None, 3), "Source points"), as_array(target, (None, 3), "Target points")
    if a.ndim != 2 or a.shape != b.shape:
        raise DataError(f"Source and target points must both be (n, 3), but are {a.shape} and {b.shape}.")
    w = np.ones(len(a)) if weights is None else as_array(weights, (len(a),), "Weights")
    if w.shape != (len(a),) or not np.all(np.isfinite(w)) or np.any(w < 0):
        raise DataError(f"Weights must be {len(a)} finite numbers of at least 0.")
    known = np.isfinite(a).all(-1) & np.isfinite(b).all(-1) & (w > 0)
    if known.sum() < 3:
        raise DataError(
            "A fit needs at least 3 points known in both sets with a weight above 0, "
            f"but there are {known.sum()} of {len(a)}."
        )
    return a[known], b[known], w[known] / w[known].sum()


def _fit(source: ArrayLike, target: ArrayLike, weights: ArrayLike | None, scaled: bool) -> tuple[float, FloatArray]:
    a, b, w = _matched(source, target, weights)
    mean_a, mean_b = w @ a, w @ b
    centred_a, centred_b = a - mean_a, b - mean_b
    for name, centred in (("Source", centred_a), ("Target", centred_b)):
        extent = np.linalg.svd(centred * np.sqrt(w)[:, None], compute_uv=False)
        if extent[1] <= _DEGENERATE * extent[0]:
            raise DataError(
                f"{name} points lie on a line or in one place: their rotation is not determined. "
                "Give points that span a plane."
            )
    u, singular, vt = np.linalg.svd((centred_b * w[:, None]).T @ centred_a)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = (u * sign) @ vt
    scale = float(singular @ sign / (w @ (centred_a**2).sum(-1))) if scaled else 1.0
    return scale, pose(rotation, mean_b - scale * (rotation @ mean_a))


def rigid_fit(source: ArrayLike, target: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """The pose `target_from_source` (4, 4) that takes points (n, 3) to their targets with least weighted squares.

    Rows with a NaN or a weight of 0 are left out; 3 points that are not on a line are needed. Kabsch 1976; Umeyama
    1991 for the sign.
    """
    return _fit(source, target, weights, scaled=False)[1]


def similarity_fit(source: ArrayLike, target: ArrayLike, weights: ArrayLike | None = None) -> tuple[float, FloatArray]:
    """`scale` and `target_from_source` such that `transform(target_from_source, scale * source)` is near `target`.

    Otherwise as rigid_fit (Umeyama 1991).
    """
    return _fit(source, target, weights, scaled=True)


def average_rotations(rotations: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """The rotation (3, 3) nearest to rotations (n, 3, 3) in summed squared chordal distance (Hartley et al. 2013)."""
    r = as_array(rotations, (None, 3, 3), "Rotations")
    w = np.ones(r.shape[0]) if weights is None else as_array(weights, (r.shape[0],), "Weights")
    if r.ndim != 3 or not len(r):
        raise DataError(f"Rotations to average must be (n, 3, 3) with n of at least 1, but are {r.shape}.")
    u, singular, vt = np.linalg.svd(np.einsum("n,nij->ij", w, r))
    sign = np.sign(np.linalg.det(u @ vt))
    if not singular[1] + sign * singular[2] > _DEGENERATE * w.sum():
        raise DataError("These rotations have no average: they are unknown, or point in opposite ways.")
    result: FloatArray = (u * [1.0, 1.0, sign]) @ vt
    return result


def look_at(center: ArrayLike, target: ArrayLike, up: ArrayLike) -> FloatArray:
    """`camera_from_world` (4, 4) of a camera at `center` that looks at `target`, the top of its picture towards `up`.

    The camera's axes are x right, y down, z forward.
    """
    c, goal, top = (as_array(v, (3,), name) for v, name in ((center, "The centre"), (target, "The target"), (up, "Up")))
    forward = goal - c
    right = np.cross(forward, top)
    if not np.linalg.norm(right) > _DEGENERATE * np.linalg.norm(forward) * np.linalg.norm(top):
        raise DataError(
            "The camera's centre and target coincide, or it looks along `up`: its orientation is not determined."
        )
    z = forward / np.linalg.norm(forward)
    x = right / np.linalg.norm(right)
    rotation = np.stack([x, np.cross(z, x), z])
    return pose(rotation, -rotation @ c)


def mirror_pose(plane_point: ArrayLike, plane_normal: ArrayLike) -> FloatArray:
    """The reflection (4, 4) in the plane through `plane_point` (3,) with `plane_normal` (3,); it is its own inverse."""
    point = as_array(plane_point, (3,), "The mirror's point")
    normal = as_array(plane_normal, (3,), "The mirror's normal")
    length = np.linalg.norm(normal)
    if not (np.isfinite(point).all() and np.isfinite(length) and length > 0):
        raise DataError(
            f"A mirror needs a finite point and a finite normal that is not zero, but got {point} and {normal}."
        )
    n = normal / length
    return pose(np.eye(3) - 2 * np.outer(n, n), 2 * (n @ point) * n)


def homography(source: ArrayLike, target: ArrayLike) -> FloatArray:
    """The plane homography (3, 3) that takes points (n, 2) to targets (n, 2), by the normalised linear method; n >= 4.

    Scaled to unit norm, its sign such that the middle of the source points has a positive third coordinate. Hartley &
    Zisserman, algorithm 4.2.
    """
    a, b = as_array(source, (None, 2), "Source points"), as_array(target, (None, 2), "Target points")
    if a.ndim != 2 or a.shape != b.shape or len(a) < 4:
        raise DataError(f"A homography needs two (n, 2) arrays with n of at least 4, but got {a.shape} and {b.shape}.")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise DataError("A homography needs finite points: leave out the ones that are not known.")
    norm_a, norm_b = _normalisation(a), _normalisation(b)
    ha, hb = map_plane(norm_a, a), map_plane(norm_b, b)
    one = np.concatenate([ha, np.ones((len(a), 1))], axis=1)
    zero = np.zeros_like(one)
    rows = np.concatenate([np.hstack([one, zero, -hb[:, :1] * one]), np.hstack([zero, one, -hb[:, 1:] * one])])
    _, singular, vt = np.linalg.svd(rows, full_matrices=len(rows) < 9)
    if singular[7] <= _DEGENERATE * singular[0]:
        raise DataError("These points do not determine a homography: too many of them lie on one line.")
    h = np.linalg.inv(norm_b) @ vt[-1].reshape(3, 3) @ norm_a
    h = h / np.linalg.norm(h)
    result: FloatArray = -h if h[2] @ np.append(a.mean(0), 1) < 0 else h
    return result


def map_plane(homography: ArrayLike, xy: ArrayLike) -> FloatArray:
    """Points (..., 2) taken through a plane homography (3, 3)."""
    h, points = as_array(homography, (3, 3), "The homography"), as_array(xy, (2,), "Points")
    result: FloatArray = (points @ h[:2, :2].T + h[:2, 2]) / (points @ h[2, :2] + h[2, 2])[..., None]
    return result


def _normalisation(xy: FloatArray) -> FloatArray:
    """The map (3, 3) that moves points (n, 2) to mean 0 and mean distance sqrt(2)."""
    mean = xy.mean(0)
    spread = np.linalg.norm(xy - mean, axis=1).mean()
    if not spread > 0:
        raise DataError("These points do not determine a homography: they all coincide.")
    s = np.sqrt(2) / spread
    return np.array([[s, 0, -s * mean[0]], [0, s, -s * mean[1]], [0, 0, 1]])
