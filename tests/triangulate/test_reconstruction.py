"""From a Keypoints2D to a Trajectories3D: names, confidence, what is not known, and what a wrong input is told."""

from __future__ import annotations

import numpy as np
import pytest

from multipose.errors import DataError
from multipose.synthetic.animal import walk
from multipose.synthetic.observation import observe
from multipose.synthetic.rig import sample_rig
from multipose.tracks import keypoints2d, load_tracks, save_tracks
from multipose.triangulate import STATES, leave_one_out, reconstruct

NAMES = ("nose", "ear", "tail")


@pytest.fixture(scope="module")
def rig():
    return sample_rig(3)


@pytest.fixture(scope="module")
def xyz():
    return np.random.default_rng(0).normal(0, 25, (80, 2, 3, 3))


def seen(rig, xyz, **options):
    return observe(rig, xyz, keypoints=NAMES, individuals=("a", "b"), **{"noise": 0.5, "seed": 3, **options})


def errors(tracks, xyz):
    return np.linalg.norm(tracks["position"].values - xyz, axis=-1)


class Notes:
    """Keeps what is said to the person who waits."""

    def __init__(self):
        self.said = []

    def note(self, text):
        self.said.append(text)

    def task(self, description, total=None):
        from multipose.progress import SILENT

        return SILENT.task(description, total)


@pytest.mark.parametrize("method", ["robust", "linear"])
def test_trajectories_carry_the_names_and_the_numbers(rig, xyz, method):
    keypoints = seen(rig, xyz)
    tracks = reconstruct(keypoints, rig, method=method)
    assert np.median(errors(tracks, xyz)) < 0.8
    for dim in ("time", "individual", "keypoint"):
        np.testing.assert_array_equal(tracks[dim].values, keypoints[dim].values)
    assert tracks.attrs["unit"] == rig.unit
    assert tracks.attrs["fps"] == 30.0
    assert (tracks["n_views"].values == 3).all()
    assert tracks["inlier"].dims == ("view", "time", "individual", "keypoint")
    assert tracks["inlier"].values.all()
    assert (tracks["confidence"].values == 1).all()
    np.testing.assert_allclose(tracks.attrs["variance_factor"], 1.0, atol=0.2)
    off = np.linalg.norm(rig.project(tracks["position"].values) - keypoints["position"].values, axis=-1).mean(0)
    np.testing.assert_allclose(tracks["reprojection_error"].values, off, atol=1e-4)


def test_a_file_brings_everything_back(rig, xyz, tmp_path):
    tracks = reconstruct(seen(rig, xyz, outliers=0.05), rig)
    save_tracks(tracks, tmp_path / "tracks.nc")
    again = load_tracks(tmp_path / "tracks.nc")
    for name in tracks.data_vars:
        np.testing.assert_array_equal(again[name].values, tracks[name].values)
    assert again["state"].attrs["flag_meanings"].split() == list(STATES)
    assert again.attrs["max_error_px"] == tracks.attrs["max_error_px"]


def test_views_are_matched_by_name_in_any_order(rig, xyz):
    keypoints = seen(rig, xyz)
    tracks = reconstruct(keypoints, rig)
    turned = reconstruct(keypoints.isel(view=[2, 0, 1]), rig)
    np.testing.assert_allclose(turned["position"].values, tracks["position"].values, atol=1e-8)
    np.testing.assert_array_equal(turned["inlier"].sel(view=tracks["view"]).values, tracks["inlier"].values)
    two = reconstruct(keypoints.isel(view=[0, 2]), rig)
    known = two["state"].values == STATES.index("two_views")
    assert known.mean() > 0.99
    assert (two["n_views"].values[known] == 2).all()


def test_gross_errors_leave_the_median_alone(rig, xyz):
    clean, dirty = (reconstruct(seen(rig, xyz, outliers=share), rig) for share in (0.0, 0.1))
    assert np.nanmedian(errors(dirty, xyz)) < 1.15 * np.median(errors(clean, xyz))
    linear = reconstruct(seen(rig, xyz, outliers=0.1), rig, method="linear")
    assert np.nanquantile(errors(linear, xyz), 0.95) > 5 * np.nanquantile(errors(dirty, xyz), 0.95)
    in_all = clean["n_views"].values == 3  # some lie outside a picture: there two of two views agree
    outlying = in_all & ~dirty["inlier"].values.all(0) & (dirty["n_views"].values == 2)
    assert outlying.sum() > 30
    np.testing.assert_allclose(dirty["confidence"].values[outlying], 2 / 3)


