"""The calibration's error: its derivatives, what it does to distances, and the file it is kept in."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multipose.calibration.bundle import RigState, move
from multipose.camera import CameraRig
from multipose.documents import read_arrays
from multipose.errors import DataError, FormatError
from multipose.geometry import look_at
from multipose.synthetic import sample_rig
from multipose.triangulate import RigCovariance, triangulate
from multipose.triangulate.rig_covariance import parameter_names

XYZ = np.random.default_rng(0).normal((0, 0, 20), 40, (6, 3))


def random_covariance(rig: CameraRig, seed: int = 0) -> RigCovariance:
    """Small correlated errors of all parameters."""
    rng = np.random.default_rng(seed)
    sd = np.array([1e-4 if ".rot" in n or ".k" in n or ".p" in n else 0.05 for n in parameter_names(rig)])
    factor = sd[:, None] * rng.normal(0, 1, (len(sd), 9))
    return RigCovariance(rig, factor)


def moved(rig: CameraRig, step: np.ndarray) -> CameraRig:
    """The rig with its parameters moved as bundle adjustment moves them."""
    poses = np.stack([camera.camera_from_world for camera in rig])
    state = move(RigState(tuple(camera.lens for camera in rig), poses, np.empty((0, 4, 4))), step)
    cameras = zip(rig, state.lenses, state.camera_from_world, strict=True)
    return CameraRig(tuple(type(c)(c.name, c.size, lens, pose) for c, lens, pose in cameras), rig.unit)


def test_moves_are_those_of_points_triangulated_by_a_moved_rig() -> None:
    rig = sample_rig(4)
    error = random_covariance(rig)
    weight = np.random.default_rng(1).uniform(0.1, 1, (4, len(XYZ)))
    weight[0, 2], weight[2:, 4], weight[1:, 5] = 0, 0, 0
    moves = error.moves(XYZ, weight)
    px = rig.project(XYZ)
    for k in range(error.factor.shape[1]):
        ends = [
            triangulate(px, moved(rig, sign * 0.1 * error.factor[:, k]), confidence=weight).position for sign in (1, -1)
        ]
        np.testing.assert_allclose(moves[:5, :, k], (ends[0] - ends[1])[:5] / 0.2, rtol=2e-3, atol=2e-5)
        pixels = [moved(rig, sign * 0.1 * error.factor[:, k])["cam_1"].project(XYZ) for sign in (1, -1)]
        np.testing.assert_allclose(
            error.pixel_moves("cam_1", XYZ)[..., k], (pixels[0] - pixels[1]) / 0.2, rtol=1e-4, atol=1e-6
        )
    assert np.isnan(moves[5]).all()  # one view


def test_distances_do_not_depend_on_the_world() -> None:
    rig = sample_rig(3)
    world = look_at((50, 30, 20), (0, 0, 0), (0, 0, 1))
    used = np.ones((3, len(XYZ)), dtype=bool)
    error = random_covariance(rig)
    other = error.transformed(world)
    places = XYZ @ world[:3, :3].T + world[:3, 3]
    turned = other.moves(places, used)
    np.testing.assert_allclose(turned, world[:3, :3] @ error.moves(XYZ, used), atol=1e-9)
    shares = []
    for moves, points in ((error.moves(XYZ, used), XYZ), (turned, places)):
        along = (points[1] - points[0]) / np.linalg.norm(points[1] - points[0])
        shares.append(np.linalg.norm(along @ (moves[1] - moves[0])))
    assert shares[0] == pytest.approx(shares[1], rel=1e-9)
    assert shares[0] > 1e-3


def test_an_error_common_to_all_cameras_leaves_distances_alone() -> None:
    """Turning and shifting the whole rig is one exact error of all poses."""
    rig = sample_rig(3)
    shift = [0.3, -0.2, 0.1]
    arms = np.concatenate([np.concatenate([np.zeros(3), c.rotation @ shift, np.zeros(9)]) for c in rig])
    moves = RigCovariance(rig, arms[:, None]).moves(XYZ, np.ones((3, len(XYZ)), dtype=bool))
    np.testing.assert_allclose(moves - moves[:1], 0.0, atol=1e-9)
    assert np.linalg.norm(moves[0]) == pytest.approx(np.linalg.norm(shift))


def test_the_file_holds_it_and_knows_its_rig(tmp_path) -> None:
    rig = sample_rig(3)
    error = random_covariance(rig)
    error.save(tmp_path / "covariance.npz")
    rig.save(tmp_path / "rig.toml")
    read = RigCovariance.load(tmp_path / "covariance.npz", CameraRig.load(tmp_path / "rig.toml"))
    np.testing.assert_allclose(read.matrix, error.matrix, atol=1e-12 * np.abs(error.matrix).max())
    part = RigCovariance.load(tmp_path / "covariance.npz", rig.subset(["cam_2", "cam_0"]))
    np.testing.assert_allclose(part.matrix, error.subset(("cam_2", "cam_0")).matrix, atol=1e-12)
    with pytest.raises(DataError, match="camera 'cam_0' is another one there"):
        RigCovariance.load(tmp_path / "covariance.npz", sample_rig(3, seed=1))
    with pytest.raises(DataError, match="'cam_3' is not in it"):
        RigCovariance.load(tmp_path / "covariance.npz", CameraRig((rig["cam_0"], sample_rig(4)["cam_3"]), "mm"))
    with pytest.raises(FormatError, match="not a readable covariance"):
        RigCovariance.load(tmp_path / "rig.toml", rig)
    with pytest.raises(DataError, match="row for each"):
        RigCovariance(rig, np.zeros((3, 1)))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda c: np.full_like(c, np.nan), "not finite"),
        (lambda c: c + np.where(np.arange(c.size).reshape(c.shape) == 3, np.inf, 0), "not finite"),
        (lambda c: -c, "a variance below 0"),
        (lambda c: c * 0, "is zero"),
        (lambda c: c[:10, :10], "must have the shape"),
        (lambda c: c + np.triu(np.sqrt(np.outer(np.diag(c), np.diag(c))), 1) * 0.1, "is not symmetric"),
        (lambda c: np.sqrt(np.outer(np.diag(c), np.diag(c))) * (2 - np.eye(len(c))), "correlations beyond 1"),
    ],
)
def test_a_file_that_holds_no_covariance_is_refused(tmp_path: Path, change: Callable[..., Any], problem: str) -> None:
    rig = sample_rig()
    n = len(parameter_names(rig))
    root = np.random.default_rng(0).normal(size=(n, n))
    RigCovariance.from_matrix(rig, root @ root.T + np.eye(n)).save(tmp_path / "covariance.npz")
    values = read_arrays(tmp_path / "covariance.npz")
    np.savez(tmp_path / "covariance.npz", **{**values, "covariance": change(values["covariance"])})
    with pytest.raises(FormatError, match=rf"covariance\.npz: the covariance .*{problem}.*Calibrate again"):
        RigCovariance.load(tmp_path / "covariance.npz", rig)


def test_points_of_two_copies_of_a_view_are_unknown() -> None:
    rig = sample_rig(3)
    first = rig.cameras[0]
    twice = CameraRig((first, dataclasses.replace(first, name="copy"), rig.cameras[1]), rig.unit)
    weight = np.ones((3, len(XYZ)))
    weight[2, :3] = 0
    moves = random_covariance(twice).moves(XYZ, weight)
    assert np.isnan(moves[:3]).all()
    assert np.isfinite(moves[3:]).all()
