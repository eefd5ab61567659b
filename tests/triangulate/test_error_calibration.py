"""What views have in common, measured on held-out labels: found where there is much to learn from, usual else."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.stats import chi2

from multipose.camera import CameraRig
from multipose.errors import DataError
from multipose.synthetic import sample_rig, walk
from multipose.tracks import CALIBRATED_ON_LABELS, USUAL_SHARED_ERROR, keypoints2d
from multipose.triangulate import HeldOut, calibrate_errors, reconstruct

NOISE = 1.5
NAMES = [f"keypoint_{number}" for number in range(12)]


def find(rig: CameraRig, xyz: np.ndarray, shared: float, seed: int) -> xr.Dataset:
    """2D points whose errors are independent, but for a displacement in space that all views agree on.

    shared: variance of the displacement over that of an independent error's.
    """
    rng = np.random.default_rng(seed)
    px = rig.project(xyz)
    scale = np.linalg.norm(rig.project(xyz + np.array([0, 0, 1.0])) - px, axis=-1).mean()  # px per mm
    moved = xyz + rng.normal(0, NOISE * np.sqrt(shared) / scale, xyz.shape)
    px = rig.project(moved) + rng.normal(0, NOISE, px.shape)
    found = keypoints2d(
        px[:, :, None],
        np.full((*px.shape[:2], 1, px.shape[2]), 0.99),
        np.broadcast_to(NOISE**2 * np.eye(2), (*px.shape[:2], 1, px.shape[2], 2, 2)),
        views=rig.names,
        keypoints=NAMES,
        shared_error=USUAL_SHARED_ERROR,
    )
    return found.assign_attrs(covariance_source=CALIBRATED_ON_LABELS)


def label(rig: CameraRig, xyz: np.ndarray, seed: int) -> xr.Dataset:
    px = rig.project(xyz) + np.random.default_rng(seed).normal(0, 0.3, (len(rig), *xyz.shape[:2], 2))
    return keypoints2d(px[:, :, None], views=rig.names, keypoints=NAMES)


def held_out(rig: CameraRig, n_times: int, shared: float, seed: int) -> HeldOut:
    xyz = walk(40 * n_times, seed=seed).points[::40]
    times = {"time": np.arange(n_times) * 40.0}
    found, labelled = find(rig, xyz, shared, seed), label(rig, xyz, seed + 100)
    return HeldOut(found.assign_coords(times), labelled.assign_coords(times), rig)


def share_of(errors, keypoints, rig) -> float:
    return float(np.median(reconstruct(keypoints, rig, errors=errors)["shared_error"].values))


def test_what_views_share_is_found_where_labels_plainly_show_it() -> None:
    rig = sample_rig(3)
    recording = find(rig, walk(100, seed=5).points, 0.0, seed=6)
    few, alike = (calibrate_errors([held_out(rig, 3, shared, 1)], min_confidence=0.3) for shared in (0.0, 3.0))
    assert few is not None
    assert alike is not None
    assert (few.n_times, few.n_points, few.unit, few.keypoints) == (3, 36, "mm", tuple(NAMES))
    # 18 independent points say little beside what is known of networks: the share stays near the usual one
    assert abs(share_of(few, recording, rig) - USUAL_SHARED_ERROR) < 0.12
    none, much = (calibrate_errors([held_out(rig, 300, shared, 2)], min_confidence=0.3) for shared in (0.0, 3.0))
    assert share_of(none, recording, rig) < 0.2  # of networks' errors Gaussian ones are unusual
    assert share_of(much, recording, rig) > 0.5
    assert share_of(much, recording, rig) > share_of(alike, recording, rig) > share_of(few, recording, rig)


def test_regions_hold_once_the_share_is_known() -> None:
    rig = sample_rig(3)
    errors = calibrate_errors([held_out(rig, 300, 1.0, 3)], min_confidence=0.3)
    assert errors is not None
    xyz = walk(300, seed=7).points
    tracks = reconstruct(find(rig, xyz, 1.0, seed=8), rig, errors=errors)
    assert tracks.attrs["shared_error_source"] == "labels"
    off = tracks["position"].values[:, 0] - xyz
    squares = (off * np.linalg.solve(tracks["covariance"].values[:, 0], off[..., None])[..., 0]).sum(-1)
    for level in (0.5, 0.95):
        reach = tracks["region_scale"].sel(level=level).values * chi2(3).ppf(level)
        assert abs((squares <= reach).mean() - level) < 0.06
    held = errors.reliability.set_index("level")["held"]
    assert held[0.5] == pytest.approx(0.5, abs=0.08)
    assert held[0.95] == pytest.approx(0.95, abs=0.04)
    assert errors.errors["points"].sum() == errors.n_points
    assert (errors.errors["median"] < errors.errors["p95"]).all()
    assert errors.errors["shared"].between(0.6, 0.95).all()
    described = errors.to_dict()
    assert described["times"] == 300
    assert set(described["shared"]) == set(NAMES)


def test_nothing_in_common_gives_nothing_and_what_does_not_fit_is_told() -> None:
    rig = sample_rig(3)
    one = held_out(rig, 4, 1.0, 4)
    unlabelled = one.labelled.copy(deep=True)
    unlabelled["position"].values[:, :, :, 1:] = np.nan
    lacking = calibrate_errors([HeldOut(one.predicted, unlabelled, rig)], min_confidence=0.3)
    assert lacking is not None
    assert lacking.errors["points"].tolist() == [4] + [0] * 11
    assert np.isnan(lacking.errors["shared"].values[1:]).all()
    renamed = [name.upper() for name in NAMES]
    other = HeldOut(*(part.assign_coords(keypoint=renamed) for part in (one.predicted, one.labelled)), rig)
    with pytest.raises(DataError, match="same key points"):
        calibrate_errors([one, other], min_confidence=0.3)
    errors = calibrate_errors([one], min_confidence=0.3)
    with pytest.raises(DataError, match=r"calibrated for the key points keypoint_0.*these are KEYPOINT_0"):
        reconstruct(other.predicted, rig, errors=errors)
    with pytest.raises(DataError, match="not both"):
        reconstruct(one.predicted, rig, errors=errors, shared_error=0.3)
    assert calibrate_errors([], min_confidence=0.3) is None


def test_a_share_is_stated_or_usual_and_residuals_do_not_lower_what_labels_say() -> None:
    rig = sample_rig(3)
    xyz = walk(200, seed=9).points
    found = find(rig, xyz, 0.0, seed=10)
    plain = found.drop_attrs(deep=False).assign_attrs({k: v for k, v in found.attrs.items() if k != "shared_error"})
    independent, usual = reconstruct(plain, rig), reconstruct(found, rig)
    stated = reconstruct(found, rig, shared_error=0.6)
    assert [one.attrs["shared_error_source"] for one in (independent, usual, stated)] == ["none", "usual", "stated"]
    np.testing.assert_array_equal(independent["shared_error"], 0.0)
    np.testing.assert_allclose(stated["shared_error"], 0.6, atol=0.03)
    ratio = usual["covariance"] / independent["covariance"]
    np.testing.assert_allclose(ratio.values[..., 0, 0].mean(), 1 / (1 - USUAL_SHARED_ERROR), rtol=0.05)
    boasting = found.assign(covariance=100 * found["covariance"])  # ten times the errors that there are
    lowest = reconstruct(boasting, rig)
    whole = lowest["variance_factor"].values.mean(0) / (1 - lowest["shared_error"].values)
    assert (lowest["variance_factor"].values < 0.03).all()
    np.testing.assert_allclose(whole, 1.0, rtol=1e-9)  # of covariances from labels no less than they say
    for share in (-0.1, 1.0, float("nan")):
        with pytest.raises(DataError, match="0 to below 1"):
            reconstruct(found, rig, shared_error=share)