def test_noise_is_learned_where_no_covariance_is_given(rig, xyz):
    keypoints = seen(rig, xyz, noise=1.3)
    bare = keypoints.assign(covariance=keypoints["covariance"] * np.nan)
    learned, given = reconstruct(bare, rig), reconstruct(keypoints, rig)
    assert learned.attrs["noise_px"] == pytest.approx(1.3, rel=0.1)
    for name in ("position", "covariance"):  # the factors make good what the covariances leave open
        np.testing.assert_allclose(learned[name].values, given[name].values, rtol=1e-3, atol=1e-2)
    variance = learned["variance_factor"].values * learned.attrs["noise_px"] ** 2
    np.testing.assert_allclose(variance, given["variance_factor"].values * 1.3**2, rtol=1e-2)
    said, doubled = (reconstruct(bare, rig, noise_px=noise) for noise in (1.3, 2.6))
    np.testing.assert_allclose(doubled["covariance"].values, 4 * said["covariance"].values, rtol=1e-4)
    assert (doubled["variance_factor"].values == 1).all()
    assert doubled.attrs["variance_factor"] == pytest.approx(0.25, rel=0.2)


def test_points_say_how_wide_they_are_seen(rig, xyz):
    tracks = reconstruct(seen(rig, xyz, outliers=0.05), rig)
    assert tracks["parallax"].dims == ("time", "individual", "keypoint")
    known = np.isfinite(tracks["position"].values).all(-1)
    assert (np.isfinite(tracks["parallax"].values) == known).all()
    at, used = tracks["position"].values[known], tracks["inlier"].values[:, known]
    towards = np.stack([at - camera.center for camera in rig.cameras])
    towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
    for i in range(0, known.sum(), 25):
        rays = towards[used[:, i], i]
        assert tracks["parallax"].values[known][i] == pytest.approx(np.arccos((rays @ rays.T).min()))


def test_factors_find_the_view_and_the_key_point_that_are_noisier(xyz):
    five = sample_rig(5)
    keypoints = seen(five, np.concatenate([xyz] * 4), noise=0.5)
    truth = np.array([[1.0, 4.0, 0.5], [1.0, 1.0, 1.0], [9.0, 1.0, 2.0], [1.0, 1.0, 1.0], [0.3, 2.0, 1.0]])
    exact = five.project(np.concatenate([xyz] * 4))
    noise = keypoints["position"].values - exact
    keypoints["position"].values[:] = exact + noise * np.sqrt(truth)[:, None, None, :, None]
    tracks = reconstruct(keypoints, five)
    assert tracks["variance_factor"].dims == ("view", "keypoint")
    np.testing.assert_allclose(tracks["variance_factor"].values, truth, rtol=0.35)
    two = reconstruct(keypoints.isel(view=[0, 1]), five)  # nobody knows which of them it is
    first, second = two["variance_factor"].values
    # not by 1 to 4, as they are, nor half way: the depths of some points differ, and by them the views' shares
    assert np.abs(np.log(first / second)).max() < np.log(4) / 2


def test_low_confidence_is_left_out_and_said(rig, xyz):
    keypoints = seen(rig, xyz)
    wrong = keypoints.copy(deep=True)
    wrong["position"][0, :20] += 300.0
    wrong["confidence"][0, :20] = 0.2
    notes = Notes()
    tracks = reconstruct(wrong, rig, progress=notes)
    assert tracks.attrs["n_low_confidence"] == 20 * 2 * 3
    assert "120 of 1440" in notes.said[0]
    assert (tracks["n_views"].values[:20] == 2).all()
    assert not tracks["inlier"].values[0, :20].any()
    everything = reconstruct(wrong, rig, min_confidence=0.0, method="linear")
    assert everything.attrs["n_low_confidence"] == 0
    assert np.nanmedian(errors(everything, xyz)[:20]) > 10 * np.median(errors(tracks, xyz)[:20])


def test_confidence_weighs_the_views(rig, xyz):
    keypoints = seen(rig, xyz)
    keypoints["position"][0] += 2.0
    keypoints["covariance"][:] = np.nan  # or the factors would find the view that is off
    even = reconstruct(keypoints, rig, method="linear", noise_px=0.5)
    keypoints["confidence"][0] = 0.31
    doubted = reconstruct(keypoints, rig, method="linear", noise_px=0.5)
    assert np.median(errors(doubted, xyz)) < 0.8 * np.median(errors(even, xyz))
    np.testing.assert_allclose(doubted["confidence"].values, (0.31 + 2) / 3)


def test_a_point_without_confidence_counts_as_certain(rig, xyz):
    keypoints = seen(rig, xyz)
    tracks = reconstruct(keypoints, rig)
    keypoints["confidence"][1] = np.nan
    np.testing.assert_array_equal(reconstruct(keypoints, rig)["position"].values, tracks["position"].values)


