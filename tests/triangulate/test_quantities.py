"""Angles, distances, speeds, egocentric coordinates: values, derivatives, coverage, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multipose.errors import DataError
from multipose.geometry import look_at, transform
from multipose.kinematics_config import EgocentricConfig, KinematicsConfig
from multipose.synthetic import observe, sample_rig
from multipose.tracks import trajectories3d
from multipose.triangulate import RigCovariance, kinematics, reconstruct
from multipose.triangulate.propagation import UncertainPoints
from multipose.triangulate.quantities import angle, egocentric
from multipose.triangulate.rig_covariance import parameter_names

NAMES = ["tail", "back", "neck", "nose", "ear"]
EVERYTHING = KinematicsConfig(
    angles={"bend": ("tail", "back", "neck"), "head": ("tail", "back", "neck", "nose")},
    inclinations={"pitch": ("neck", "nose", "-z")},
    chains={"spine": ("tail", "back", "neck", "nose")},
    distances={"body": ("tail", "nose")},
    speeds={"pace": ("tail", "neck"), "nose": ("nose",)},
    egocentric=EgocentricConfig("back", ("neck", "nose"), up="ear"),
)


def tracks_of(position, sd=0.5, fps=50.0, individuals=1):
    """Trajectories3D of points (time, keypoint, 3) with covariance sd² I."""
    shape = (len(position), individuals, position.shape[1], 3)
    return trajectories3d(
        np.broadcast_to(position[:, None], shape),
        covariance=np.broadcast_to(sd**2 * np.eye(3), (*shape, 3)),
        keypoints=NAMES[: position.shape[1]],
        fps=fps,
        unit="mm",
    )


def poses(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal([[0, 0, 0], [20, 2, 6], [38, -2, 9], [55, 0, 2], [30, 1, 30]], 4, (n, 5, 3))


def within(found, name, truth, z=1.959964):
    off = np.abs(found[name].values - truth)
    return (off < z * found[f"{name}_sd"].values)[np.isfinite(off)].mean()


def test_values_are_those_of_the_definitions() -> None:
    xyz = poses(60)
    found = kinematics(tracks_of(xyz, individuals=2), EVERYTHING)
    u, v = xyz[:, 0] - xyz[:, 1], xyz[:, 2] - xyz[:, 1]
    bend = np.arccos((u * v).sum(-1) / np.linalg.norm(u, axis=-1) / np.linalg.norm(v, axis=-1))
    for individual in (0, 1):
        np.testing.assert_allclose(found["bend"].values[:, individual], bend)
    np.testing.assert_array_equal(found["spine.back"].values, found["bend"].values)
    head = xyz[:, 3] - xyz[:, 2]
    np.testing.assert_allclose(np.cos(found["pitch"].values[:, 0]), -head[:, 2] / np.linalg.norm(head, axis=-1))
    u, v = xyz[:, 1] - xyz[:, 0], head
    np.testing.assert_allclose(
        np.cos(found["head"].values[:, 0]), (u * v).sum(-1) / np.linalg.norm(u, axis=-1) / np.linalg.norm(v, axis=-1)
    )
    np.testing.assert_allclose(found["body"].values[:, 0], np.linalg.norm(xyz[:, 3] - xyz[:, 0], axis=-1))
    middle = xyz[:, [0, 2]].mean(1)
    np.testing.assert_allclose(found["pace"].values[1:-1, 0], np.linalg.norm(middle[2:] - middle[:-2], axis=-1) * 25)
    assert np.isnan(found["pace"].values[[0, -1]]).all()
    assert {str(found[name].attrs["unit"]) for name in EVERYTHING.quantities} == {"rad", "mm", "mm/s"}
    assert "body_calibration_sd" not in found
    assert found.attrs["calibration_error"] == "not known, taken as exact"


def test_the_egocentric_frame_moves_with_the_animal() -> None:
    xyz = poses(40)
    ego = kinematics(tracks_of(xyz), EVERYTHING)["egocentric"].values[:, 0]
    np.testing.assert_allclose(ego[:, 1], 0.0, atol=1e-12)
    ahead = ego[:, [2, 3]].mean(1)
    assert (ahead[:, 0] > 0).all()
    np.testing.assert_allclose(ahead[:, 1:], 0.0, atol=1e-12)
    np.testing.assert_allclose(ego[:, 4, 1], 0.0, atol=1e-12)
    assert (ego[:, 4, 2] > 0).all()
    elsewhere = transform(look_at((50, 30, 20), (0, 0, 0), (0, 0, 1)), xyz)
    np.testing.assert_allclose(kinematics(tracks_of(elsewhere), EVERYTHING)["egocentric"].values[:, 0], ego, atol=1e-9)


@pytest.mark.parametrize("up", ["ear", "-z"])
def test_egocentric_covariances_are_those_of_finite_differences(up) -> None:
    xyz = poses(1)
    rng = np.random.default_rng(1)
    factor = rng.normal(0, 1, (1, 5, 3, 3))
    together, moves = rng.normal(0, 1, (1, 5, 3, 3)), rng.normal(0, 1, (1, 5, 3, 4))
    points = UncertainPoints(xyz, factor @ np.swapaxes(factor, -1, -2), together, moves)
    frame = EgocentricConfig("back", ("neck", "nose"), up)
    _, covariance = egocentric(points, NAMES, frame)

    def at(position):
        zero = np.zeros((*position.shape, 3))
        return egocentric(UncertainPoints(position, zero, zero, zero[..., :0]), NAMES, frame)[0].ravel()

    step = 1e-5
    jacobian = np.stack(
        [(at(xyz + e) - at(xyz - e)) / (2 * step) for e in step * np.eye(15).reshape(15, 1, 5, 3)], axis=1
    )
    noise = np.zeros((15, 15))
    for k in range(5):
        noise[3 * k : 3 * k + 3, 3 * k : 3 * k + 3] = points.covariance[0, k]
    common = np.concatenate([together, moves], axis=-1)[0].reshape(15, 7)
    expected = jacobian @ (noise + common @ common.T) @ jacobian.T
    for k in range(5):
        block = expected[3 * k : 3 * k + 3, 3 * k : 3 * k + 3]
        np.testing.assert_allclose(covariance[0, k], block, rtol=1e-6, atol=1e-6)


def test_points_that_networks_found_are_off_together_in_part() -> None:
    plain = tracks_of(poses(3))
    shared = plain.assign(shared_error=("keypoint", np.full(plain.sizes["keypoint"], 0.4)))
    one, other = (kinematics(tracks, EVERYTHING) for tracks in (plain, shared))
    assert EVERYTHING.distances
    for name in EVERYTHING.distances:
        np.testing.assert_allclose(other[f"{name}_sd"] ** 2, 0.8 * one[f"{name}_sd"] ** 2, rtol=0.02)
        assert one[name].attrs["interval_95"] == pytest.approx(1.96, abs=0.001)
    tails = shared.assign(degrees_of_freedom=("keypoint", np.full(plain.sizes["keypoint"], 8.0)))
    assert kinematics(tails, EVERYTHING)[name].attrs["interval_95"] == pytest.approx(1.997, abs=0.001)


@given(st.integers(0, 2**31))
def test_angles_do_not_depend_on_the_world(seed) -> None:
    rng = np.random.default_rng(seed)
    none = np.zeros((1, 3, 3, 0))
    points = UncertainPoints(rng.normal(0, 10, (1, 3, 3)), np.broadcast_to(0.01 * np.eye(3), (1, 3, 3, 3)), none, none)
    world = look_at(rng.normal(0, 50, 3), np.zeros(3), (0, 0, 1))
    turned = UncertainPoints(transform(world, points.position), points.covariance, points.together, points.moves)
    one, other = (angle(p, (1, -1, 0), (0, -1, 1)) for p in (points, turned))
    np.testing.assert_allclose(one.value, other.value, atol=1e-7)
    np.testing.assert_allclose(one.variance, other.variance, rtol=1e-5)


@pytest.mark.parametrize("degrees", [0, 2, 10, 90, 172, 178, 180])
def test_angles_are_covered_even_near_their_ends(degrees) -> None:
    n, sd = 6000, 0.4
    radians = np.deg2rad(degrees)
    truth = np.array([[20, 0, 0], [0, 0, 0], [15 * np.cos(radians), 15 * np.sin(radians), 0]])
    seen = truth + np.random.default_rng(degrees).normal(0, sd, (n, 3, 3))
    found = kinematics(tracks_of(seen, sd), KinematicsConfig(angles={"knee": ("tail", "back", "neck")}))
    assert 0.925 < within(found, "knee", radians) < 0.995


@pytest.mark.parametrize("size", [0.0, 0.5, 1.5, 30.0])
def test_distances_and_speeds_are_covered_even_near_zero(size) -> None:
    rng = np.random.default_rng(5)
    n, sd, fps = 6000, 0.4, 50.0
    seen = np.array([[0, 0, 0], [0.6 * size, 0.8 * size, 0]]) + rng.normal(0, sd, (n, 2, 3))
    found = kinematics(tracks_of(seen, sd), KinematicsConfig(distances={"gap": ("tail", "back")}))
    assert 0.925 < within(found, "gap", size) < 0.995
    track = np.arange(n)[:, None, None] * np.array([size, 0, 0]) / 3 + rng.normal(0, sd, (n, 1, 3))
    for reach in (1, 3):
        config = KinematicsConfig(speeds={"pace": ("tail",)}, speed_reach=reach)
        found = kinematics(tracks_of(track, sd, fps), config)
        assert 0.92 < within(found, "pace", size / 3 * fps) < 0.995
        if size == 30.0:
            expected = sd * fps / np.sqrt(2 * sum(k**2 for k in range(1, reach + 1)))
            np.testing.assert_allclose(np.nanmedian(found["pace_sd"]), expected, rtol=0.01)


def test_what_is_unknown_stays_unknown_and_long_recordings_have_no_seams() -> None:
    xyz = poses(2300, seed=3)
    xyz[7, 3], xyz[1000, 0] = np.nan, np.nan
    found = kinematics(tracks_of(xyz), EVERYTHING)
    assert np.flatnonzero(np.isnan(found["body"].values[:, 0])).tolist() == [7, 1000]
    assert np.flatnonzero(np.isnan(found["bend"].values[:, 0])).tolist() == [1000]
    assert np.flatnonzero(np.isnan(found["nose"].values[:, 0])).tolist() == [0, 6, 7, 8, 2299]
    assert np.flatnonzero(np.isnan(found["pace"].values[:, 0])).tolist() == [0, 999, 1000, 1001, 2299]
    assert np.isnan(found["egocentric"].values[7]).all()  # the nose is ahead
    blind = tracks_of(xyz[:20])
    blind["covariance"] = blind["covariance"] * np.nan
    assert np.isnan(kinematics(blind, EVERYTHING)["body_sd"]).all()
    assert np.isfinite(kinematics(blind, EVERYTHING)["body"].values[:7]).all()


def test_smoothed_velocities_are_taken() -> None:
    tracks = tracks_of(poses(20))
    tracks["velocity"] = tracks["position"] * 0 + 300.0
    tracks["velocity_covariance"] = tracks["covariance"] * 0 + np.eye(3) * 4.0
    found = kinematics(tracks, EVERYTHING)
    np.testing.assert_allclose(found["nose"].values, 300 * np.sqrt(3))
    np.testing.assert_allclose(found["pace_sd"].values, np.sqrt(2.0), rtol=0.01)


def test_the_calibration_takes_part_in_all_points_at_once() -> None:
    """Of a distance between near points little of the calibration's error is left, of one across the volume much."""
    rig = sample_rig(4)
    rng = np.random.default_rng(0)
    sd = np.array([1e-3 if ".rot" in n else 0.3 if ".trans" in n else 0.0 for n in parameter_names(rig)])
    error = RigCovariance(rig, sd[:, None] * rng.normal(0, 1, (len(sd), 24)))
    xyz = np.tile([[0.0, 0, 20], [1, 0, 20], [60, 0, 20]], (12, 1, 1)) + rng.normal(0, 0.01, (12, 3, 3))
    tracks = reconstruct(observe(rig, xyz, noise=0.3, keypoints=NAMES[:3]), rig)
    tracks["variance_factor"] = tracks["variance_factor"] * 0 + 1.0  # near points rest on the views alike
    config = KinematicsConfig(distances={"near": ("tail", "back"), "far": ("tail", "neck")}, speeds={"pace": ("tail",)})
    found = kinematics(tracks, config, error)
    near, far, pace = (float(found[f"{name}_calibration_sd"].mean()) for name in ("near", "far", "pace"))
    assert far > 5 * near > 0
    assert pace < 0.2 * float(found["pace_sd"].mean())
    assert (found["far_sd"] > kinematics(tracks, config)["far_sd"]).all()
    fewer = tracks.drop_vars(["inlier", "state"]).drop_vars("view")
    again = kinematics(fewer, config, error)
    np.testing.assert_allclose(again["far_calibration_sd"], found["far_calibration_sd"], rtol=1e-6)


def test_what_cannot_be_measured_is_told() -> None:
    tracks = tracks_of(poses(5))
    with pytest.raises(DataError, match="no key point 'nsoe'. Did you mean 'nose'"):
        kinematics(tracks, KinematicsConfig(speeds={"pace": ("nsoe",)}))
    with pytest.raises(DataError, match="nothing to measure"):
        kinematics(tracks, KinematicsConfig())
    rig = sample_rig(3, unit="cm")
    with pytest.raises(DataError, match="in mm, the calibration in cm"):
        kinematics(tracks, EVERYTHING, RigCovariance.from_matrix(rig, np.zeros((45, 45))))
