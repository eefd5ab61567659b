"""Smoothing: more accurate than single frames, honest about its errors, and not fooled by what lasts."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import xarray as xr
from scipy.signal import lfilter
from scipy.stats import chi2

from multipose.errors import DataError
from multipose.synthetic import sample_rig
from multipose.tracks import keypoints2d, load_tracks, save_tracks
from multipose.triangulate import OnlineSmoother, learn_motion, reconstruct, smooth

FPS = 100.0


def wander(n_frames, n_keypoints, sd, seed):
    """Motion drawn from the prior: accelerations of one frame are normal; (frame, keypoint, 3) mm, near the middle."""
    rng = np.random.default_rng(seed)
    path = np.cumsum(np.cumsum(rng.normal(0, sd, (n_frames, n_keypoints, 3)), axis=0), axis=0)
    share = np.linspace(0, 1, n_frames)[:, None, None]
    return path - share * path[-1] + rng.uniform(-30, 30, (1, n_keypoints, 3))


def film(rig, xyz, noise=0.5, correlation=0.0, gross=0.0, missing=0.0, seed=0):
    """Pixels (view, frame, keypoint, 2) with first-order autocorrelated noise, gross errors and gaps."""
    rng = np.random.default_rng(seed)
    px = rig.project(xyz)
    white = rng.normal(0, noise * np.sqrt(1 - correlation**2), (len(rig), 100 + len(xyz), *px.shape[2:]))
    px = px + lfilter([1], [1, -correlation], white, axis=1)[:, 100:]
    wrong = rng.random(px.shape[:3]) < gross
    px[wrong] += rng.choice([-1, 1], (wrong.sum(), 2)) * rng.uniform(40, 150, (wrong.sum(), 2))
    px[rng.random(px.shape[:3]) < missing] = np.nan
    return px


def dataset(rig, px, keypoints=None):
    return keypoints2d(px[:, :, None], views=rig.names, keypoints=keypoints, fps=FPS)


def errors(tracks, xyz):
    return np.linalg.norm(tracks["position"].values[:, 0] - xyz, axis=-1)


def squared_distances(tracks, xyz):
    """(frame, keypoint) squared errors in units of the covariance."""
    off = tracks["position"].values[:, 0] - xyz
    return (off * np.linalg.solve(tracks["covariance"].values[:, 0], off[..., None])[..., 0]).sum(axis=-1)


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_error_bars_hold_within_and_outside_gaps(correlation):
    rig = sample_rig(4)
    xyz = wander(600, 8, 0.02, seed=1)
    px = film(rig, xyz, 0.6, correlation, gross=0.03, missing=0.05, seed=2)
    gap = np.zeros(xyz.shape[:2], bool)
    for k in range(8):
        for first in range(40 + 5 * k, 560, 60):
            gap[first : first + 10, k] = True
    px[:, gap] = np.nan
    keypoints = dataset(rig, px)
    robust = reconstruct(keypoints, rig)
    smoothed = smooth(robust, keypoints, rig)
    distance2 = squared_distances(smoothed, xyz)
    half, most = chi2.ppf([0.5, 0.95], 3)
    # Within a gap frames err together: 72 independent ones, of whose shares three standard deviations are 18 and 8 %
    # (outside, 6 and 3 % are those of 700 out of 4000).
    for where, by_half, by_most in ((~gap, 0.06, 0.03), (gap, 0.18, 0.08)):
        assert (distance2[where] < half).mean() == pytest.approx(0.50, abs=by_half)
        assert (distance2[where] < most).mean() == pytest.approx(0.95, abs=by_most)
    there = np.isfinite(errors(robust, xyz)) & ~gap
    assert np.median(errors(smoothed, xyz)[there]) < 0.85 * np.median(errors(robust, xyz)[there])
    assert smoothed.attrs["noise_autocorrelation_1"] == pytest.approx(correlation, abs=0.12)
    ratio = smoothed["prior_sd"].values[0] / FPS**2 / 0.02
    np.testing.assert_allclose(ratio, 1.0, atol=0.35)
    assert (smoothed["gap"].values[:, 0][gap] >= 10).all()


def test_velocities_hold():
    rig = sample_rig(4)
    xyz = wander(600, 6, 0.05, seed=3)
    keypoints = dataset(rig, film(rig, xyz, 0.5, seed=4))
    smoothed = smooth(reconstruct(keypoints, rig), keypoints, rig)
    true = np.gradient(xyz, 1 / FPS, axis=0)
    off = smoothed["velocity"].values[:, 0] - true
    covariance = smoothed["velocity_covariance"].values[:, 0]
    distance2 = (off * np.linalg.solve(covariance, off[..., None])[..., 0]).sum(axis=-1)
    # errors of velocities last for about six frames: of 600 independent ones, four standard deviations
    assert (distance2 < chi2.ppf(0.95, 3)).mean() == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 600))


def test_limbs_help_and_their_lengths_are_learned():
    rig = sample_rig(3)
    rng = np.random.default_rng(5)
    root = wander(400, 1, 0.02, seed=5)
    angle = np.cumsum(rng.normal(0, 0.05, (400, 2)), axis=0)
    way = np.stack([np.cos(angle[:, 0]) * np.cos(angle[:, 1]), np.sin(angle[:, 0]), np.sin(angle[:, 1])], axis=-1)
    way /= np.linalg.norm(way, axis=-1, keepdims=True)
    xyz = np.concatenate([root, root + 20.0 * way[:, None]], axis=1)
    px = film(rig, xyz, 1.0, seed=6)
    keypoints = dataset(rig, px, ["hip", "knee"])
    robust = reconstruct(keypoints, rig)
    free = smooth(robust, keypoints, rig)
    bound = smooth(robust, keypoints, rig, limbs=[("hip", "knee")])
    assert float(bound["limb_length"].values[0, 0]) == pytest.approx(20.0, abs=0.15)
    assert float(bound["limb_sd"].values[0, 0]) < 0.05 * 20
    lengths = [np.linalg.norm(np.diff(one["position"].values[:, 0], axis=1), axis=-1) for one in (free, bound)]
    assert np.std(lengths[1]) < 0.5 * np.std(lengths[0])
    assert errors(bound, xyz).mean() < 0.97 * errors(free, xyz).mean()
    given = smooth(robust, keypoints, rig, limb_lengths={("hip", "knee"): 20.0})
    assert float(given["limb_length"].values[0, 0]) == 20.0
    both_ways = learn_motion(robust, keypoints, rig, limbs=[("knee", "hip")], limb_lengths={("hip", "knee"): 20.0})
    assert both_ways["limb_length"].shape == (1, 1)
    assert float(both_ways["limb_length"].values[0, 0]) == 20.0
    with pytest.raises(DataError, match="two lengths"):
        learn_motion(robust, keypoints, rig, limb_lengths={("hip", "knee"): 20.0, ("knee", "hip"): 21.0})


def test_a_joint_stays_within_its_limits():
    rig = sample_rig(3)
    xyz = np.tile([[[-20.0, 0, 0], [0, 0, 0], [20, 1, 0]]], (60, 1, 1))  # straight: nearly pi
    keypoints = dataset(rig, film(rig, xyz, 0.5, seed=7), ["a", "b", "c"])
    robust = reconstruct(keypoints, rig)
    limits = {("a", "b", "c"): (0.5, 2.6)}
    joint = smooth(robust, keypoints, rig, joint_limits=limits)["position"].values[:, 0]
    first, second = joint[:, 0] - joint[:, 1], joint[:, 2] - joint[:, 1]
    cosine = (first * second).sum(-1) / np.linalg.norm(first, axis=-1) / np.linalg.norm(second, axis=-1)
    free = smooth(robust, keypoints, rig)["position"].values[:, 0]
    assert np.arccos(cosine).mean() < 3.05
    assert np.abs(joint - free).max() > 0.3


def test_two_views_that_swap_sides_for_long_move_nothing():
    rig = sample_rig(5)
    xyz = wander(300, 2, 0.02, seed=8) + np.array([[[0, 15, 0], [0, -15, 0]]])
    px = film(rig, xyz, 0.5, seed=9)
    for view in (1, 3):
        px[view, 100:130] = px[view, 100:130, ::-1]
    keypoints = dataset(rig, px, ["left", "right"])
    smoothed = smooth(reconstruct(keypoints, rig), keypoints, rig)
    assert errors(smoothed, xyz)[100:130].max() < 1.0
    assert not smoothed["inlier"].values[[1, 3], 100:130].any()


def test_most_views_wrong_for_a_while_are_seen_through_by_their_jump():
    rig = sample_rig(4)
    xyz = wander(300, 1, 0.02, seed=10)
    px = film(rig, xyz, 0.5, seed=11)
    px[:3, 150:170] = film(rig, xyz + np.array([25.0, 0, 0]), 0.5, seed=12)[
        :3, 150:170
    ]  # three of four agree on a wrong place
    keypoints = dataset(rig, px)
    robust = reconstruct(keypoints, rig)
    assert np.nanmedian(errors(robust, xyz)[150:170]) > 20
    smoothed = smooth(robust, keypoints, rig)
    assert errors(smoothed, xyz)[150:170].max() < 3.0


def test_a_sudden_movement_after_a_long_rest_is_not_flattened():
    """Peaks of acceleration keep their size within 10 %, though rest is what the prior has learned."""
    rig = sample_rig(4)
    xyz = np.zeros((500, 1, 3))
    t = np.arange(40)
    xyz[300:340, 0, 0] = 40 * 0.5 * (1 - np.cos(np.pi * t / 20))  # out and back in 0.4 s, 40 mm
    keypoints = dataset(rig, film(rig, xyz, 0.5, seed=13))
    smoothed = smooth(reconstruct(keypoints, rig), keypoints, rig)["position"].values[:, 0]
    for h in (2, 4):
        true, found = (one[2 * h :, 0, 0] - 2 * one[h:-h, 0, 0] + one[: -2 * h, 0, 0] for one in (xyz, smoothed))
        peak = np.abs(true) > 0.9 * np.abs(true).max()
        assert abs((found[peak] / true[peak]).mean() - 1) < 0.1
    assert np.abs(smoothed[:290] - xyz[:290]).mean() < 0.1  # and rest is smoothed


def test_windows_do_not_show(monkeypatch):
    rig = sample_rig(3)
    xyz = wander(700, 2, 0.05, seed=14)
    keypoints = dataset(rig, film(rig, xyz, 0.5, gross=0.02, missing=0.05, seed=15))
    robust = reconstruct(keypoints, rig)
    motion = learn_motion(robust, keypoints, rig, limbs=[("keypoint_0", "keypoint_1")])
    monkeypatch.setattr("multipose.triangulate.smoothing._WINDOW", 10_000)
    whole = smooth(robust, keypoints, rig, motion=motion)
    monkeypatch.setattr("multipose.triangulate.smoothing._WINDOW", 100)
    parts = smooth(robust, keypoints, rig, motion=motion, threads=2)
    sd = np.sqrt(np.einsum("...ii->...i", whole["covariance"].values))
    # that adds less than 0.1 % to a mean square error
    assert np.abs((parts["position"].values - whole["position"].values) / sd).max() < 0.03
    np.testing.assert_allclose(parts["covariance"].values, whole["covariance"].values, rtol=0.01, atol=1e-4)
    assert smooth(robust, keypoints, rig, motion=motion, threads=1).identical(parts)


@pytest.mark.slow
def test_online_equals_what_is_known_by_then():
    rig = sample_rig(3)
    xyz = wander(150, 2, 0.05, seed=16)
    px = film(rig, xyz, 0.5, missing=0.05, seed=17)
    px[:, 60:66] = np.nan
    keypoints = dataset(rig, px)
    motion = learn_motion(reconstruct(keypoints, rig), keypoints, rig)
    online = OnlineSmoother(rig, motion, lag=5, threads=1)
    pushed = [online.push(keypoints.isel(time=[t])) for t in range(80)]
    assert [part.sizes["time"] for part in pushed] == [0] * 5 + [1] * 75
    rest = online.finish()
    np.testing.assert_array_equal(rest["time"].values, keypoints["time"].values[75:80])
    until = keypoints.isel(time=slice(0, 80))
    tracks = reconstruct(until, rig, noise_px=motion.attrs["noise_px"], variance_factor=motion["variance_factor"])
    offline = smooth(tracks, until, rig, motion=motion)
    sd = np.sqrt(np.einsum("...ii->...i", offline["covariance"].values[74:75]))
    assert np.abs((pushed[-1]["position"].values - offline["position"].values[74:75]) / sd).max() < 0.01
    assert errors(pushed[66], xyz[61:62]).max() < 3  # within the gap
    with pytest.raises(DataError, match="must come in time"):
        online.push(keypoints.isel(time=[10]))
    late = keypoints.isel(time=[80])
    with pytest.raises(DataError):  # an uneven time
        online.push(late.assign_coords(time=late["time"] + 0.45 * float(keypoints["time"][1] - keypoints["time"][0])))
    with pytest.raises(DataError, match="other views"):
        online.push(late.isel(view=slice(1, None)))
    online.push(late)  # what was refused has changed nothing
    np.testing.assert_array_equal(online.finish()["time"].values, keypoints["time"].values[80:81])


def test_impossible_lengths_and_gaps_are_told():
    rig = sample_rig(3)
    keypoints = dataset(rig, film(rig, wander(20, 2, 0.05, seed=22), 0.5, seed=23))
    tracks = reconstruct(keypoints, rig)
    first, second = keypoints["keypoint"].values[:2]
    for length in (0.0, -3.0, np.nan, np.inf):
        with pytest.raises(DataError, match="must be above 0"):
            learn_motion(tracks, keypoints, rig, limb_lengths={(first, second): length})
    for gap in (-1, 2.5):
        with pytest.raises(DataError, match="max_gap"):
            smooth(tracks, keypoints, rig, max_gap=gap)


def test_online_begins_with_nothing():
    rig = sample_rig(3)
    xyz = wander(60, 1, 0.05, seed=18)
    keypoints = dataset(rig, film(rig, xyz, 0.5, seed=19))
    motion = learn_motion(reconstruct(keypoints, rig), keypoints, rig)
    online = OnlineSmoother(rig, motion, lag=0)
    with pytest.raises(DataError, match="push some"):
        online.finish()
    nothing = keypoints.copy(deep=True)
    nothing["position"][:, :5] = np.nan
    unknown = [online.push(nothing.isel(time=[t])) for t in range(5)]
    assert all(np.isnan(part["position"].values).all() for part in unknown)
    known = [online.push(nothing.isel(time=[t])) for t in range(5, 12)]
    assert errors(known[-1], xyz[11:12]).max() < 1
    with pytest.raises(DataError, match="lag"):
        OnlineSmoother(rig, motion, lag=-1)
    with pytest.raises(DataError, match="learn_motion"):
        OnlineSmoother(rig, reconstruct(keypoints, rig))


def test_long_gaps_are_not_written_on_request_and_absent_points_stay_so(tmp_path):
    rig = sample_rig(3)
    xyz = wander(120, 3, 0.05, seed=20)
    px = film(rig, xyz, 0.5, seed=21)
    px[:, 40:60, 0] = np.nan
    px[:, 70:75, 0] = np.nan
    px[:, :, 2] = np.nan
    keypoints = dataset(rig, px)
    robust = reconstruct(keypoints, rig)
    smoothed = smooth(robust, keypoints, rig, max_gap=10, limbs=[("keypoint_0", "keypoint_2")])
    known = np.isfinite(smoothed["position"].values[:, 0, :, 0])
    assert not known[40:60, 0].any()
    assert known[:40, 0].all()
    assert known[60:, 0].all()
    assert known[:, 1].all()
    assert not known[:, 2].any()
    assert np.isnan(smoothed["velocity"].values[40:60, 0, 0]).all()
    assert (smoothed["confidence"].values[40:60, 0, 0] == 0).all()
    assert np.isnan(smoothed["limb_length"].values).all()
    save_tracks(smoothed, tmp_path / "smooth.nc")
    xr.testing.assert_identical(load_tracks(tmp_path / "smooth.nc"), smoothed)


def test_missing_frames_are_gaps_and_uneven_times_are_refused():
    rig = sample_rig(3)
    xyz = wander(100, 1, 0.05, seed=22)
    keypoints = dataset(rig, film(rig, xyz, 0.5, seed=23))
    kept = np.setdiff1d(np.arange(100), [50, 51, 52])
    some = keypoints.isel(time=kept)
    smoothed = smooth(reconstruct(some, rig), some, rig)
    assert smoothed.sizes["time"] == 97
    assert errors(smoothed, xyz[kept]).max() < 1.5
    uneven = keypoints.assign_coords(time=keypoints["time"].values + 0.006 * (np.arange(100) > 50))
    with pytest.raises(DataError, match="evenly spaced"):
        smooth(reconstruct(uneven, rig), uneven, rig)


def test_what_cannot_be_smoothed_is_told():
    rig = sample_rig(3)
    keypoints = dataset(rig, film(rig, wander(50, 2, 0.05, seed=24), 0.5, seed=25))
    robust = reconstruct(keypoints, rig)
    with pytest.raises(DataError, match="differ on the axis time"):
        smooth(robust.isel(time=slice(0, 40)), keypoints, rig)
    with pytest.raises(DataError, match="no `inlier`"):
        smooth(robust.drop_vars("inlier"), keypoints, rig)
    with pytest.raises(DataError, match="keypoint_0, keypoint_1; got nose, keypoint_1"):
        smooth(robust, keypoints, rig, limbs=[("nose", "keypoint_1")])
    with pytest.raises(DataError, match="two rising angles"):
        three = dataset(rig, film(rig, wander(50, 3, 0.05, seed=24), 0.5, seed=25))
        limits = {("keypoint_0", "keypoint_1", "keypoint_2"): (2.0, 1.0)}
        smooth(reconstruct(three, rig), three, rig, joint_limits=limits)
    with pytest.raises(DataError, match="prior must be"):
        smooth(robust, keypoints, rig, prior="speed")
    few = keypoints.isel(time=slice(0, 3))
    with pytest.raises(DataError, match="at least 4 frames"):
        smooth(reconstruct(few, rig), few, rig)
    motion = learn_motion(robust, keypoints, rig)
    with pytest.raises(DataError, match="part of `motion`"):
        smooth(robust, keypoints, rig, motion=motion, limbs=[("keypoint_0", "keypoint_1")])
    one = keypoints.isel(keypoint=[0])
    with pytest.raises(DataError, match="learned for the keypoints"):
        smooth(reconstruct(one, rig), one, rig, motion=motion)


def test_jerk_prior_follows_bends_better():
    rig = sample_rig(3)
    t = np.arange(400) / FPS
    xyz = 40 * np.stack([np.sin(4 * t), np.cos(3 * t), np.sin(2 * t)], axis=-1)[:, None]
    keypoints = dataset(rig, film(rig, xyz, 1.0, seed=26))
    robust = reconstruct(keypoints, rig)
    by_acceleration, by_jerk = (smooth(robust, keypoints, rig, prior=prior) for prior in ("acceleration", "jerk"))
    assert errors(by_jerk, xyz).mean() < errors(by_acceleration, xyz).mean()
    assert by_jerk.attrs["prior"] == "jerk"


def test_an_animal_that_rests_and_one_that_is_seen_for_a_while_only(monkeypatch):
    """A key point that never moves, and one that whole windows never show."""
    rig = sample_rig(3)
    xyz = wander(400, 2, 0.05, seed=27)
    xyz[:, 1] = xyz[0, 1]
    px = film(rig, xyz, 0.5, seed=28)
    px[:, 150:, 0] = np.nan
    px[:, :, 1] = px[:, :1, 1]
    keypoints = dataset(rig, px)
    monkeypatch.setattr("multipose.triangulate.smoothing._WINDOW", 100)
    monkeypatch.setattr("multipose.triangulate.smoothing._STRETCH", 100)
    smoothed = smooth(reconstruct(keypoints, rig), keypoints, rig)
    assert errors(smoothed, xyz)[:140, 0].max() < 1.5
    assert errors(smoothed, xyz)[:, 1].max() < 2
    sd = np.sqrt(smoothed["covariance"].values[:, 0, 0, 0, 0])
    assert sd[300:].min() > 50 * sd[:140].max()


@pytest.mark.slow
def test_memory_hardly_grows_with_the_recording():
    """Beyond what goes in and comes out, 12 key points in 3 views need at most 2.5 kB a time."""
    rig = sample_rig(3)
    there = wander(900, 4, 0.05, seed=29)
    xyz = np.concatenate([there, there[::-1]] * 5)  # to and fro, in sight of the cameras
    keypoints = dataset(rig, film(rig, xyz, 0.5, gross=0.03, missing=0.05, seed=30))
    tracks = reconstruct(keypoints, rig)
    head = {"time": slice(500)}
    motion = learn_motion(tracks.isel(head), keypoints.isel(head), rig)
    needed = []
    for n_times in (3000, 9000):
        some = {"time": slice(n_times)}
        tracemalloc.start()
        smoothed = smooth(tracks.isel(some), keypoints.isel(some), rig, motion=motion, threads=1)
        needed.append(tracemalloc.get_traced_memory()[1] - smoothed.nbytes)
        tracemalloc.stop()
    assert (needed[1] - needed[0]) / 6000 < 2500 * 4 / 12, needed


def test_gaps_and_velocities_do_not_show_where_windows_meet(monkeypatch):
    rig = sample_rig(3)
    xyz = wander(300, 1, 0.05, seed=31)
    px = film(rig, xyz, 0.5, seed=32)
    px[:, 90:111] = np.nan
    keypoints = dataset(rig, px)
    robust = reconstruct(keypoints, rig)
    motion = learn_motion(robust, keypoints, rig)
    found = []
    for window in (10_000, 100):
        monkeypatch.setattr("multipose.triangulate.smoothing._WINDOW", window)
        found.append(smooth(robust, keypoints, rig, motion=motion, threads=1))
    sd = np.sqrt(np.einsum("...ii->...i", found[0]["covariance"].values))
    assert np.abs((found[1]["position"].values - found[0]["position"].values) / sd).max() < 0.03
    sd = np.sqrt(np.einsum("...ii->...i", found[0]["velocity_covariance"].values))
    assert np.abs((found[1]["velocity"].values - found[0]["velocity"].values) / sd).max() < 0.03
    np.testing.assert_array_equal(found[1]["gap"].values, found[0]["gap"].values)
    assert set(found[1]["gap"].values[90:111].ravel()) == {21}