def test_states_say_why_a_point_is_not_known(rig, xyz):
    keypoints = seen(rig, xyz)
    keypoints["position"][1:, 0] = np.nan
    keypoints["position"][2, 1] = np.nan
    keypoints["position"][1, 1] += [30.0, 0.0]
    tracks = reconstruct(keypoints, rig)
    assert (tracks["state"].values[0] == STATES.index("missing")).all()
    assert STATES.index("inconsistent") in tracks["state"].values[1]
    unknown = ~np.isin(tracks["state"].values, (STATES.index("consistent"), STATES.index("two_views")))
    assert np.isnan(tracks["position"].values[unknown]).all()
    assert np.isnan(tracks["covariance"].values[unknown]).all()
    assert (tracks["confidence"].values[unknown] == 0).all()
    assert (tracks["n_views"].values[unknown] == 0).all()


def test_leaving_a_view_out_shows_the_wrong_one():
    rig = sample_rig(4)
    xyz = np.random.default_rng(0).normal(0, 25, (200, 3, 3))
    keypoints = observe(rig, xyz, noise=0.5, seed=1)
    good = leave_one_out(keypoints, rig)
    assert set(good) == set(rig.names)
    assert max(good.values()) < 2.0
    keypoints["position"][2] += [-30.0, 16.0]
    bad = leave_one_out(keypoints, rig)
    assert bad["cam_2"] == pytest.approx(34.0, rel=0.1)
    assert max(value for name, value in bad.items() if name != "cam_2") < 2.0
    assert all(np.isnan(value) for value in leave_one_out(keypoints.isel(view=[0, 1]), rig).values())


def test_views_that_the_rig_lacks_are_named_with_those_it_has(rig, xyz):
    keypoints = seen(rig, xyz).assign_coords(view=["left", "cam_1", "top"])
    with pytest.raises(DataError, match=r"left, top.*cam_0, cam_1, cam_2"):
        reconstruct(keypoints, rig)


def test_swapped_names_are_noticed(rig, xyz):
    keypoints = seen(rig, xyz).assign_coords(view=["cam_1", "cam_0", "cam_2"])
    with pytest.raises(DataError, match=r"'cam_1' and 'cam_0' have swapped names"):
        reconstruct(keypoints, rig)


def test_views_out_of_step_are_not_taken_for_swapped(rig, xyz):
    keypoints = seen(rig, xyz)
    for view in (1, 2):
        keypoints["position"][view] = np.roll(keypoints["position"].values[view], 20 * view, axis=0)
    tracks = reconstruct(keypoints, rig)
    assert tracks.attrs["noise_px"] > 8
    assert min(leave_one_out(keypoints, rig).values()) > 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda keypoints: keypoints.isel(view=[1]), "at least 2 views, but the key points have only 'cam_1'"),
        (lambda keypoints: keypoints.assign(position=keypoints["position"] * np.nan), "nothing to reconstruct"),
        (lambda keypoints: keypoints.assign(confidence=keypoints["confidence"] * 0.1), "least 0.3 .1440 are known"),
        (
            lambda keypoints: keypoints.assign(position=keypoints["position"].where(keypoints["view"] == "cam_0")),
            "No point is seen by two views",
        ),
    ],
)
def test_nothing_to_reconstruct_from_is_told(rig, xyz, change, message):
    with pytest.raises(DataError, match=message):
        reconstruct(change(seen(rig, xyz)), rig)


def test_key_points_of_another_rig_are_told(xyz):
    rig = sample_rig(2)
    keypoints = observe(rig, xyz, seed=0)
    behind = keypoints.assign(position=keypoints["position"].copy())
    behind["position"][0, ..., 0] = 5.0
    behind["position"][1, ..., 0] = 470.0
    behind["position"][..., 1] = 475.0
    parallel = sample_rig(2)
    with pytest.raises(DataError, match="No two views agree on any point"):
        reconstruct(behind, parallel)


@pytest.mark.parametrize("arguments", [{"method": "ransac"}, {"min_confidence": 1.5}, {"min_views": 1}])
def test_wrong_arguments_are_told(rig, xyz, arguments):
    with pytest.raises(DataError, match=next(iter(arguments))):
        reconstruct(seen(rig, xyz), rig, **arguments)


def test_a_single_frame_is_enough(rig):
    xyz = np.array([[[1.0, 2.0, 3.0]]])
    px = rig.project(xyz)[:, :, None]
    tracks = reconstruct(keypoints2d(px, views=rig.names), rig)
    np.testing.assert_allclose(tracks["position"].values[0, 0], xyz[0], atol=1e-6)


def test_factors_of_an_earlier_result_are_taken_over():
    rig = sample_rig(3)
    keypoints = observe(rig, walk(60, seed=1).points, noise=0.5, seed=3)
    learned = reconstruct(keypoints, rig)
    factors = learned["variance_factor"]
    again = reconstruct(keypoints, rig, noise_px=learned.attrs["noise_px"], variance_factor=factors[::-1])
    np.testing.assert_allclose(again["position"].values, learned["position"].values, atol=1e-9)
    np.testing.assert_array_equal(again["variance_factor"].values, factors.values)
    with pytest.raises(DataError, match="give noise_px"):
        reconstruct(keypoints, rig, variance_factor=factors)
